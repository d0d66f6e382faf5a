"""Sends the frames of a pcap file (nanoseconds, little endian) out of a device: replay.py DEVICE FILE PPS."""

import socket
import struct
import sys
import time


def frames(path):
    with open(path, "rb") as file:
        octets = file.read()
    at = 24
    while at + 16 <= len(octets):
        length = struct.unpack_from("<I", octets, at + 8)[0]
        yield octets[at + 16 : at + 16 + length]
        at += 16 + length


def main():
    device, path, pps = sys.argv[1], sys.argv[2], int(sys.argv[3])
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
    wire.bind((device, 0))
    start = time.monotonic()
    for sent, frame in enumerate(frames(path)):
        while (time.monotonic() - start) * pps < sent:
            time.sleep(0.0005)
        wire.send(frame)


main()
