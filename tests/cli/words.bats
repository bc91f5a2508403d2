#!/usr/bin/env bats
# What people read: help, hints, tables and screens of a terminal with 80
# columns. The JSON beside them leaves nothing out.

load helper

setup() { vault_setup; }

# fits TEXT...: no line is longer than 80 columns.
fits() {
	assert_equal "$(awk 'length > 80' <<<"$1")" ''
}

@test "help fits into 80 columns, on every command and group" {
	local command tried=0
	fits "$(keyturn help)"
	while read -r command; do
		# shellcheck disable=SC2086 # words
		fits "$(keyturn help $command)"
		fits "$(keyturn help "${command%% *}")"
		tried=$((tried + 1))
	done < <(keyturn __commands | grep -v -- --)
	assert [ "$tried" -ge 40 ]
}

@test "a verb without its noun is answered with the whole command" {
	run_fails 2 keyturn get web/A
	assert_line "keyturn: unknown command 'get'"
	assert_line 'keyturn: hint: keyturn secret get'
	run_fails 2 keyturn rotate
	assert_line --partial 'keyturn project rotate, keyturn master rotate'
	run_fails 2 keyturn secret rotate
	refute_line --partial 'hint'
	run_fails 2 keyturn frobnicate
	refute_line --partial 'hint'
}

@test "listings fit into 80 columns; JSON has the rest" {
	keyturn project create web
	secret_put web/A 1
	keyturn access issue web --label ci -o "$PLACE/token"
	keyturn backup create "$PLACE/b.db" >"$PLACE/out"
	keyturn master rotate --yes --grace 0
	run_ok keyturn master list
	assert_line --regexp '^VERSION ROLE +STATE +ROWS ACTIVATED +DEACTIVATED$'
	fits "$output"
	run_ok keyturn master list --json
	assert_output --regexp '"cka_id": "[0-9a-f]{32}", "created": "20'
	assert_output --partial '"destroyed": null'
	run_ok keyturn access list
	assert_line --regexp '^ID +PROJECT SCOPE STATE +EXPIRES +LABEL$'
	assert_line --regexp ' web +read +usable 20.*Z ci$'
	fits "$output"
	run_ok keyturn access list --json
	assert_output --partial '"revoked": null'
	run_ok keyturn backup list --json
	assert_output --regexp '"size": [0-9]+, "sha256": "[0-9a-f]{64}"'
	run_ok keyturn secret list web
	fits "$output"
}

@test "a key's attributes are folded on a screen and whole in JSON" {
	run_ok keyturn master show 1
	fits "$output"
	assert_line --regexp '^  Attributes +class=secret-key '
	assert_line --regexp '^ +[a-z].* modifiable=false'
	run_ok keyturn master show 1 --json
	assert_output --regexp '"attributes": "class=.* modifiable=false'
	run_ok keyturn status
	fits "$(grep -v ' Path ' <<<"$output")"
}

@test "a backup is recorded by its whole path, wherever it was made" {
	cd "$PLACE"
	keyturn backup create b.db >"$PLACE/out"
	keyturn master rotate --yes --backup ./c.db
	run_ok keyturn backup list
	assert_line --regexp " $PLACE/b\\.db\$"
	assert_line --regexp " $PLACE/c\\.db\$"
}

@test "a grace time is said as it was given" {
	run_fails 2 keyturn master rotate --grace 90s </dev/null
	assert_line --partial 'stays open for 90 s'
	run_fails 2 keyturn master rotate --grace 36h </dev/null
	assert_line --partial 'stays open for 36 h'
}

@test "completion knows what help is asked for, and which keys there are" {
	run_ok keyturn __complete -- help mas
	assert_output --regexp $'^master\t'
	run_ok keyturn __complete -- help master rot
	assert_output --regexp $'^rotate\t'
	run_ok keyturn __complete -- master rotate --jobs ''
	assert_output --regexp $'^auto\t'
	run_ok keyturn __complete -- token attest r
	assert_line --regexp $'^recovery\t'
	assert_line --regexp $'^row-mac\t'
}
