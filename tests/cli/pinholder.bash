# For tests that play somebody who has the PIN, and so can give a row a right
# MAC: what remains to be found out by the token alone.
# shellcheck shell=bash

bytes() {
	perl -e 'print pack "H*", $ARGV[0]' "$1"
}

# The key of the row MACs, in hexadecimal, as the token gives it.
row_mac_key() {
	{
		printf 'keyturn row mac 1'
		bytes "$(sql 'SELECT hex(id) FROM vault')"
	} >"$PLACE/mac.in"
	pkcs11-tool --module "$MODULE" --token-label test --login --pin "$PIN" \
		--sign --mechanism SHA256-HMAC \
		--id "$(sql 'SELECT lower(hex(cka_id)) FROM keys WHERE role = 5')" \
		--input-file "$PLACE/mac.in" --output-file "$PLACE/mac.key" \
		>/dev/null 2>&1
	od -An -v -tx1 "$PLACE/mac.key" | tr -d ' \n'
}

# wrap_put KEY SUBJECT BLOB, all in hexadecimal: replaces the blob of a wraps
# row, and its MAC.
wrap_put() {
	local input mac

	input=6b764d310002$(sql 'SELECT hex(id) FROM vault')
	input+=00000010$1
	input+=00000010$2
	input+=$(printf '%08x' $((${#3} / 2)))$3
	mac=$(bytes "$input" | openssl dgst -sha256 -mac HMAC \
		-macopt "hexkey:$(row_mac_key)" -r | cut -d ' ' -f 1)
	sql "UPDATE wraps SET blob = X'$3', mac = X'$mac'
	     WHERE wrapping_key = X'$1' AND subject = X'$2'"
}

# The key of a role that serves, and the nth wrap under a key, as hexadecimal.
serving() {
	sql "SELECT hex(id) FROM keys WHERE role = $1 AND activated IS NOT NULL
	     AND deactivated IS NULL ORDER BY version DESC LIMIT 1"
}

nth_subject() {
	sql "SELECT hex(subject) FROM wraps WHERE wrapping_key = X'$1'
	     ORDER BY subject LIMIT 1 OFFSET $2"
}

blob_of() {
	sql "SELECT hex(blob) FROM wraps WHERE wrapping_key = X'$1'
	     AND subject = X'$2'"
}

# outside_check: the checker of the torture tests finds nothing; its digest of
# all values is the last line.
outside_check() {
	flock "$PLACE"/run/keyturn/*.lock "$BIN_DIR/checker" "$STORE" "$MODULE" \
		test "$PLACE/credentials/pin" >"$PLACE/checked" || {
		cat "$PLACE/checked"
		return 1
	}
	tail -n 1 "$PLACE/checked"
}
