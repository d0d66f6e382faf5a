"""Knocks at closed doors of a gateway and counts the answers by kind; JSON in, JSON out.

    device, own_mac, gateway_mac, own, gateway    the wire and the IPv4 addresses
"""

import json
import socket
import sys
import time

from scapy.config import conf
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw, raw

conf.verb = 0


def main():
    job = json.load(sys.stdin)
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    wire.bind((job["device"], 0))
    ether = Ether(src=job["own_mac"], dst=job["gateway_mac"])
    header = IP(src=job["own"], dst=job["gateway"])
    esp = bytes.fromhex("0badcafe00000001") + bytes(60)
    knocks = [
        header / TCP(sport=40001, dport=81, flags="S"),
        header.__class__(src=job["own"], dst=job["gateway"], proto=50) / Raw(esp),
        header / UDP(sport=4500, dport=4500) / Raw(esp),
        header / UDP(sport=4500, dport=4500) / Raw(b"\xff"),
    ]
    for knock in knocks:
        wire.send(raw(ether / knock))
    answers = {"rst": 0, "icmp": 0, "other": 0}
    deadline = time.monotonic() + 2.5
    while time.monotonic() < deadline:
        wire.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            octets, address = wire.recvfrom(65535)
        except socket.timeout:
            break
        frame = Ether(octets)
        if address[2] == socket.PACKET_OUTGOING or IP not in frame or frame[IP].src != job["gateway"]:
            continue
        if TCP in frame and frame[TCP].flags.R:
            answers["rst"] += 1
        elif ICMP in frame:
            answers["icmp"] += 1
        else:
            answers["other"] += 1
    print(json.dumps(answers))


main()
