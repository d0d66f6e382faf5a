"""An IPsec peer made of scapy's ESP layer: code that is not ours, against which the gateway is checked.

Reads one JSON object from standard input and writes one to standard output. The object names the wire and a
list of steps; each step sends one frame, and those with "echo" wait for the answer that the gateway seals.

    device, own_mac, gateway_mac     the wire
    own, gateway                     outer addresses
    inbound, outbound                SAs as the gateway sees them: {spi, key, esn, seq}; key is hex with its salt
    others                           further inbound SAs by name, chosen by "sa" of a step
    encap                            [own port, gateway port] for ESP in UDP, else null
    steps                            [{kind, ...}], see `Peer.frame`
"""

import json
import socket
import struct
import sys
import time

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from scapy.config import conf
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import ESP, SecurityAssociation
from scapy.layers.l2 import Ether
from scapy.packet import Raw, raw

conf.verb = 0


def ip(src, dst, **fields):
    return IPv6(src=src, dst=dst, **fields) if ":" in src else IP(src=src, dst=dst, **fields)


class Sa:
    """One direction: scapy's association and the 64-bit number."""

    def __init__(self, words, header, nat):
        self.key = bytes.fromhex(words["key"])
        self.spi = words["spi"]
        self.esn = words["esn"]
        self.seq = words["seq"]
        self.scapy = SecurityAssociation(
            ESP, spi=self.spi, crypt_algo="AES-GCM", crypt_key=self.key, tunnel_header=header, nat_t_header=nat
        )

    def seal(self, inner, seq):
        """Seals by scapy."""
        # For a number of 0 scapy takes its own counter.
        self.scapy.seq_num = seq & 0xFFFFFFFF
        packet = self.scapy.encrypt(
            inner,
            seq_num=seq & 0xFFFFFFFF,
            iv=struct.pack("!Q", seq),
            esn_en=self.esn or None,
            esn=(seq >> 32) or None,
        )
        if UDP in packet and ESP in packet:
            # scapy leaves the length of an empty datagram.
            packet[UDP].len = 8 + len(raw(packet[ESP]))
        return packet

    def aad(self, seq):
        words = [self.spi, seq >> 32, seq & 0xFFFFFFFF] if self.esn else [self.spi, seq & 0xFFFFFFFF]
        return struct.pack("!%dL" % len(words), *words)

    def seal_by_hand(self, plain, seq):
        """Seals any octets, also such as scapy would not make; returns from the SPI to the ICV."""
        iv = struct.pack("!Q", seq)
        sealed = AESGCM(self.key[:-4]).encrypt(self.key[-4:] + iv, plain, self.aad(seq))
        return struct.pack("!LL", self.spi, seq & 0xFFFFFFFF) + iv + sealed


