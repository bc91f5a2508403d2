#!/usr/bin/env bats
# Secrets: any bytes in, the same bytes out, and never to a terminal unasked.

load helper

setup() {
	vault_setup keyturn project create web
}

repeat() {
	printf "%0.s$1" $(seq "$2")
}

# value_round FILE: this value comes back as it went in, by each way in and out.
value_round() {
	run_ok keyturn secret set web/ROUND --from "$1"
	keyturn secret get web/ROUND | cmp - "$1"
	run_ok keyturn secret set web/ROUND <"$1"
	keyturn secret get kt://web/ROUND | cmp - "$1"
	run_ok keyturn secret set kt://web/ROUND --fd 7 7<"$1"
	rm -f "$PLACE/out"
	run_ok keyturn secret get web/ROUND -o "$PLACE/out"
	assert_output ''
	cmp "$PLACE/out" "$1"
}

# at_terminal COMMAND: with a terminal on stdout and stderr, nobody typing.
at_terminal() {
	run script -qec "$1" /dev/null </dev/null
}

@test "values of every kind are kept byte for byte" {
	printf '' >"$PLACE/v" && value_round "$PLACE/v"
	printf '\n' >"$PLACE/v" && value_round "$PLACE/v"
	printf 'line\n\n' >"$PLACE/v" && value_round "$PLACE/v"
	printf '\r\n' >"$PLACE/v" && value_round "$PLACE/v"
	printf '\0' >"$PLACE/v" && value_round "$PLACE/v"
	printf 'a\0b\0\0' >"$PLACE/v" && value_round "$PLACE/v"
	printf '\xff\xfe\x80 not UTF-8' >"$PLACE/v" && value_round "$PLACE/v"
	# shellcheck disable=SC2016 # what no shell and no printf may touch
	printf '%%s %%n $HOME `id` \\n' >"$PLACE/v" && value_round "$PLACE/v"
	head -c 70001 /dev/urandom >"$PLACE/v" && value_round "$PLACE/v"
}

@test "a value of 1 MiB is kept, one byte more is refused and kept nowhere" {
	head -c 1048576 /dev/urandom >"$PLACE/v"
	value_round "$PLACE/v"
	run_ok keyturn secret list web
	assert_line --regexp '^ROUND +3 +1048576 '
	printf x >>"$PLACE/v"
	run_fails 2 keyturn secret set web/ROUND --from "$PLACE/v"
	run_fails 2 keyturn secret set web/ROUND <"$PLACE/v"
	run_fails 2 keyturn secret set web/ROUND --fd 7 7<"$PLACE/v"
	run_fails 2 keyturn secret set web/NEW --from "$PLACE/v"
	run_ok keyturn secret list web
	assert_line --regexp '^ROUND +3 +1048576 '
	refute_output --partial NEW
}

@test "each set is a new version, and each version stays to be read" {
	local i
	for i in 1 2 3; do
		run keyturn secret set web/A <<<"value $i"
		assert_output "kt://web/A is version $i, 8 bytes"
	done
	run_ok keyturn secret get web/A
	assert_output 'value 3'
	for i in 1 2 3; do
		run_ok keyturn secret get web/A --version "$i"
		assert_output "value $i"
	done
	run_fails 3 keyturn secret get web/A --version 4
	run_fails 2 keyturn secret get web/A --version 0
	run_fails 2 keyturn secret get web/A --version -1
	run_fails 2 keyturn secret get web/A --version x
	run_fails 2 keyturn secret get web/A --version 99999999999999999999
	run_fails 3 keyturn secret get web/A --version 9223372036854775807
}

@test "names of a secret: what is taken and what is refused" {
	local name
	for name in a A _ 9 TLS.key a/b/c x-y "$(repeat N 255)"; do
		secret_put "web/$name" "value of $name"
		run_ok keyturn secret get "kt://web/$name"
		assert_output "value of $name"
	done
	for name in '' "$(repeat N 256)" $'two\nlines' -a .a /a 'a b' grün \
		'a*' 'a"b' $'a\tb' $'\e[31m'; do
		run_fails 2 keyturn secret set -- "web/$name" <<<v
		assert_equal "${#lines[@]}" 1
		refute_output --partial $'\e'
	done
	assert_equal "$(sql 'SELECT count(*) FROM secrets')" 8
}

