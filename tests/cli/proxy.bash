# For tests that need to see what reaches the token, or to change what it
# answers: p11fault stands in front of the module. See p11fault(7).
#
#	load proxy
#	proxy_setup
#	proxy_plan 'C_Login 1 before rv CKR_PIN_LOCKED'
#	run_fails 7 keyturn --module "$PROXY" project list
#	assert_equal "$(calls_of C_Login)" 1
# shellcheck shell=bash

# After place_setup. The plan is empty.
proxy_setup() {
	export PROXY=$BIN_DIR/../lib/p11fault.so P11FAULT_MODULE=$MODULE
	export P11FAULT_LOG=$PLACE/p11fault.log P11FAULT_PLAN=$PLACE/plan
	proxy_plan ''
}

# proxy_plan [RULE...]: from now on; begins a new log.
# shellcheck disable=SC2120 # no rule is a plan, too
proxy_plan() {
	printf '%s\n' "$@" >"$P11FAULT_PLAN"
	: >"$P11FAULT_LOG"
}

# calls_of FUNCTION: how often it was called since the plan was made, by all
# processes together.
calls_of() {
	grep -cw "$1" "$P11FAULT_LOG" || true
}
