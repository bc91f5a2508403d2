# Single faults in the token, for the .bats files beside this one: a vault
# behind p11fault that is put back before each round, one rule a round, and
# what must hold after it.
# shellcheck shell=bash

# The classes of return codes as the product tells them apart; a round takes
# the next code of its class.
CLASSES=(lost device unclear vendor memory blob)
declare -gA CODES=(
	[lost]='CKR_SESSION_HANDLE_INVALID CKR_USER_NOT_LOGGED_IN'
	[device]='CKR_DEVICE_ERROR CKR_DEVICE_REMOVED CKR_TOKEN_NOT_PRESENT'
	[unclear]='CKR_GENERAL_ERROR CKR_FUNCTION_FAILED'
	[vendor]='0x80000042'
	[memory]='CKR_HOST_MEMORY CKR_DEVICE_MEMORY CKR_SESSION_COUNT'
	[blob]='CKR_WRAPPED_KEY_INVALID'
)
# Kept from before the tests clear the environment of keyturn's names.
FULL=${KEYTURN_TORTURE_FULL:-}
GO_ON=${KEYTURN_TORTURE_ON:-}
declare -gA turn=()
picks=0

# A place whose token is reached through p11fault only; the checker looks at
# the real one.
faults_setup() {
	REAL_MODULE=$MODULE
	place_setup
	token_new test
	SEEN=$BATS_FILE_TMPDIR
	MODULE=${P11FAULT:?run by ctest, or set P11FAULT}
	export P11FAULT_MODULE=$REAL_MODULE
	# Not the same calls in every test of a file.
	picks=$BATS_TEST_NUMBER
}

# The state that every round begins with.
keep() {
	rm -rf "$PLACE/kept"
	mkdir "$PLACE/kept"
	cp -a "$PLACE/tokens" "$PLACE/data" "$PLACE/kept/"
}

put_back() {
	locked true
	rm -rf "$PLACE/tokens" "$PLACE/data"
	cp -a "$PLACE/kept/tokens" "$PLACE/kept/data" "$PLACE/"
}

