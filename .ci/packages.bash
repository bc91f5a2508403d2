# Debian packages, for ./demo and ./check: what is missing is said, then
# installed by apt-get, as root or through sudo.
# shellcheck shell=bash

# To build the command, the library and the manual pages.
# shellcheck disable=SC2034 # for those who source this
BUILD_PACKAGES=(gcc libc6-dev cmake ninja-build pkg-config scdoc
	libp11-kit-dev libssl-dev libsqlite3-dev libcyaml-dev libyaml-dev libjansson-dev
	libsmartcols-dev libtss2-dev zlib1g-dev)

package_there() {
	# ii: wanted and installed.
	[ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null)" = 'ii ' ]
}

# packages_install PACKAGE...
packages_install() {
	local package missing=() as_root=()

	for package; do
		package_there "$package" || missing+=("$package")
	done
	printf 'packages needed: %s\n' "$*"
	if [ ${#missing[@]} -eq 0 ]; then
		printf 'all of them are installed\n'
		return 0
	fi
	printf 'packages to install: %s\n' "${missing[*]}"
	if [ "$(id -u)" -ne 0 ]; then
		command -v sudo >/dev/null || {
			printf 'neither root nor sudo: install them first\n' >&2
			return 1
		}
		as_root=(sudo)
	fi
	"${as_root[@]}" apt-get -q update &&
		"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get \
			-q install -y --no-install-recommends "${missing[@]}"
}
