#!/usr/bin/env bats
# keyturn status, the vault on one screen, and the frame of the command around
# it: help, usage errors, completion, and output that cannot be written.
# shellcheck disable=SC2030,SC2031 # a test is a subshell, run sets status

load helper
load proxy

setup() {
	vault_setup
}

# value_of PATH: a value of `status --json`.
value_of() {
	keyturn status --json >"$PLACE/json"
	sqlite3 :memory: "SELECT readfile('$PLACE/json') ->> '\$.$1'"
}

@test "status shows token, database, master key and what there is" {
	keyturn project create web
	secret_put web/A a
	secret_put web/B b
	keyturn access issue web --output "$PLACE/token" 2>/dev/null
	run_ok keyturn status
	for line in 'Projects +1' 'Secrets +2' 'Access tokens +1' \
		'Recovery wraps +yes' 'Gate +[0-9]+ pass.*' '  Version +1' \
		"  Mechanism +$MECHANISM" '  Wrapped rows +1' '  Label +test' \
		"  Module +$MODULE" '  PIN +ok' "  Path +$STORE" \
		'  CKA_ID +[0-9a-f]{32}' '  Age +[0-9].*' \
		'Created +20[0-9-]+T[0-9:]+Z'; do
		assert_line --regexp "^$line\$"
	done
	refute_output --partial 'Unfinished rotation'
}

@test "the JSON says the same" {
	keyturn project create web
	secret_put web/A a
	assert_equal "$(value_of projects)" 1
	assert_equal "$(value_of secrets)" 1
	assert_equal "$(value_of access_tokens)" 0
	assert_equal "$(value_of recovery_wraps)" 1
	assert_equal "$(value_of master.version)" 1
	assert_equal "$(value_of master.rows)" 1
	assert_equal "$(value_of token.label)" test
	assert_equal "$(value_of token.pin)" ok
	assert_equal "$(value_of store.path)" "$STORE"
	assert_equal "$(value_of token.serial)" \
		"$(sql 'SELECT token_serial FROM vault')"
	assert_equal "$(value_of master.cka_id)" \
		"$(sql 'SELECT lower(hex(cka_id)) FROM keys WHERE role = 1')"
	assert_equal "$(value_of rotation)" ''
}

@test "a rotation that is not at its end is shown" {
	keyturn project create web
	keyturn master rotate --yes --grace 1h --operator alice@there
	run_ok keyturn status
	assert_line 'Unfinished rotation'
	assert_line --regexp '^  Phase +draining$'
	assert_line --regexp '^  Operator +alice@there$'
	assert_line --regexp '^  Version +2$'
	assert_equal "$(value_of rotation.phase)" draining
	assert_equal "$(value_of master.version)" 2
	keyturn master finish --now --yes
	run_ok keyturn status
	refute_output --partial 'Unfinished rotation'
}

@test "what the token says of its PIN is shown" {
	proxy_setup
	proxy_plan 'C_GetTokenInfo * after flags 0x10000'
	run_ok keyturn --module "$PROXY" status
	assert_line --regexp '^  PIN +wrong PINs were tried$'
	proxy_plan 'C_GetTokenInfo * after flags 0x20000'
	run_ok keyturn --module "$PROXY" status --last-try
	assert_line --regexp '^  PIN +one try left$'
}

@test "status changes nothing" {
	local file
	file=$(sha256sum "$STORE" "$KEYTURN_CONFIG")
	run_ok keyturn status
	run_ok keyturn status --json
	assert_equal "$(sha256sum "$STORE" "$KEYTURN_CONFIG")" "$file"
}

@test "the version, by command and by option" {
	run_ok keyturn version
	assert_output --regexp '^keyturn [0-9]+\.[0-9]+\.[0-9]+$'
	local version=$output
	run_ok keyturn --version
	assert_output "$version"
}

@test "without arguments it says what it can do" {
	keyturn >"$PLACE/none" 2>"$PLACE/err"
	assert_equal "$(cat "$PLACE/err")" ''
	for option in --help -h help; do
		run_ok keyturn "$option"
		assert_output "$(cat "$PLACE/none")"
	done
	for word in init status doctor project access secret master rotation \
		audit backup --pin-file --store; do
		assert_line --regexp "^ .*$word"
	done
}

@test "every group and every command has help, on stdout" {
	local command group
	keyturn __commands | grep -v -- -- | sort >"$PLACE/commands"
	[ "$(wc -l <"$PLACE/commands")" -gt 30 ]
	while read -r command; do
		# shellcheck disable=SC2086 # words
		keyturn $command --help >"$PLACE/help" 2>"$PLACE/err"
		assert_equal "$(cat "$PLACE/err")" ''
		run cat "$PLACE/help"
		assert_line --index 0 --partial "keyturn $command: "
		assert_line --regexp "^Usage: keyturn $command"
		# shellcheck disable=SC2086 # words
		run_ok keyturn help $command
		assert_output "$(cat "$PLACE/help")"
	done <"$PLACE/commands"
	sed -n "s/ .*//p" "$PLACE/commands" | sort -u >"$PLACE/groups"
	while read -r group; do
		run_ok keyturn "$group" --help
		assert_output "$(keyturn help "$group")"
		assert_output --partial "'keyturn $group COMMAND --help'"
	done <"$PLACE/groups"
}

@test "help opens no vault and asks for no PIN" {
	rm -r "$PLACE/tokens" "$STORE" "$KEYTURN_CONFIG"
	run_ok keyturn master rotate --help
	run_ok keyturn help
	run_ok keyturn completion bash
	run_ok keyturn version
}

