# SQLite's own writes, syncs and deletions are cut short, one after the other:
# the process is killed there, or the power goes and takes all with it that was
# not synced, or takes any part of that. The token has no part in it: SoftHSM
# never syncs its files, so keyturn can only ask the kernel to.
#
# Without KEYTURN_TORTURE_FULL a sample of the calls is tried.
# shellcheck shell=bash
# shellcheck disable=SC2154 # ended, said: by attempt

load ../cli/helper
load place

setup() {
	prepare
}

# The same commands, on a disk that fails.
keyturn() {
	if [ -n "${KEYTURN_POWER:-}" ]; then
		command keyturn-powerloss "$@"
	else
		command keyturn "$@"
	fi
}

# fail_power PLAN COMMAND...
fail_power() {
	local -x KEYTURN_POWER=$1

	attempt "${@:2}"
}

# try_one SETTLE PLAN COMMAND...
try_one() {
	local settle=$1 plan=$2

	shift 2
	put_back fresh
	fail_power "$plan" "$@"
	cases=$((cases + 1))
	{ [ "$ended" = 137 ] && nothing_is_lost && "$settle" "$@"; } || {
		echo "KEYTURN_POWER=$plan $* ended with $ended"
		return 1
	}
}

# try_calls STEP SETTLE COMMAND...: in a sample every STEP-th call, from another
# first one for each kind of loss.
try_calls() {
	local step=$1 calls n
	local first=$((3 * ROUND % step + 1))

	[ -z "$FULL" ] || step=1
	put_back fresh
	fail_power count "${@:3}"
	calls=$(sed -n 's/^power: \([0-9]*\) calls$/\1/p' <<<"$said")
	[ "$ended" = 0 ] && [ "$calls" -gt 5 ]
	note_values_after
	for mode in kill power torn; do
		for ((n = first; n <= calls; n += step)); do
			try_one "$2" "$mode:$n:$n" "${@:3}" || return 1
		done
		first=$((first % step + 1))
	done
	report_cases
}

@test "a master rotation" {
	try_calls 61 settle_rotation rotate_master
}

rotate_project() {
	keyturn project rotate p1 --yes --grace 0 --jobs 1 --batch-size "$BATCH"
}

@test "a project rotation" {
	try_calls 61 settle_rotation rotate_project
}

import_secrets() {
	keyturn secret import p2 "$PLACE/p1.env"
}

# Written once more it is all there, whether the first time took or not.
settle_import() {
	quietly "$@" && quietly keyturn audit verify &&
		quietly keyturn secret verify p2 "$PLACE/p1.env"
}

@test "an import" {
	try_calls 11 settle_import import_secrets
}

set_secret() {
	printf 'a new value' | keyturn secret set p1/NEW
}

@test "what was acknowledged is there after the power went" {
	local mode

	for mode in power torn; do
		put_back fresh
		fail_power "$mode:end" set_secret
		assert_equal "$ended" 137
		assert_equal "$(keyturn secret get p1/NEW)" 'a new value'
		fail_power "$mode:end" rotate_master
		assert_equal "$ended" 137
		assert_equal "$(phase)" ''
		assert_equal "$(sql 'SELECT count(contracted) FROM rotations')" 1
		run_ok keyturn audit verify
	done
}
