# A small vault that is broken again and again: its token and its database are
# kept as they were and put back before every try. Load it after
# ../cli/helper; prepare() makes the vault, keep NAME and put_back NAME copy, and
# $cases counts what was tried.
# shellcheck shell=bash
# shellcheck disable=SC2034 # used by those that load this

PROJECTS=(p1 p2)
SECRETS_EACH=${KEYTURN_TORTURE_SECRETS_EACH:-15}
BATCH=${KEYTURN_TORTURE_BATCH:-6} # three batches a project and more

# A sample of what there is to try, or with KEYTURN_TORTURE_FULL all of it.
FULL=${KEYTURN_TORTURE_FULL:+yes}

# Each round of a long run takes another sample.
ROUND=${KEYTURN_TORTURE_ROUND:-0}

prepare() {
	local p

	vault_setup
	for p in "${PROJECTS[@]}"; do
		awk -v n="$SECRETS_EACH" -v p="$p" 'BEGIN {
			for (i = 1; i <= n; i++)
				printf "KEY_%d=\"value %d of %s\\nline %x\"\n",
					i, i, p, i * 7919
		}' >"$PLACE/$p.env"
		keyturn project create "$p"
		keyturn secret import "$p" "$PLACE/$p.env"
	done 2>/dev/null
	cases=0
	note_values
	VALUES_AFTER=
	WRAPS=$(wraps)
	keep fresh
}

keep() {
	rm -rf "$PLACE/kept.$1"
	mkdir "$PLACE/kept.$1"
	cp -a "$PLACE/tokens" "$PLACE/data" "$PLACE/kept.$1"
}

put_back() {
	rm -rf "$PLACE/tokens" "$PLACE/data"
	cp -a "$PLACE/kept.$1/." "$PLACE"
}

# What the checker finds; the digest of all values where it finds nothing.
checked() {
	"$BIN_DIR/checker" "$STORE" "$MODULE" test "$PLACE/credentials/pin" \
		>"$PLACE/checked" || {
		cat "$PLACE/checked"
		return 1
	}
	tail -n 1 "$PLACE/checked"
}

# quietly COMMAND...: shows what it says only when it fails.
quietly() {
	"$@" >"$PLACE/out" 2>&1 || {
		echo "$*:"
		cat "$PLACE/out"
		return 1
	}
}

# attempt COMMAND...: what it $ended with and $said. When the pipe ends, its
# workers are gone too.
attempt() {
	ended=0
	said=$("$@" 2>&1) || ended=$?
}

# Every stored wrap, byte for byte.
wraps() {
	sql 'SELECT hex(wrapping_key), hex(subject), hex(blob), hex(mac)
	     FROM wraps ORDER BY wrapping_key, subject' | sha256sum
}

# The phase of the rotation that is unfinished; nothing when none is.
phase() {
	keyturn rotation list --json 2>/dev/null |
		perl -0777 -ne 'for my $r (/\{[^{}]*\}/g) {
			my ($p) = $r =~ /"phase":\s*"([\w-]+)"/ or next;
			next if $p =~ /^(contracted|destroyed|rolled-back)$/;
			print "$p\n"; last }'
}

# The database and the token say that nothing was lost, whatever happened: the
# values are those of before or, where the command changes some, of after it.
nothing_is_lost() {
	local now

	now=$(checked) || {
		echo "$now"
		return 1
	}
	case $now in
	"$VALUES" | "$VALUES_AFTER") ;;
	*)
		echo "the values are neither those of before nor of after"
		return 1
		;;
	esac
}

# What is not to be lost from here on.
note_values() {
	VALUES=$(checked)
}

# After the whole command, once, without a crash.
note_values_after() {
	VALUES_AFTER=$(checked)
}

# And the command itself gives every value and a whole audit trail.
all_is_well() {
	local p

	nothing_is_lost || return 1
	[ -z "$(phase)" ] || {
		echo "a rotation is unfinished: $(phase)"
		return 1
	}
	for p in "${PROJECTS[@]}"; do
		quietly keyturn secret verify "$p" "$PLACE/$p.env" || return 1
	done
	quietly keyturn audit verify
}

# recover resume|rollback: ends the unfinished rotation, the wanted way where
# its phase allows it and else the other.
recover() {
	local way=$1 before

	before=$(phase)
	[ -n "$before" ] || return 0
	case $way:$before in
	rollback:contracting) way=resume ;;
	resume:draining) # in a grace time, where it has one
		[ "$(sql 'SELECT max(grace) FROM rotations')" = 0 ] ||
			way=rollback
		;;
	esac
	quietly keyturn rotation "$way" --yes --quiet || {
		echo "$way of a rotation that was $before"
		return 1
	}
}

rotate_master() {
	keyturn master rotate --yes --grace 0 --jobs 1 --batch-size "$BATCH"
}

# Every second one goes back, if there is anything yet to go back from.
settle_rotation() {
	local way=resume

	[ $((cases % 2)) = 0 ] || way=rollback
	recover "$way" || return 1
	all_is_well || return 1
	settled_exactly "$@"
}

# Rolled back is byte for byte what was; and what had not even begun, begins.
settled_exactly() {
	local ends

	ends=$(sql 'SELECT count(*) || count(rolled_back) || count(contracted)
	            FROM rotations')
	case $ends in
	110) [ "$(wraps)" = "$WRAPS" ] || {
		echo "a rolled-back rotation left other wraps"
		return 1
	} ;;
	101) ;;
	000) quietly "$@" && all_is_well ;;
	*)
		echo "rotations, rolled back, contracted: $ends"
		return 1
		;;
	esac
}

report_cases() {
	echo "# $BATS_TEST_DESCRIPTION: $cases crashes" >&3
}
