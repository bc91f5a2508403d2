#!/usr/bin/env bats
# Projects as their operator sees them: what may name one, what a list and a
# screen say, and what is left of one that was deleted.

load helper

setup() {
	vault_setup
}

repeat() {
	printf "%0.s$1" $(seq "$2")
}

projects() {
	sql 'SELECT count(*) FROM projects WHERE deleted IS NULL'
}

@test "names of 1 to 255 bytes of the small alphabet are taken, and kept" {
	local name
	for name in a 0 a-b.c_d 9lives "$(repeat n 255)"; do
		run_ok keyturn project create "$name"
		assert_output "project '$name' is made, key version 1"
		run_ok keyturn project show "$name" --json
		assert_line --partial "\"name\": \"$name\""
	done
	assert_equal "$(projects)" 5
}

@test "any other name is refused with 2, and nothing is made" {
	local name entries
	entries=$(sql 'SELECT count(*) FROM audit')
	for name in '' "$(repeat n 256)" $'two\nlines' a/b Web -web .web _web \
		'a b' grün $'a\tb' "a'b" 'a;b' '*' $'\e[31mred'; do
		run_fails 2 keyturn project create -- "$name"
		assert_equal "${#lines[@]}" 1
		refute_output --partial $'\e'
	done
	run_fails 2 keyturn project create -web
	assert_equal "$(projects)" 0
	assert_equal "$(sql 'SELECT count(*) FROM audit')" "$entries"
}

@test "a name that exists is refused with 5" {
	keyturn project create web
	run_fails 5 keyturn project create web
	assert_output --partial "'web' exists"
	assert_equal "$(projects)" 1
}

@test "an unknown name is 3 for every verb" {
	local verb
	for verb in show rotate delete; do
		run_fails 3 keyturn project "$verb" nope --yes
		assert_output --partial "no project is named 'nope'"
	done
	# names that cannot exist are not found either, whatever is in them
	run_fails 3 keyturn project show "web' OR '1'='1"
	run_fails 3 keyturn project show ''
}

@test "too few and too many arguments and unknown options are 2" {
	run_fails 2 keyturn project
	run_fails 2 keyturn project create
	run_fails 2 keyturn project create a b
	run_fails 2 keyturn project list a
	run_fails 2 keyturn project show
	run_fails 2 keyturn project make a
	run_fails 2 keyturn project create a --colour red
	run_fails 2 keyturn project create a --json
	assert_equal "$(projects)" 0
}

@test "the list has a line for each, with its counts, and JSON says the same" {
	keyturn project create web
	keyturn project create api
	secret_put web/A 1
	secret_put web/B 2
	keyturn access issue web >"$PLACE/token" 2>/dev/null
	run_ok keyturn project list
	assert_equal "${#lines[@]}" 3
	assert_line --regexp '^NAME +SECRETS +TOKENS +KEY'
	assert_line --regexp '^web +2 +1 +1 '
	assert_line --regexp '^api +0 +0 +1 '
	keyturn project list --json >"$PLACE/json" 2>"$PLACE/err"
	assert_equal "$(wc -c <"$PLACE/err")" 0
	run grep -c '"name": "web", "secrets": 2, "access_tokens": 1' \
		"$PLACE/json"
	assert_output 1
}

@test "an empty list is empty, and is valid JSON" {
	run_ok keyturn project list --json
	assert_equal "$(tr -d ' \n' <<<"$output")" '[]'
}

@test "show says which key a project has and how many rows it wraps" {
	keyturn project create web
	secret_put web/A 1
	run_ok keyturn project show web
	assert_line --regexp '^Name +web$'
	assert_line --regexp '^ +Role +project$'
	assert_line --regexp '^ +State +active$'
	assert_line --regexp '^ +Rows +1$'
	keyturn project rotate web --yes --no-token
	run_ok keyturn project show web
	assert_line --regexp '^ +Version +2$'
	assert_line --regexp '^ +Rows +1$'
}

@test "delete needs the name again" {
	keyturn project create web
	run_fails 2 keyturn project delete web
	assert_output --partial '--confirm web'
	run_fails 2 keyturn project delete web --yes
	run_fails 2 keyturn project delete web --confirm Web
	run_fails 2 keyturn project delete web --confirm ''
	run_ok keyturn project show web
}

@test "delete takes secrets, wraps and tokens of this project, no others" {
	local name
	for name in web api; do
		keyturn project create "$name"
		secret_put "$name/A" "value of $name"
		secret_put "$name/A" "second value of $name"
		keyturn access issue "$name" -o "$PLACE/$name"
	done
	run_ok keyturn project delete web --confirm web
	run_fails 3 keyturn secret get web/A
	run_fails 4 keyturn secret get web/A --access-token-file "$PLACE/web"
	run_ok keyturn secret get api/A --access-token-file "$PLACE/api"
	assert_output 'second value of api'
	# of keys no wrap is left that could bring a value back
	assert_equal "$(sql 'SELECT count(*) FROM wraps')" 5
	assert_equal "$(sql 'SELECT count(*) FROM secrets')" 1
	assert_equal "$(sql 'SELECT count(*) FROM versions')" 2
	run_fails 3 keyturn project show web
	run_ok keyturn audit verify
	run_ok keyturn doctor
}

@test "a deleted project's name is free, and its old token stays denied" {
	keyturn project create web
	secret_put web/A old
	keyturn access issue web -o "$PLACE/token"
	keyturn project delete web --confirm web
	run_ok keyturn project create web
	run_fails 3 keyturn secret get web/A
	secret_put web/A new
	run_fails 4 keyturn secret get web/A --access-token-file "$PLACE/token"
	run_ok keyturn secret get web/A
	assert_output new
}

@test "a project is deleted at a terminal by typing its name" {
	keyturn project create web
	run_ok expect -c '
		spawn -noecho keyturn project delete web
		expect "Type '"'web'"'"
		send "web\r"
		expect eof
		exit [lindex [wait] 3]'
	run_fails 3 keyturn project show web
	keyturn project create api
	run_fails 2 expect -c '
		spawn -noecho keyturn project delete api
		expect "Type '"'api'"'"
		send "web\r"
		expect eof
		exit [lindex [wait] 3]'
	run_ok keyturn project show api
}

@test "rotate prints one token with the scope and lifetime asked for" {
	keyturn project create web
	secret_put web/A kept
	run_fails 2 keyturn project rotate web --yes --expires 0s
	run_fails 2 keyturn project rotate web --yes --expires 367d
	run_fails 2 keyturn project rotate web --yes --scope admin
	run_fails 2 keyturn project rotate web --yes --jobs 0
	run_fails 2 keyturn project rotate web --yes --batch-size 0
	assert_equal "$(sql 'SELECT count(*) FROM rotations')" 0
	keyturn project rotate web --yes --scope read --expires 2h \
		>"$PLACE/token" 2>"$PLACE/err"
	assert_equal "$(wc -l <"$PLACE/token")" 1
	run_ok keyturn secret get web/A --access-token-file "$PLACE/token"
	assert_output kept
	run_fails 4 keyturn secret set web/A \
		--access-token-file "$PLACE/token" </dev/null
	assert_equal "$(sql 'SELECT expires - created FROM access')" 7200
	run_ok keyturn project rotate web --yes --no-token
	refute_output --partial kvt1_
	run_fails 4 keyturn secret get web/A --access-token-file "$PLACE/token"
}
