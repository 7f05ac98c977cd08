#!/usr/bin/env bash
# Runs every linter, then fails if one of them found something. The Go tools
# are pinned in scripts/tools.mod, apart from the dependencies of the product.
#
#   CI=true   a linter that is not installed fails instead of being skipped
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tool() { go tool -modfile=scripts/tools.mod "$@"; }

check_format() {
	local files
	files=$(tool gofumpt -l .) || return
	if [[ -n $files ]]; then
		echo "not formatted (make fmt does it):"
		echo "$files"
		return 1
	fi
}

# shell_scripts prints every file with a shell's first line or a shell's suffix.
# Those under testdata are input of tests and may be as wrong as they like.
shell_scripts() {
	find . \( -name .git -o -name .cache -o -name bin -o -name dist -o -name testdata \) -prune -o -type f -print |
		while IFS= read -r file; do
			local first=''
			IFS= read -r first <"$file" 2>/dev/null || true
			if [[ $file == *.sh || $first =~ ^'#!'.*[/\ ](ba|da)?sh($|\ ) ]]; then
				echo "$file"
			fi
		done
}

check_shell() {
	local scripts file status=0
	mapfile -t scripts < <(shell_scripts)
	for file in "${scripts[@]}"; do
		bash -n "$file" || status=1
	done
	if command -v shellcheck >/dev/null; then
		shellcheck "${scripts[@]}" || status=1
	elif [[ ${CI:-} == true ]]; then
		echo "shellcheck is not installed"
		status=1
	else
		echo "skipping shellcheck: it is not installed"
	fi
	return "$status"
}

# check_user_data looks at the script behind the line that cloud-init takes off.
check_user_data() {
	[[ $(head -n 1 packer/user-data) == '#cloud-boothook' ]] || return
	if command -v shellcheck >/dev/null; then
		tail -n +2 packer/user-data | shellcheck -
	fi
}

# check_packer has Packer read packer/.
check_packer() {
	local status=0 copy readable=0 package
	if ! command -v packer >/dev/null; then
		echo "packer is not installed"
		[[ ${CI:-} != true ]]
		return
	fi
	packer fmt -check -diff packer || status=1
	copy=$(mktemp -d)
	scripts/packer-copy.sh "$copy" || readable=$?
	if ((readable == 3)); then
		echo "skipping packer validate: the plugin amazon is not installed (packer init packer)"
	elif ((readable != 0)); then
		status=1
	else
		package=$copy/ecsnode-1.2.3-1.x86_64.rpm
		: >"$package"
		# Nothing is asked of AWS: there is none at that address.
		AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x AWS_EC2_METADATA_DISABLED=true packer validate -var region=eu-west-1 \
			-var ec2_endpoint=http://127.0.0.1:1 -var "package=$package" -var ecsnode_version=1.2.3-1 -var timestamp=20260102T150405Z \
			-var 'copy_to={"us-east-1":"alias/x"}' -var kms_key_id=alias/x -var 'share_with=["123456789012"]' "$copy" || status=1
	fi
	rm -rf "$copy"
	return "$status"
}

failed=()
lint() {
	local name=$1 start=$SECONDS
	shift
	echo "lint: $name"
	"$@" || failed+=("$name")
	if ((SECONDS - start >= 10)); then
		echo "lint: $name took $((SECONDS - start)) s"
	fi
}

lint gofumpt check_format
lint vet go vet ./...
lint staticcheck tool staticcheck ./...
lint modules go mod tidy -diff
lint shell check_shell
lint user-data check_user_data
lint packer check_packer
lint shipped go test ./packer
if [[ ${#failed[@]} -gt 0 ]]; then
	echo "lint: failed: ${failed[*]}" >&2
	exit 1
fi
echo "lint: ok"
