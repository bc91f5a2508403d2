#!/usr/bin/env bats
# The token measured by its operator: what is said, that nothing changes by it,
# that a wrong token is found out, and that the forecast comes true.

load helper
load proxy

setup() {
	vault_setup projects_new web 200
}

@test "the token's rates are listed, and nothing changes" {
	local before objects

	before=$(sha256sum "$STORE")
	objects=$(token_objects)
	run_ok keyturn token bench --jobs 2
	assert_line --regexp '^JOBS +ROWS/S +US/ROW +START MS +MEASURED$'
	assert_line --regexp '^ +1 +[0-9]+ +[0-9]+ +[0-9]+ +[0-9]+$'
	assert_line --regexp '^ +2 +[0-9]+ +[0-9]+ +[0-9]+ +[0-9]+$'
	assert_line --partial 'of the master key, 201 rows with 2 jobs: about'
	run_ok keyturn token bench --jobs 1 --json --quiet
	assert_output --regexp '"jobs": 1, "rows_per_s": [1-9][0-9]*, '
	refute_output --partial '"jobs": 2'
	assert_equal "$(sha256sum "$STORE")" "$before"
	assert_equal "$(token_objects)" "$objects"
	run_ok keyturn doctor
}

@test "a token that answers fast and wrong is no fast token" {
	proxy_setup
	proxy_plan 'C_WrapKey 200+ after corrupt'
	run_fails 6 keyturn --module "$PROXY" token bench --jobs 1
	assert_output --partial 'two wraps of one key differ'
}

@test "an access token's holder cannot measure" {
	local access

	access=$(keyturn access issue web --quiet)
	run_fails 4 keyturn --access-token-file <(printf '%s' "$access") \
		token bench
	run_fails 2 keyturn token bench --jobs 0
	run_fails 2 keyturn token bench --seconds 0
}

# forecast: seconds, of the last line that keyturn token bench said.
forecast() {
	keyturn --module "$PROXY" token bench --jobs 2 --seconds 2 2>&1 |
		sed -n 's/.*about \([0-9.]*\) s to the cut-over.*/\1/p'
}

# rotation_ms: what a rotation takes from its plan to the cut-over.
rotation_ms() {
	local begin

	begin=$(date +%s%3N)
	keyturn --module "$PROXY" master rotate --yes --jobs 2 --batch-size 50 \
		>/dev/null 2>&1
	echo $(($(date +%s%3N) - begin))
	keyturn master finish --now --yes >/dev/null 2>&1
}

# A token that takes 10 ms a call, as over a network: then what else runs on
# this machine has little weight. Even so a busy one gets three tries.
@test "the forecast comes true within a fifth" {
	local said took

	proxy_setup
	for _ in 1 2 3; do
		proxy_plan 'C_UnwrapKey * before delay 10' \
			'C_WrapKey * before delay 10' \
			'C_DestroyObject * before delay 10'
		said=$(forecast)
		took=$(rotation_ms)
		echo "forecast $said s, took $took ms"
		if awk -v said="$said" -v took="$took" 'BEGIN {
			exit !(said * 1000 > took * 0.8 && said * 1000 < took * 1.2)
		}'; then
			return 0
		fi
	done
	return 1
}
