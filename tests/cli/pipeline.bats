#!/usr/bin/env bats
# The pipeline of a rotation: how many workers and sessions it has when nobody
# says, and what happens to a row that is in it.

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

# The most sessions that one of them had for its work: all it opened but the
# anchor of its login.
most_sessions() {
	local command
	command=$(head -n 1 "$P11FAULT_LOG" | cut -d' ' -f1)
	grep -w C_OpenSession "$P11FAULT_LOG" | cut -d' ' -f1 |
		grep -vx "$command" | sort | uniq -c |
		awk '$1 > most { most = $1 } END { print most - 1 }'
}

all_is_well() {
	run_ok keyturn secret verify web "$PLACE/web.env"
	run_ok keyturn doctor
}

@test "a token that makes its callers wait gets more of them" {
	far_away
	run_ok keyturn --module "$PROXY" master rotate --yes --batch-size 50
	assert_line --partial "$CORES jobs, more where that pays"
	# Stage and proof have workers of their own: one a core each.
	assert_equal "$(workers)" $((2 * CORES))
	[ "$(most_sessions)" -ge 2 ]
	all_is_well
}

@test "where a process may have few sessions there are more processes" {
	sed -i 's/^rotation:/&\n  sessions: 1/' "$KEYTURN_CONFIG"
	far_away
	run_ok keyturn --module "$PROXY" master rotate --yes --batch-size 50
	[ "$(workers)" -ge $((4 * CORES)) ]
	assert_equal "$(most_sessions)" 1
	all_is_well
}

@test "--jobs is as many and no more" {
	far_away
	run_ok keyturn --module "$PROXY" master rotate --yes --batch-size 50 \
		--jobs $((3 * CORES))
	assert_equal "$(workers)" $((2 * CORES))
	assert_equal "$(most_sessions)" 3
	all_is_well
}

@test "one call at a time is one worker with one session" {
	far_away
	run_ok keyturn --module "$PROXY" master rotate --yes --batch-size 50 \
		--jobs 1
	assert_equal "$(workers)" 2
	assert_equal "$(most_sessions)" 1
	all_is_well
}

@test "a worker more that cannot be had is done without" {
	# The command logs in twice: it loads the module afresh for a new key.
	local first_more=$((2 + CORES + 1))

	sed -i 's/^rotation:/&\n  sessions: 1/' "$KEYTURN_CONFIG"
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

# It would have been silent for all its rows, in one batch of 1000.
@test "I9: on a slow token a rotation renews its lease" {
	local pid id ended=0
	sed -i 's/^  # lease:.*/  lease: 3s/' "$KEYTURN_CONFIG"
	proxy_plan 'C_UnwrapKey * before delay 20'
	keyturn --module "$PROXY" project rotate web --yes --no-token --jobs 1 \
		>"$PLACE/out" 2>&1 3>&- &
	pid=$!
	# 20 ms each, so longer than the lease
	until [ "$(calls_of C_UnwrapKey)" -gt 180 ]; do
		kill -0 "$pid"
	done
	keyturn rotation list --json >"$PLACE/json"
	id=$(sqlite3 :memory: \
		"SELECT readfile('$PLACE/json') ->> '\$[0].id'")
	run_fails 5 keyturn rotation resume "$id"
	assert_output --partial 'is rotating since'
	wait "$pid" || ended=$?
	assert_equal "$ended" 0
	all_is_well
}
