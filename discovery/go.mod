module github.com/cell-runtime/cell/discovery

go 1.26.0

require (
	github.com/cell-runtime/cell v0.0.0
	github.com/cell-runtime/cell/afxdp v0.0.0
	golang.org/x/sys v0.49.0
)

require (
	github.com/cilium/ebpf v0.22.0 // indirect
	github.com/vishvananda/netlink v1.3.1 // indirect
	github.com/vishvananda/netns v0.0.5 // indirect
	golang.org/x/net v0.58.0 // indirect
)
