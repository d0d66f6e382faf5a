"""Deals the frames of one device out to two others in turn, and carries back what those send.

split.py FROM FIRST FIRST_MAC SECOND SECOND_MAC: unicast frames from FROM leave by FIRST and SECOND alternately,
with that port's address; everything else from FROM leaves by FIRST. Only the standard library is used.
"""

import selectors
import socket
import sys

source, first, first_mac, second, second_mac = sys.argv[1:6]


def opened(device):
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    wire.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
    wire.bind((device, 0))
    wire.setsockopt(263, 1, _promiscuous(device))  # SOL_PACKET, PACKET_ADD_MEMBERSHIP
    return wire


def _promiscuous(device):
    import struct

    return struct.pack("iHH8s", socket.if_nametoindex(device), 1, 0, b"")


wires = {device: opened(device) for device in (source, first, second)}
targets = [
    (wires[first], bytes.fromhex(first_mac.replace(":", ""))),
    (wires[second], bytes.fromhex(second_mac.replace(":", ""))),
]
selector = selectors.DefaultSelector()
for device, wire in wires.items():
    selector.register(wire, selectors.EVENT_READ, device)
print("ready", flush=True)
turn = 0
while True:
    for key, _ in selector.select():
        octets, address = wires[key.data].recvfrom(65535)
        if address[2] == socket.PACKET_OUTGOING:
            continue
        if key.data != source:
            wires[source].send(octets)
        elif octets[0] & 1 or octets[12:14] == b"\x08\x06":
            wires[first].send(octets)
        else:
            wire, mac = targets[turn]
            turn ^= 1
            wire.send(mac + octets[6:])
