#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Hands rules to the kernel as an enemy would: thousands of them, past iptables, in a namespace of ours.

usage: hostile_rules.py PLAN [NAME]

Without a NAME it calls itself as root and as a user who is root only in a namespace of his own, with the module
unloaded before and to be unloaded after that.

PLAN/rules has a line `REVISION NAME PROTOCOL INVERTED HEX` for each rule, HEX `-` where it has no octet;
PLAN/all is the match that takes every packet of TCP or UDP, PLAN/followed the same for connections that are followed,
PLAN/payload what those carry, PLAN/seed and PLAN/mutants numbers. NAME comes back in what is printed:
    said NAME VARIANT FAMILY ERROR...       what became of each rule: an errno's name, or `taken`
    noise NAME WHAT TAKEN/ALL               of messages that are wrong anywhere: how many had no error
    check NAME-WHAT ok                      or what is wrong
tests/tests/hostile_rules.rs knows what is to come of it.
"""

import ctypes
import errno
import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
from itertools import islice

import module
from blobs import DELRULE, NETLINK_NETFILTER, NEWCHAIN, NEWRULE, NEWTABLE, SO_SET_REPLACE, Legacy, Nft

BATCH = 64
# Each that names a match which is not there has modprobe called.
FEW = 4
NFPROTO_INET, NFPROTO_ARP, NFPROTO_BRIDGE, NFPROTO_NETDEV = 1, 3, 7, 5
MATCH = 112
# Of struct ipt_replace: hooks and the low half of the number of entries, then the offsets. The rest is
# sizes, for which the kernel would take all the memory there is, and an address of ours.
SAFE = (range(32, 38), range(44, 84))
REPLACE = 96
EBT_SO_SET_ENTRIES = 128
EBT_ENTRY, EBT_NOPROTO, EBT_ACCEPT = 1, 2, -1
IPV6_HDRINCL = 36
TCP, UDP = 6, 17


def named(error):
    return errno.errorcode.get(error, str(error)) if error else "taken"


def read(plan, name):
    with open(f"{plan}/{name}", encoding="ascii") as stream:
        return stream.read().split("\n")[:-1]


def rules(plan):
    for line in read(plan, "rules"):
        revision, name, protocol, inverted, octets = line.split()
        octets = b"" if octets == "-" else bytes.fromhex(octets)
        match = {"name": name.encode(), "revision": int(revision)}
        yield (octets, int(protocol), inverted == "1"), match


def by_setsockopt(kernel, plan):
    """Each alone in the table."""
    for rule, match in rules(plan):
        try:
            kernel.replace(*rule, **match)
        except OSError as error:
            yield named(error.errno)
        else:
            yield "taken"


def by_netlink(kernel, plan):
    """Many at a time, of which the kernel takes none when one is wrong; then those that are not wrong."""
    messages = [kernel.rule(*rule, **match) for rule, match in rules(plan)]
    flush = kernel.message(DELRULE, (1, b"t\0"), (2, b"c\0"))
    for start in range(0, len(messages), BATCH):
        batch = messages[start : start + BATCH]
        errors = kernel.errors(batch)
        if any(errors):
            kernel.batch([message for message, error in zip(batch, errors) if not error])
        kernel.batch([flush])
        yield from map(named, errors)


def mutate(numbers, octets, places):
    mutant = bytearray(octets)
    for _ in range(numbers.choice((1, 1, 2, 4, 16))):
        place = numbers.choice(places)
        mutant[place] = numbers.choice((0, 1, 0x7F, 0x80, 0xFF, numbers.randrange(256)))
    return bytes(mutant)


def without(places, octets, *names):
    """The places but for those of the names: for each that is not known, modprobe would be called."""
    for name in names:
        start = octets.index(name)
        places = [place for place in places if not start <= place < start + len(name)]
    return places


def noise_by_setsockopt(kernel, numbers, table, count):
    name = struct.pack("=29s", b"dnp3")
    # The first entry, up to its match's last octet.
    end = table.index(name) + len(name) + 1 + MATCH
    places = without([*SAFE[0], *SAFE[1], *range(REPLACE, end)], table, name)
    taken = 0
    for _ in range(count):
        try:
            kernel.socket.setsockopt(kernel.level, SO_SET_REPLACE, mutate(numbers, table, places))
            taken += 1
        except OSError:
            pass
    return taken


def noise_by_netlink(kernel, numbers, message, count):
    # Behind the type and the family, which would make it a message to others.
    places = without(range(17, len(message)), message, b"match\0", b"dnp3\0")
    taken = 0
    while count:
        # Some alone: of many, one is wrong, and the kernel takes all back.
        size = min(count, numbers.choice((1, BATCH)))
        count -= size
        taken += kernel.errors([mutate(numbers, message, places) for _ in range(size)]).count(0)
    return taken


class Family(Nft):
    """Chains of a family that has no such match."""

    def __init__(self, number):
        self.family = number
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        # Only a chain with a hook would be bound to a device.
        self.batch([
            self.message(NEWTABLE, (1, b"t\0")),
            self.message(NEWCHAIN, (1, b"t\0"), (3, b"c\0")),
        ])


# struct xt_mark_mtinfo1: a match for all families.
MARK = struct.pack("=IIB7x", 1, 1, 0)


def other_families(plan):
    """The same rules where there is neither IPv4 nor IPv6 to judge."""
    for number in (NFPROTO_INET, NFPROTO_ARP, NFPROTO_BRIDGE, NFPROTO_NETDEV):
        kernel = Family(number)
        batch = [kernel.rule(*rule, **match) for rule, match in islice(rules(plan), FEW)]
        errors = kernel.errors(batch)
        if not all(errors):
            return f"family {number} took {errors.count(0)} rules"
        # In arp it does not even take a mark.
        if number in (NFPROTO_INET, NFPROTO_BRIDGE):
            (error,) = kernel.errors([kernel.rule(MARK, 0, False, name=b"mark", revision=1)])
            if error:
                return f"family {number} takes not even a mark: {named(error)}"
    return "ok"


def ebtables(octets, name, revision):
    """struct ebt_replace, for a filter table of three empty chains but for one rule with a match."""
    match = struct.pack("=31sBI4x", name, revision, len(octets)) + octets
    target = struct.pack("=31sBI4xi4x", b"standard", 0, 8, EBT_ACCEPT)
    header = 112
    offsets = (header + len(match), header + len(match), header + len(match) + len(target))
    entry = struct.pack("=II92x3I", EBT_ENTRY | EBT_NOPROTO, 0, *offsets) + match + target
    chains = [
        struct.pack("=I32sIiI", 0, b"INPUT", 0, EBT_ACCEPT, 1) + entry,
        struct.pack("=I32sIiI", 0, b"FORWARD", 1, EBT_ACCEPT, 0),
        struct.pack("=I32sIiI", 0, b"OUTPUT", 1, EBT_ACCEPT, 0),
    ]
    octets = b"".join(chains)
    data = ctypes.create_string_buffer(octets, len(octets))
    base = ctypes.addressof(data)
    places = [0] * 6
    at = base
    for hook, chain in zip((1, 2, 3), chains):
        places[hook] = at
        at += len(chain)
    replace = struct.pack(
        "=32sIIIxxxx6QIxxxxQQ", b"filter", 0b1110, 1, len(octets), *places, 0, 0, base
    )
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        try:
            # As long as if they stood behind it.
            raw.setsockopt(socket.IPPROTO_IP, EBT_SO_SET_ENTRIES, replace + octets)
        except OSError as error:
            return error.errno
    return 0


def bridge_tables(plan):
    """What a bridge's own tables make of it, and of a match that they can have."""
    if error := ebtables(MARK, b"mark", 1):
        return f"not even a mark is taken: {named(error)}"
    for (octets, _, _), match in islice(rules(plan), FEW):
        if not ebtables(octets, match["name"], match["revision"]):
            return f"{match} is taken: {octets.hex()}"
    return "ok"


