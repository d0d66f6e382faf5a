#!/bin/sh
# Puts the headers of the installed strongSwan under build/strongswan: from the distribution's source package,
# fetched with deb-src entries made from the machine's own apt sources, in an apt directory of its own.
# A mirror may lack the source of the installed revision; any revision of the same version has its headers.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$root/build
apt=$build/apt

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 1; }

installed=$(dpkg-query -W -f '${Version}' libstrongswan 2>/dev/null) || fail "libstrongswan is not installed"
upstream=${installed%-*}

# Types: deb -> deb-src, and `deb ` -> `deb-src `; options such as Signed-By stay as they are.
derive_sources() {
    eval "$(apt-config shell list Dir::Etc::sourcelist/f parts Dir::Etc::sourceparts/d)"
    rm -rf "$apt"
    mkdir -p "$apt/parts" "$apt/lists/partial" "$apt/cache/archives/partial"
    for file in "$list" "$parts"/*.list; do
        [ ! -f "$file" ] || sed -n 's/^[[:space:]]*deb[[:space:]]/deb-src /p' "$file" >>"$apt/parts/machine.list"
    done
    for file in "$parts"/*.sources; do
        [ ! -f "$file" ] || sed 's/^[Tt]ypes:.*/Types: deb-src/' "$file" >"$apt/parts/$(basename "$file")"
    done
}

private_apt() {
    tool=$1
    shift
    "$tool" -q -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$apt/parts" \
        -o Dir::State::lists="$apt/lists" -o Dir::Cache="$apt/cache" -o APT::Sandbox::User=root "$@"
}

# Prints the revisions of the installed version, the installed one first, then the newest.
revisions() {
    private_apt apt-cache showsrc strongswan | sed -n 's/^Version: //p' | sort -ruV |
        awk -v exact="$installed" -v upstream="$upstream-" \
            '$0 == exact { first = $0 } index($0, upstream) == 1 && $0 != exact { rest = rest $0 "\n" }
             END { if (first) print first; printf "%s", rest }'
}

fetch() {
    say "fetching the source of strongSwan $installed for its headers"
    derive_sources
    private_apt apt-get update >"$apt/log" 2>&1 || true # a source without deb-src is no harm
    cd "$apt"
    for revision in $(revisions); do
        if private_apt apt-get source --download-only "strongswan=$revision" >>"$apt/log" 2>&1; then
            rm -rf "$apt/tree"
            dpkg-source -x strongswan_*.dsc "$apt/tree" >>"$apt/log" 2>&1 || fail "dpkg-source failed; see $apt/log"
            return
        fi
        say "the source of $revision cannot be had"
        rm -f strongswan_*.dsc
    done
    fail "no source of strongSwan $upstream in this machine's apt sources; see $apt/log"
}

keep_headers() {
    rm -rf "$build/strongswan"
    mkdir -p "$build/strongswan"
    cd "$apt/tree"
    find src/libstrongswan src/libcharon -name '*.h' | tar -cf - -T - | tar -xf - -C "$build/strongswan"
    cp COPYING "$build/strongswan/"
    echo "$upstream" >"$build/strongswan/VERSION"
    cd "$root"
    rm -rf "$apt"
    say "headers of strongSwan $revision are in build/strongswan"
}

if [ "$(cat "$build/strongswan/VERSION" 2>/dev/null)" = "$upstream" ]; then
    exit 0
fi
fetch
keep_headers
