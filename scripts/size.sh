#!/usr/bin/env bash
# Prints what the code in a stripped binary of this module belongs to, and its
# size beside the budget. A stripped binary has no symbols: they are taken from
# an unstripped twin, built from the sources as they are now.
#
#   scripts/size.sh BINARY              exit 1 if it is over the budget
#   scripts/size.sh BINARY REVISION     and what grew since that revision
set -euo pipefail
if [[ $# -lt 1 || $# -gt 2 ]]; then
	echo "usage: scripts/size.sh BINARY [REVISION]" >&2
	exit 2
fi
binary=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly budget=32000000 # bytes, stripped

# built_with KEY prints one of the settings the binary was built with.
built_with() {
	go version -m "$binary" | awk -v key="$1" '
		$1 == "path" && key == "path" { print $2 }
		$1 == "build" && index($2, key "=") == 1 { print substr($2, length(key) + 2) }'
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# twin FILE builds the unstripped twin from the sources in this directory.
twin() {
	GOARCH=$(built_with GOARCH) CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false' \
		go build -ldflags=-w -o "$1" "$(built_with path)"
}

# groups FILE prints the bytes of code of each group, and its name.
#
# Each function counts for its package, each package for its group: ours, a
# service of the AWS SDK, another module, or an area of the standard library.
groups() {
	go tool nm -size "$1" | awk -v ours="$(go list -m)/" '
	function package_of(symbol, dir) {
		sub(/^(type:\.(eq|hash)\.|go:)/, "", symbol)
		sub(/[[({, ].*/, "", symbol) # receivers and type arguments have dots and slashes too
		if (!match(symbol, /\/[^\/]*$/)) RSTART = 0
		dir = substr(symbol, 1, RSTART)
		symbol = substr(symbol, RSTART + 1)
		if (!match(symbol, /\./)) return "runtime"
		symbol = dir substr(symbol, 1, RSTART - 1)
		gsub(/%2e/, ".", symbol)
		return symbol
	}
	function group(pkg, part, parts) {
		if (pkg == "main" || index(pkg, ours) == 1) return "ecsnode"
		parts = split(pkg, part, "/")
		if (sub(/^vendor\//, "", pkg)) return "std: " part[2] "/" part[3] "/" part[4]
		if (pkg ~ /^github.com\/aws\/aws-sdk-go-v2\/service\//) return "aws-sdk-go-v2: " part[5]
		if (pkg ~ /^github.com\/aws\/aws-sdk-go-v2(\/|$)/) return "aws-sdk-go-v2: the rest"
		if (part[1] == "github.com" || part[1] == "golang.org") return part[1] "/" part[2] "/" part[3]
		if (part[1] ~ /\./) return part[1] "/" part[2]
		if (pkg == "net/http" || index(pkg, "net/http/") == 1) return "std: net/http"
		if (part[1] == "text" || part[1] == "go" || part[1] == "encoding") return "std: " part[1] "/" part[2]
		return "std: " part[1]
	}
	$3 == "T" || $3 == "t" { size[group(package_of($4))] += $2; code += $2 }
	END { for (g in size) printf "%d\t%s\n", size[g], g }'
}

twin "$scratch/now"
groups "$scratch/now" >"$scratch/now.groups"
awk -F '\t' '
	{ size[$2] = $1; code += $1 }
	END {
		for (g in size) {
			if (g == "ecsnode" || size[g] >= code / 200) printf "%8.0f kB %5.1f %%  %s\n", size[g] / 1000, 100 * size[g] / code, g
			else { small += size[g]; groups++ }
		}
		if (groups) printf "%8.0f kB %5.1f %%  %d more, each under 0.5 %%\n", small / 1000, 100 * small / code, groups
		printf "%8.0f kB  100 %%  code\n", code / 1000
	}' "$scratch/now.groups" | sort -k 1,1nr

if [[ $# -eq 2 ]]; then
	mkdir "$scratch/tree"
	git archive "$2" | tar -x -C "$scratch/tree"
	(cd "$scratch/tree" && twin "$scratch/then")
	groups "$scratch/then" >"$scratch/then.groups"
	echo "grown since $2:"
	awk -F '\t' '
		FNR == NR { was[$2] = $1; next }
		{ grown[$2] = $1 - was[$2]; all += $1 - was[$2]; delete was[$2] }
		END {
			for (g in was) { grown[g] = -was[g]; all -= was[g] }
			for (g in grown) if (grown[g] >= 10000 || grown[g] <= -10000) printf "%+8.0f kB  %s\n", grown[g] / 1000, g
			printf "%+8.0f kB  code in all\n", all / 1000
		}' "$scratch/then.groups" "$scratch/now.groups" | sort -k 1,1gr
fi

size=$(stat -c %s "$binary")
printf '%8d kB         stripped binary: the code, and line tables, types, strings and data, which grow with it\n' $((size / 1000))
echo "$1: $size bytes stripped, $((100 * size / budget)) % of the budget of $budget bytes"
if ((size > budget)); then
	echo "size: over the budget by $((size - budget)) bytes" >&2
	exit 1
fi
