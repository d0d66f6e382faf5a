#!/bin/sh
# The load of README.md from dpdk-testpmd, which the distribution has (package dpdk-dev): UDP in IPv4 towards a
# gateway's LAN port, either a counted mix of lengths or as much as goes for some seconds.
#
# Counted: every length L of `--inner L:WEIGHT,...` gets WEIGHT bursts of 32 packets a round. Exactly that many
# packets leave, so that the gateway's ledger can be held against it to the packet.
# Exit status: 0 all of them left, 1 not all of them or none, 2 wrong usage.
set -eu

usage() {
    cat >&2 <<END
usage: testpmd.sh --port DEVICE --mac MAC [OPTION]... [-- EAL-ARGUMENT...]
  --port DEVICE      PCI address, or a virtual device: net_af_packet0,iface=eth1
  --mac MAC          Ethernet address of the gateway's LAN port
  --src, --dst ADDR  IPv4 addresses, default 10.1.0.2 and 10.2.0.2
  --inner LIST       octets of the inner IP packet and weight, default 46:7,552:4,1400:1
  --rounds N         rounds of the mix, default 1
  --seconds N        instead: the first length alone, as fast as it goes, for N seconds
  --many             256 source addresses instead of one; they are made from --dst, see README.md
  --cores A,B        CPUs of the command loop and of the sender, default 0,1
  --no-huge          without huge pages
END
    exit 2
}

port='' mac='' src=10.1.0.2 dst=10.2.0.2 inner=46:7,552:4,1400:1 rounds=1 seconds='' many='' cores=0,1 memory=''
while [ $# -gt 0 ]; do
    option=$1
    shift
    case $option in
    --many) many=--txonly-multi-flow ;;
    --no-huge) memory="--no-huge -m 128" ;;
    --port | --mac | --src | --dst | --inner | --rounds | --seconds | --cores)
        [ $# -gt 0 ] || usage
        eval "${option#--}=\$1"
        shift
        ;;
    --) break ;;
    *) usage ;;
    esac
done
[ -n "$port" ] && [ -n "$mac" ] || usage
case $port in
net_*) device="--no-pci --vdev $port" ;;
*) device="-a $port" ;;
esac

# testpmd counts a frame without its FCS: 14 octets of Ethernet header and the IP packet.
frame() { echo $((${1%%:*} + 14)); }

counted() {
    round=0
    while [ "$round" -lt "$rounds" ]; do
        for part in $(echo "$inner" | tr , ' '); do
            echo "set txpkts $(frame "$part")"
            echo "start tx_first ${part##*:}"
            echo stop
        done
        round=$((round + 1))
    done
}

timed() {
    echo "set fwd txonly"
    echo "set txpkts $(frame "$inner")"
    echo start
    # testpmd prompts when its ports are up; the time counts from there.
    tries=600
    until grep -q 'testpmd>' "$log" || [ $((tries -= 1)) = 0 ]; do sleep 0.1; done
    sleep "$seconds"
    echo stop
}

commands() {
    # What comes back is counted and let go; the default would send it out again.
    echo "set fwd rxonly"
    if [ -n "$seconds" ]; then timed; else counted; fi
    echo "show port stats all"
    echo quit
}

expected() {
    total=0
    for part in $(echo "$inner" | tr , ' '); do
        total=$((total + ${part##*:} * 32))
    done
    echo $((total * rounds))
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
fail() {
    cat "$log" >&2
    echo "testpmd.sh: $*" >&2
    exit 1
}

# shellcheck disable=SC2086
commands | dpdk-testpmd --lcores "0@${cores%,*},1@${cores#*,}" --file-prefix "testpmd-$$" --no-telemetry \
    $memory $device "$@" -- -i --no-lsc-interrupt --total-num-mbufs=4096 --eth-peer="0,$mac" \
    --tx-ip="$src,$dst" --tx-udp=9,5001 $many >"$log" 2>&1 || fail "dpdk-testpmd ended with $?"
# The port's counters, the last block that testpmd prints of them.
sent=$(sed -n '/NIC statistics/,$s/.*TX-packets: *\([0-9]*\).*/\1/p' "$log" | tail -n 1)
echo "${sent:-0} packets sent"
if [ -n "$seconds" ]; then
    [ "${sent:-0}" -gt 0 ] || fail "nothing left"
else
    [ "${sent:-0}" = "$(expected)" ] || fail "$(expected) were due"
fi
