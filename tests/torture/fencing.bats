# A rotation's process is stopped, sleeps over the end of its lease, and another
# operator takes the rotation over: goes on to the end, rolls back, or destroys
# what was rotated. Then the first one wakes. It must commit nothing more, make
# nothing on the token, end with 5 and say who has the lease.
#
# Without KEYTURN_TORTURE_FULL every place is tried with one of the ways.
# shellcheck shell=bash
# shellcheck disable=SC2030,SC2031 # what a test exports is its own

load ../cli/helper
load place

setup() {
	rotate=(rotate --yes --grace 0 --jobs 1 --batch-size "$BATCH")
	prepare
	pid=
}

teardown() {
	[ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true
}

# asleep POINT COMMAND...: the first operator, stopped at POINT; its process is
# $pid.
asleep() {
	KEYTURN_CRASH=$1:STOP keyturn "${@:2}" --operator alice@there \
		>"$PLACE/first" 2>&1 3>&- &
	pid=$!
	wait_for_stop || {
		echo "no stop at $1:"
		cat "$PLACE/first"
		return 1
	}
}

wait_for_stop() {
	until grep -q '^State:.T' "/proc/$pid/status"; do
		kill -0 "$pid" || return 1
	done
}

# The first operator goes on; what becomes of it is in $first.
awake() {
	first=0
	kill -CONT "$pid"
	wait "$pid" || first=$?
	pid=
}

# What the first one's lease lasts, has gone by. Nothing sleeps for it.
outlast() {
	sql 'UPDATE lease SET renewed = renewed - 60'
}

# Everything that is stored and every object of the token.
everything() {
	sql .dump | sha256sum
	token_objects | sort | sha256sum
}

second() {
	quietly keyturn "$@" --operator bob@here
}

# What ends a rotation, resume or, once it has cut over, finish.
onwards=resume

take_over_and_end() {
	second rotation "$onwards" --yes
}

take_over_and_roll_back() {
	second rotation rollback --yes
}

# To the end, and further.
take_over_and_destroy() {
	take_over_and_end || return 1
	if [ "$master" = yes ]; then
		second master destroy 1 --confirm 1
	fi
}

# The new key too is gone when the first one wakes.
take_over_and_destroy_new() {
	second rotation rollback --yes || return 1
	if [ "$master" = yes ]; then
		second master destroy 2 --confirm 2
	fi
}

# One that is stopped at POINT and wakes after the second did its WAY.
fenced() {
	local point=$1 way=$2 before

	put_back fresh
	cases=$((cases + 1))
	asleep "$point" "${@:3}" && outlast && "$way" || return 1
	before=$(everything)
	awake
	{ [ "$first" = 5 ] && grep -q 'bob@here' "$PLACE/first"; } || {
		echo "$point, $way: the first one ended with $first:"
		cat "$PLACE/first"
		return 1
	}
	[ "$(everything)" = "$before" ] || {
		echo "$point, $way: the first one changed something"
		return 1
	}
	came_to_its_end "$way" || {
		echo "$point, $way"
		return 1
	}
}

came_to_its_end() {
	all_is_well || return 1
	case $1 in
	take_over_and_roll_back | take_over_and_destroy_new)
		[ "$(wraps)" = "$WRAPS" ] || {
			echo "the rollback did not give the rows back"
			return 1
		}
		;;
	*) quietly keyturn doctor ;;
	esac
}

# every_way "WAY..." COMMAND... <places: of each place one way, or all.
every_way() {
	local point way n=0
	local -a ways

	read -ra ways <<<"$1"
	while read -r point <&4; do
		for way in "${ways[@]}"; do
			[ -n "$FULL" ] ||
				[ "$way" = "${ways[(n + ROUND) % ${#ways[@]}]}" ] ||
				continue
			fenced "$point" "$way" "${@:2}" || return 1
		done
		n=$((n + 1))
	done 4<&0
	echo "# $BATS_TEST_DESCRIPTION: $cases sleepers" >&3
}

@test "a master rotation sleeps before its cut-over" {
	master=yes every_way 'take_over_and_end take_over_and_roll_back
		take_over_and_destroy take_over_and_destroy_new' \
		master "${rotate[@]}" <<-END
			plan.committed:1
			run.step:1
			key.generate:1
			key.generate:1
			key.generate:2
			key.generated:1
			key.reload:1
			key.proven:1
			run.step:2
			sweep.collected:1
			sweep.collected:3
			sweep.committed:2
			run.step:3
			sweep.committed:12
			cut-over.begin:1
		END
}

@test "a master rotation sleeps before its C_GenerateKey: no key comes late" {
	local way
	master=yes
	for way in take_over_and_destroy_new take_over_and_destroy; do
		fenced key.generate:1 "$way" master "${rotate[@]}"
		assert_equal "$(sql 'SELECT count(*) FROM keys
			WHERE cka_id IS NOT NULL AND destroyed IS NULL')" \
			"$(token_objects | grep -c '^[PS][re][^ ]* Key Object')"
	done
}

