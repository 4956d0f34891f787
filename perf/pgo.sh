#!/usr/bin/env bash
# Makes cmd/cellbench/default.pgo anew: a profile of what Cell's hot paths do,
# with which the Go compiler inlines and lays out code (go.dev/doc/pgo). About
# a minute on two quiet CPUs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Without the old profile, so that a new one does not depend on it.
go build -pgo=off -o "$work/cellbench" ./cmd/cellbench
export CELLBENCH_CPUPROFILE=$work
run() { "$work/cellbench" "$@" --json "$work/result.json" >/dev/null; }
run rpc --duration 6s --no-limit
run rpc --window 64 --duration 6s --no-limit
run rpc --topic --batch 32 --duration 6s --no-limit
run rtt --duration 4s --no-limit
run stream --batch 32 --duration 4s --no-limit
run stream --batch 1 --duration 4s --no-limit
go tool pprof -proto -output=cmd/cellbench/default.pgo "$work"/*.pprof
ls -l cmd/cellbench/default.pgo
