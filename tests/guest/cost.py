#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""What a rule costs on one packet, in instructions. To be run with the guest's clock counting them.

usage: cost.py PLAN

Each line of PLAN is a JSON object, tests/tests/vm_cost.rs makes it:
    shape    how PAYLOAD becomes a packet: see `packets` below
    size     of a fragment, or of a datagram; 0 where there is none
    rule     what stands in the rule
    payload  hexadecimal digits
Printed is a line `NUMBER INSTRUCTIONS PACKETS` for each: what the rule takes of the packet's way
through the FORWARD hook, from where nothing leaves, and how many of the RUNS packets it matched.
"""

import fcntl
import ipaddress
import json
import os
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
NEEDS_CSUM, GSO_NONE, GSO_TCPV4, GSO_UDP_L4 = 1, 0, 1, 5
TCP, UDP = 6, 17
# To leave the work that is not the rule's out, and the guest's ticks with it.
RULES, RUNS = 2, 2
ADDRESSES = b"".join(ipaddress.IPv4Address(a).packed for a in ("192.0.2.2", "198.51.100.2"))


def call(command):
    subprocess.run(command.split(), check=True)


def listed(chain):
    command = ["iptables", "-vxnL", chain]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def open_tun(name, flags):
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name, IFF_TUN | IFF_NO_PI | flags))
    return tun


def checksum(header):
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def ip(protocol, octets, identification=0, fragment=0):
    # What is too long for the field has a zero there: BIG TCP.
    length = 20 + len(octets) if 20 + len(octets) < 65536 else 0
    fields = (0x45, 0, length, identification, fragment, 64, protocol)
    header = struct.pack("!BBHHHBBH", *fields, 0) + ADDRESSES
    return struct.pack("!BBHHHBBH", *fields, checksum(header)) + ADDRESSES + octets


def tcp(payload):
    return struct.pack("!HHIIBBHHH", 30000, 20000, 1, 1, 5 << 4, 0x18, 65535, 0, 0) + payload


def udp(payload):
    return struct.pack("!HHHH", 30000, 20000, 8 + len(payload), 0) + payload


def virtio(kind, header, size, checksum_offset):
    """struct virtio_net_hdr: the kernel puts what is behind `header` into pages."""
    return struct.pack("=BBHHHH", NEEDS_CSUM, kind, header, size, 20, checksum_offset)


def packets(shape, size, payload, identification):
    """The name of a device, and what to write to it: the last of it makes the packet complete."""
    if shape == "linear":
        return "tun", [ip(TCP, tcp(payload))]
    if shape == "pages":
        return "gso", [virtio(GSO_TCPV4, 40, size, 16) + ip(TCP, tcp(payload))]
    if shape == "datagrams":
        return "gso", [virtio(GSO_UDP_L4, 28, size, 6) + ip(UDP, udp(payload))]
    assert shape == "fragments", shape
    datagram = udp(payload)
    pieces = []
    for offset in range(0, len(datagram), size):
        more = 0x2000 if offset + size < len(datagram) else 0
        piece = datagram[offset : offset + size]
        pieces.append(ip(UDP, piece, identification, more | offset // 8))
    return "tun", pieces


def main():
    (plan,) = sys.argv[1:]
    devices = {"tun": open_tun(b"tun0", 0), "gso": open_tun(b"tun1", IFF_VNET_HDR)}
    call("ip addr add 192.0.2.1/24 dev tun0")
    call("ip link set tun0 mtu 65535 up")
    call("ip link set tun1 mtu 65535 up")
    call("ip link add out0 type dummy")
    call("ip addr add 198.51.100.1/24 dev out0")
    call("ip link set out0 up")
    call("sysctl -q net.ipv4.ip_forward=1 net.ipv4.ipfrag_high_thresh=67108864")
    call("sysctl -q net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.tun1.rp_filter=0")
    # Which are here: those of a chain, and one in front that has all packets put together.
    call("iptables -P FORWARD DROP")
    call("iptables -N measured")
    call("iptables -A FORWARD -p udp -m dnp3 --saddr 9999 --fc read")
    call("iptables -A FORWARD -j measured")
    sent = 0

    def cost(row):
        nonlocal sent
        best = None
        for _ in range(RUNS):
            sent += 1
            payload = bytes.fromhex(row["payload"])
            device, pieces = packets(row["shape"], row["size"], payload, sent & 0xFFFF)
            *before, last = pieces
            for piece in before:
                os.write(devices[device], piece)
            begun = time.monotonic_ns()
            os.write(devices[device], last)
            taken = time.monotonic_ns() - begun
            best = taken if best is None else min(best, taken)
        return best

    def measure(number, row):
        without = cost(row)
        for _ in range(RULES):
            call(f"iptables -A measured {row['rule']}")
        instructions = (cost(row) - without) // RULES
        matched = {line.split()[0] for line in listed("measured").splitlines()[2:]}
        assert len(matched) == 1, matched
        print(number, instructions, *matched, flush=True)
        call("iptables -F measured")

    with open(plan, encoding="ascii") as stream:
        for number, line in enumerate(stream):
            measure(number, json.loads(line))
    # Each packet came whole, once.
    dropped = listed("FORWARD").splitlines()[0]
    assert f"DROP {sent} packets" in dropped, f"{sent} sent: {dropped}"


main()