@test "a master rotation sleeps after its cut-over" {
	master=yes
	fenced run.step:5 take_over_and_roll_back master "${rotate[@]}"
	onwards=finish every_way 'take_over_and_end take_over_and_destroy' \
		master "${rotate[@]}" <<-END
			run.step:5
			run.step:6
			remove.committed:1
			remove.committed:3
		END
}

@test "a project rotation sleeps" {
	master=no every_way 'take_over_and_end take_over_and_roll_back' \
		project "${rotate[@]}" p1 --no-token <<-END
			project-key.wrapped:1
			run.step:1
			sweep.committed:1
			sweep.collected:2
			cut-over.begin:1
		END
}

@test "a rollback sleeps, and another one ends it" {
	master=yes
	quietly keyturn master rotate --yes --grace 1h --jobs 1
	keep fresh
	for point in run.step:1 remove.committed:1 remove.committed:2; do
		put_back fresh
		asleep "$point" master rollback --yes
		outlast
		take_over_and_roll_back
		before=$(everything)
		awake
		assert_equal "$first" 5
		assert_equal "$(everything)" "$before"
		run cat "$PLACE/first"
		assert_output --partial 'bob@here'
		came_to_its_end take_over_and_roll_back
	done
}

@test "who is not the last to sleep is refused too" {
	local before first_pid
	asleep sweep.committed:2 master "${rotate[@]}" --grace 1h
	first_pid=$pid
	outlast
	mv "$PLACE/first" "$PLACE/alice"
	KEYTURN_CRASH=sweep.committed:1:STOP keyturn rotation resume --yes \
		--jobs 1 --batch-size "$BATCH" --operator carol@there \
		>"$PLACE/first" 2>&1 3>&- &
	pid=$!
	wait_for_stop
	outlast
	take_over_and_end
	before=$(everything)
	awake
	assert_equal "$first" 5
	run cat "$PLACE/first"
	assert_output --partial 'bob@here'
	pid=$first_pid
	awake
	assert_equal "$first" 5
	run cat "$PLACE/alice"
	assert_output --partial 'bob@here'
	assert_equal "$(everything)" "$before"
	quietly keyturn master rollback --yes
	[ "$(wraps)" = "$WRAPS" ]
	all_is_well
}

@test "a destruction sleeps, and another one ends it" {
	local point before
	quietly keyturn master rotate --yes --grace 0
	keep fresh
	for point in destroy.intended:1 destroy.object:1 destroy.proven:1; do
		put_back fresh
		asleep "$point" master destroy 1 --confirm 1
		second master destroy 1 --confirm 1
		before=$(everything)
		awake
		assert_equal "$first" 5
		assert_equal "$(everything)" "$before"
		all_is_well
		quietly keyturn doctor
	done
}

@test "a lease that lasts is kept, and its time can be configured" {
	asleep sweep.committed:2 master "${rotate[@]}"
	sql 'UPDATE lease SET renewed = renewed - 30'
	run_fails 5 keyturn rotation resume --yes --operator bob@here
	assert_output --partial 'alice@there'
	sed -i 's/^  grace: .*/&\n  lease: 1h/' "$KEYTURN_CONFIG"
	sql 'UPDATE lease SET renewed = renewed - 600'
	run_fails 5 keyturn rotation resume --yes --operator bob@here
	sed -i 's/^  lease: .*/  lease: 11m/' "$KEYTURN_CONFIG"
	run_fails 5 keyturn rotation resume --yes --operator bob@here
	sed -i 's/^  lease: .*/  lease: 10m/' "$KEYTURN_CONFIG"
	second rotation resume --yes
	awake
	assert_equal "$first" 5
	all_is_well
}

@test "a lease does not last longer when the clock is set back" {
	asleep sweep.committed:2 master "${rotate[@]}"
	sql 'UPDATE lease SET renewed = renewed + 30'
	run_fails 5 keyturn rotation resume --yes --operator bob@here
	sql 'UPDATE lease SET renewed = renewed + 86400'
	second rotation resume --yes
	awake
	assert_equal "$first" 5
	all_is_well
}

@test "asleep inside a batch's transaction: others read, and wait to write" {
	asleep stage.row:3 master "${rotate[@]}"
	quietly keyturn secret verify p1 "$PLACE/p1.env"
	run_fails 5 keyturn rotation resume --yes --operator bob@here
	assert_output --partial 'locked'
	run_fails 5 keyturn secret set p1/NEW <<<late
	awake
	assert_equal "$first" 0
	all_is_well
	quietly keyturn doctor
}

@test "asleep with the token's lock: the others are told who has it" {
	load ../cli/proxy
	proxy_setup
	proxy_plan 'C_GenerateKey 1 before kill 19'
	keyturn master rotate --yes --grace 0 --module "$PROXY" \
		--operator alice@there >"$PLACE/first" 2>&1 3>&- &
	pid=$!
	wait_for_stop
	P11FAULT_PLAN=/dev/null run_fails 5 keyturn rotation resume --yes \
		--module "$PROXY" --operator bob@here
	assert_output --partial "process $pid has it and is stopped"
	awake
	assert_equal "$first" 0
	all_is_well
}
