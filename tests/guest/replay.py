# SPDX-License-Identifier: GPL-2.0
"""Replays captures through the rules of a gateway, and tells what the rules have counted.

                    the gateway
                +----------------+
      capture --| r0  rules  r1  |-- capture
                +----------------+

usage: replay.py PLAN

PLAN is a JSON list of runs: {"name", "variant": "legacy" or "nft", "rules": {"4": ..., "6": ...}, "capture": FILE},
FILE beside PLAN. Rules are a file of iptables-restore, or a shell script that calls $iptables, where the first
line begins with #!; a family without rules lets everything pass. Printed is a line of JSON for each run:

    {"name", "saved": {"4": ..., "6": ...}, "sent": N}      what iptables-save -c prints, and packets sent
    {"name", "fault": ...}

The lines are tun devices: what is written to one has been through all rules before write() returns. Of the two
hosts of a packet the one with the lower address is behind r0, the other behind r1, so that answers come back where
the question went out. Packets come when they came in the capture: the guest's clock is at the same part of a
second, and waits as long as the capture did. (With --icount waiting takes no time.) What a capture may have wrong,
because a network card was to do it, is put right: checksums, and hop limits too low to forward.
"""

import fcntl
import json
import os
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
DEVICES = ("r0", "r1")
NANO = 1_000_000_000
ETHERNET, SLL, NULL = 1, 113, 0
RAW = (12, 14, 101, 228, 229)
IPV4, IPV6 = 0x0800, 0x86DD
TAGS = (0x8100, 0x88A8, 0x9100)
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
HOPS = 64
# Where the checksum is, and for which it covers the addresses too.
CHECKSUM = {ICMP: 2, TCP: 16, UDP: 6, ICMPV6: 2}
EXTENSIONS = (0, 43, 60)
FRAGMENT = 44
NO_RULES = """*filter
:INPUT ACCEPT
:FORWARD ACCEPT
:OUTPUT ACCEPT
COMMIT
"""


def run(*command, text=None, env=None):
    done = subprocess.run(command, input=text, text=True, capture_output=True, check=False, env=env)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def put(file, text):
    with open(file, "w", encoding="ascii") as stream:
        stream.write(str(text))


def program(variant, family, what=""):
    return f"ip{'6' if family == '6' else ''}tables-{variant}{what}"


def sums(octets):
    if len(octets) % 2:
        octets += b"\0"
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def mended(packet):
    """An IP packet with right checksums, and hops left. (Its family, the packet, whether the first host is the lower)."""
    packet = bytearray(packet)
    if packet[0] >> 4 == 4:
        header = (packet[0] & 15) * 4
        length, = struct.unpack_from("!H", packet, 2)
        del packet[length or len(packet):]
        struct.pack_into("!H", packet, 2, len(packet))
        packet[8] = max(packet[8], HOPS)
        struct.pack_into("!H", packet, 10, 0)
        struct.pack_into("!H", packet, 10, sums(bytes(packet[:header])))
        addresses, protocol = bytes(packet[12:20]), packet[9]
        fragment, = struct.unpack_from("!H", packet, 6)
        whole = fragment & 0x3FFF == 0
    else:
        length, = struct.unpack_from("!H", packet, 4)
        del packet[40 + length if length else len(packet):]
        packet[7] = max(packet[7], HOPS)
        addresses, protocol, header, whole = bytes(packet[8:40]), packet[6], 40, True
        while protocol in EXTENSIONS:
            protocol, header = packet[header], header + 8 * (packet[header + 1] + 1)
        whole = protocol != FRAGMENT
    at = CHECKSUM.get(protocol)
    if whole and at is not None and len(packet) >= header + at + 2:
        # A datagram may go without.
        if protocol != UDP or packet[header + at : header + at + 2] != b"\0\0":
            pseudo = b"" if protocol == ICMP else addresses + struct.pack("!IHBB", len(packet) - header, 0, 0, protocol)
            struct.pack_into("!H", packet, header + at, 0)
            struct.pack_into("!H", packet, header + at, sums(pseudo + bytes(packet[header:])) or 0xFFFF)
    half = len(addresses) // 2
    return bytes(packet), addresses[:half] < addresses[half:]


def ip_of(link, frame):
    """The IP packet in a frame; None where there is none."""
    if link in RAW:
        return frame
    if link == NULL:
        return frame[4:]
    at = {ETHERNET: 12, SLL: 14}[link]
    kind, = struct.unpack_from("!H", frame, at)
    while kind in TAGS:
        at += 4
        kind, = struct.unpack_from("!H", frame, at)
    return frame[at + 2:] if kind in (IPV4, IPV6) else None