@test "references: what is one, and what is not" {
	local ref
	secret_put web/A value
	run_ok keyturn secret get kt://web/A
	assert_output value
	for ref in '' web web/ /A kt:// kt://web kt://web/ kt:///A \
		"$(repeat p 256)/A"; do
		run_fails 2 keyturn secret get "$ref"
	done
	for ref in KT://web/A http://web/A web//A WEB/A web/a; do
		run_fails 3 keyturn secret get "$ref"
	done
}

@test "unknown projects and secrets are 3" {
	run_fails 3 keyturn secret get web/NOPE
	assert_output --partial "no secret is named 'NOPE' in project 'web'"
	run_fails 3 keyturn secret get nope/A
	assert_output --partial "no project is named 'nope'"
	run_fails 3 keyturn secret set nope/A <<<v
	run_fails 3 keyturn secret list nope
	run_fails 3 keyturn secret delete web/NOPE --confirm NOPE
	run_fails 3 keyturn secret delete nope/A --confirm A
	run_fails 3 keyturn secret verify nope - --format dotenv <<<A=1
}

@test "usage: sources that exclude each other or are not there" {
	echo v >"$PLACE/v"
	run_fails 2 keyturn secret set web/A --from "$PLACE/v" --fd 0 <<<v
	run_fails 3 keyturn secret set web/A --from "$PLACE/nope"
	run_fails 1 keyturn secret set web/A --from "$PLACE"
	run_fails 1 keyturn secret set web/A --fd 7 7>&-
	run_fails 2 keyturn secret set web/A --fd -1
	run_fails 2 keyturn secret set web/A --fd x
	run_fails 2 keyturn secret set web/A --fd
	run_fails 2 keyturn secret set web/A value </dev/null
	run_fails 2 keyturn secret set
	run_fails 2 keyturn secret get
	run_fails 2 keyturn secret get web/A --json
	run_fails 2 keyturn secret list
	run_fails 2 keyturn secret verify web
	assert_equal "$(sql 'SELECT count(*) FROM secrets')" 0
	run_ok keyturn secret set web/A --from - <"$PLACE/v"
}

@test "a value goes to a new private file only" {
	secret_put web/A value
	run_ok keyturn secret get web/A -o "$PLACE/out"
	assert_equal "$(stat -c %a "$PLACE/out")" 600
	assert_equal "$(cat "$PLACE/out")" value
	run_fails 5 keyturn secret get web/A -o "$PLACE/out"
	ln -s "$PLACE/elsewhere" "$PLACE/link"
	run_fails 5 keyturn secret get web/A -o "$PLACE/link"
	assert_not_exist "$PLACE/elsewhere"
	run_fails 3 keyturn secret get web/A -o "$PLACE/no/such/place"
	run_fails 3 keyturn secret get web/NOPE -o "$PLACE/not-made"
	assert_not_exist "$PLACE/not-made"
}

@test "a terminal gets a value only with --reveal" {
	secret_put web/A 'for no eyes'
	at_terminal 'keyturn secret get web/A'
	assert_equal "$status" 2
	refute_output --partial 'for no eyes'
	assert_output --partial '11 bytes'
	assert_output --partial -- '--reveal'
	at_terminal 'keyturn secret get web/A --reveal'
	assert_equal "$status" 0
	assert_output --partial 'for no eyes'
	# a pipe in the same terminal is none
	at_terminal 'keyturn secret get web/A | wc -c'
	assert_output --partial 11
	keyturn secret get web/A --reveal >"$PLACE/out"
	assert_equal "$(wc -c <"$PLACE/out")" 11
}

@test "a value typed at a terminal is asked twice and not echoed" {
	run_ok expect -c '
		spawn -noecho keyturn secret set web/TYPED
		expect "Value: "
		send "tyqed\177\177\177ped secret\r"
		expect "Again, to be sure: "
		send "typed secret\r"
		expect eof
		exit [lindex [wait] 3]'
	refute_output --partial secret$'\r'
	refute_output --partial typed
	run_ok keyturn secret get web/TYPED
	assert_output 'typed secret'
	run_fails 2 expect -c '
		spawn -noecho keyturn secret set web/TYPED
		expect "Value: "
		send "one\r"
		expect "Again, to be sure: "
		send "two\r"
		expect eof
		exit [lindex [wait] 3]'
	assert_output --partial differ
	run_fails 130 expect -c '
		spawn -noecho keyturn secret set web/TYPED
		expect "Value: "
		send "half\003"
		expect eof
		exit [lindex [wait] 3]'
	run_ok keyturn secret get web/TYPED
	assert_output 'typed secret'
	run_fails 2 expect -c '
		spawn -noecho keyturn secret set web/TYPED --no-input
		expect eof
		exit [lindex [wait] 3]'
}

