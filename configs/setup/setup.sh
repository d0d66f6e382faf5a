#!/bin/sh
# Installs what Espalier is built with and tested against on Debian 12. Says what it does, does only what is
# missing. Exit status: 0 done, 1 something failed, 2 this is not Debian 12.
set -eu
here=$(dirname "$0")
msrv=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$here/../../Cargo.toml")

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 1; }

version_of() {
    found=$(dpkg-query -W -f '${Version}' "$1" 2>/dev/null) || found=none
    echo "${found:-none}"
}

check_release() {
    ID=unknown VERSION_ID=unknown
    [ ! -r /etc/os-release ] || . /etc/os-release
    [ "$ID $VERSION_ID" = "debian 12" ] && return
    echo "setup: Espalier is built on Debian 12 with DPDK 22.11 and strongSwan 5.9.8; found $ID $VERSION_ID," \
        "DPDK $(version_of libdpdk-dev), strongSwan $(version_of libstrongswan)" >&2
    exit 2
}

missing_packages() {
    for package in $(grep -v '^#' "$here/packages.txt"); do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || echo "$package"
    done
}

missing_cargo() {
    "$here/cargo-path" >/dev/null 2>&1 || echo rustc-web cargo-web rust-web-clippy rustfmt-web
}

# A gateway's own daemon is the owner's to start: the package would start it on ports 500 and 4500.
hold_strongswan() {
    [ -d /run/systemd/system ] && ! systemctl cat strongswan.service >/dev/null 2>&1 || return 0
    say "strongswan.service will be installed but not started"
    systemctl mask --runtime --quiet strongswan.service
    trap 'systemctl unmask --runtime --quiet strongswan.service' EXIT
}

install_packages() {
    [ "$(id -u)" = 0 ] || fail "packages are missing ($*); run \`make setup\` as root"
    say "installing $*"
    say "this takes a minute or two; what apt says goes to build/setup.log"
    mkdir -p "$here/../../build"
    log=$(cd "$here/../../build" && pwd)/setup.log
    hold_strongswan
    export DEBIAN_FRONTEND=noninteractive
    if ! { apt-get update -q && apt-get install -q -y --no-install-recommends "$@"; } >"$log" 2>&1; then
        tail -n 5 "$log" >&2
        fail "apt-get failed; its last lines are above, all of them in $log"
    fi
}

check_release
# shellcheck disable=SC2046
set -- $(missing_packages) $(missing_cargo)
if [ $# -gt 0 ]; then
    install_packages "$@"
fi
bin=$("$here/cargo-path") || fail "no cargo of version $msrv or newer was found after installing it"
say "$("$bin/cargo" --version), DPDK $(version_of libdpdk-dev), strongSwan $(version_of libstrongswan)"
"$here/strongswan-headers.sh"
