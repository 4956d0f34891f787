#!/usr/bin/env bash
# Keeps the go.mod files of Cell's modules tidy: docs/MODULES.md says why there
# are several.
set -euo pipefail

usage() {
	cat <<'END'
usage: ./modules.sh tidy|check|list

  tidy   what go mod tidy does, in every module of go.work
  check  the same into nothing: prints what tidy would change, and fails then
  list   prints the modules' folders

go mod tidy by itself asks the network for versions of the sister modules that
nobody has released; here it finds them in this tree.
END
}

cd "$(dirname "${BASH_SOURCE[0]}")"
root=$PWD
base=github.com/cell-runtime/cell
mapfile -t folders < <(go work edit -json | sed -nE 's/.*"DiskPath": "\.\/?(.*)".*/\1/p')

path() { echo "$base${1:+/$1}"; }

work=$(mktemp -d "${TMPDIR:-/tmp}/cell-modules-XXXXXX")
trap 'rm -rf "$work"' EXIT

# tidied FOLDER leaves the tidy go.mod and go.sum of a module in $work.
tidied() {
	local folder=$1 other
	cp "$root/$folder/go.mod" "$work/go.mod"
	cp "$root/$folder/go.sum" "$work/go.sum" 2>/dev/null || : >"$work/go.sum"
	for other in "${folders[@]}"; do
		[[ $other == "$folder" ]] || go mod edit -replace "$(path "$other")=$root/$other" "$work/go.mod"
	done
	GOWORK=off GOFLAGS=-mod=mod go -C "$root/$folder" mod tidy -modfile="$work/go.mod"
	for other in "${folders[@]}"; do
		[[ $other == "$folder" ]] || go mod edit -dropreplace "$(path "$other")" "$work/go.mod"
	done
	# A version is needed; until there is a first release it is this one.
	sed -i -E "s#^((require )?\s*${base}[^ ]*) v0\.0\.0-0[^ ]*#\1 v0.0.0#" "$work/go.mod"
	go mod edit -fmt "$work/go.mod"
}

case ${1:-} in
list) printf './%s\n' "${folders[@]}" ;;
tidy)
	for folder in "${folders[@]}"; do
		tidied "$folder"
		cp "$work/go.mod" "$root/$folder/go.mod"
		if [[ -s $work/go.sum ]]; then cp "$work/go.sum" "$root/$folder/go.sum"; else rm -f "$root/$folder/go.sum"; fi
	done
	;;
check)
	untidy=0
	for folder in "${folders[@]}"; do
		tidied "$folder"
		diff -u "$root/$folder/go.mod" "$work/go.mod" && { [[ ! -s $work/go.sum ]] || diff -u "$root/$folder/go.sum" "$work/go.sum"; } || untidy=1
	done
	((untidy == 0)) || echo "modules.sh: run ./modules.sh tidy, and commit what it changes" >&2
	exit $untidy
	;;
-h | --help) usage ;;
*) usage >&2; exit 2 ;;
esac
