module github.com/cell-runtime/cell

go 1.26.0

require golang.org/x/sys v0.49.0