# Under the lock of keyturn's own processes: a worker of a killed parent may
# still be on its way out.
locked() {
	local lock
	for lock in "$PLACE"/run/keyturn/*.lock; do
		[ -e "$lock" ] || continue
		flock "$lock" "$@"
		return
	done
	"$@"
}

# faulted RULE COMMAND: runs the command line with this one rule, which counts
# the calls of all its processes. Sets $ended; output is in out and err.
faulted() {
	printf '%s\n' "$1" >"$PLACE/plan"
	rm -f "$PLACE/counter" "$PLACE/log"
	ended=0
	{ # where the shell says "Killed"
		P11FAULT_PLAN=$PLACE/plan P11FAULT_COUNTER=$PLACE/counter \
			P11FAULT_LOG=$PLACE/log timeout 60 bash -c "$2" \
			>"$PLACE/out" 2>"$PLACE/err" </dev/null || ended=$?
	} 2>/dev/null
	[ ! -e "$PLACE/log" ] ||
		grep -E ' (before|after):' "$PLACE/log" >>"$SEEN/hits" || true
}

# clean STATUS...: the faulted command ended with one of these, and said in one
# line why where it failed. In a sanitizer build, nothing was found.
clean() {
	if [[ " $* " != *" $ended "* ]]; then
		echo "ended with $ended, not one of: $*"
		return 1
	fi
	run grep -E 'Sanitizer|runtime error' "$PLACE/err"
	assert_output ''
	if [ "$ended" -ne 0 ] && [ "$ended" -ne 137 ] &&
		! grep -q '^keyturn: ' "$PLACE/err"; then
		echo "no word of why"
		return 1
	fi
}

# Statuses that may follow from a rule. A token's trouble is 6, its want of
# memory 1; that stored data is wrong (9) may follow only where the token said
# so of a blob, or gave damaged bytes. A test may know of $more.
statuses() {
	echo "${more:-}"
	case $1 in
	*kill*) echo 0 6 137 ;;
	*CKR_*_MEMORY | *CKR_SESSION_COUNT) echo 0 1 6 ;;
	*C_UnwrapKey*CKR_WRAPPED_KEY_INVALID) echo 0 6 9 ;;
	*C_Decrypt*CKR_WRAPPED_KEY_INVALID) echo 0 6 9 ;;
	*C_WrapKey*corrupt) echo 0 6 9 ;;
	*C_GetAttributeValue*corrupt) echo 0 5 6 ;; # a class makes two keys
	*) echo 0 6 ;;
	esac
}

# calls COMMAND: how often each function is called without a fault, one
# "FUNCTION N" a line, in the order in which they come.
calls() {
	faulted '' "$1"
	[ "$ended" = 0 ]
	awk '!($3 in n) { order[++k] = $3 } { n[$3]++ }
		END { for (i = 1; i <= k; i++) print order[i], n[order[i]] }' \
		"$PLACE/log"
}

# code CLASS: sets $code to the next of that class.
code() {
	local codes
	read -ra codes <<<"${CODES[$1]}"
	code=${codes[${turn[$1]:-0} % ${#codes[@]}]}
	turn[$1]=$((${turn[$1]:-0} + 1))
}

# pick N: sets $nth to one of 1..N, another one each time.
pick() {
	picks=$((picks + 1))
	nth=$((1 + picks * 7919 % $1))
}

has_output() {
	case $1 in
	C_GetSlotList | C_GetTokenInfo | C_OpenSession | C_GetSessionInfo | \
		C_GetAttributeValue | C_FindObjects | C_Encrypt | C_Decrypt | \
		C_Sign | C_WrapKey | C_UnwrapKey | C_GenerateKey | \
		C_GenerateKeyPair | C_GenerateRandom) ;;
	*) return 1 ;;
	esac
}

# sample FUNCTION N [CLASS...]: rules that hit one of the N calls with each class
# before it, and one with another class, with death and with damage after it.
sample() {
	local function=$1 n=$2 class
	shift 2
	for class; do
		code "$class"
		pick "$n"
		echo "$function $nth before rv $code"
	done
	next_class
	code "$class"
	pick "$n"
	echo "$function $nth after rv $code"
	pick "$n"
	if [ $((picks % 2)) = 0 ]; then
		echo "$function $nth before kill"
	else
		echo "$function $nth after kill"
	fi
	has_output "$function" || return 0
	pick "$n"
	if [ $((picks % 2)) = 0 ]; then
		echo "$function $nth after corrupt"
	else
		echo "$function $nth after shorten"
	fi
}

next_class() {
	class=${CLASSES[${turn[class]:-0} % ${#CLASSES[@]}]}
	turn[class]=$((${turn[class]:-0} + 1))
}

# every FUNCTION N: all codes, before and after each call, death and damage.
every() {
	local class code n
	for ((n = 1; n <= $2; n++)); do
		for class in "${CLASSES[@]}"; do
			for code in ${CODES[$class]}; do
				echo "$1 $n before rv $code"
				echo "$1 $n after rv $code"
			done
		done
		echo "$1 $n before kill"
		echo "$1 $n after kill"
		echo "$1 $n after corrupt"
		echo "$1 $n after shorten"
	done
}

# rules COMMAND [CLASS...]: the rules of a loop over a command, by its calls;
# a sample has only these classes.
rules() {
	local command=$1 function n how=sample
	shift
	[ -z "$FULL" ] || how=every
	put_back
	calls "$command" >"$PLACE/calls"
	cut -d ' ' -f 1 "$PLACE/calls" >>"$SEEN/functions"
	while read -r function n; do
		"$how" "$function" "$n" "$@"
	done <"$PLACE/calls" >"$PLACE/rules"
}

# rounds COMMAND CHECK: for each rule: the state of before, the command with
# that fault, and what must hold then. The check runs in a subshell that ends
# at its first failure, which it would not do within a condition.
rounds() {
	local rule failed=0 bad=0
	rounds=0
	while read -r -u 4 rule; do
		put_back
		faulted "$rule" "$1"
		rounds=$((rounds + 1))
		set +e
		(
			set -e
			# shellcheck disable=SC2046 # words
			clean $(statuses "$rule")
			"$2"
		)
		failed=$?
		set -e
		[ "$failed" = 0 ] && continue
		bad=$((bad + 1))
		echo "round $rounds: $rule: ended with $ended"
		cat "$PLACE/out" "$PLACE/err"
		[ -n "$GO_ON" ] || break
	done 4<"$PLACE/rules"
	echo "$rounds rounds, $bad bad" >&3
	[ "$bad" = 0 ]
}

# hit FUNCTION CLASS: a code of this class was given instead of such a call.
hit() {
	grep -qsE " $1 [0-9]+ (${CODES[$2]// /|}) before:rv" "$SEEN/hits"
}

# gaps: rules for what no round of the file has hit yet, by the last calls.
gaps() {
	local function n class code nth
	while read -r function n; do
		for class in "${CLASSES[@]}"; do
			hit "$function" "$class" && continue
			code "$class"
			pick "$n"
			echo "$function $nth before rv $code"
		done
	done <"$PLACE/calls"
}

# covered: every function was hit by every class.
covered() {
	local function class missing=0
	while read -r function; do
		for class in "${CLASSES[@]}"; do
			hit "$function" "$class" && continue
			echo "$function was never hit by class $class"
			missing=1
		done
	done < <(sort -u "$SEEN/functions")
	return "$missing"
}
