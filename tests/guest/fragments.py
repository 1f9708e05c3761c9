#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""What a rule costs on one UDP datagram of 65,000 octets, by the size of the fragments it comes in.

To be run with the guest's clock counting instructions. The kernel puts the fragments together to a
packet with a list of them. Prints a line `OCTETS NANOSECONDS` for each size: octets of IP payload in
a fragment, and the time that RULES rules take of the last fragment's way through the FORWARD hook.
"""

import fcntl
import ipaddress
import os
import struct
import subprocess
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
PAYLOAD = 65000
SIZES = (64960, 1480, 16)
RULES = 8
# Wrong at its first octet, and to be searched to its last.
RULE = "-p udp -m dnp3 --frames any --fc read"
RUNS = 3


def call(command):
    subprocess.run(command.split(), check=True)


def checksum(header):
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def fragments(datagram, size, identification):
    """The IPv4 packets that carry a UDP datagram in pieces."""
    addresses = b"".join(ipaddress.IPv4Address(a).packed for a in ("192.0.2.2", "198.51.100.2"))
    packets = []
    for offset in range(0, len(datagram), size):
        piece = datagram[offset : offset + size]
        more = 0x2000 if offset + size < len(datagram) else 0
        fields = (0x45, 0, 20 + len(piece), identification, more | offset // 8, 64, 17)
        header = struct.pack("!BBHHHBBH", *fields, 0) + addresses
        header = struct.pack("!BBHHHBBH", *fields, checksum(header)) + addresses
        packets.append(header + piece)
    return packets


def main():
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"tun0", IFF_TUN | IFF_NO_PI))
    call("ip addr add 192.0.2.1/24 dev tun0")
    call("ip link set tun0 mtu 65535 up")
    call("ip link add out0 type dummy")
    call("ip addr add 198.51.100.1/24 dev out0")
    call("ip link set out0 up")
    call("sysctl -q net.ipv4.ip_forward=1 net.ipv4.ipfrag_high_thresh=67108864")
    call("iptables -P FORWARD DROP")
    # So that both measurements are of a packet that was put together.
    call("iptables -A FORWARD -p udp -m dnp3 --saddr 9999 --fc read")

    datagram = struct.pack("!HHHH", 30000, 20000, 8 + PAYLOAD, 0) + bytes(PAYLOAD)
    identification = 0

    def cost(size):
        nonlocal identification
        best = None
        for _ in range(RUNS):
            identification += 1
            *packets, last = fragments(datagram, size, identification)
            for packet in packets:
                os.write(tun, packet)
            begun = time.monotonic_ns()
            os.write(tun, last)
            taken = time.monotonic_ns() - begun
            best = taken if best is None else min(best, taken)
        return best

    cost(SIZES[0])
    without = {size: cost(size) for size in SIZES}
    for _ in range(RULES):
        call(f"iptables -A FORWARD {RULE}")
    for size in SIZES:
        print(size, cost(size) - without[size])
    saved = subprocess.run(["iptables-save", "-c"], check=True, capture_output=True, text=True)
    datagrams = RUNS * len(SIZES)
    assert f"[{2 * datagrams + RUNS}:" in saved.stdout, saved.stdout


main()