class Lie:
    """Rules that say TCP, and UDP, for packets of which they do not know which they are.

        came: every packet    tcp, udp: what the match with that protocol takes    left: what is not dropped
        followed: what the match takes that follows connections, with TCP; of these packets none has one
    """

    def __init__(self, family, octets, followed):
        table = "ip" if family == "ipv4" else "ip6"
        names = ("came", "followed", "tcp", "udp", "left")
        counters = "\n".join(f"add counter {table} lie c-{name}" for name in names)
        chain = f"add chain {table} lie out {{ type filter hook output priority 0; }}"
        # Dropped in the end, so that nobody answers.
        script = f"add table {table} lie\n{counters}\n{chain}\nadd rule {table} lie out drop"
        subprocess.run(["nft", "-f", "-"], input=script, text=True, check=True)
        kernel = self.kernel = Nft(family)
        self.names = [f"c-{name}" for name in names]
        came, of_followed, tcp, udp, left = (kernel.count(name.encode()) for name in self.names)
        place = {"table": b"lie", "chain": b"out"}

        def simple(count):
            attributes = [(1, b"lie\0"), (2, b"out\0"), (4, [(1, count)])]
            return kernel.message(NEWRULE, *attributes)

        # Without NLM_F_APPEND each is put in front of the others.
        kernel.batch([
            simple(left),
            kernel.rule(octets, UDP, False, **place, more=[udp]),
            kernel.rule(octets, TCP, False, **place, more=[tcp]),
            kernel.rule(followed, TCP, False, **place, more=[of_followed]),
            simple(came),
        ])

    def counters(self):
        packets = self.kernel.counters(b"lie")
        return [packets[name] for name in self.names]


def packet(family, protocol, octets, before=b"", first=None):
    """An IP packet; BEFORE are IPv6's extension headers, FIRST the type of the first of these."""
    if family == "ipv4":
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(octets), 1, 0, 64, protocol, 0)
        return header + socket.inet_aton("127.0.0.1") * 2 + octets
    first = protocol if first is None else first
    header = struct.pack("!IHBB", 6 << 28, len(before) + len(octets), first, 64)
    return header + socket.inet_pton(socket.AF_INET6, "::1") * 2 + before + octets


