#!/usr/bin/env bats
# Each action of the plan, each way to say when, and log and counters, as
# pkcs11-tool meets them: a program that knows nothing of p11fault.

load ../cli/helper

setup() {
	place_setup
	token_new test
	export P11FAULT_MODULE=$MODULE P11FAULT_PLAN=$PLACE/plan
	export P11FAULT_LOG=$PLACE/log
	: >"$P11FAULT_PLAN"
}

# plan RULE...: one a line.
plan() {
	printf '%s\n' "$@" >"$P11FAULT_PLAN"
	rm -f "$P11FAULT_LOG"
}

tool() {
	pkcs11-tool --module "${P11FAULT:?}" --token-label test "$@"
}

tool_user() {
	tool --login --pin "$PIN" "$@"
}

# Eight random bytes: a call with an output that can be looked at.
random() (
	set -o pipefail
	tool --generate-random 8 | od -An -tx1 | tr -d ' \n'
)

count_together() {
	export P11FAULT_COUNTER=$PLACE/counter
}

# logged FUNCTION [N]: code and fault of that call.
logged() {
	awk -v f="$1" -v n="${2:-1}" '$3 == f && $4 == n {
		print $5 ($6 != "" ? " " $6 : "") }' "$P11FAULT_LOG"
}

generate_key() {
	tool_user --keygen --key-type AES:32 --label key --id 01
}

@test "without a plan all works, and every call is in the log" {
	run_ok generate_key
	run_ok tool_user --list-objects
	assert_output --partial 'label:      key'
	assert_equal "$(logged C_GenerateKey)" CKR_OK
	run grep -vcE '^[0-9]+ [0-9]+ C_[A-Za-z]+ [0-9]+ (CKR_[A-Z_]+|0x[0-9a-f]{8})$' \
		"$P11FAULT_LOG"
	assert_output 0
	run grep -cF "$PIN" "$P11FAULT_LOG"
	assert_output 0
}

@test "p11-kit loads it" {
	mkdir "$PLACE/modules"
	echo "module: $P11FAULT" >"$PLACE/modules/p11fault.module"
	run_ok env P11_KIT_NO_USER_CONFIG=1 p11-kit list-modules
	local uri='pkcs11:token=test?module-path='"$P11FAULT"
	run_ok keyturn init --token "$uri" --store "$STORE"
	run grep -c ' C_WrapKey ' "$P11FAULT_LOG"
	refute_output 0
}

@test "before rv: the module is never asked" {
	plan 'C_GenerateKey 1 before rv CKR_DEVICE_MEMORY'
	run generate_key
	assert_failure
	assert_output --partial CKR_DEVICE_MEMORY
	assert_equal "$(logged C_GenerateKey)" 'CKR_DEVICE_MEMORY before:rv'
	plan
	run_ok tool_user --list-objects
	refute_output --partial key
}

@test "after rv: it is done, and the program is told otherwise" {
	plan 'C_GenerateKey 1 after rv CKR_DEVICE_ERROR'
	run generate_key
	assert_failure
	assert_output --partial CKR_DEVICE_ERROR
	assert_equal "$(logged C_GenerateKey)" 'CKR_DEVICE_ERROR after:rv'
	plan
	run_ok tool_user --list-objects
	assert_output --partial 'label:      key'
}

@test "a code may be a number, a vendor's too" {
	plan 'C_OpenSession 1 before rv 0x80000001'
	run random
	assert_output --partial 0x80000001
	assert_equal "$(logged C_OpenSession)" '0x80000001 before:rv'
}

@test "kill: before, the call is not made; after, it is" {
	plan 'C_GenerateKey 1 before kill'
	run generate_key
	assert_equal "$status" 137
	assert_equal "$(logged C_GenerateKey)" 'CKR_OK before:kill'
	plan
	run_ok tool_user --list-objects
	refute_output --partial key
	plan 'C_GenerateKey 1 after kill 15'
	run generate_key
	assert_equal "$status" 143
	assert_equal "$(logged C_GenerateKey)" 'CKR_OK after:kill'
	plan
	run_ok tool_user --list-objects
	assert_output --partial 'label:      key'
}

@test "delay: the call takes longer and works" {
	local before
	plan 'C_GenerateRandom 1 before delay 300'
	before=$(date +%s%N)
	run_ok random
	[ $(($(date +%s%N) - before)) -ge 300000000 ]
	assert_equal "${#output}" 16
	assert_equal "$(logged C_GenerateRandom)" 'CKR_OK before:delay'
}

@test "gone: so many calls find no token, and the library works on" {
	plan 'C_OpenSession 1 before gone 1'
	run random
	assert_output --partial CKR_TOKEN_NOT_PRESENT
	assert_equal "$(logged C_OpenSession)" \
		'CKR_TOKEN_NOT_PRESENT before:gone'
	plan 'C_Initialize 1 after gone 1000'
	run tool --list-slots
	assert_equal "$(logged C_GetSlotList)" CKR_OK
	assert_equal "$(logged C_GetTokenInfo)" 'CKR_TOKEN_NOT_PRESENT gone'
}

@test "corrupt and fill: the output is another" {
	plan 'C_GenerateRandom 1 after fill 0x5a'
	run_ok random
	assert_output 5a5a5a5a5a5a5a5a
	plan 'C_GenerateRandom 1 after fill 0' 'C_GenerateRandom 1 after corrupt'
	run_ok random
	assert_output 0000000001000000
	assert_equal "$(logged C_GenerateRandom)" 'CKR_OK after:corrupt'
}

