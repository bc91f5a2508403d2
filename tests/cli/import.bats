#!/usr/bin/env bats
# Imports: all of a file or nothing of it, and no message with a value in it.

load helper

setup() {
	vault_setup keyturn project create web
}

# What a failed import must not have changed.
state() {
	sql 'SELECT count(*), max(seq) FROM audit'
	sql 'SELECT count(*) FROM secrets'
	sql 'SELECT count(*) FROM versions'
	sql 'SELECT count(*) FROM keys'
	sql 'SELECT count(*) FROM wraps'
}

# refused PLACE FORMAT TEXT: exit 2, "<stdin>" and this place in the message,
# one line, nothing changed, and nothing of a value shown.
refused() {
	local before
	before=$(state)
	run keyturn secret import web - --format "$2" < <(printf %b "$3")
	assert_equal "$status" 2
	assert_equal "${#lines[@]}" 1
	assert_output --partial "<stdin>$1:"
	refute_output --partial HIDDEN
	assert_equal "$(state)" "$before"
}

# imports FORMAT TEXT NAME HIDDEN: after it, the secret has exactly this value.
imports() {
	run_ok keyturn secret import web - --format "$1" < <(printf %b "$2")
	printf %b "$4" >"$PLACE/wanted"
	keyturn secret get "web/$3" | cmp - "$PLACE/wanted"
}

@test "dotenv: what a line may be" {
	imports dotenv 'A=plain\n' A plain
	imports dotenv 'A=last line without newline' A \
		'last line without newline'
	imports dotenv 'export A=exported\n' A exported
	imports dotenv 'export=a name\n' export 'a name'
	imports dotenv '# comment\n\n  A = spaced  # comment\n' A spaced
	imports dotenv 'A=with#hash\n' A 'with#hash'
	imports dotenv 'A=\n' A ''
	imports dotenv 'A=a=b=c\n' A a=b=c
	# shellcheck disable=SC2016 # meant
	imports dotenv "A='literal \\\\n \$HOME'\n" A 'literal \\n $HOME'
	imports dotenv 'A="two\nlines" # comment\n' A 'two\nlines'
	imports dotenv 'A="\\n\\t\\"\\\\\\$"\n' A '\n\t"\\$'
	imports dotenv 'A=crlf\r\n' A crlf
	imports dotenv 'A="käse \xf0\x9f\xa7\x80"\n' A 'käse \xf0\x9f\xa7\x80'
	imports dotenv 'A.b-c_9=dotted\n' A.b-c_9 dotted
}

@test "json: what an object may be" {
	imports json '{"A": "plain"}' A plain
	imports json '{"A": ""}' A ''
	# shellcheck disable=SC1003 # backslashes
	imports json '{"A": "\\n\\u00e4\\"\\\\"}' A '\nä"\\'
	imports json '\n\n{ "a/b.c" : "slash" }\n' a/b.c slash
	imports json '{"A":"1","B":"2"}' B 2
}

@test "the format goes by the name, and --format goes before it" {
	printf 'A=1\n' >"$PLACE/x.env"
	cp "$PLACE/x.env" "$PLACE/.env"
	cp "$PLACE/x.env" "$PLACE/.env.local"
	cp "$PLACE/x.env" "$PLACE/x.json"
	cp "$PLACE/x.env" "$PLACE/x"
	printf '{"A": "2"}\n' >"$PLACE/y.json"
	local name
	for name in x.env .env .env.local y.json; do
		run_ok keyturn secret import web "$PLACE/$name"
		assert_output "1 secret imported into 'web'"
	done
	run_fails 2 keyturn secret import web "$PLACE/x"
	run_ok keyturn secret import web "$PLACE/x" --format dotenv
	run_fails 2 keyturn secret import web "$PLACE/x.json"
	run_ok keyturn secret import web "$PLACE/x.json" --format dotenv
	run_fails 2 keyturn secret import web - </dev/null
	run_fails 2 keyturn secret import web - --format xml </dev/null
	run_fails 2 keyturn secret import web
	run_fails 2 keyturn secret import web "$PLACE/x.env" more
	run_fails 3 keyturn secret import web "$PLACE/nope.env"
	run_fails 1 keyturn secret import web "$PLACE" --format dotenv
	run_fails 3 keyturn secret import nope "$PLACE/x.env"
}

@test "dotenv: a bad line anywhere is named, and nothing is imported" {
	refused :3 dotenv 'A=HIDDEN1\nB=HIDDEN2\nHIDDEN3\n'
	refused :1 dotenv '=HIDDEN\n'
	refused :1 dotenv '1A=HIDDEN\n'
	refused :2 dotenv 'A=HIDDEN1\nB C=HIDDEN2\n'
	refused :2 dotenv "A=HIDDEN1\nB='HIDDEN2\nC=HIDDEN3\n"
	refused :2 dotenv 'A=HIDDEN1\nB="HIDDEN2\n'
	refused :1 dotenv 'A="HIDDEN1" HIDDEN2\n'
	refused :1 dotenv 'A="HIDDEN \\x"\n'
	refused :2 dotenv 'A=HIDDEN1\nB=HIDDEN\00002\n'
	refused :2 dotenv 'A=HIDDEN1\nä=HIDDEN2\n'
	refused :4 dotenv 'A="HIDDEN\nHIDDEN"\nB=1\n- HIDDEN3\n'
	refused '' dotenv '# nothing\n\n'
	refused '' dotenv ''
	refused :2 dotenv "A=HIDDEN1\n$(printf 'N%.0s' {1..256})=HIDDEN2\n"
}

