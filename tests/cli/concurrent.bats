#!/usr/bin/env bats
# Many processes at full speed on one vault while its keys are rotated: every
# read gives the last committed value, no command fails, a revoked access token
# fails in every process from the commit on (I12, I16, I19).
#
# A secret has one writer, which counts; it notes each number before it begins
# to write it and after the command has ended. What a reader is given lies
# between what was done when it began and what was begun when it ended, and
# never goes back.

load helper

seed() {
	projects_new bulk 60
	keyturn project create web
	keyturn project create api
	keyturn access issue web --output "$PLACE/token"
}

setup() {
	vault_setup seed
	: >"$PLACE/complaints"
	loops=()
}

teardown() {
	touch "$PLACE/stop"
	wait
}

running() {
	[ ! -e "$PLACE/stop" ]
}

complain() {
	printf '%s\n' "$*" >>"$PLACE/complaints"
	touch "$PLACE/stop"
}

# loop NAME COMMAND...: runs a loop in the background; each round is counted
# in NAME.rounds.
loop() {
	local name=$1

	shift
	: >"$PLACE/$name.rounds"
	(
		while running; do
			"$@" || break
			echo >>"$PLACE/$name.rounds"
		done
	) >/dev/null 2>&1 3>&- &
	loops+=("$name")
}

rounds() {
	wc -l <"$PLACE/$1.rounds"
}

# Until every loop has gone round once from here on.
let_them_turn() {
	local name at
	for name in "${loops[@]}"; do
		at=$(rounds "$name")
		while running && [ "$(rounds "$name")" -lt $((at + 2)) ]; do
			sleep 0.02
		done
	done
}

stop_loops() {
	let_them_turn
	touch "$PLACE/stop"
	wait
	run cat "$PLACE/complaints"
	assert_output ''
	rm "$PLACE/stop"
	loops=()
}

# The last number of a log, 0 of an empty one.
last() {
	local number=0
	[ ! -s "$1" ] || number=$(tail -n 1 "$1")
	echo "$number"
}

# keyturn_ok ARGUMENT...: its output is in $out.
keyturn_ok() {
	local status=0
	out=$(keyturn "$@" 2>"$PLACE/err.$BASHPID") || status=$?
	[ "$status" = 0 ] ||
		complain "keyturn $*: $status: $(cat "$PLACE/err.$BASHPID")"
	return "$status"
}

write_next() {
	local log=$PLACE/${1//\//.} next

	next=$(($(last "$log.begun") + 1))
	echo "$next" >>"$log.begun"
	keyturn_ok secret set "$1" <<<"$next" || return
	echo "$next" >>"$log.done"
}

# in_order REF LOW VALUE PREVIOUS
in_order() {
	local high
	high=$(last "$PLACE/${1//\//.}.begun")
	if [ "$3" -lt "$2" ] || [ "$3" -gt "$high" ] || [ "$3" -lt "$4" ]; then
		complain "$1 is $3, not between $2 and $high, or below $4"
	fi
}

previous=0
read_current() {
	local low
	low=$(last "$PLACE/${1//\//.}.done")
	keyturn_ok secret get "$1" || return
	in_order "$1" "$low" "$out" "$previous"
	previous=$out
}

# With the access token: until it is revoked, and never after.
denied=no
hold_current() {
	local low revoked=no status=0 value
	low=$(last "$PLACE/${1//\//.}.done")
	[ ! -e "$PLACE/revoked" ] || revoked=yes
	value=$(keyturn secret get "$1" --access-token-file "$PLACE/token" \
		2>"$PLACE/err.$BASHPID") || status=$?
	case $status,$revoked,$denied in
	0,no,no)
		in_order "$1" "$low" "$value" "$previous"
		previous=$value
		;;
	4,*)
		denied=yes
		[ -e "$PLACE/revoking" ] || complain "$1 denied too early"
		;;
	*)
		complain "$1 by access token: $status, $revoked, $denied:" \
			"$(cat "$PLACE/err.$BASHPID")"
		;;
	esac
}

come_and_go() {
	local ref=$1

	keyturn_ok secret set "$ref" <<<here || return
	keyturn_ok secret get "$ref" || return
	[ "$out" = here ] || complain "$ref is $out"
	keyturn_ok secret delete "$ref" --confirm "${ref#*/}" || return
	! keyturn secret get "$ref" || complain "$ref is there after delete"
}

