package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// spawnArg is the first argument of the Go cell of "cellbench spawn".
const spawnArg = "cellbench-spawn-cell"

// spawnCell answers one message on its inherited socket and ends.
func spawnCell() int {
	const node = 3
	var b [64]byte
	n, err := unix.Read(node, b[:])
	if err == nil {
		_, err = unix.Write(node, b[:n])
	}
	if err != nil {
		return exitFailed
	}
	return exitOK
}

// staticCell is the same in C with nothing below it.
const staticCell = `
#include <sys/syscall.h>
static long call(long n, long a, long b, long c)
{
	long r;
#if defined(__x86_64__)
	__asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
#else
	register long x8 __asm__("x8") = n, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
	r = x0;
#endif
	return r;
}
void _start(void)
{
	char b[64];
	long n = call(SYS_read, 3, (long)b, sizeof b);
	long r = n < 0 ? n : call(SYS_write, 3, (long)b, n);
	call(SYS_exit_group, r < 0, 0, 0);
}
`

// buildStatic compiles the C cell into dir.
func buildStatic(ctx context.Context, dir string) (string, error) {
	source, program := filepath.Join(dir, "cell.c"), filepath.Join(dir, "cell")
	if err := os.WriteFile(source, []byte(staticCell), 0o644); err != nil {
		return "", err
	}
	text, err := exec.CommandContext(ctx, "gcc", "-O2", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-no-pie", "-s", "-o", program, source).CombinedOutput()
	if err != nil {
		return "", errors.Join(err, errors.New(string(text)))
	}
	return program, os.Chmod(program, 0o755)
}

// echoModule is a WebAssembly cell that answers every request with itself:
//
//	(module (memory (export "memory") 1)
//	  (func (export "cell_buffer") (param i32) (result i32) i32.const 1024)
//	  (func (export "cell_call") (param i64 i32) (result i64)
//	    i64.const 1024<<32 local.get 1 i64.extend_i32_u i64.or))
var echoModule = []byte("\x00asm\x01\x00\x00\x00" +
	"\x01\x0c\x02\x60\x01\x7f\x01\x7f\x60\x02\x7e\x7f\x01\x7e" +
	"\x03\x03\x02\x00\x01" +
	"\x05\x03\x01\x00\x01" +
	"\x07\x24\x03\x06memory\x02\x00\x0bcell_buffer\x00\x00\x09cell_call\x00\x01" +
	"\x0a\x16\x02\x05\x00\x41\x80\x08\x0b\x0e\x00\x42\x80\x80\x80\x80\x80\x80\x01\x20\x01\xad\x84\x0b")
