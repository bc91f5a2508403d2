# A rotation of 20,000 rows is killed with SIGKILL at 50 random moments and
# resumed. After each kill a checker that shares no code with keyturn proves
# the invariants from outside; at the end every value is compared.
#
# KEYTURN_TORTURE_KILLS, KEYTURN_TORTURE_SECRETS and KEYTURN_TORTURE_SEED change
# the numbers.
# shellcheck shell=bash

load ../cli/helper

KILLS=${KEYTURN_TORTURE_KILLS:-50}
SECRETS=${KEYTURN_TORTURE_SECRETS:-20000}
SEED=${KEYTURN_TORTURE_SEED:-$RANDOM}
PROJECTS=4

setup() {
	vault_setup
}

# One .env file a project, with values of many shapes.
make_files() {
	local p
	for ((p = 1; p <= PROJECTS; p++)); do
		awk -v n=$((SECRETS / PROJECTS)) -v p="$p" 'BEGIN {
			srand(p)
			for (i = 1; i <= n; i++)
				printf "KEY_%05d=\"value %d of %d: %s\\n%x\"\n",
					i, i, p, rand(), rand() * 2 ^ 31
		}' >"$PLACE/p$p.env"
		keyturn project create "p$p"
		keyturn secret import "p$p" "$PLACE/p$p.env"
	done
}

# Under the lock of keyturn's own processes: a worker of a killed parent may be
# in its login still.
checked() {
	flock "$PLACE"/run/keyturn/*.lock "$BIN_DIR/checker" "$STORE" "$MODULE" test \
		"$PLACE/credentials/pin" "$@" >"$PLACE/checked" || {
		cat "$PLACE/checked"
		return 1
	}
	tail -n 1 "$PLACE/checked"
}

# Starts or resumes in the background and kills it after a while; the status
# it ended with is in $ended.
run_and_kill() {
	local pid
	if [ "$unfinished" = yes ]; then
		keyturn master resume --jobs 2 --batch-size 250 \
			>"$PLACE/out" 2>&1 3>&- &
	else
		keyturn master rotate --yes --grace 0 --jobs 2 \
			--batch-size 250 >"$PLACE/out" 2>&1 3>&- &
	fi
	pid=$!
	sleep "$(awk -v r="$RANDOM" 'BEGIN { print 0.02 + r / 32768 * 1.3 }')"
	kill -9 "$pid" 2>/dev/null || true
	ended=0
	wait "$pid" || ended=$?
}

# SoftHSM rewrites token.object in place in C_Login: a process that is killed in
# there leaves it empty, and no C_ call of anybody can mend that. It is not
# what this test is about, so the file is put back, and counted.
token_file() {
	echo "$PLACE"/tokens/*/token.object
}

mend_token_file() {
	[ "$TOKEN" = softhsm ] || return 0
	[ ! -s "$(token_file)" ] || return 0
	cp "$PLACE/token.object" "$(token_file)"
	torn=$((torn + 1))
}

rotation_is_unfinished() {
	[ "$(sql 'SELECT count(*) FROM rotations
	          WHERE contracted IS NULL AND rolled_back IS NULL')" != 0 ]
}

@test "$KILLS kills of a rotation of $SECRETS rows lose nothing" {
	local kills=0 finished=0 torn=0 unfinished=no before sample ended p

	RANDOM=$SEED
	echo "seed $SEED" >&3
	make_files
	[ "$TOKEN" != softhsm ] || cp "$(token_file)" "$PLACE/token.object"
	before=$(checked)
	sample=$(checked 40)
	while [ "$kills" -lt "$KILLS" ]; do
		run_and_kill
		mend_token_file
		case $ended in
		137) kills=$((kills + 1)) ;;
		0) finished=$((finished + 1)) ;;
		*)
			cat "$PLACE/out"
			return 1
			;;
		esac
		assert_equal "$(checked 40)" "$sample"
		unfinished=no
		! rotation_is_unfinished || unfinished=yes
	done
	if [ "$unfinished" = yes ]; then
		run_ok keyturn master resume
	fi
	assert_equal "$(checked)" "$before"
	for ((p = 1; p <= PROJECTS; p++)); do
		run_ok keyturn secret verify "p$p" "$PLACE/p$p.env"
	done
	run_ok keyturn audit verify
	run_ok keyturn rotation list
	echo "$kills kills, $finished rotations ran to their end between," \
		"SoftHSM tore its token file $torn times" >&3
}
