# The command crashes at every crash point that it passes, by SIGKILL or by
# SIGTERM, at the first, a middle and the last pass. At once a checker from
# outside finds nothing wrong; then the work is resumed or rolled back, and
# nothing is lost, half done or left over.
#
# A point that no scenario here passes fails the last test. Without
# KEYTURN_TORTURE_FULL a sample is tried, each point at least once.
# shellcheck shell=bash
# shellcheck disable=SC2154 # ended, said: by attempt

load ../cli/helper
load place

setup_file() {
	PASSED=$BATS_FILE_TMPDIR/passed
	export PASSED
	: >"$PASSED"
}

setup() {
	prepare
	turn=$BATS_TEST_NUMBER
}

# crash PLAN COMMAND...: runs it to its crash.
crash() {
	local -x KEYTURN_CRASH=$1

	attempt "${@:2}"
}

# What a command ends with: SIGTERM ends it at once or at a batch edge, and
# comes too late for it after that.
ended_as_told() {
	case $1:$ended in
	KILL:137 | TERM:143 | TERM:130 | TERM:0) ;;
	*)
		echo "it ended with $ended:"
		echo "$said"
		return 1
		;;
	esac
}

# The passes to crash at, of so many; a sample takes one of them, in turn.
passes() {
	local count=$1 all

	mapfile -t all < <(printf '%s\n' 1 $(((count + 1) / 2)) "$count" | uniq)
	if [ -z "$FULL" ]; then
		echo "${all[(cases + ROUND) % ${#all[@]}]}"
	else
		printf '%s\n' "${all[@]}"
	fi
}

signals() {
	if [ -n "$FULL" ]; then
		echo KILL TERM
	elif [ $(((cases + ROUND) % 4)) = 3 ]; then
		echo TERM
	else
		echo KILL
	fi
}

# An init has nothing to lose yet, and a damaged database has lost all.
lost_nothing() {
	case $1 in
	empty | damaged) ;;
	*) nothing_is_lost ;;
	esac
}

# What an earlier scenario crashed at already, a sample tries every other time.
is_wanted() {
	turn=$((turn + 1))
	[ -n "$FULL" ] || [ $((turn % 2)) = 0 ] || ! grep -qxF "$1" "$PASSED"
}

# try_one SEED SETTLE POINT NTH SIGNAL COMMAND...
try_one() {
	local seed=$1 settle=$2 plan=$3:$4:$5 sig=$5

	shift 5
	put_back "$seed"
	crash "$plan" "$@"
	cases=$((cases + 1))
	{ ended_as_told "$sig" && lost_nothing "$seed" && "$settle" "$@"; } || {
		echo "KEYTURN_CRASH=$plan $*"
		return 1
	}
}

# try_all SEED SETTLE COMMAND...: from the state that was kept as SEED, and
# SETTLE brings all in order after each crash.
try_all() {
	local seed=$1 count point nth sig trace

	put_back "$seed"
	crash trace "${@:3}"
	[ "$ended" = 0 ] || {
		echo "$said"
		return 1
	}
	note_values_after
	trace=$(sed -n 's/^crash point //p' <<<"$said" | sort | uniq -c)
	[ -n "$trace" ]
	while read -r count point; do
		is_wanted "$point" || continue
		echo "$point" >>"$PASSED"
		for nth in $(passes "$count"); do
			for sig in $(signals); do
				try_one "$1" "$2" "$point" "$nth" "$sig" \
					"${@:3}" || return 1
			done
		done
	done <<<"$trace"
	report_cases
}

rotate_in_one_batch() {
	keyturn master rotate --yes --grace 0
}

rotate_project() {
	keyturn project rotate p1 --yes --grace 0 --jobs 1 --batch-size "$BATCH"
}

resume() {
	keyturn rotation resume --jobs 1 --batch-size "$BATCH"
}

# A master rotation that was killed in its third batch.
keep_interrupted() {
	crash sweep.committed:3:KILL rotate_master
	assert_equal "$ended" 137
	keep interrupted
}

keep_draining() {
	run_ok keyturn master rotate --yes --grace 1h
	keep draining
}

@test "a master rotation, workers rewrapping" {
	try_all fresh settle_rotation rotate_master
}

@test "a master rotation in one batch, in the command itself" {
	try_all fresh settle_rotation rotate_in_one_batch
}

@test "a project rotation" {
	try_all fresh settle_rotation rotate_project
}

@test "a resume" {
	keep_interrupted
	try_all interrupted settle_rotation resume
}

@test "a rollback while rows are being rewrapped" {
	keep_interrupted
	try_all interrupted settle_rotation keyturn rotation rollback --yes
}

@test "a rollback after the cut-over" {
	keep_draining
	try_all draining settle_rotation keyturn rotation rollback --yes
}

@test "the end of the grace time" {
	keep_draining
	try_all draining settle_rotation keyturn rotation finish --now --yes
}

