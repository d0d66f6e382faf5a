#!/bin/sh
# Writes fresh keys for the load test: FOLDER/a.batch and FOLDER/b.batch, for `espctl -batch` at gateway A and B.
# Two SAs, AES-128-GCM with extended sequence numbers; selectors are open, since if_id 1 already says what enters.
# Never load one pair twice: the sequence numbers, and with them the IVs, would begin anew under the same key.
# Exit status: 0 done, 1 something failed, 2 wrong usage.
set -eu
if [ $# != 1 ]; then
    echo "usage: keys.sh FOLDER (on a tmpfs: it will hold keys)" >&2
    exit 2
fi
umask 077
mkdir -p "$1"

random_key() { od -An -N20 -tx1 /dev/urandom | tr -d ' \n'; }

# state FROM TO SPI KEY DIRECTION: 16 octets of key, then 4 of salt.
state() {
    echo "xfrm state add src $1 dst $2 proto esp spi $3 reqid 1 mode tunnel replay-window 1024" \
        "aead rfc4106(gcm(aes)) 0x$4 128 flag esn if_id 0x1 dir $5"
}

# policies FROM TO DIRECTION...
policies() {
    from=$1 to=$2
    shift 2
    for direction in "$@"; do
        echo "xfrm policy add src 0.0.0.0/0 dst 0.0.0.0/0 dir $direction if_id 0x1 priority 100" \
            "tmpl src $from dst $to proto esp reqid 1 mode tunnel"
    done
}

# batch OWN PEER OUT-SPI OUT-KEY IN-SPI IN-KEY
batch() {
    state "$1" "$2" "$3" "$4" out
    state "$2" "$1" "$5" "$6" in
    policies "$1" "$2" out
    policies "$2" "$1" in fwd
}

a=192.0.2.1 b=192.0.2.2
forth=$(random_key)
back=$(random_key)
batch $a $b 0x1001 "$forth" 0x2002 "$back" >"$1/a.batch"
batch $b $a 0x2002 "$back" 0x1001 "$forth" >"$1/b.batch"
