#!/usr/bin/env bash
# Runs every test of Cell, on a bare Debian or Ubuntu with Go. It is meant to take 25
# minutes on two cores, and takes some 35 where nothing is compiled yet. The last line
# counts the tests of all runs:
#
#	N passed, N failed, N skipped
set -euo pipefail

usage() {
	cat <<'END'
usage: ./test.sh [--quick] [--soak] [--no-install]

  --quick       no race detector, no fuzzing, no emulated processors
  --soak        the long tests too (CELL_SOAK=1); no bound on the whole run
  --no-install  install nothing, even where that is possible

Environment:
  FUZZTIME  how long each fuzz target runs; without it a quarter of them do, in
            turn, for 30 s or what is left of the 25 minutes
  BUDGET    seconds for the whole run (1440)
END
}

quick=false soak=false install=true
for flag in "$@"; do
	case $flag in
	--quick) quick=true ;;
	--soak) soak=true ;;
	--no-install) install=false ;;
	-h | --help) usage; exit 0 ;;
	*) echo "test.sh: unknown flag $flag" >&2; usage >&2; exit 2 ;;
	esac
done

cd "$(dirname "${BASH_SOURCE[0]}")"

work=$(mktemp -d "${TMPDIR:-/tmp}/cell-test-XXXXXX")
# What tests leave when they are killed half-way is swept up with this. The name is
# short, for sockets lie in there, whose paths have 108 bytes at most; and others may
# write to it as to /tmp, for some tests become another user.
tmp=$(mktemp -d "${TMPDIR:-/tmp}/c.XXXX")
chmod 1777 "$tmp"
export TMPDIR=$tmp
huge=/proc/sys/vm/nr_hugepages
huge_before=
clean_up() {
	local running
	mapfile -t running < <(jobs -p)
	# With all that they have started: each leads a group (see beside).
	((${#running[@]} == 0)) || kill -- "${running[@]/#/-}" 2>/dev/null || true
	wait
	# Go makes its module cache read-only, and it may lie in here.
	chmod -R u+w "$work" "$tmp" || true
	rm -rf --one-file-system "$work" "$tmp"
	# Only what was changed here is changed back.
	if [ -n "$huge_before" ]; then echo "$huge_before" >"$huge"; fi
}
trap clean_up EXIT
trap 'exit 130' INT TERM

budget=${BUDGET:-1440}
if $soak; then
	budget=${BUDGET:-14400}
	export CELL_SOAK=1
fi
left() { echo $((budget - SECONDS)); }

say() { printf '\n== %s\n' "$*"; }

# beside OUTPUT COMMAND... runs a command in the background, in a process group of its
# own, so that nothing of it is left when this is interrupted.
beside() {
	local output=$1
	shift
	set -m
	"$@" >"$output" 2>&1 </dev/null &
	set +m
}

# ---- what the host must have ----

# Services and containers often run without HOME, where Go keeps its caches.
if [[ -z ${HOME:-} ]]; then
	HOME=$(getent passwd "$(id -u)" 2>/dev/null | cut -d: -f6) || HOME=
	[[ -n $HOME && -d $HOME && -w $HOME ]] || HOME=$work
	export HOME
fi
# Sockets of the tests go where they are swept up.
export CELL_RUNTIME_DIR=$work/run
mkdir -m 0700 "$CELL_RUNTIME_DIR"

has() { command -v "$1" >/dev/null 2>&1; }

# Rings on huge pages can be tested where some can be reserved for the while.
if [[ -w $huge && $(cat "$huge") == 0 ]] && echo 16 2>/dev/null >"$huge"; then
	huge_before=0
fi

# clang's runtime is a package of its own on some releases.
has_libfuzzer() {
	echo 'int LLVMFuzzerTestOneInput(const unsigned char *b, unsigned long n) { return b == 0 && n != 0; }' |
		clang -fsanitize=fuzzer,address,undefined -x c -o "$work/libfuzzer" - >/dev/null 2>&1
}

# only_known takes out of packages what this release does not have: there its
# content is a part of another one.
only_known() {
	local name known=()
	for name in "${packages[@]}"; do
		! apt-cache show "$name" >/dev/null 2>&1 || known+=("$name")
	done
	packages=("${known[@]}")
}

install_missing() {
	local -A provides=([gcc]='gcc libc6-dev' [make]=make [strace]=strace [git]=git
		[pgrep]=procps [curl]=curl [bwrap]=bubblewrap [qemu-aarch64]=qemu-user-static [qemu-s390x]=qemu-user-static
		[qemu-system-x86_64]=qemu-system-x86 [xz]=xz-utils [zstd]=zstd [candump]=can-utils [tshark]=tshark
		[qemu-system-arm]=qemu-system-arm [arm-none-eabi-gcc]=gcc-arm-none-eabi
		[cppcheck]=cppcheck [clang]=clang [libfuzzer]=libclang-rt-dev)
	# A minute of installing and one of tests, in which each cell takes a second.
	if $soak; then provides+=([podman]='podman crun' [catatonit]=catatonit); fi
	local tool missing=() packages=() root=()
	for tool in "${!provides[@]}"; do
		# The emulators are called NAME-static or NAME, by the release.
		if [[ $tool == libfuzzer ]]; then
			has_libfuzzer || missing+=("$tool")
			continue
		fi
		has "$tool" || has "$tool-static" || missing+=("$tool")
	done
	((${#missing[@]})) || return 0
	for tool in "${missing[@]}"; do
		# shellcheck disable=SC2206 # the words of a list
		packages+=(${provides[$tool]})
	done
	mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
	[[ $(id -u) == 0 ]] || root=(sudo -n)
	if $install && has apt-get && { [[ $(id -u) == 0 ]] || sudo -n true 2>/dev/null; }; then
		say "installing ${packages[*]}"
		if "${root[@]}" apt-get update -qq && only_known &&
			DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -y -qq \
				--no-install-recommends "${packages[@]}" >"$work/apt.log" 2>&1; then
			return 0
		fi
		[[ ! -s $work/apt.log ]] || tail -5 "$work/apt.log"
	fi
	echo "Missing here: ${missing[*]}. What needs them is left out and said so below."
	echo "To run everything, install by hand (Debian's names): ${packages[*]}"
}

if ! has go; then
	PATH=$PATH:/usr/local/go/bin
	if ! has go; then
		echo "test.sh: Go is not installed: see https://go.dev/doc/install" >&2
		exit 1
	fi
fi
install_missing
# The core in C is fuzzed for longer than a plain go test does it, and by
# libFuzzer alone.
if has_libfuzzer; then export CELL_FUZZ_LIBFUZZER=1; fi
$quick || export CELL_FUZZ_SECONDS=12

# ---- steps and their results ----

# In files, because some steps run beside each other, in subshells.
touch "$work/outcomes" "$work/counts"

outcome() { # outcome STATE NAME [REASON]
	printf '%-8s  %s%s\n' "$1" "$2" "${3:+ ($3)}" >>"$work/outcomes"
}

# bounded runs a command within what is left of three times the budget: what fits
# into the budget is planned by it (how long to fuzz), but a host that is slow for
# once fails no test by that. In the foreground,
# so that Ctrl-C reaches it; go test's own -timeout ends hung tests before this.
bounded() {
	local seconds
	seconds=$(($(left) + 2 * budget))
	((seconds > 5)) || seconds=5
	timeout --foreground --kill-after=10 "$seconds" "$@"
}

# step NAME COMMAND... runs a command that is no test; its failure counts as one.
step() {
	local name=$1 begun=$SECONDS
	shift
	say "$name"
	if bounded "$@"; then
		outcome ok "$name" "$((SECONDS - begun)) s"
	else
		outcome FAILED "$name"
		echo "0 1 0" >>"$work/counts"
	fi
}

# tests DIR NAME FLAGS... runs go test -json with those flags in DIR. Without
# its vet, which lint runs over everything.
tests() {
	local dir=$1 name=$2
	shift 2
	summed "$name" go -C "$dir" test -json -count=1 -vet=off "$@"
}

# summed NAME COMMAND... runs a command that prints what go test -json does.
summed() {
	local name=$1 begun=$SECONDS status
	shift
	say "$name"
	status=$(mktemp -u "$work/status-XXXXXX")
	if ! { bounded "$@" 2>&1 || echo "$?" >"$status"; } |
		"$work/testsum" -counts "$work/counts"; then
		outcome FAILED "$name"
	elif [[ -e $status ]]; then
		# It failed, but no test did: wrong flags, or the budget's end.
		outcome FAILED "$name" "go test ended with status $(<"$status")"
		echo "0 1 0" >>"$work/counts"
	else
		outcome ok "$name" "$((SECONDS - begun)) s"
	fi
}

# fuzz_all fuzzes, two targets at a time, one on each core. There are too many for
# all of them to find anything in the time that there is, so those of a quarter of
# the packages have their turn, by the commit; with FUZZTIME or --soak all have.
# The test binaries are built once a package, not once a target:
# instrumented builds take longer than the fuzzing that there is time for.
fuzz_all() {
	local targets fuzztime=${FUZZTIME:-} dirs dir share i turn
	mapfile -t targets < <(git_files '*_test.go' | xargs -r -d '\n' grep -HoE '^func Fuzz[A-Za-z0-9_]*' |
		sed -E 's|^(.*)/[^/]*:func (.*)$|\1:\2|' | grep -v -e '^perf/peers' -e '^tools' | sort)
	((${#targets[@]})) || return 0
	mapfile -t dirs < <(printf '%s\n' "${targets[@]%:*}" | sort -u)
	if [[ -z $fuzztime ]] && ! $soak; then
		turn=$((16#$(git rev-parse --short=8 HEAD 2>/dev/null || date +%j) % 4))
		for ((i = ${#dirs[@]} - 1; i >= 0; i--)); do
			((i % 4 == turn)) || unset "dirs[i]"
		done
		mapfile -t targets < <(printf '%s\n' "${targets[@]}" | grep -xE "($(IFS='|' && echo "${dirs[*]}")):.*")
		outcome 'left out' "fuzzing of three quarters of the packages, whose turn comes with other commits" "FUZZTIME=30s has all fuzzed"
	fi
	mkdir -p "$work/fuzzers"
	say "building ${#targets[@]} fuzz targets"
	for dir in "${dirs[@]}"; do
		bounded go test -c -vet=off -fuzz=. -o "$(fuzzer "$dir")" "./$dir" && continue
		outcome FAILED "building the fuzz targets of $dir"
		echo "0 1 0" >>"$work/counts"
	done
	if [[ -z $fuzztime ]]; then
		# Some 3 s of each pair go into starting; a minute is kept.
		share=$((($(left) - 60) / ((${#targets[@]} + 1) / 2) - 3))
		((share <= 30)) || share=30
		((share >= 5)) || share=5
		((share == 30)) || echo "fuzzing ${#targets[@]} targets for $share s each, to stay within $budget s"
		fuzztime=${share}s
	fi
	for ((i = 0; i < ${#targets[@]}; i += 2)); do
		if (($(left) + 2 * budget < 60)); then
			outcome 'left out' "fuzzing from ${targets[i]} on" "three times the budget of $budget s is used up"
			break
		fi
		if ((i + 1 < ${#targets[@]})); then
			beside "$work/beside" fuzz "${targets[i + 1]}" "$fuzztime"
			fuzz "${targets[i]}" "$fuzztime"
			wait
			cat "$work/beside"
		else
			fuzz "${targets[i]}" "$fuzztime"
		fi
	done
}

# git_files PATTERN prints the files of the tree; also where it is no checkout.
git_files() { git ls-files -- "$1" 2>/dev/null || find . -name "$1" -printf '%P\n'; }

# fuzzer DIR prints where the fuzzing binary of the package in DIR is.
fuzzer() { echo "$work/fuzzers/${1//\//_}.test"; }

# fuzz DIR:TARGET TIME fuzzes, with the corpus in go test -fuzz's own place.
# Nothing is minimized: a time that ends meanwhile is reported as a failure
# ("context deadline exceeded"). Who runs a found input can minimize it. Now and then
# go test says so without that, too, and has found nothing: then it is run again.
fuzz() {
	local dir=${1%:*} target=${1##*:} status output
	output=$(mktemp "$work/fuzz-XXXXXX")
	for _ in 1 2 3; do
		status=0
		bounded env -C "$dir" go tool test2json -t -p "$dir" "$(fuzzer "$dir")" \
			-test.v=test2json -test.paniconexit0 -test.run '^$' -test.fuzz "^$target\$" -test.fuzztime "$2" \
			-test.parallel 1 -test.fuzzminimizetime 0s -test.fuzzcachedir "$(go env GOCACHE)/fuzz/github.com/cell-runtime/cell/$dir" \
			>"$output" 2>&1 || status=$?
		grep -q 'context deadline exceeded' "$output" && ! grep -q 'Failing input' "$output" || break
	done
	summed "fuzz $target in $dir for $2" bash -c 'cat "$1"; exit "$2"' - "$output" "$status"
}

# ---- what is run ----

export CGO_ENABLED=0 # as users build it; the race detector alone needs cgo
# cellbench has a profile (default.pgo), by which everything would be compiled a
# second time.
export GOFLAGS="${GOFLAGS:-} -pgo=off"

say "building on $(go version)"
# All packages of all modules of the workspace; ./... would be one module's.
all=github.com/cell-runtime/cell/...
GOWORK=off go -C tools build -o "$work/testsum" ./testsum
# Compiling alone, tests too: with -p 1 below that would take one core. What is linked,
# the tests link.
step "build" go list -export -test -f '{{with .Error}}{{.}}{{end}}' "$all"
# Outside cellgen's own tests.
step "generated code of firmware/demo" go run ./cmd/cellgen -check -package device firmware/demo/device/device.cell
step "generated code of perf/peers" go run ./cmd/cellgen -check perf/peers/internal/echo/echo.go
package=10m # of time
! $soak || package=2h
small=(-tags nodragonboat)
! $soak || small=()

# What has goroutines of its own. Examples, programs and lint run other
# programs, built without it; Raft under it takes minutes, most of
# them the library's, so the others do without that.
apart='cmd|examples|firmware|internal|perf|schema|wire|bulk|discovery/sim|capsid/wasm|metrics/hdr|afxdp/(netlab|packet)|consensus/dragonboat'
$soak || apart+='|consensus/cluster|link/linktest|afxdp/asavie'
mapfile -t raced < <(go list "$all" | grep -vE "/cell/($apart)(/|$)")
flags=("${small[@]}" -race)

# aside runs what nobody waits for, on what the tests leave of the processors.
#
# Everything is for arm64 too; Raft's library, which takes the longest, is left to
# --soak, as it is with the race detector. s390x is for the byte order of what has a
# format: the core, which is the module in the root.
aside() {
	local lowest=(nice -n 19) pair arch
	for pair in "arm64 $all" "s390x ./..."; do
		arch=${pair%% *}
		step "build for $arch" "${lowest[@]}" env GOARCH="$arch" go list -export "${small[@]}" -f '{{with .Error}}{{.}}{{end}}' "${pair#* }"
	done
	step "vet of the core for arm64" "${lowest[@]}" env GOARCH=arm64 go vet ./... # its assembly
	step "programs for arm64" "${lowest[@]}" env GOARCH=arm64 go build "${small[@]}" -o "$work/arm64/" ./cmd/cellbench ./cmd/cellgen ./cmd/cellnode
	if ! $quick && has gcc; then
		CGO_ENABLED=1 step "build for the race detector" "${lowest[@]}" go list -export -test "${flags[@]}" -f '{{with .Error}}{{.}}{{end}}' "${raced[@]}"
	fi
}
beside "$work/aside" aside
aside=$!

# One package after the other (-p 1) where tests spin on two cores or boot
# machines: two at once would time each other. The others mostly wait.
busy='/cell/(capsid$|node$|ring|engine|uds|rpc$|can|afxdp|perf|cmd/cellbench)(/|$)'
mapfile -t patient < <(go list "$all" | grep -vE "$busy")
mapfile -t spinning < <(go list "$all" | grep -E "$busy")
tests . "unit tests and lint" -p 2 -timeout "$package" "${patient[@]}"
tests . "unit tests of what spins" -p 1 -timeout "$package" "${spinning[@]}"
# tools and perf/peers stay outside the workspace: what they need changes no
# version of the product's.
GOWORK=off tests tools "tests of the tools" ./...
step "vet of the tools" env GOWORK=off go -C tools vet ./...
step "vet of perf/peers" env GOWORK=off go -C perf/peers vet ./...
GOWORK=off tests perf/peers "tests of perf/peers" -p 1 -timeout 5m ./...
step "vet of perf/peers/raft" env GOWORK=off go -C perf/peers/raft vet ./...
GOWORK=off tests perf/peers/raft "tests of perf/peers/raft" -short ./...
if ! wait "$aside"; then
	outcome FAILED "what runs aside"
	echo "0 1 0" >>"$work/counts"
fi
cat "$work/aside"

# having prints those of the named packages that exist.
having() { go list -e -f '{{if not .Error}}{{.ImportPath}}{{end}}' "$@" 2>/dev/null; }

# Guards cost a system call or two a payload: what uses rings by itself has to do,
# but for --soak.
users=()
! $soak || users=(./uds/... ./link/... ./cmd/cellgen/...)
mapfile -t checked < <(having ./ring ./engine ./rpc ./rpc/rpctest ./schema/view ./cmd/cellgen/internal/trade "${users[@]}")
((${#checked[@]} == 0)) || tests . "with invariants" -p 2 -timeout 10m -short -tags invariants "${checked[@]}"

if $quick; then
	outcome 'left out' "race detector, emulated processors, fuzzing" "--quick"
else
	if has gcc; then
		# What differs in the medium alone, or computes alone, is left to the runs without it.
		omit='^TestXDPConformance$/(asavie|bad_network_true)|^TestUDPConformance$/::1'
		omit+='|^TestConformanceOnModel$/classic|^TestNoLossGoesUnnoticed$|^TestLossOfAnyCountIsMadeGood$'
		omit+='|^TestTLSConformance$/full|^TestConformance$/one_lane/full'
		! $soak || omit='^$'
		CGO_ENABLED=1 tests . "race detector" -p 2 "${flags[@]}" -timeout 15m -short -skip "$omit" "${raced[@]}"
	else
		outcome 'left out' "race detector" "gcc is missing"
	fi

	mapfile -t portable < <(having ./wire ./schema ./schema/view ./cmd/cellgen/internal/quotes ./ring)
	emulated() { # emulated ARCH QEMU
		export CELL_EMULATED=$2
		GOARCH=$1 tests . "wire, schema and ring on $1, emulated" -p 1 -timeout 10m -short \
			-exec "$2" "${portable[@]}"
	}
	for pair in arm64:qemu-aarch64 s390x:qemu-s390x; do
		arch=${pair%%:*} qemu=${pair#*:}
		! has "$qemu-static" || qemu+=-static
		if has "$qemu"; then
			beside "$work/emulated-$arch" emulated "$arch" "$qemu"
		else
			outcome 'left out' "wire, schema and ring on $arch, emulated" "$qemu is missing"
		fi
	done
	wait
	cat "$work"/emulated-* 2>/dev/null || true

	fuzz_all
fi

# ---- the summary ----

say "summary, after $SECONDS s"
cat "$work/outcomes"
awk '{p += $1; f += $2; s += $3} END {printf "%d passed, %d failed, %d skipped\n", p, f, s}' "$work/counts"
! grep -q '^FAILED' "$work/outcomes"