@test "the list has names, versions and sizes, never values" {
	secret_put web/B 'value of B'
	secret_put web/A 'value of A'
	secret_put web/A 'longer value of A'
	run_ok keyturn secret list web
	assert_equal "${#lines[@]}" 3
	assert_equal "${lines[1]%% *}" A
	assert_line --regexp '^A +2 +17 '
	assert_line --regexp '^B +1 +10 '
	refute_output --partial value
	run_ok keyturn secret list web --json
	assert_output --partial '"name": "A", "version": 2, "size": 17'
	refute_output --partial value
	keyturn project create empty
	run_ok keyturn secret list empty --json
	assert_equal "$(tr -d ' \n' <<<"$output")" '[]'
}

@test "a long list has every secret once" {
	seq 1 150 | sed 's/.*/KEY_&=value &/' >"$PLACE/many.env"
	keyturn secret import web "$PLACE/many.env"
	keyturn secret list web | awk 'NR > 1 { print $1 }' >"$PLACE/names"
	assert_equal "$(wc -l <"$PLACE/names")" 150
	assert_equal "$(sort "$PLACE/names")" \
		"$(sed 's/=.*//' "$PLACE/many.env" | sort)"
	run_ok keyturn secret verify web "$PLACE/many.env"
}

@test "delete needs the name again and takes every version" {
	secret_put web/A one
	secret_put web/A two
	secret_put web/B other
	run_fails 2 keyturn secret delete web/A
	run_fails 2 keyturn secret delete web/A --yes
	run_fails 2 keyturn secret delete web/A --confirm web/A
	run_ok keyturn secret get web/A
	run_ok keyturn secret delete web/A --confirm A
	run_fails 3 keyturn secret get web/A
	run_fails 3 keyturn secret get web/A --version 1
	assert_equal "$(sql 'SELECT count(*) FROM versions')" 1
	assert_equal "$(sql 'SELECT count(*) FROM wraps')" 3
	run_ok keyturn secret get web/B
	assert_output other
	secret_put web/A again
	run_ok keyturn secret get web/A
	assert_output again
	run_ok keyturn doctor
}

@test "secrets of one name in two projects are two" {
	keyturn project create api
	secret_put web/A 'of web'
	secret_put api/A 'of api'
	run_ok keyturn secret get web/A
	assert_output 'of web'
	run_ok keyturn secret delete api/A --confirm A
	run_ok keyturn secret get web/A
	assert_output 'of web'
}

@test "verify counts what is equal, different, missing and extra" {
	printf 'A=1\nB=2\n' >"$PLACE/v.env"
	keyturn secret import web "$PLACE/v.env"
	run_ok keyturn secret verify web "$PLACE/v.env"
	assert_output '2 equal, 0 different, 0 missing, 0 not in the file'
	run_ok keyturn secret verify web - --format dotenv <<<'A=1'
	assert_output '1 equal, 0 different, 0 missing, 1 not in the file'
	run_fails 9 keyturn secret verify web - --format dotenv <<<'A=one'
	assert_line '0 equal, 1 different, 0 missing, 1 not in the file'
	assert_output --partial "'A' is the first of 1"
	run_fails 9 keyturn secret verify web - --format json <<<'{"C": "3"}'
	assert_line '0 equal, 0 different, 1 missing, 2 not in the file'
	run_fails 2 keyturn secret verify web "$PLACE/v.env" --format xml
}

@test "a reader that goes away early is no crash" {
	head -c 1048576 /dev/zero | keyturn secret set web/BIG
	run bash -c 'keyturn secret get web/BIG 2>"$0" | head -c 10 | wc -c
		exit "${PIPESTATUS[0]}"' "$PLACE/err"
	assert_equal "$status" 1
	assert_output 10
	assert_equal "$(cat "$PLACE/err")" \
		'keyturn: secret get: cannot write: Broken pipe'
	run_fails 1 bash -c 'keyturn secret get web/BIG >/dev/full'
	assert_output --partial 'No space left'
}