@test "dotenv: a name twice is refused with both of its lines" {
	refused :4 dotenv 'A=HIDDEN1\nB=HIDDEN2\n\nA=HIDDEN3\n'
	assert_output --partial "'A' was set in line 1"
}

@test "json: what is no flat object of strings is refused" {
	refused :1:12 json '{"A": HIDDEN}'
	refused :2 json '{"A": "HIDDEN1",\n"B": "HIDDEN2'
	refused '' json '{"A": "HIDDEN1", "B": 42}'
	refused '' json '{"A": "HIDDEN1", "B": null}'
	refused '' json '{"A": "HIDDEN1", "B": {"HIDDEN2": "HIDDEN3"}}'
	refused '' json '{"A": "HIDDEN1", "B": ["HIDDEN2"]}'
	refused '' json '["HIDDEN"]'
	refused '' json '{}'
	refused :1 json '"HIDDEN"'
	refused :1 json '{"A": "HIDDEN1"} {"B": "HIDDEN2"}'
	refused '' json '{"A": "HIDDEN1", "bad name": "HIDDEN2"}'
	refused '' json '{"A": "HIDDEN1", "": "HIDDEN2"}'
	refused :1 json '{"A": "HIDDEN1", "A": "HIDDEN2"}'
	refused :1 json '{"A": "HIDDEN\\u0000"}'
	refused :1 json '{"A": "HIDDEN\xff"}'
	refused :1 json ''
}

@test "a value over 1 MiB fails the whole import, one of 1 MiB is kept" {
	local before
	{ printf 'A=' && head -c 1048576 /dev/zero | tr '\0' x; } >"$PLACE/x.env"
	run_ok keyturn secret import web "$PLACE/x.env"
	run_ok keyturn secret list web
	assert_line --regexp '^A +1 +1048576 '
	before=$(state)
	sed -i 's/^A=/B=1\nA=y/' "$PLACE/x.env"
	run_fails 2 keyturn secret import web "$PLACE/x.env"
	assert_output --partial "x.env:2: 'A'"
	assert [ "${#output}" -lt 300 ]
	assert_equal "$(state)" "$before"
}

@test "names that exist get a new version, all in one audit entry" {
	local entries
	secret_put web/A old
	entries=$(sql 'SELECT count(*) FROM audit')
	run_ok keyturn secret import web - --format dotenv <<<$'A=new\nB=first'
	assert_equal "$(sql 'SELECT count(*) FROM audit')" $((entries + 1))
	run_ok keyturn secret list web
	assert_line --regexp '^A +2 '
	assert_line --regexp '^B +1 '
	run_ok keyturn secret get web/A --version 1
	assert_output old
	run_ok keyturn secret get web/A
	assert_output new
}

@test "a dry run says the names and changes nothing" {
	local before file
	secret_put web/A old
	before=$(state)
	file=$(sha256sum "$STORE")
	run_ok keyturn secret import web - --format dotenv -n \
		<<<$'A=HIDDEN1\nB=HIDDEN2'
	assert_line A
	assert_line B
	assert_line --partial '1 new, 1 with a new version'
	refute_output --partial HIDDEN
	assert_equal "$(state)" "$before"
	assert_equal "$(sha256sum "$STORE")" "$file"
	run_fails 3 keyturn secret import nope - --format dotenv -n <<<A=1
}

# The module that injects faults stands in front of the token's own.
with_fault() {
	printf '%s\n' "$1" >"$PLACE/plan"
	shift
	P11FAULT_MODULE=$MODULE P11FAULT_PLAN=$PLACE/plan \
		"$@" --module "$BIN_DIR/../lib/p11fault.so"
}

@test "an import that is killed in its token work leaves nothing of itself" {
	local before fault
	seq 1 20 | sed 's/.*/KEY_&=value &/' >"$PLACE/x.env"
	before=$(state)
	for fault in 'C_Encrypt 1 before kill' 'C_Encrypt 10 after kill' \
		'C_Encrypt 20 after kill'; do
		run_fails 137 with_fault "$fault" \
			keyturn secret import web "$PLACE/x.env"
		assert_equal "$(state)" "$before"
	done
	run_fails 6 with_fault 'C_Encrypt 10+ before rv CKR_DEVICE_REMOVED' \
		keyturn secret import web "$PLACE/x.env"
	assert_equal "$(state)" "$before"
	run_ok keyturn secret import web "$PLACE/x.env"
	run_ok keyturn secret verify web "$PLACE/x.env"
	run_ok keyturn doctor
}

# Kills an import once the database has a journal: in its one transaction.
import_and_kill() {
	local pid
	keyturn secret import web "$PLACE/x.env" >/dev/null 2>&1 3>&- &
	pid=$!
	until [ -e "$STORE-journal" ] || [ -s "$STORE-wal" ]; do
		kill -0 "$pid" 2>/dev/null || break
	done
	kill -9 "$pid" 2>/dev/null || true
	wait "$pid" || true
}

@test "an import that is killed in its commit is there whole or not at all" {
	local before count
	seq 1 200 | sed 's/.*/KEY_&=value &/' >"$PLACE/x.env"
	before=$(state)
	import_and_kill
	# the next one to open the database rolls back what is open
	run_ok keyturn audit verify
	count=$(sql 'SELECT count(*) FROM secrets')
	if [ "$count" != 200 ]; then
		assert_equal "$(state)" "$before"
		run_ok keyturn secret import web "$PLACE/x.env"
	fi
	run_ok keyturn secret verify web "$PLACE/x.env"
	assert_output '200 equal, 0 different, 0 missing, 0 not in the file'
	run_ok keyturn doctor
}
