module github.com/cell-runtime/cell/capsid

go 1.26.0

require (
	github.com/cell-runtime/cell v0.0.0
	github.com/elastic/go-seccomp-bpf v1.6.0
	github.com/tetratelabs/wazero v1.12.0
	golang.org/x/net v0.58.0
	golang.org/x/sys v0.49.0
)

require github.com/stretchr/testify v1.12.1 // indirect
