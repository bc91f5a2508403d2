# Shared by the lint scripts: the tree to look at, its files, and how a finding
# is said. A script calls finish last; its status is the verdict.
# shellcheck shell=bash
set -u -o pipefail
export LC_ALL=C

root=${1:?the root of a source tree}
cd "$root" || exit 2
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
findings=0

# Reads findings, FILE:LINE: TEXT one a line.
report() {
	local line

	while IFS= read -r line; do
		printf '%s\n' "$line"
		findings=$((findings + 1))
	done
}

finish() {
	if [ "$findings" -gt 0 ]; then
		printf '%d found\n' "$findings"
		exit 1
	fi
	exit 0
}

# C files below the folders given, those that exist.
c_files() {
	local folder

	for folder; do
		[ -e "$folder" ] || continue
		find "$folder" -type f \( -name '*.c' -o -name '*.h' \)
	done | sort
}

# grep -nE over C code without comments and string contents (or, with
# -s, over the contents of strings alone): FILE:LINE: WHAT: TEXT
code_grep() {
	local mode=CODE

	[ "$1" = -s ] && mode=STRINGS && shift
	local what=$1 pattern=$2 file
	shift 2
	for file; do
		perl "$here/strip.pl" "$mode" "$file" | grep -nE -- "$pattern" |
			sed "s|^\([0-9]*\):[[:space:]]*|$file:\1: $what: |"
	done
}
