module github.com/cell-runtime/cell

go 1.26.0
