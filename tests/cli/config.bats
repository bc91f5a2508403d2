#!/usr/bin/env bats
# The configuration file: what is refused, with its line, and which of option,
# environment and file wins.

load helper

setup() {
	vault_setup
	cp "$KEYTURN_CONFIG" "$PLACE/good.yaml"
}

# refused LINE WORDS TEXT: a file of this text is refused with its name, this
# line and these words.
refused() {
	printf '%b' "$3" >"$KEYTURN_CONFIG"
	run_fails 2 keyturn project list
	assert_line --index 0 --partial "$KEYTURN_CONFIG:$1: "
	assert_line --index 0 --partial "$2"
}

@test "the file that init writes is accepted and has every key once" {
	run_ok keyturn project list
	grep -v '^runtime-dir:' "$PLACE/good.yaml" |
		sed 's/^\( *\)# \([a-z-]*: [^ ]*\)$/\1\2/' >"$PLACE/all.yaml"
	for key in store token uri module gate pin file allow-environment \
		rotation batch-size jobs sessions grace lease runtime-dir; do
		assert_equal "$key $(grep -c "^ *$key:" "$PLACE/all.yaml")" \
			"$key 1"
	done
}

@test "an unknown key is refused with its line and the one that was meant" {
	refused 1 "unknown key 'stor' (did you mean 'store'?)" 'stor: /x\n'
	refused 3 "unknown key 'urii' (did you mean 'uri'?)" \
		'# a comment\ntoken:\n  urii: x\n'
	refused 2 "unknown key 'batch_size' (did you mean 'batch-size'?)" \
		'rotation:\n  batch_size: 1\n'
	refused 1 "unknown key 'wholly-different'" 'wholly-different: 1\n'
	refute_output --partial 'did you mean'
	# known, but elsewhere
	refused 1 "unknown key 'uri'" 'uri: pkcs11:token=test\n'
}

@test "a bad value is refused with its line" {
	refused 1 "store: 'rel/x' is not an absolute path" 'store: rel/x\n'
	refused 3 "gate: 'lax' is neither strict nor warn" \
		'token:\n  uri: pkcs11:token=test\n  gate: lax\n'
	refused 2 "file: 'pin' is not an absolute path" 'pin:\n  file: pin\n'
	refused 2 "'yes' is neither true nor false" \
		'pin:\n  allow-environment: yes\n'
	refused 2 "'True' is neither true nor false" \
		'pin:\n  allow-environment: True\n'
	refused 2 "0 is not between 1 and 64" 'rotation:\n  jobs: 0\n'
	refused 2 "65 is not between 1 and 64" 'rotation:\n  jobs: 65\n'
	refused 2 "-1 is not between" 'rotation:\n  jobs: -1\n'
	refused 2 "'2x' is not a whole number" 'rotation:\n  jobs: 2x\n'
	refused 2 "sessions: value: 0 is not between 1 and 64" \
		'rotation:\n  sessions: 0\n'
	refused 2 "sessions: value: 65 is not between 1 and 64" \
		'rotation:\n  sessions: 65\n'
	refused 2 "sessions: value: 'all' is not a whole number" \
		'rotation:\n  sessions: all\n'
	refused 2 "10001 is not between 1 and 10000" \
		'rotation:\n  batch-size: 10001\n'
	refused 2 "lease: '0' is not between 1s and 24h" \
		'rotation:\n  lease: 0\n'
	refused 2 "'5 weeks' is not a duration" 'rotation:\n  grace: 5 weeks\n'
	refused 2 "runtime-dir: 'run' is not an absolute path" \
		'store: /x\nruntime-dir: run\n'
}

@test "a key that stands twice is refused with its second line" {
	refused 3 "'store' is there twice" 'store: /a\n\nstore: /b\n'
	refused 3 "'uri' is there twice" 'token:\n  uri: a\n  uri: b\n'
	refused 4 "'token' is there twice" \
		'token:\n  uri: a\nstore: /x\ntoken:\n  gate: warn\n'
}

@test "wrong types and what is no YAML are refused with their line" {
	refused 1 "'token' is not usable" 'token: text\n'
	refused 2 "'store' is not usable" '# c\nstore: [a, b]\n'
	refused 2 "'store' is not usable" 'store:\n  a: b\n'
	refused 1 "'store' has no value" 'store:\n'
	refused 2 'not YAML' 'store: /x\ntoken: "open\n'
	refused 2 'not YAML' 'store: /x\n\ttoken: x\n'
	refused 2 'a second document' 'store: /a\n---\nstore: /b\n'
}

@test "a list, bytes and a file without end are refused" {
	local text
	for text in '- a\n- b\n' '\xff\xfe\x00\n' 'word\n'; do
		printf '%b' "$text" >"$KEYTURN_CONFIG"
		run_fails 2 keyturn project list
		assert_line --index 0 --partial "$KEYTURN_CONFIG"
	done
	head -c 70000 /dev/zero | tr '\0' '#' >"$KEYTURN_CONFIG"
	run_fails 2 keyturn project list
	assert_line --index 0 --partial 'more than 65536 bytes'
}

