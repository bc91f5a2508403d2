# An auditor's side of `keyturn token attest`: what OpenSSL, od and the shell say
# of the files, by the TPM 2.0 Library Specification part 2 alone. Each function
# fails, and says why, where the evidence does not hold.
# shellcheck shell=bash

hex() {
	od -An -v -tx1 "$@" | tr -d ' \n'
}

sha256() {
	openssl dgst -sha256 -r "$@" | cut -c 1-64
}

unhex() {
	sed 's/../\\x&/g' | while IFS= read -r text || [ -n "$text" ]; do
		printf '%b' "$text"
	done
}

say_no() {
	printf 'evidence: %s\n' "$*"
	return 1
}

signed() {
	openssl dgst -sha256 -verify "$1/ak.pem" -signature "$1/$2.sig" \
		"$1/$2.attest" >/dev/null 2>&1 || say_no "$2: wrong signature"
}

# TPMS_ATTEST: leaves what it says in $kind, $nonce and $attested.
statement() {
	local rest length

	rest=$(hex "$1")
	[ "${rest:0:8}" = ff544347 ] || say_no "$1: not made by a TPM" || return
	kind=${rest:8:4}
	rest=${rest:12}
	length=$((16#${rest:0:4})) # the signer's name
	rest=${rest:4 + 2 * length}
	length=$((16#${rest:0:4}))
	nonce=${rest:4:2 * length}
	rest=${rest:4 + 2 * length}
	attested=${rest:50} # behind clock and firmware
}

# A Name (hash algorithm and digest) of a public area in a file.
name_of() {
	printf '000b%s' "$(sha256 "$1")"
}

# has_attributes FILE SET CLEAR: of a TPMT_PUBLIC.
has_attributes() {
	local attributes=$((16#$(hex -j 4 -N 4 "$1")))

	[ $((attributes & $2)) -eq $(($2)) ] && [ $((attributes & $3)) -eq 0 ]
}

# certified FOLDER WHAT NONCE: TPM2_Certify of WHAT.public.
certified() {
	signed "$1" "$2" && statement "$1/$2.attest" || return
	[ "$kind" = 8017 ] || say_no "$2: not TPM2_Certify" || return
	[ "$nonce" = "$3" ] || say_no "$2: nonce $nonce" || return
	[ "${attested:4:68}" = "$(name_of "$1/$2.public")" ] ||
		say_no "$2: another key's"
}

# gate_policy FOLDER: TPM2_PolicyNV, "the counter is not above its value" (part 3,
# 23.9), with which alone the gate opens.
gate_policy() {
	local arguments

	arguments=$(unhex <<<"$(hex "$1/counter.value")00000009" | sha256)
	unhex <<<"$(printf '%064d' 0)00000149$arguments$(
		name_of "$1/counter.public"
	)" | sha256
}

# born FOLDER NONCE: the key was made by the TPM that ak.pem is of, out of its
# own random bytes, and can neither leave it nor its parent, the gate, which
# only its counter opens.
born() {
	local gate

	certified "$1" key "$2" && certified "$1" gate "$2" || return
	# fixedTPM, fixedParent, sensitiveDataOrigin
	has_attributes "$1/key.public" 0x32 0 || say_no 'key: attributes' ||
		return
	# The gate's: the same, restricted decryption, no use by authorisation.
	has_attributes "$1/gate.public" 0x30032 0x40 ||
		say_no 'gate: attributes' || return
	[ "$(hex -j 8 -N 34 "$1/gate.public")" = "0020$(gate_policy "$1")" ] ||
		say_no 'gate: another policy' || return
	signed "$1" creation && statement "$1/creation.attest" || return
	[ "$kind$nonce" = "801a$2" ] || say_no 'creation: kind or nonce' ||
		return
	[ "$attested" = "0022$(name_of "$1/key.public")0020$(
		sha256 "$1/creation.data"
	)" ] || say_no 'creation: another key or data' || return
	gate=$(name_of "$1/gate.public")
	[[ $(hex "$1/creation.data") == *"0022$gate"* ]] ||
		say_no 'creation: another parent'
}

# destroyed FOLDER: the log is what the TPM digested and signed, and it says
# that the key's counter was undefined (TPM2_NV_UndefineSpace, by Name).
destroyed() {
	local log digest length record name hash=() at=0

	signed "$1" destroyed && statement "$1/destroyed.attest" || return
	[ "$kind" = 8016 ] || say_no 'destroyed: not an audit session' || return
	log=$(hex "$1/destroyed.log")
	digest=$(printf '%064d' 0)
	name=$(name_of "$1/counter.public")
	undefined=no
	while [ "$at" -lt ${#log} ]; do
		hash=()
		for _ in command answer; do
			length=$((16#${log:at:8}))
			record=${log:at + 8:2 * length}
			at=$((at + 8 + 2 * length))
			hash+=("$(unhex <<<"$record" | sha256)")
			[[ $record != 00000122*"$name"* ]] || undefined=asked
			[[ $undefined != asked || $record != 0000000000000122* ]] ||
				undefined=yes
		done
		digest=$(unhex <<<"$digest${hash[0]}${hash[1]}" | sha256)
	done
	[ "${attested:2}" = "0020$digest" ] || say_no 'destroyed: another log' ||
		return
	[ "$undefined" = yes ] || say_no 'destroyed: the counter is there'
}
