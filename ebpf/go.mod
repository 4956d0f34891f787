module github.com/cell-runtime/cell/ebpf

go 1.26.0

require (
	github.com/cell-runtime/cell v0.0.0
	github.com/cilium/ebpf v0.22.0
	golang.org/x/sys v0.49.0
)

require (
	golang.org/x/net v0.58.0 // indirect
	golang.org/x/sync v0.22.0 // indirect
)
