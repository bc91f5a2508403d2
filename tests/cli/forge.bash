# For tests that play somebody who may write the database and has no PIN: the
# rows of a small vault by name, and the means to change any of them in ways
# that the schema itself would not allow.
# shellcheck shell=bash

# Two projects with a past: a master and a project rotation that ended, one
# secret with two versions, one access token.
small_vault() {
	local project

	for project in web api; do
		keyturn project create "$project"
	done
	secret_put web/A 'first A of web'
	secret_put web/A 'second A of web'
	secret_put web/B 'value B of web'
	secret_put api/A 'value A of api'
	keyturn master rotate --yes --grace 0
	keyturn project rotate api --yes --no-token
	keyturn access issue web --output "$PLACE/token"
	keyturn access issue api --output "$PLACE/token.api"
}

# get REF: as the operator, by the recovery key.
get() {
	keyturn secret get "$1"
}

# hold REF: as the holder of web's access token, by the project key.
hold() {
	keyturn secret get "$1" --access-token-file "$PLACE/token"
}

# forge STATEMENT: whatever the schema says.
forge() {
	sqlite3 -batch "$STORE" "PRAGMA foreign_keys = OFF;
		PRAGMA ignore_check_constraints = ON; $1"
}

# Ids as SQL.
project_of() {
	echo "(SELECT id FROM projects WHERE name = '$1')"
}

secret_of() {
	echo "(SELECT id FROM secrets WHERE project = $(project_of "${1%/*}")
		AND name = '${1#*/}')"
}

# dek_of REF VERSION
dek_of() {
	echo "(SELECT dek FROM versions WHERE secret = $(secret_of "$1")
		AND version = $2)"
}

# key_of ROLE VERSION: 1 master, 2 recovery
key_of() {
	echo "(SELECT id FROM keys WHERE role = $1 AND version = $2)"
}

project_key_of() {
	echo "(SELECT id FROM keys WHERE role = 3
		AND owner = $(project_of "$1") AND deactivated IS NULL)"
}

# The wrap of a data key under the recovery key, and under the project's.
recovery_wrap_of() {
	echo "wrapping_key = $(key_of 2 2) AND subject = $(dek_of "$1" "$2")"
}

project_wrap_of() {
	echo "wrapping_key = $(project_key_of "${1%/*}")
		AND subject = $(dek_of "$1" "$2")"
}

# Everything in the database, as one line.
contents() {
	sqlite3 -batch "$STORE" .dump | sha256sum
}

# changed TYPE LITERAL: another one, different in one byte or bit.
changed() {
	local middle digit

	case $2 in
	NULL)
		case $1 in
		INTEGER) echo 1024 ;;
		*) echo "X'0123456789abcdef0123456789abcdef'" ;;
		esac
		;;
	"''") echo "'x'" ;;
	"X''") echo "X'00'" ;;
	X*)
		middle=$((${#2} / 2))
		digit=${2:middle:1}
		[ "$digit" = 0 ] && digit=1 || digit=0
		echo "${2:0:middle}$digit${2:middle+1}"
		;;
	\'*x\') echo "${2:0:-2}y'" ;;
	\'*) echo "${2:0:-2}x'" ;;
	*) echo "$(($2 ^ 1024))" ;;
	esac
}

# exchange TABLE COLUMNS WHERE: swaps these columns of the two rows meant.
exchange() {
	forge "CREATE TEMP TABLE pair AS SELECT * FROM $1 WHERE $3;
		UPDATE $1 SET ($2) = (SELECT $2 FROM pair
			WHERE pair.mac != $1.mac)
		WHERE mac IN (SELECT mac FROM pair)"
}