def packets(file):
    """The IP packets of a pcap: (nanoseconds, octets)."""
    with open(file, "rb") as stream:
        octets = stream.read()
    order, unit = {
        b"\xd4\xc3\xb2\xa1": ("<", 1000),
        b"\xa1\xb2\xc3\xd4": (">", 1000),
        b"\x4d\x3c\xb2\xa1": ("<", 1),
        b"\xa1\xb2\x3c\x4d": (">", 1),
    }[octets[:4]]
    link, = struct.unpack_from(order + "I", octets, 20)
    at = 24
    while at + 16 <= len(octets):
        seconds, fraction, length, _ = struct.unpack_from(order + "4I", octets, at)
        at += 16
        packet = ip_of(link, octets[at : at + length])
        at += length
        if packet:
            yield seconds * NANO + fraction * unit, packet


class Gateway:
    """Two lines, and rules between them."""

    def __init__(self):
        put("/proc/sys/net/ipv4/ip_forward", 1)
        put("/proc/sys/net/ipv6/conf/all/forwarding", 1)
        put("/proc/sys/net/ipv4/conf/all/rp_filter", 0)
        put("/proc/sys/net/ipv4/conf/default/rp_filter", 0)
        # Nothing is said of lost packets, and nothing waits for that.
        put("/proc/sys/net/ipv4/icmp_ratelimit", 0)
        self.files = []
        for name in DEVICES:
            tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
            self.files.append(tun)
            put(f"/proc/sys/net/ipv4/conf/{name}/rp_filter", 0)
            put(f"/proc/sys/net/ipv6/conf/{name}/accept_ra", 0)
            put(f"/proc/sys/net/ipv6/conf/{name}/dad_transmits", 0)
            put(f"/proc/sys/net/ipv6/conf/{name}/router_solicitations", 0)
            run("ip", "link", "set", name, "mtu", "65535", "up")
        for family in ("-4", "-6"):
            for number, name in enumerate(DEVICES, 101):
                other = DEVICES[102 - number]
                run("ip", family, "route", "add", "default", "dev", other, "table", str(number))
                run("ip", family, "rule", "add", "iif", name, "lookup", str(number))
            # For the answers of REJECT; nobody is there to take them.
            run("ip", family, "route", "add", "default", "dev", "r1")

    def load(self, variant, family, rules):
        if not rules:
            return
        if rules.startswith("#!"):
            environment = dict(os.environ, iptables=program(variant, family))
            run("sh", "-e", text=rules, env=environment)
        else:
            run(program(variant, family, "-restore"), text=rules)

    def drain(self):
        for tun in self.files:
            try:
                while True:
                    os.read(tun, 65536)
            except BlockingIOError:
                pass

    def replay(self, file):
        """Sends the packets of a capture at their times; how many."""
        sent, first, start = 0, None, None
        for when, packet in packets(file):
            if first is None:
                # At the same part of a second, so that seconds begin when they do in the capture.
                first = when
                now = time.monotonic_ns()
                start = now + (when - now) % NANO
            wait = start + when - first - time.monotonic_ns()
            if wait > 0:
                time.sleep(wait / NANO)
            octets, is_lower = mended(packet)
            os.write(self.files[0 if is_lower else 1], octets)
            sent += 1
            if sent % 64 == 0:
                self.drain()
        self.drain()
        return sent


def forget(variants=("legacy", "nft"), families=("4", "6")):
    """Nothing of a run is left: no rule, and no connection that is known."""
    for variant in variants:
        for family in families:
            run(program(variant, family, "-restore"), text=NO_RULES)
    run("conntrack", "-F")


def main():
    plan = os.path.abspath(sys.argv[1])
    with open(plan, encoding="utf-8") as file:
        runs = json.load(file)
    gateway = Gateway()
    for one in runs:
        said = {"name": one["name"]}
        try:
            for family, rules in one["rules"].items():
                gateway.load(one["variant"], family, rules)
            said["sent"] = gateway.replay(os.path.join(os.path.dirname(plan), one["capture"]))
            said["saved"] = {
                family: run(program(one["variant"], family, "-save"), "-c", "-t", "filter") for family in one["rules"]
            }
            forget([one["variant"]], one["rules"])
        except (RuntimeError, OSError, KeyError, struct.error) as error:
            said["fault"] = f"{type(error).__name__}: {error}"
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