# Each crash is one more on what the one before left over. The points and
# passes are early ones, so that there is something left for five.
crash_in_a_row() {
	local points=(store.committed store.commit sweep.committed stage.row
		take-over.loaded run.step) i plan

	put_back interrupted
	for ((i = 1; i <= 5; i++)); do
		plan=${points[RANDOM % ${#points[@]}]}:$((RANDOM % 2 + 1)):KILL
		row+=" $plan"
		crash "$plan" resume
		[ "$ended" = 0 ] && return 0
		{ ended_as_told KILL && nothing_is_lost; } || return 1
		cases=$((cases + 1))
		[ -n "$(phase)" ] || return 0
	done
	fives=$((fives + 1))
}

@test "five crashes of the recovery in a row" {
	local n row fives=0

	keep_interrupted
	RANDOM=${KEYTURN_TORTURE_SEED:-4711}
	for ((n = 0; n < ${FULL:+10}3; n++)); do
		row=
		{ crash_in_a_row && settle_rotation resume; } || {
			echo "from the interrupted rotation:$row"
			return 1
		}
	done
	[ "$fives" -gt 0 ]
	report_cases
}

destroy_old() {
	keyturn master destroy 1 --confirm 1
}

# The destruction is ended by doing it again, unless it was done.
settle_destruction() {
	local gone='SELECT count(*) FROM keys WHERE version = 1
	            AND role IN (1, 2) AND destroyed IS NOT NULL'

	if [ "$(sql "$gone")" = 0 ]; then
		quietly "$@" || return 1
	fi
	[ "$(sql "$gone")" = 2 ] && all_is_well
}

@test "a destruction" {
	run_ok keyturn master rotate --yes --grace 0
	keep contracted
	try_all contracted settle_destruction destroy_old
}

set_secret() {
	printf 'a new value' | keyturn secret set p1/NEW
}

# Written once more it is all there, whether the first time took or not.
settle_write() {
	quietly "$@" && checked >/dev/null && quietly keyturn audit verify
}

@test "a secret that is set" {
	try_all fresh settle_write set_secret
}

import_secrets() {
	keyturn secret import p2 "$PLACE/p1.env"
}

@test "an import" {
	try_all fresh settle_write import_secrets
}

back_up() {
	rm -f "$PLACE"/copy.db*
	keyturn backup create "$PLACE/copy.db"
}

@test "a backup" {
	try_all fresh settle_write back_up
}

compromise() {
	keyturn master compromise 1 --reason 'it leaked' --yes --jobs 1 \
		--batch-size "$BATCH" "$@"
}

# The same command goes on; what has no way back is not offered one.
settle_compromise() {
	{ quietly "$@" && all_is_well; } || return 1
	[ "$(sql 'SELECT count(compromised) FROM keys
	          WHERE role IN (1, 2) AND version = 1')" = 2 ] || {
		echo "the mark is not there"
		return 1
	}
}

@test "a compromised master key" {
	try_all fresh settle_compromise compromise
}

@test "a compromised master key, and its values encrypted again" {
	try_all fresh settle_compromise compromise --reencrypt
}

# The last project's old key is retired by then and serves nobody.
@test "a compromised master key, killed while the last old rows go" {
	put_back fresh
	crash contracted.stamped:3:KILL compromise --reencrypt
	assert_equal "$ended" 137
	assert_equal "$(phase)" contracting
	settle_compromise compromise --reencrypt
}

restore() {
	keyturn backup restore "$PLACE/copy.db" --replace-newer --yes
}

# What the crash kept of the database of before has a name by the second.
settle_restore() {
	rm -f "$STORE".before-restore-*
	{ quietly "$@" && all_is_well; } || return 1
	[ "$(checked)" = "$VALUES_AFTER" ] || {
		echo "it is not the backup that is there"
		return 1
	}
}

@test "a backup that is restored" {
	run_ok keyturn backup create "$PLACE/copy.db"
	secret_put p1/LATER 'not in the backup'
	note_values
	keep newer
	try_all newer settle_restore restore
}

@test "a backup that is restored over a damaged database" {
	run_ok keyturn backup create "$PLACE/copy.db"
	rm -f "$STORE"
	echo damaged >"$STORE"
	keep damaged
	try_all damaged settle_restore restore
}

init_again() {
	keyturn init --token pkcs11:token=test --module "$MODULE" \
		--store "$STORE"
}

# Either it is all there, or nothing is in it and the way out is said; then
# that way leads to a vault that works.
settle_init() {
	if ! env -u KEYTURN_CONFIG keyturn status --store "$STORE" \
		--module "$MODULE" --token pkcs11:token=test \
		>"$PLACE/out" 2>&1; then
		[ ! -e "$STORE" ] || grep -q "'keyturn init' again" \
			"$PLACE/out" || {
			cat "$PLACE/out"
			return 1
		}
		rm -f "$STORE"* "$KEYTURN_CONFIG"
		quietly "$@" || return 1
	fi
	checked >/dev/null
}

# The configuration is no part of what is put back.
init_anew() {
	rm -f "$KEYTURN_CONFIG"
	init_again
}

@test "an init" {
	export KEYTURN_CONFIG=$PLACE/init.yaml
	rm -rf "$PLACE"/tokens/* "$PLACE"/data/*
	token_new test
	keep empty
	try_all empty settle_init init_anew
}

@test "no crash point is forgotten" {
	run comm -23 <(keyturn __crash-points | sort -u) <(sort -u "$PASSED")
	assert_output ''
	run bash -c 'keyturn __crash-points | sort | uniq -d'
	assert_output ''
}