def liars(family, payload):
    """Packets, and how many each is counted by `tcp` and `udp`, and by `left`."""
    tcp = struct.pack("!HHIIBBHHH", 1, 20000, 1, 1, 5 << 4, 0x18, 65535, 0, 0) + payload
    udp = struct.pack("!HHHH", 1, 20000, 8 + len(payload), 0) + payload
    yield packet(family, TCP, tcp), 1, 1
    yield packet(family, UDP, udp), 1, 1
    # What one header would be in the other's place: wrong at once, but judged as what it says it is.
    yield packet(family, UDP, tcp), 1, 1
    for protocol in (1, 2, 4, 33, 41, 46, 47, 50, 58, 59, 89, 103, 112, 132, 136, 137, 253):
        for octets in (tcp, udp, b"", b"\x05", udp[:7], payload):
            yield packet(family, protocol, octets), 0, 1
    for cut in range(8):
        yield packet(family, UDP, udp[:cut]), 0, 1
    # Dropped on the spot, but where the kernel sees no header at all.
    for cut in range(20):
        yield packet(family, TCP, tcp[:cut]), 0, None
    for offset in (0, 4, 15):
        bad = bytearray(tcp[:40])
        bad[12] = offset << 4
        yield packet(family, TCP, bytes(bad)), 0, 0
    if family == "ipv6":
        options = struct.pack("!BBBB4x", 132, 0, 1, 4)
        yield packet(family, 132, tcp, options, 60), 0, 1
        # Another fragment, of TCP; and the last header there is, cut.
        yield packet(family, TCP, tcp, struct.pack("!BBHI", TCP, 0, 8 << 3 | 1, 7), 44), 0, 1
        yield packet(family, TCP, b"", struct.pack("!BBBB4x", TCP, 9, 1, 4), 60), 0, 1
        yield packet(family, TCP, b"", b"\x06", 60), 0, 1


def lies(family, octets, followed, payload):
    lie = Lie(family, octets, followed)
    domain = socket.AF_INET if family == "ipv4" else socket.AF_INET6
    to = ("127.0.0.1" if family == "ipv4" else "::1", 0)
    with socket.socket(domain, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        if family == "ipv6":
            raw.setsockopt(socket.IPPROTO_IPV6, IPV6_HDRINCL, 1)
        for number, (octets, matched, left) in enumerate(liars(family, payload)):
            before = lie.counters()
            try:
                raw.sendto(octets, to)
            except PermissionError:
                pass
            got = [new - old for new, old in zip(lie.counters(), before)]
            wanted = [[1, 0, matched, matched, kept] for kept in ((0, 1) if left is None else (left,))]
            if got not in wanted:
                return f"packet {number} ({octets.hex()[:160]}): counted {got}, and not {wanted}"
    return "ok"


def both(plan):
    module.unload()
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    ways = {
        "user": [*nobody, "unshare", "--user", "--map-root-user", "--net"],
        "root": ["unshare", "--net"],
    }
    running = {}
    for name, way in ways.items():
        said = tempfile.TemporaryFile("w+")
        command = [*way, sys.executable, __file__, plan, name]
        running[name] = subprocess.Popen(command, stdout=said), said
    for name, (process, said) in running.items():
        status = process.wait()
        said.seek(0)
        sys.stdout.write(said.read())
        if status:
            sys.exit(f"as {name}: exit status {status}")
    module.run("unload", module.unload)


def main():
    plan, *name = sys.argv[1:]
    if not name:
        both(plan)
        return
    (name,) = name
    # Ours alone, whoever we are.
    os.environ["XTABLES_LOCKFILE"] = f"/tmp/xtables.{name}"
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    (seed,), (mutants,), *octets = (
        read(plan, file) for file in ("seed", "mutants", "all", "followed", "payload")
    )
    everything, followed, payload = (bytes.fromhex(digits) for (digits,) in octets)
    numbers = random.Random(f"{seed} {name}")
    for family in ("ipv4", "ipv6"):
        legacy, nft = Legacy(family), Nft(family)
        print("said", name, "legacy", family, *by_setsockopt(legacy, plan))
        print("said", name, "nft", family, *by_netlink(nft, plan))
        table = legacy.table(everything, TCP, False)
        taken = noise_by_setsockopt(legacy, numbers, table, int(mutants))
        print("noise", name, f"legacy-{family}", f"{taken}/{mutants}")
        taken = noise_by_netlink(nft, numbers, nft.rule(followed, TCP, False), int(mutants))
        print("noise", name, f"nft-{family}", f"{taken}/{mutants}")
        print("check", f"{name}-lies-{family}", lies(family, everything, followed, payload), flush=True)
    print("check", f"{name}-other-families", other_families(plan))
    print("check", f"{name}-bridge-tables", bridge_tables(plan), flush=True)


if __name__ == "__main__":
    main()
