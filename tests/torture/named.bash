# Tests by their names, DIR/TEST: NAME as ctest and the test itself say them:
#
#	cli/rotation: I2: a key is not destroyed while a row needs it
#	unit/store: a_stale_row_changes_nothing
#	lint/crash-points
#
# For scripts that look tests up below $root.
# shellcheck shell=bash

# test_file DIR/TEST: the file that it is in.
test_file() {
	local dir=${1%%/*} name=${1#*/} file

	for file in "tests/$dir/$name.bats" "tests/$dir/test_$name.c" \
		"tests/torture/test_$name.c" "tests/$dir/fuzz_$name.c" \
		"tests/$dir/$name.c" "tests/$dir/$name"; do
		# shellcheck disable=SC2154 # its user's
		[ ! -f "$root/$file" ] || {
			echo "$file"
			return
		}
	done
	return 1
}

# test_exists 'DIR/TEST[: NAME]'
test_exists() {
	local file

	file=$(test_file "${1%%: *}") || return
	[ "$1" != "${1%%: *}" ] || return 0
	case $file in
	*.bats) grep -qxF "@test \"${1#*: }\" {" "$root/$file" ;;
	*.c) grep -qwF -- "${1#*: }" "$root/$file" ;;
	*) false ;;
	esac
}
