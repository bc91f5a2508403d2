#!/usr/bin/env bats
# The five-minute tour of the README, as a test: what a newcomer types works
# as printed there.

load helper

setup() {
	vault_setup
}

@test "the tour of the README works as it stands there" {
	run_ok keyturn status
	assert_output --partial "$STORE"

	run_ok keyturn project create web
	secret_put web/DB_PASSWORD 'correct horse'
	run_ok keyturn secret get web/DB_PASSWORD
	assert_output 'correct horse'
	printf 'A=1\nB="two words"\n' >"$PLACE/app.env"
	run_ok keyturn secret import web "$PLACE/app.env"
	run_ok keyturn secret list web
	assert_output --partial DB_PASSWORD
	assert_output --partial B

	keyturn access issue web --scope read --expires 30d \
		>"$PLACE/access" 2>/dev/null
	chmod 0600 "$PLACE/access"
	run_ok keyturn secret get web/B --access-token-file "$PLACE/access"
	assert_output 'two words'

	run_ok keyturn master rotate -n
	run_ok keyturn master rotate --reason tour --yes
	run_ok keyturn rotation show last
	assert_output --partial tour
	run_ok keyturn secret verify web "$PLACE/app.env"
	run_ok keyturn master finish --now --yes
	run_ok keyturn master destroy 1 --confirm 1
	run_ok keyturn audit verify
	run_ok keyturn doctor
}

@test "a wrong PIN is exit 7 after one attempt" {
	echo 9999 >"$CREDENTIALS_DIRECTORY/pin"
	run_fails 7 keyturn project list
	echo "$PIN" >"$CREDENTIALS_DIRECTORY/pin"
	run_ok keyturn project list
}
