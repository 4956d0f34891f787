module github.com/cell-runtime/cell/perf

go 1.26.0

require (
	github.com/cell-runtime/cell v0.0.0
	github.com/cell-runtime/cell/afxdp v0.0.0
	github.com/cell-runtime/cell/discovery v0.0.0
	github.com/cell-runtime/cell/ebpf v0.0.0
	github.com/vishvananda/netlink v1.3.1
	golang.org/x/sys v0.49.0
)

require (
	github.com/cilium/ebpf v0.22.0 // indirect
	github.com/vishvananda/netns v0.0.5 // indirect
)
