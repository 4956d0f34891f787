module github.com/cell-runtime/cell/afxdp

go 1.26.0

require (
	github.com/asavie/xdp v0.3.3
	github.com/cell-runtime/cell v0.0.0
	github.com/cell-runtime/cell/ebpf v0.0.0
	github.com/cilium/ebpf v0.22.0
	github.com/vishvananda/netlink v1.3.1
	golang.org/x/sys v0.49.0
)

require github.com/vishvananda/netns v0.0.5 // indirect