@test "shorten: a list or a length says one less" {
	run_ok generate_key
	plan 'C_FindObjects 1 after shorten'
	run_ok tool_user --list-objects
	refute_output --partial key
	assert_equal "$(logged C_FindObjects)" 'CKR_OK after:shorten'
	plan 'C_DigestFinal 1 after shorten'
	printf abc >"$PLACE/abc"
	run_ok tool --hash --mechanism SHA256 -i "$PLACE/abc" -o "$PLACE/digest"
	assert_equal "$(stat -c %s "$PLACE/digest")" 31
}

@test "what has no output is not damaged, nor is a call that failed" {
	plan 'C_CloseSession * after corrupt' \
		'C_GenerateRandom 1 after shorten' \
		'C_OpenSession 1 before rv CKR_HOST_MEMORY' \
		'C_OpenSession 1 after corrupt'
	run random
	assert_equal "$(logged C_OpenSession)" 'CKR_HOST_MEMORY before:rv'
	plan 'C_CloseSession * after corrupt' \
		'C_GenerateRandom 1 after shorten'
	run_ok random
	assert_equal "$(logged C_GenerateRandom)" CKR_OK
}

@test "flags: the token shows more of them" {
	run_ok tool --list-slots
	refute_output --partial 'final user PIN try'
	plan 'C_GetTokenInfo * after flags 0x20000'
	run_ok tool --list-slots
	assert_output --partial 'final user PIN try'
}

@test "calls are counted for the function or for all, one, from, to, any" {
	plan 'C_GetSlotInfo 2-3 before rv 0x80000002'
	run tool --list-slots
	assert_equal "$(logged C_GetSlotInfo 1)" CKR_OK
	assert_equal "$(logged C_GetSlotInfo 2)" '0x80000002 before:rv'
	plan 'C_GetSlotInfo 2+ before rv 0x80000002'
	run tool --list-slots
	assert_equal "$(logged C_GetSlotInfo 1)" CKR_OK
	assert_equal "$(logged C_GetSlotInfo 2)" '0x80000002 before:rv'
	plan '* 3 before rv 0x80000003'
	run tool --list-slots
	run awk '$6 != "" { print $2, $5, $6 }' "$P11FAULT_LOG"
	assert_output '3 0x80000003 before:rv'
	plan '* * after delay 0'
	run tool --list-slots
	run grep -vc 'after:delay$' "$P11FAULT_LOG"
	assert_output 0
}

@test "processes count each for itself, or together in a file" {
	plan 'C_GenerateRandom 2 before rv CKR_RANDOM_NO_RNG'
	run_ok random
	run_ok random
	count_together
	rm -f "$P11FAULT_LOG"
	run_ok random
	run random
	assert_failure
	assert_equal "$(logged C_GenerateRandom 2)" 'CKR_RANDOM_NO_RNG before:rv'
	run_ok random
	run awk '$2 != NR' "$P11FAULT_LOG"
	assert_output ''
	assert_equal "$(logged C_GenerateRandom 3)" CKR_OK
	rm "$PLACE/counter"
	run_ok random
	run random
	assert_failure
}

@test "a token that is gone is gone for all who share the counters" {
	count_together
	plan '* 1 after gone 1000'
	run random
	assert_failure
	plan
	run random
	assert_failure
	run grep -c ' C_GetTokenInfo [0-9]* CKR_TOKEN_NOT_PRESENT gone$' \
		"$P11FAULT_LOG"
	refute_output 0
}

@test "a slip in the plan ends the program with 70 and says which" {
	local rule
	for rule in 'C_NoSuch 1 before kill' 'C_Login 0 before kill' \
		'C_Login 3-2 before kill' 'C_Login 1x before kill' \
		'C_Login 1 during kill' 'C_Login 1 before explode' \
		'C_Login 1 before rv' 'C_Login 1 before rv CKR_NOPE' \
		'C_Login 1 before corrupt' 'C_Login 1 after flags 1' \
		'C_Sign 1 after corrupt 3' 'C_Login 1 before' \
		'C_Login 1 before kill 9 9'; do
		plan "$rule"
		run_fails 70 tool --list-slots
		assert_output --regexp '^p11fault: plan: '
	done
	plan '# only words' '' '  C_Login 1 before kill 9 # and more'
	run_ok tool --list-slots
}

@test "without module, plan, log or counters to use it ends with 70" {
	run_fails 70 env -u P11FAULT_MODULE pkcs11-tool --module "$P11FAULT" -L
	assert_output 'p11fault: P11FAULT_MODULE names no module'
	run_fails 70 env P11FAULT_MODULE=/nowhere pkcs11-tool \
		--module "$P11FAULT" -L
	run_fails 70 env P11FAULT_MODULE=/lib/x86_64-linux-gnu/libm.so.6 \
		pkcs11-tool --module "$P11FAULT" -L
	assert_output --partial 'no function list'
	run_fails 70 env P11FAULT_PLAN=/nowhere pkcs11-tool \
		--module "$P11FAULT" -L
	run_fails 70 env P11FAULT_LOG=/nowhere/log pkcs11-tool \
		--module "$P11FAULT" -L
	run_fails 70 env P11FAULT_COUNTER=/nowhere/counter pkcs11-tool \
		--module "$P11FAULT" -L
}
