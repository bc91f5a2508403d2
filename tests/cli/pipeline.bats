#!/usr/bin/env bats
# The pipeline of a rotation: how many workers it has when nobody says, and what
# happens to a row that is in it.

load helper
load proxy

setup() {
	vault_setup projects_new web 200
	proxy_setup
	export P11FAULT_COUNTER=$PLACE/counter
	CORES=$(getconf _NPROCESSORS_ONLN)
}

# A token that takes 10 ms a call and serves as many callers as there are.
far_away() {
	proxy_plan 'C_UnwrapKey * before delay 10' \
		'C_WrapKey * before delay 10' \
		'C_DestroyObject * before delay 10' "$@"
}

# The workers there were: a process each, besides the command's.
workers() {
	echo $(($(grep -w C_Login "$P11FAULT_LOG" | cut -d' ' -f1 | sort -u |
		wc -l) - 1))
}

all_is_well() {
	run_ok keyturn secret verify web "$PLACE/web.env"
	run_ok keyturn doctor
}

@test "a token that makes its callers wait gets more of them" {
	far_away
	run_ok keyturn --module "$PROXY" master rotate --yes --batch-size 50
	assert_line --partial "$CORES worker processes, more where that pays"
	# Stage and proof have workers of their own.
	[ "$(workers)" -ge $((4 * CORES)) ]
	all_is_well
}

@test "--jobs is as many and no more" {
	far_away
	run_ok keyturn --module "$PROXY" master rotate --yes --batch-size 50 \
		--jobs 3
	assert_equal "$(workers)" 6
	all_is_well
}

@test "a worker more that cannot be had is done without" {
	# The command logs in twice: it loads the module afresh for a new key.
	local first_more=$((2 + CORES + 1))

	far_away "C_Login $first_more before rv CKR_SESSION_COUNT"
	run_ok keyturn --module "$PROXY" master rotate --yes --batch-size 50
	run grep -c 'C_Login .* before:rv' "$P11FAULT_LOG"
	assert_output 1
	all_is_well
}

@test "a secret deleted while workers have its row gets no row back" {
	local pid

	# The master's own row and one of the 200 are committed; the next ones
	# have been read.
	stopped_between_batches master rotate --yes
	keyturn secret delete web/KEY_3 --confirm KEY_3
	kill -CONT "$pid"
	wait "$pid"
	assert_equal "$(sql 'SELECT count(*) FROM wraps JOIN keys
		ON keys.id = wraps.subject
		WHERE keys.destroyed IS NOT NULL')" 0
	sed -i '/^KEY_3=/d' "$PLACE/web.env"
	unset P11FAULT_COUNTER
	all_is_well
}