@test "an empty file is a file of defaults: no token" {
	: >"$KEYTURN_CONFIG"
	run_fails 2 keyturn project list
	assert_line --index 0 --partial 'no token is configured'
	assert_line --index 1 --partial 'keyturn init'
	run_ok keyturn project list --token 'pkcs11:token=test' \
		--module "$MODULE"
}

@test "a PIN in the file's URI is refused and not shown" {
	printf "token:\n  uri: 'pkcs11:token=test?pin-value=%s'\n" "$PIN" \
		>"$KEYTURN_CONFIG"
	run_fails 2 keyturn project list
	assert_line --index 0 --partial 'a PIN inside the token URI is refused'
	refute_output --partial "$PIN"
}

@test "a file that others can write is refused" {
	local mode
	for mode in 0602 0620 0666 0777; do
		chmod "$mode" "$KEYTURN_CONFIG"
		run_fails 2 keyturn project list
		assert_line --index 0 --partial 'others can write it'
		assert_line --index 1 --partial "chmod go-w $KEYTURN_CONFIG"
	done
	chmod 0644 "$KEYTURN_CONFIG"
	run_ok keyturn project list
	run_fails 2 env KEYTURN_CONFIG="$PLACE/data" keyturn project list
	assert_line --index 0 --partial 'not a regular file'
}

@test "a named file must be there, the default need not" {
	run_fails 2 keyturn project list --config "$PLACE/none.yaml"
	assert_line --index 0 --partial "$PLACE/none.yaml: No such file"
	KEYTURN_CONFIG=$PLACE/none.yaml run_fails 2 keyturn project list
	KEYTURN_CONFIG='' run_ok keyturn project list \
		--token 'pkcs11:token=test' --module "$MODULE"
}

@test "options win over the environment, the environment over the file" {
	local before
	sed -i "s|^store:.*|store: '$PLACE/file.db'|" "$KEYTURN_CONFIG"
	before=$(sha256sum "$STORE")
	unset KEYTURN_STORE
	run_fails 8 keyturn project list
	assert_line --index 0 --partial "$PLACE/file.db"
	export KEYTURN_STORE=$PLACE/environment.db
	run_fails 8 keyturn project list
	assert_line --index 0 --partial "$PLACE/environment.db"
	run_fails 8 keyturn project list --store "$PLACE/option.db"
	assert_line --index 0 --partial "$PLACE/option.db"
	run_ok keyturn project list --store "$STORE"
	assert_equal "$(sha256sum "$STORE")" "$before"
	# an empty variable is none
	KEYTURN_STORE='' run_fails 8 keyturn project list
	assert_line --index 0 --partial "$PLACE/file.db"

	export KEYTURN_STORE=$STORE KEYTURN_TOKEN=pkcs11:token=environment
	run_fails 6 keyturn project list
	assert_line --index 0 --partial 'pkcs11:token=environment'
	run_fails 6 keyturn project list --token pkcs11:token=option
	assert_line --index 0 --partial 'pkcs11:token=option'
	run_ok keyturn project list --token pkcs11:token=test

	run_fails 6 keyturn project list --module "$PLACE/none.so"
	sed -i "s|^  module:.*|  module: '$PLACE/file.so'|" "$KEYTURN_CONFIG"
	run_fails 6 keyturn project list --token pkcs11:token=test
	assert_line --index 0 --partial "$PLACE/file.so"
	run_ok keyturn project list --token pkcs11:token=test \
		--module "$MODULE"

	cp "$PLACE/good.yaml" "$PLACE/option.yaml"
	echo 'nonsense: 1' >"$KEYTURN_CONFIG"
	run_fails 2 keyturn project list --token pkcs11:token=test
	run_ok keyturn project list --token pkcs11:token=test \
		--config "$PLACE/option.yaml"
}

# plan [OPTION...]: the plan of a rotation that is then not confirmed.
plan() {
	run_fails 2 keyturn master rotate "$@" </dev/null
}

@test "the rotation's defaults come from the file, options win" {
	sed -i '/^rotation:/,$d' "$KEYTURN_CONFIG"
	cat >>"$KEYTURN_CONFIG" <<-END
		runtime-dir: '$PLACE/run/keyturn'
		rotation:
		  batch-size: 7
		  jobs: 3
		  grace: 5h
	END
	plan
	assert_line --partial 'batches of 7, 3 jobs'
	assert_line --partial 'for 5 h'
	plan --jobs auto
	assert_line --partial 'batches of 7, '
	assert_line --partial 'jobs, more where that pays'
	plan --batch-size 9 --jobs 1 --grace 2d
	assert_line --partial 'batches of 9, 1 job'
	assert_line --partial 'for 2 d'
}

@test "the directory of the locks must be ours alone" {
	sed -i "s|^runtime-dir:.*|runtime-dir: '$PLACE/open'|" \
		"$KEYTURN_CONFIG"
	mkdir -m 0755 "$PLACE/open"
	run_fails 2 keyturn project list
	assert_line --index 0 --partial "$PLACE/open is not yours"
	chmod 0700 "$PLACE/open"
	run_ok keyturn project list
	rmdir "$PLACE/open" 2>/dev/null || rm -r "$PLACE/open"
	ln -s "$PLACE/run" "$PLACE/open"
	run_fails 2 keyturn project list
}
