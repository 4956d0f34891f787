module github.com/cell-runtime/cell/cmd/cellbench

go 1.26.0

require (
	github.com/HdrHistogram/hdrhistogram-go v1.4.0
	github.com/cell-runtime/cell v0.0.0
	github.com/cell-runtime/cell/afxdp v0.0.0
	github.com/cell-runtime/cell/capsid v0.0.0
	github.com/cell-runtime/cell/ebpf v0.0.0
	github.com/cell-runtime/cell/perf v0.0.0
	golang.org/x/sys v0.49.0
)

require (
	github.com/asavie/xdp v0.3.3 // indirect
	github.com/cilium/ebpf v0.22.0 // indirect
	github.com/elastic/go-seccomp-bpf v1.6.0 // indirect
	github.com/tetratelabs/wazero v1.12.0 // indirect
	github.com/vishvananda/netlink v1.3.1 // indirect
	github.com/vishvananda/netns v0.0.5 // indirect
	go.yaml.in/yaml/v3 v3.0.6 // indirect
	golang.org/x/net v0.58.0 // indirect
)
