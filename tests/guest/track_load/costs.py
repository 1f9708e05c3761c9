#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""What following a connection costs, in instructions and in memory. To be run with the guest's clock counting them.

usage: costs.py PLAN

PLAN is a JSON object, tests/tests/track_cost.rs makes it:
    rules        what stands in each of some rules behind `-p tcp`, by name; none of them has a target
    payloads     hexadecimal digits, by name; the next of their stream at any time
    segment      one of them, for the connections at rest
    reply        the same, of the other direction
    connections  at rest
    segments     of each direction before that, the segment and the reply

The same packet, with the next number of its connection each time, is written to a tun device, goes through the FORWARD
hook, and lies at another tun device when write() returns. What that takes with no dnp3 rule at all is taken off what it takes

    stateless   with the rules, on a connection that is not followed, in a namespace where none is
    tracked     with the same rules and --track, on one that is, the commit behind all rules included
    other       with no dnp3 rule on its way, on a connection that is not followed, where others are
    judged      with the rules, on a connection that is not followed, where others are

Printed is a line `cost RULES PAYLOAD STATELESS TRACKED OTHER JUDGED`, for each, and then
    memory SLABS ALL IN_USE OTHERS
in octets: of the pages of our slabs with all connections at rest; of all that the kernel then holds, less what it holds of as many
connections that nobody follows; the same right behind their last packet; and that of those which nobody follows.
"""

import json
import os
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from churn import HELD
from load import PARAMETERS, SLABS, conntrack_count, flush_conntrack, objects
from stats import stats
from wire import ACK, MASTER, OUTSTATION, PORT, PSH, SYN, WINDOW, Connection, Wire, put

# The least of so many, each of them so often: the kernel's own work comes in between.
TURNS, RUNS = 3, 4
PAGE = 4096
# Seconds in which connections are at rest for certain, and longer.
AT_REST = 200
FOLLOWS = "-p tcp --syn -m dnp3 --status none --track"


def iptables(*words):
    subprocess.run(["iptables-legacy", *" ".join(words).split()], check=True)


class Costs:
    def __init__(self, wire, payloads):
        self.wire = wire
        self.payloads = payloads
        self.port = 1024

    def connection(self):
        self.port += 1
        connection = Connection(self.wire, self.port, 1000 * self.port)
        assert connection.open()
        return connection

    def packet(self, connection, payload):
        """What a packet takes on its way; it is acknowledged."""
        wire = self.wire
        header = struct.pack(
            "!HHIIBBHHH", *connection.ports, *connection.next, 5 << 4, ACK | PSH, WINDOW, 0, 0
        )
        packet = wire.ip(MASTER, len(header) + len(payload)) + header + payload
        begun = time.monotonic_ns()
        os.write(wire.files[MASTER], packet)
        taken = time.monotonic_ns() - begun
        assert [came[wire.header :] for came in wire.read(OUTSTATION)] == [header + payload], "a packet is lost"
        connection.next[MASTER] = (connection.next[MASTER] + len(payload)) & 0xFFFFFFFF
        assert connection.send(OUTSTATION)
        return taken

    def all(self, connection):
        """The least for each payload."""
        return {
            name: min(self.packet(connection, payload) for _ in range(RUNS))
            for name, payload in self.payloads.items()
        }

    def of(self, rules):
        """By the kind of cost, and the payload."""
        least = {}

        def measured(*more):
            for rule in rules:
                iptables("-A measured -p tcp", rule, *more)

        def note(kind, costs):
            before = least.setdefault(kind, costs)
            least[kind] = {name: min(cost, before[name]) for name, cost in costs.items()}

        for _ in range(TURNS):
            connection = self.connection()
            note("none", self.all(connection))
            measured()
            note("stateless", self.all(connection))
            iptables("-F measured")
            # From here on there is a tracking rule.
            iptables("-A begins", FOLLOWS)
            note("other", self.all(connection))
            measured()
            note("judged", self.all(connection))
            iptables("-F measured")
            measured("--track")
            connection = self.connection()
            iptables("-F begins")
            before = stats()
            note("tracked", self.all(connection))
            assert stats() == before and before["connections"] == 1, "it is not followed"
            iptables("-F measured")
        return least


def wait(what, holds):
    """Waits longer than until() does."""
    end = time.monotonic() + AT_REST
    while not holds():
        assert time.monotonic() < end, f"{what}: {objects(*SLABS)}"
        time.sleep(1)


def slab_pages():
    """Octets in the pages of our slabs."""
    objects(*SLABS)
    with open("/proc/slabinfo", encoding="ascii") as stream:
        lines = [line.split() for line in stream]
    return sum(int(words[14]) * int(words[5]) * PAGE for words in lines if words[0] in SLABS)


def held():
    """Octets that the kernel holds, when what it has at hand is given back."""
    put("/proc/sys/vm/drop_caches", 3)
    objects(*SLABS, "nf_conntrack")
    with open("/proc/meminfo", encoding="ascii") as stream:
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in stream}
    return 1024 * sum(sizes[name] for name in HELD)


def exchanges(wire, count, payload, reply, segments):
    """So many connections, with so many segments of each direction; all the same but for their ports, so that each packet
    is made once."""
    script = []

    def add(side, flags, octets=b""):
        header = struct.pack(
            "!HHIIBBHHH", PORT, PORT, numbers[side], numbers[1 - side], 5 << 4, flags, WINDOW, 0, 0
        )
        packet = bytearray(wire.ip(side, len(header) + len(octets)) + header + octets)
        script.append((wire.files[side], wire.files[1 - side], packet, wire.header + 2 * side))
        numbers[side] += len(octets) + bool(flags & SYN)

    numbers = [1000, 2000]
    add(MASTER, SYN)
    add(OUTSTATION, SYN | ACK)
    add(MASTER, ACK)
    for _ in range(segments):
        add(MASTER, ACK | PSH, payload)
        add(OUTSTATION, ACK)
        add(OUTSTATION, ACK | PSH, reply)
        add(MASTER, ACK)
    for port in range(1024, 1024 + count):
        for to, through, packet, place in script:
            struct.pack_into("!H", packet, place, port)
            os.write(to, packet)
            assert len(os.read(through, 65536)) == len(packet)


def memory(wire, plan):
    """What the connections at rest take."""
    count = plan["connections"]
    arguments = (wire, count, bytes.fromhex(plan["segment"]), bytes.fromhex(plan["reply"]), plan["segments"])
    found = []
    for words in ("", FOLLOWS):
        flush_conntrack()
        wait("something is left", lambda: not any(objects(*SLABS, "nf_conntrack").values()))
        begun = held()
        if words:
            iptables("-A begins", words)
        before = stats()
        exchanges(*arguments)
        assert conntrack_count() == count
        now = stats()
        followed = count if words else 0
        assert now["followed"] - before["followed"] == now["connections"] == followed, "not as many as are followed"
        found.append(held() - begun)
    wait("connections are not at rest", lambda: objects(*SLABS) == dict(zip(SLABS, (count, 2 * count))))
    slabs = slab_pages()
    found.append(held() - begun)
    assert stats()["connections"] == conntrack_count() == count
    not_followed, in_use, at_rest = found
    print("memory", slabs, at_rest - not_followed, in_use - not_followed, not_followed)


def main():
    (plan,) = sys.argv[1:]
    with open(plan, encoding="ascii") as stream:
        plan = json.load(stream)
    put("/proc/sys/net/netfilter/nf_conntrack_max", 65536)
    wire = Wire(1, 4)
    iptables("-P FORWARD DROP")
    for chain in ("begins", "measured"):
        iptables("-N", chain)
    # So that conntrack is there whatever the rules are.
    iptables("-A FORWARD -m conntrack --ctstate INVALID -j DROP")
    iptables("-A FORWARD -j begins")
    iptables("-A FORWARD -j measured")
    iptables("-A FORWARD -j ACCEPT")
    payloads = {name: bytes.fromhex(digits) for name, digits in plan["payloads"].items()}
    costs = Costs(wire, payloads)
    # What is done for the first time costs more.
    costs.of(["-m dnp3 --frames any"])
    for name, rules in plan["rules"].items():
        least = costs.of(rules)
        for payload in payloads:
            kinds = ("stateless", "tracked", "other", "judged")
            print("cost", name, payload, *(least[kind][payload] - least["none"][payload] for kind in kinds), flush=True)
    if plan["connections"]:
        put(f"{PARAMETERS}/track_frame_age", 100_000)
        memory(wire, plan)


if __name__ == "__main__":
    main()