import_next() {
	keyturn_ok secret import api "$PLACE/api.env"
}

# All secrets of an import have the same version, at every moment.
list_whole() {
	keyturn_ok secret list api || return
	[ "$(awk 'NR > 1 { print $2 }' <<<"$out" | sort -u | wc -l)" = 1 ] ||
		complain "half an import: $out"
}

start_all() {
	seq 1 4 | sed 's/.*/I_&="value & of api"/' >"$PLACE/api.env"
	keyturn secret import api "$PLACE/api.env"
	write_next web/ONE
	loop writer write_next web/ONE
	loop reader read_current web/ONE
	loop holder hold_current web/ONE
	loop visitor come_and_go web/GUEST
	loop importer import_next
	loop lister list_whole
	let_them_turn
}

# What is there now is what the writers wrote last.
all_is_whole() {
	run_ok keyturn secret get web/ONE
	assert_output "$(last "$PLACE/web.ONE.done")"
	run_ok keyturn secret verify bulk "$PLACE/bulk.env"
	run_ok keyturn secret verify api "$PLACE/api.env"
	run_ok keyturn doctor
	run_ok "$BIN_DIR/checker" "$STORE" "$MODULE" test \
		"$PLACE/credentials/pin"
}

@test "I12: readers and writers at full speed during a master rotation" {
	start_all
	run_ok keyturn master rotate --yes --grace 1h --batch-size 10
	let_them_turn
	run_ok keyturn master rollback --yes
	let_them_turn
	run_ok keyturn master rotate --yes --grace 0 --batch-size 10
	stop_loops
	all_is_whole
	run_ok keyturn master destroy 1 --confirm 1
	all_is_whole
}

@test "I16: readers and writers at full speed during a project rotation" {
	start_all
	touch "$PLACE/revoking"
	run_ok keyturn project rotate web --yes --no-token --batch-size 10
	touch "$PLACE/revoked"
	let_them_turn
	run_ok keyturn project rotate api --yes --no-token --batch-size 10
	stop_loops
	all_is_whole
	run_fails 4 keyturn secret get web/ONE \
		--access-token-file "$PLACE/token"
}

@test "I16: a revoked access token fails in every process at once" {
	local id
	write_next web/ONE
	for reader in 1 2 3 4; do
		loop "holder-$reader" hold_current web/ONE
	done
	let_them_turn
	id=$(sql 'SELECT id FROM access')
	touch "$PLACE/revoking"
	run_ok keyturn access revoke "$id"
	touch "$PLACE/revoked"
	stop_loops
}

@test "I9: of eight that rotate at once one does, the others name it" {
	local n ended done=0 busy=0 pids=()
	for n in 1 2 3 4 5 6 7 8; do
		keyturn master rotate --yes --grace 1h --operator "op$n@here" \
			>"$PLACE/out.$n" 2>&1 3>&- &
		pids+=($!)
	done
	for n in 1 2 3 4 5 6 7 8; do
		ended=0
		wait "${pids[n - 1]}" || ended=$?
		case $ended in
		0) done=$((done + 1)) ;;
		5)
			grep -q 'op[1-8]@here' "$PLACE/out.$n"
			busy=$((busy + 1))
			;;
		*)
			cat "$PLACE/out.$n"
			return 1
			;;
		esac
	done
	assert_equal "$done $busy" '1 7'
	assert_equal "$(sql 'SELECT count(*) FROM rotations')" 1
	run_ok keyturn secret verify bulk "$PLACE/bulk.env"
	run_ok keyturn doctor
}

@test "eight processes that log in twenty times each at once" {
	local n
	for n in 1 2 3 4 5 6 7 8; do
		(
			for _ in {1..20}; do
				keyturn_ok secret get bulk/KEY_7 || break
				[ "$out" = 'value 7 of bulk' ] || complain "$out"
				echo >>"$PLACE/logins"
			done
		) >/dev/null 2>&1 3>&- &
	done
	wait
	run cat "$PLACE/complaints"
	assert_output ''
	assert_equal "$(wc -l <"$PLACE/logins")" 160
	run_ok keyturn doctor
}