class Peer:
    """The wire and both SAs."""

    def __init__(self, job):
        self.job = job
        self.own, self.gateway = job["own"], job["gateway"]
        self.encap = job.get("encap")
        nat = UDP(sport=self.encap[0], dport=self.encap[1]) if self.encap else None
        header = ip(self.own, self.gateway)
        self.to_gateway = Sa(job["inbound"], header, nat)
        self.others = {name: Sa(words, header, nat) for name, words in job.get("others", {}).items()}
        self.from_gateway = Sa(job["outbound"], ip(self.gateway, self.own), None)
        self.wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.wire.bind((job["device"], 0))
        self.ether = Ether(src=job["own_mac"], dst=job["gateway_mac"])

    def inner(self, step):
        fields = {}
        if "ttl" in step:
            fields["hlim" if ":" in step["src"] else "ttl"] = step["ttl"]
        payload = bytes.fromhex(step["payload"])
        return ip(step["src"], step["dst"], **fields) / UDP(sport=4000, dport=step["port"]) / Raw(payload)

    def outer(self, esp, **fields):
        """Puts hand-made ESP octets behind outer headers."""
        in_udp = fields.pop("in_udp", False)
        proto = 17 if self.encap or in_udp else 50
        src, dst = fields.pop("src", self.own), fields.pop("dst", self.gateway)
        header = ip(src, dst, **({"nh": proto} if ":" in src else {"proto": proto}), **fields)
        if self.encap:
            header /= UDP(sport=self.encap[0], dport=self.encap[1], chksum=0)
        elif in_udp:
            header /= UDP(sport=4500, dport=4500)
        return header / Raw(esp)

    def plain(self, inner, padding=None, next_header=None):
        """Returns inner packet and trailer; the padding may be wrong on purpose."""
        octets = raw(inner)
        if padding is None:
            padding = bytes(range(1, 1 + (-(len(octets) + 2)) % 4))
        if next_header is None:
            next_header = 41 if octets[:1] and octets[0] >> 4 == 6 else 4
        return octets + padding + bytes([len(padding), next_header])

    def frame(self, step):
        """Returns the frame of one step."""
        kind = step["kind"]
        sa = self.others[step["sa"]] if "sa" in step else self.to_gateway
        if "seq" in step:
            sa.seq = step["seq"]
        else:
            sa.seq += 1
        seq = sa.seq
        if kind == "genuine":
            return self.ether / sa.seal(self.inner(step), seq)
        if kind == "clear":
            return self.ether / self.inner(step)
        if kind == "raw":
            return Ether(bytes.fromhex(step["frame"]))
        if kind == "ethernet":
            return Ether(src=self.job["own_mac"], dst=step.get("mac", self.job["gateway_mac"]), type=step["type"]) / Raw(
                bytes.fromhex(step["octets"])
            )
        if kind == "udp-4500":
            header = ip(step.get("src", self.own), self.gateway) / UDP(sport=4500, dport=4500)
            return self.ether / header / Raw(bytes.fromhex(step["octets"]))
        esp = self.hostile_esp(kind, sa, step, seq)
        return self.ether / self.outer(esp, **step.get("outer", {}))

    def hostile_esp(self, kind, sa, step, seq):
        """Returns ESP octets with one thing wrong."""
        inner = self.inner(step) if "src" in step else Raw(bytes.fromhex(step.get("octets", "")))
        if kind == "by-hand":
            return sa.seal_by_hand(self.plain(inner), seq)
        if kind == "forged":
            esp = bytearray(sa.seal_by_hand(self.plain(inner), seq))
            esp[step.get("at", -1)] ^= 0x40
            return bytes(esp)
        if kind == "unknown-spi":
            return struct.pack("!L", step["spi"]) + sa.seal_by_hand(self.plain(inner), seq)[4:]
        if kind == "bad-padding":
            return sa.seal_by_hand(self.plain(inner, padding=bytes([9, 9])), seq)
        if kind == "long-padding":
            return sa.seal_by_hand(b"\x01\x02" + bytes([200, 4]), seq)
        if kind == "next-header":
            return sa.seal_by_hand(self.plain(inner, next_header=step["next_header"]), seq)
        if kind == "short":
            return sa.seal_by_hand(self.plain(inner), seq)[: step["octets_kept"]]
        raise ValueError(kind)

    def answer(self, deadline):
        """Waits for one ESP packet of the gateway and opens it by scapy; returns it with its number."""
        while time.monotonic() < deadline:
            self.wire.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                octets, address = self.wire.recvfrom(65535)
            except socket.timeout:
                break
            if address[2] == socket.PACKET_OUTGOING:
                continue
            esp, outer = self.esp_of(Ether(octets))
            if esp is None:
                continue
            spi, seq_lo = struct.unpack("!LL", esp[:8])
            seq = struct.unpack("!Q", esp[8:16])[0]
            if spi != self.from_gateway.spi or seq & 0xFFFFFFFF != seq_lo:
                continue
            shell = ip(self.gateway, self.own, **({"nh": 50} if ":" in self.own else {"proto": 50}))
            shell = shell.__class__(raw(shell / Raw(esp)))
            inner = self.from_gateway.scapy.decrypt(
                shell, esn_en=self.from_gateway.esn or None, esn=(seq >> 32) or None
            )
            return inner, seq, outer
        return None, None, None

    def esp_of(self, frame):
        """Returns the octets of ESP in a frame, plain or in UDP, and the outer header."""
        layer = frame.getlayer(IPv6 if ":" in self.own else IP)
        if layer is None or layer.src != self.gateway:
            return None, None
        payload = raw(layer.payload)
        proto = layer.nh if ":" in self.own else layer.proto
        if self.encap:
            if proto != 17 or struct.unpack("!HH", payload[:4]) != (self.encap[1], self.encap[0]):
                return None, None
            payload = payload[8:]
            return (payload, layer) if len(payload) > 40 and payload[:4] != b"\0\0\0\0" else (None, None)
        return (payload, layer) if proto == 50 and len(payload) > 40 else (None, None)

    def run(self):
        results = []
        frames = [raw(self.frame(step)) for step in self.job["steps"]]
        for step, octets in zip(self.job["steps"], frames):
            time.sleep(step.get("pause", 0))
            for _ in range(step.get("copies", 1)):
                self.wire.send(octets)
            result = {"sent": octets.hex()}
            if step.get("echo"):
                inner, seq, outer = self.answer(time.monotonic() + 5)
                if inner is None:
                    result["answer"] = None
                else:
                    udp = inner.getlayer(UDP)
                    result["answer"] = {
                        "src": inner.src,
                        "dst": inner.dst,
                        "sport": udp.sport,
                        "dport": udp.dport,
                        "payload": raw(udp.payload).hex(),
                        "ttl": inner.hlim if ":" in inner.src else inner.ttl,
                        "seq": seq,
                    }
            results.append(result)
        return results


def main():
    print(json.dumps(Peer(json.load(sys.stdin)).run()))


main()