# usage_error WORDS ARGUMENT...: 2, and one line with these words.
usage_error() {
	local words=$1

	shift
	run_fails 2 keyturn "$@"
	assert_output --partial "$words"
	assert_equal "${#lines[@]}" 1
	assert_line --regexp '^keyturn: '
}

@test "wrong usage is one line and 2, and says what was meant" {
	usage_error "unknown command 'statsu' (did you mean 'status'?)" statsu
	usage_error "'project lst' (did you mean 'list'?)" project lst
	usage_error "unknown command 'zzz'" zzz
	refute_output --partial 'did you mean'
	usage_error "unknown command ''" ''
	usage_error 'keyturn project --help lists them' project
	usage_error "'--jsn' (did you mean '--json'?)" status --jsn
	usage_error "unknown option '-x'" status -x
	usage_error "'--quiet' takes no value" status --quiet=1
	usage_error "'--store' needs PATH" --store
	usage_error 'NAME is missing' project create
	usage_error '1 argument too many' project create a b
	usage_error '2 arguments too many' status a b
	usage_error 'no listing to print' version --json
	usage_error "'a?[31mb'" $'a\033[31mb'
	usage_error "no command is named 'zzz'" help zzz
	usage_error "none of bash, zsh, fish" completion tcsh
	usage_error 'SHELL is missing' completion
}

@test "options stand before, between and behind the words" {
	local before
	before=$(keyturn project list --json)
	assert_equal "$(keyturn --json project list)" "$before"
	assert_equal "$(keyturn project --json list)" "$before"
	run_ok keyturn project create -- web
	usage_error "unknown command 'project --json'" project -- --json
}

@test "completion knows commands, options, choices and files" {
	run_ok keyturn __complete -- pro
	assert_output $'project\tprojects and their keys'
	run_ok keyturn __complete -- project ''
	for verb in create list show rotate delete; do
		assert_line --regexp "^$verb"$'\t'
	done
	run_ok keyturn __complete -- init --gate ''
	assert_line --regexp $'^strict\t'
	assert_line --regexp $'^warn\t'
	run_ok keyturn __complete -- status --st
	assert_line --regexp $'^--store\t'
	run_ok keyturn __complete -- status --store ''
	assert_output ':files'
	for command in __complete __commands __config; do
		run keyturn __complete -- __
		refute_output --partial "$command"
	done
}

@test "the completion of bash completes" {
	# shellcheck source=/dev/null
	source <(keyturn completion bash)
	COMP_WORDS=(keyturn master ro)
	COMP_CWORD=2
	COMPREPLY=()
	_keyturn
	assert_equal "$(printf '%s\n' "${COMPREPLY[@]}" | sort | xargs)" \
		'rollback rotate'
}

@test "output that cannot be written is an error" {
	local command
	for command in --help version 'help master' 'completion bash' \
		'project list --json' status 'status --json' doctor \
		'doctor --json' 'master list' 'audit list'; do
		# shellcheck disable=SC2086 # words
		run_fails 1 bash -c "keyturn $command >/dev/full"
		assert_output --partial \
			'standard output: cannot write: No space left'
		run_fails 1 bash -c "keyturn $command >&-"
		assert_output --partial 'standard output: cannot write'
	done
}

@test "closed descriptors are no way into the database or the token" {
	local file
	keyturn project create web
	file=$(sha256sum "$STORE")
	run bash -c 'keyturn status <&- >&- 2>&-'
	assert_equal "$status" 1
	# a closed stdin is no empty value
	run bash -c 'keyturn secret set web/A <&-'
	refute [ "$status" = 0 ]
	run_fails 3 keyturn secret get web/A
	assert_equal "$(sha256sum "$STORE")" "$file"
	run_ok bash -c 'keyturn project create api <&- >&- 2>&-'
	run_ok keyturn project show api
	# they are taken before anything else can take them, the wrong way round
	# shellcheck disable=SC2016 # bash -c's own
	ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 run_ok strace -f -qq \
		-o "$PLACE/trace" -e trace=openat bash -c \
		'exec keyturn project show api <&- >"$0" 2>&-' "$PLACE/out"
	run_ok grep -F '"/dev/null", O_WRONLY) = 0' "$PLACE/trace"
	run_ok grep -F '"/dev/null", O_RDONLY) = 2' "$PLACE/trace"
	# nor into a worker's protocol
	secret_put web/A value
	secret_put web/B value
	run_ok bash -c 'keyturn master rotate --yes --grace 0 --batch-size 1 \
		--jobs 2 <&- >&- 2>&-'
	run_ok keyturn secret get web/A
	assert_equal "$(find "$PLACE/run" -type f -size +0)" ''
	run_ok keyturn doctor
}

@test "a listing without a terminal has no escape sequence" {
	keyturn project create web
	TERM=xterm-256color run_ok keyturn project list
	refute_output --partial $'\033'
	TERM=xterm-256color run_ok keyturn status
	refute_output --partial $'\033'
	TERM=xterm-256color run_ok keyturn master rotate --yes
	refute_output --partial $'\033'
}

@test "with NO_COLOR a terminal gets no colour, with TERM=dumb no movement" {
	local at_terminal='
		spawn -noecho keyturn master rotate --yes --grace 0
		expect eof
		exit [lindex [wait] 3]'
	keyturn project create web
	TERM=xterm-256color NO_COLOR=1 run_ok expect -c "$at_terminal"
	refute_output --regexp $'\033''\[[0-9;]*m'
	TERM=dumb run_ok expect -c "$at_terminal"
	refute_output --partial $'\033'
}
