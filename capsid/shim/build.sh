#!/usr/bin/env bash
# Builds the shim for each architecture whose compiler is here. The programs are
# committed, since users have no compiler; a test builds them again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
out=${1:-.}
flags=(-std=c11 -Os -Wall -Wextra -Werror -static -nostdlib -ffreestanding -fno-stack-protector -fno-pic -no-pie
	-fno-asynchronous-unwind-tables -fno-builtin -Wl,--build-id=none -Wl,-z,noexecstack -Wl,-z,max-page-size=4096 -s)
build() { # build COMPILER ARCH
	! command -v "$1" >/dev/null || "$1" "${flags[@]}" -o "$out/shim_$2.elf" shim.c
}
case $(uname -m) in
x86_64) build gcc amd64 ;;
aarch64) build gcc arm64 ;;
esac
build x86_64-linux-gnu-gcc amd64
build aarch64-linux-gnu-gcc arm64
