"""Opens what the engine sealed, by scapy's IPsec layer, and compares it with what the engine was given.

Reads one JSON object from standard input: sent and given (pcap files), key (hex, with its salt), spi, first (64-bit
number of the first packet), packets, src, dst (outer addresses). Prints {"opened": N}; fails at the first packet that
is not what it should be.
"""

import json
import struct
import sys

from scapy.config import conf
from scapy.layers.inet import IP
from scapy.layers.ipsec import ESP, SecurityAssociation
from scapy.packet import raw
from scapy.utils import RawPcapReader

ETHERNET_OCTETS = 14

conf.verb = 0


def packets(path):
    return [octets[ETHERNET_OCTETS:] for octets, _ in RawPcapReader(path)]


def after_one_hop(octets):
    """An IPv4 packet as it leaves a router: one less to live, the checksum made anew."""
    packet = IP(octets)
    packet.ttl -= 1
    del packet.chksum
    return raw(packet)


def main():
    job = json.load(sys.stdin)
    given = {after_one_hop(octets) for octets in packets(job["given"])}
    association = SecurityAssociation(
        ESP,
        spi=job["spi"],
        crypt_algo="AES-GCM",
        crypt_key=bytes.fromhex(job["key"]),
        tunnel_header=IP(src=job["src"], dst=job["dst"]),
    )
    sent, ivs = packets(job["sent"]), set()
    assert len(sent) == job["packets"], f"{len(sent)} packets in the capture"
    for seq, octets in enumerate(sent, job["first"]):
        outer = IP(octets)
        checksum, outer.chksum = outer.chksum, None
        assert (outer.src, outer.dst, outer.proto) == (job["src"], job["dst"], 50), f"outer header of {seq:#x}"
        assert IP(raw(outer)).chksum == checksum, f"outer checksum of {seq:#x}"
        spi, seq_lo, iv = struct.unpack("!LLQ", octets[20:36])
        assert (spi, seq_lo) == (job["spi"], seq & 0xFFFFFFFF), f"number of {seq:#x}: {seq_lo:#x}"
        ivs.add(iv)
        inner = association.decrypt(IP(octets), verify=True, esn_en=True, esn=seq >> 32)
        assert raw(inner) in given, f"inner packet of {seq:#x}"
    assert len(ivs) == len(sent), "an IV was used twice"
    print(json.dumps({"opened": len(sent)}))


main()
