#!/usr/bin/env bats
# I13: somebody who may write the database and has no PIN changes one value of
# one row, for every column of every table that has a MAC. The command that
# reads the row says so and exits 9; other rows open as before; the doctor
# finds it; with the value put back all is as it was.

load helper
load forge

setup() {
	vault_setup small_vault
}

# A master rotation that met a row it could not prove, which is whole again.
quarantined_rotation() {
	local where blob

	where=$(recovery_wrap_of web/B 1)
	blob=$(sql "SELECT quote(blob) FROM wraps WHERE $where")
	sql "UPDATE wraps SET blob = zeroblob(40) WHERE $where"
	run_fails 9 keyturn master rotate --yes
	sql "UPDATE wraps SET blob = $blob WHERE $where"
}

# one_change TABLE MAC COLUMN TYPE STATUS TEXT COMMAND...
one_change() {
	local table=$1 row=$2 column=$3 was is at=$2

	was=$(sql "SELECT quote($column) FROM $table WHERE mac = $row")
	is=$(changed "$4" "$was")
	[ "$column" != mac ] || at=$is
	echo "$table.$column: $was becomes $is"
	forge "UPDATE $table SET $column = $is WHERE mac = $row"
	run_fails "$5" "${@:7}"
	assert_output --partial "$6"
	refute_output --partial 'of api'
	if [ "$neighbour" = unharmed ]; then
		run_ok get api/A
		assert_output 'value A of api'
	fi
	run_fails 10 keyturn doctor
	assert_output --partial '[FAIL]'
	forge "UPDATE $table SET $column = $was WHERE mac = $at"
}

# each_column TABLE WHERE [COLUMN=STATUS:TEXT...] -- COMMAND...: changes one
# column of this row after the other; the command that reads it ends with 9,
# naming the table, unless said otherwise.
each_column() {
	local table=$1 row before column type expect
	local -A other=()

	row=$(sql "SELECT quote(mac) FROM $table WHERE $2")
	assert_equal "$(wc -w <<<"$row")" 1
	shift 2
	for (( ; $# > 0; )); do
		expect=$1
		shift
		[ "$expect" != -- ] || break
		other[${expect%%=*}]=${expect#*=}
	done
	before=$(contents)
	while read -r column type <&4; do
		expect=${other[$column]:-9:$table }
		one_change "$table" "$row" "$column" "$type" \
			"${expect%%:*}" "${expect#*:}" "$@"
	done 4< <(sql "SELECT name || ' ' || type
	               FROM pragma_table_info('$table')")
	assert_equal "$(contents)" "$before"
	run_ok keyturn doctor
	run_ok "$@"
}

# A token with another serial or without the key cannot be told from a row that
# says so: exit 6. What a row is found by makes it disappear: 3, or 4.

@test "I13: vault" {
	neighbour=-
	each_column vault 1 token_serial='6:belongs to the token' -- get web/A
}

@test "I13: keys: a data key" {
	neighbour=unharmed
	each_column keys "id = $(dek_of web/A 2)" \
		id='9:its key is missing' -- get web/A
}

@test "I13: keys: a project key" {
	neighbour=unharmed
	each_column keys "id = $(project_key_of web)" \
		owner='9:no project key is active' -- hold web/A
}

@test "I13: keys: the master key" {
	neighbour=-
	each_column keys "id = $(key_of 1 2)" \
		owner='9:no master key is active' -- hold web/A
}

@test "I13: keys: the recovery key" {
	neighbour=-
	each_column keys "id = $(key_of 2 2)" \
		owner='9:no recovery key is active' -- get web/A
}

@test "I13: keys: the row-MAC key" {
	neighbour=-
	each_column keys "id = $(key_of 5 1)" \
		role='9:row-mac key is missing' \
		owner='9:row-mac key is missing' \
		cka_id='6:no key with CKA_ID' -- get web/A
}

@test "I13: keys: the audit key" {
	neighbour=-
	each_column keys "id = $(key_of 6 1)" \
		role='9:audit key is missing' \
		owner='9:audit key is missing' -- get web/A
}

@test "I13: wraps: the administrator's way to a value" {
	neighbour=unharmed
	each_column wraps "$(recovery_wrap_of web/A 2)" \
		wrapping_key='9:its key has no wrap' \
		subject='9:its key has no wrap' -- get web/A
	run_ok hold web/A
}

@test "I13: wraps: the access token's way to a value" {
	neighbour=unharmed
	each_column wraps "$(project_wrap_of web/A 2)" \
		wrapping_key='9:its key has no wrap' \
		subject='9:its key has no wrap' -- hold web/A
}

@test "I13: wraps: a project key" {
	neighbour=unharmed
	each_column wraps "subject = $(project_key_of web)" \
		wrapping_key='9:no wrap' subject='9:no wrap' -- hold web/A
}

@test "I13: projects" {
	neighbour=unharmed
	each_column projects "name = 'web'" name='3:no project' -- \
		keyturn project show web
	# a bad row hides none of the others
	forge "UPDATE projects SET created = 1 WHERE name = 'web'"
	run_fails 9 keyturn project list
	assert_line --regexp '^api '
}

@test "I13: secrets" {
	neighbour=unharmed
	each_column secrets "id = $(secret_of web/B)" \
		name='3:no secret' project='3:no secret' -- get web/B
	forge "UPDATE secrets SET name = 'C' WHERE id = $(secret_of web/B)"
	run_fails 9 keyturn secret list web
	assert_line --regexp '^A '
	run_fails 9 get web/C
}

@test "I13: versions" {
	neighbour=unharmed
	each_column versions "dek = $(dek_of web/A 2)" \
		secret='9:the version is missing' \
		version='9:the version is missing' -- get web/A
}

@test "I13: access" {
	neighbour=unharmed
	each_column access "project = $(project_of web)" id='4:denied' -- \
		hold web/A
}

@test "I13: rotations, legs and faults" {
	quarantined_rotation
	neighbour=unharmed
	each_column rotations 'kind = 1 AND contracted > 0' -- \
		keyturn rotation list
	each_column rotations 'contracted IS NULL' -- keyturn rotation list
	each_column legs "leg = 0 AND new_key = $(key_of 1 3)" \
		rotation='9:leg' leg='9:leg' -- keyturn rotation show last
	# a fault decides nothing: every run looks at all rows again
	each_column faults 1 rotation=0: -- keyturn rotation show last
}

@test "I13: audit, audit_head and checkpoints" {
	neighbour=unharmed
	each_column audit 'seq = 3' seq='9:audit entry 3' -- \
		keyturn audit verify
	each_column audit_head 1 -- keyturn audit verify
	each_column checkpoints "seq = (SELECT min(seq) FROM checkpoints)" -- \
		keyturn audit verify
}

@test "I13: backups" {
	neighbour=unharmed
	keyturn backup create "$PLACE/copy.db" --expires 90d
	each_column backups 1 -- keyturn backup list
}

@test "I13: lease, which has no MAC: nothing is lost and nothing begins" {
	local column type before

	before=$(sql 'SELECT count(*) FROM keys')
	for change in 'fence = fence + 1024' 'operator_name = char(10)' \
		"process = 'x'" 'taken = 1' 'renewed = 1' \
		"rotation = (SELECT min(id) FROM rotations)"; do
		forge "UPDATE lease SET $change"
		run_ok get web/A
		run_ok keyturn rotation list
	done
	assert_equal "$(sql 'SELECT count(*) FROM keys')" "$before"
	run_ok keyturn master rotate --yes --grace 0
	run_ok get web/A
	assert_output 'second A of web'
}
