#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Follows very many connections, and has all go wrong that can: bounds are hit, conntrack is flushed, rules, namespaces
and the module come and go with frames unfinished, and memory runs out.

usage: load.py PLAN

PLAN is a JSON object, tests/tests/track_load.rs makes it: frames as hexadecimal digits, and how much of everything. Two
workers, one with IPv4 and one with IPv6, each on a CPU where there are two, have the connections (wire.py); this process
changes the world around them. Honest packets must pass, hostile ones must not, and in the end nothing is left. Printed are

    check NAME ok            or what is wrong in place of `ok`
    figure NAME NUMBER
"""

import contextlib
import ctypes
import errno
import itertools
import json
import os
import re
import socket
import struct
import subprocess
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import leaks
from blobs import DELRULE, Legacy, Nft, libc
from churn import CLONE_NEWNET, DELETE_MODULE, FINIT_MODULE, references, until
from stats import stats
from wire import ACK, MASTER, OUTSTATION, PORT, PSH, RULES, SYN, TCP, Connection, Host, Wire, put, restore, rules

FAMILIES = (4, 6)
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
CLONE_NEWUSER = 0x10000000
PARAMETERS = "/sys/module/xt_dnp3/parameters"
FAULTS = ("/sys/kernel/debug/failslab", "/sys/kernel/debug/fail_page_alloc")
FAIL_NTH = "/proc/self/fail-nth"
SLABS = ("xt_dnp3_conn", "xt_dnp3_octets")
# As scripts/vm knows reports of the kernel's, without the traces.
REPORT = re.compile(
    r"^(BUG|WARNING|Oops|KASAN|UBSAN)\b|kernel BUG at|INFO: (possible|inconsistent|suspicious|trying to register|task)|"
    r"cut here|^=+$|refcount_t:|list_(add|del) corruption|fault:"
)
# One tracking rule, whose SYNs go no further; other SYNs meet a rule that follows nothing.
CHOOSING = """*filter
:INPUT ACCEPT
:FORWARD ACCEPT
:OUTPUT ACCEPT
-A FORWARD -p tcp --syn --sport 1024:32767 -m dnp3 --status none --track
-A FORWARD -p tcp --syn --sport 1024:32767 -j DROP
-A FORWARD -p tcp --syn -m dnp3 --status none -j ACCEPT
COMMIT
"""
# Of a connection nothing but the beginning is judged.
FOLLOWING = """*filter
:INPUT ACCEPT
:FORWARD ACCEPT
:OUTPUT ACCEPT
-A FORWARD -p tcp --syn -m dnp3 --status none --track
COMMIT
"""
# Counters whose packets go on; those of the others are dropped.
GOES_ON = ("voided", "ended", "crowded")
# Requests that are lost behind the gateway come in so many segments.
LOST = 3
# Seconds for what goes through a machine's own devices.
SECONDS = 20
# What is sent again where a packet was lost for want of memory.
REPEATS = 5
# Seconds after which a SYN without an answer gives way, and some to spare.
OPENING = 5


def conntrack_count():
    with open("/proc/sys/net/netfilter/nf_conntrack_count", encoding="ascii") as stream:
        return int(stream.read())


def objects(*slabs):
    """Objects in use of slabs, to the object: what CPUs have at hand is given back first."""
    for slab in slabs:
        with contextlib.suppress(OSError):
            put(f"/sys/kernel/slab/{slab}/shrink", 1)
    with open("/proc/slabinfo", encoding="ascii") as stream:
        lines = [line.split() for line in stream]
    found = {words[0]: int(words[1]) for words in lines if words[0] in slabs}
    # Slabs of one size may be merged, and then they have one name.
    assert set(found) == set(slabs), f"slabs {sorted(found)}, and not {slabs}"
    return found


def flush_conntrack():
    subprocess.run(["conntrack", "-F"], check=True, capture_output=True)


class Faults:
    """Allocations that fail, as the debug kernel has them fail."""

    @staticmethod
    def are_there():
        if not os.path.exists(FAULTS[0]):
            leaks.mounted()
        return os.path.exists(FAULTS[0])

    @staticmethod
    @contextlib.contextmanager
    def of(slabs, percent):
        """Allocations from these slabs fail, so many of a hundred."""
        (failslab, _) = FAULTS
        for slab in slabs:
            put(f"/sys/kernel/slab/{slab}/failslab", 1)
        settings = {"verbose": 0, "cache-filter": "Y", "ignore-gfp-wait": "N", "times": -1, "probability": percent}
        for name, value in settings.items():
            put(f"{failslab}/{name}", value)
        try:
            yield
        finally:
            put(f"{failslab}/probability", 0)
            for slab in slabs:
                put(f"/sys/kernel/slab/{slab}/failslab", 0)

    @staticmethod
    def counted():
        """Has fail-nth mean every allocation, of whatever kind."""
        for directory in FAULTS:
            put(f"{directory}/verbose", 0)
            put(f"{directory}/ignore-gfp-wait", "N")
        put(f"{FAULTS[0]}/cache-filter", "N")
        put(f"{FAULTS[1]}/min-order", 0)

    @staticmethod
    def nth(number, work, *arguments):
        """Does the work, of whose allocations that of this number fails. What it comes to, and whether there were so many."""
        file = os.open(FAIL_NTH, os.O_RDWR)
        try:
            os.write(file, b"%d" % number)
            result = work(*arguments)
        finally:
            left = int(os.pread(file, 20, 0))
            os.write(file, b"0")
            os.close(file)
        return result, left == 0


class Peers:
    """A worker's connections."""

    def __init__(self, number, plan):
        self.family = FAMILIES[number]
        self.read, self.restart, self.response, self.begun = (
            bytes.fromhex(plan[name]) for name in ("read", "restart", "response", "begun")
        )
        self.wire = Wire(number, self.family)
        self.connections = []
        self.turn = number

    def sample(self, count):
        return self.connections[: count or None]

    def open(self, first, count):
        """Opens connections; how many handshakes pass."""
        self.turn += 1
        self.connections = [
            Connection(self.wire, first + number, 1_000_003 * self.turn) for number in range(count)
        ]
        return sum(connection.open() for connection in self.connections)

    def knock(self, first, count):
        """Sends SYNs that nobody answers; how many pass."""
        return sum(Connection(self.wire, first + number).send(MASTER, flags=SYN) for number in range(count))

    def again(self, first=0, count=0):
        """Resets connections, and opens them anew, on the same ports; how many handshakes pass."""
        self.turn += 1
        passed = 0
        for place in range(first, first + count if count else len(self.connections)):
            old = self.connections[place]
            old.reset()
            new = Connection(self.wire, old.ports[0], 1_000_003 * self.turn)
            self.connections[place] = new
            passed += new.open()
        return passed

    def reset(self, first, count):
        return sum(connection.reset() for connection in self.connections[first : first + count])

    def talk(self, count=0):
        """A request and its response, each in two segments cut anywhere; how many of them pass whole."""
        self.turn += 1
        passed = 0
        for number, connection in enumerate(self.sample(count), self.turn):
            passed += (
                connection.say(MASTER, self.read, 1 + number % (len(self.read) - 1))
                and connection.send(OUTSTATION)
                and connection.say(OUTSTATION, self.response, 1 + number % (len(self.response) - 1))
                and connection.send(MASTER)
            )
        return passed

    def request(self, count=0):
        """A request in a segment; how many pass."""
        return sum(connection.send(MASTER, self.read, ACK | PSH) for connection in self.sample(count))

    def repeat(self, count=0):
        """Repeats the last request; how many pass."""
        return sum(
            connection.send(MASTER, self.read, ACK | PSH, back=len(self.read)) for connection in self.sample(count)
        )

    def begin(self, count=0):
        """Leaves a frame unfinished in both directions; how many pass."""
        self.turn += 1
        passed = 0
        for number, connection in enumerate(self.sample(count), self.turn):
            passed += connection.begin(MASTER, self.read, 1 + number % (len(self.read) - 1))
            passed += connection.begin(OUTSTATION, self.response, 1 + number % (len(self.response) - 1))
        return passed

    def finish(self, count=0):
        """The rest of those frames; how many pass."""
        return sum(
            connection.finish(side) for connection in self.sample(count) for side in (MASTER, OUTSTATION)
        )

    def attack(self, count=0):
        """What no rule allows, or no stream has at that place; how many of it pass."""
        other = bytes(octet ^ 1 for octet in self.read)
        passed = 0
        for connection in self.sample(count):
            passed += connection.send(MASTER, self.restart, ACK | PSH)
            passed += connection.send(MASTER, self.read, ACK | PSH, ahead=1)
            passed += connection.send(MASTER, other, ACK | PSH, back=len(other))
            for side, octet in enumerate(connection.last):
                changed = bytes(number ^ 1 for number in octet)
                passed += len(octet) and connection.send(side, changed, ACK | PSH, back=1)
        return passed

    def nth(self, port):
        """A connection's life, each of its packets once with each of its allocations failing; how often one failed. A packet
        that is lost is sent again."""
        connection = Connection(self.wire, port, port)
        self.wire.lossy = True
        failed = 0

        def sent(*arguments, **options):
            nonlocal failed
            number = 0
            while True:
                number += 1
                passed, hit = Faults.nth(number, lambda: connection.send(*arguments, **options))
                failed += hit
                if passed and "back" not in options and arguments[1:2]:
                    # Now it is a repetition, and has no new octet.
                    options["back"] = len(arguments[1])
                elif passed and options.get("flags", 0) & SYN:
                    # So is this, with the number that it had.
                    side = arguments[0]
                    connection.next[side] = (connection.next[side] - 1) & 0xFFFFFFFF
                if not hit:
                    assert passed, f"{arguments} does not pass with all the memory there is"
                    if options.get("flags", 0) & SYN:
                        connection.next[side] = (connection.next[side] + 1) & 0xFFFFFFFF
                    return

        sent(MASTER, flags=SYN)
        sent(OUTSTATION, flags=SYN | ACK)
        sent(MASTER)
        # Of no frame is the rest acknowledged, so that the memory must grow.
        for _ in range(REPEATS):
            sent(MASTER, self.read)
            sent(OUTSTATION, self.response * 40)
        self.wire.lossy = False
        self.connections = [connection]
        return failed

    def lose(self, count=0):
        """Requests in several segments, more than is kept at rest, are lost behind the gateway and come again; how many
        segments pass, both times."""
        segment = self.read * 50
        passed = 0
        for connection in self.sample(count):
            passed += sum(connection.send(MASTER, segment, ACK | PSH) for _ in range(LOST))
            first = (connection.next[MASTER] - LOST * len(segment)) & 0xFFFFFFFF
            for number in range(LOST):
                connection.next[MASTER] = (first + (number + 1) * len(segment)) & 0xFFFFFFFF
                passed += connection.send(MASTER, segment, ACK | PSH, back=len(segment))
        return passed

    def errors(self, count=0):
        """ICMP errors, about a packet of each side's; how many pass."""
        return sum(
            self.wire.refuse(1 - side, connection.headers[side])
            for connection in self.sample(count)
            for side in (MASTER, OUTSTATION)
        )

    def happenings(self, first):
        """To each of some counters a packet for it; whether that passes, and what was counted."""
        other = bytes(octet ^ 1 for octet in self.read)
        # Whether it comes behind a handshake or behind a SYN; a packet before it, or none; it.
        cases = {
            "ahead": (True, None, {"payload": self.read, "ahead": 1}),
            "overlap": (True, self.read, {"payload": other, "back": len(other)}),
            "strayed": (False, None, {"side": OUTSTATION, "flags": SYN | ACK, "by": MASTER}),
            "renewed": (False, None, {"flags": SYN, "ahead": 1}),
            "voided": (True, None, {"side": OUTSTATION, "flags": SYN | ACK, "ahead": 1}),
            "ended": (True, None, {"payload": other}),
            "crowded": (True, None, {"payload": self.begun}),
        }
        found = {}
        for port, (name, (is_open, payload, packet)) in enumerate(cases.items(), first):
            connection = Connection(self.wire, port)
            assert connection.open() if is_open else connection.send(MASTER, flags=SYN), f"{name}: no beginning"
            assert payload is None or connection.send(MASTER, payload), f"{name}: nothing passes before it"
            before = stats()
            passes = connection.send(**{"side": MASTER, **packet})
            counted = {counter: number - before[counter] for counter, number in stats().items() if number != before[counter]}
            # Those of before go by and by.
            counted.pop("connections", None)
            found[name] = [passes, counted]
        return found

    def visit(self, port):
        """Speaks with the gateway itself, which is to take two requests, and a restart between them not; whether it did."""
        with socket.create_server((self.wire.own, PORT), family=FAMILY[self.family]) as server:
            server.setblocking(False)
            connection = Host(self.wire, port)
            if not connection.open():
                return False
            connection.send(self.read, ACK | PSH)
            connection.next[MASTER] += len(self.read)
            connection.send(self.restart, ACK | PSH)
            connection.send(self.read, ACK | PSH)
            try:
                with server.accept()[0] as other:
                    other.setblocking(False)
                    # Its end is a reset, and nothing comes after that.
                    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    octets = other.recv(65536)
            except BlockingIOError:
                return False
            finally:
                self.wire.read(MASTER)
        return octets == self.read * 2

    def hoard(self, octets, most):
        """Opens connections whose octets take so much memory each, until there is none; how many had it."""
        # Memory is a power of two.
        requests = self.read * (3 * octets // 4 // len(self.read))
        for number in range(most):
            self.turn += 1
            connection = Connection(self.wire, 1024 + self.turn, self.turn)
            self.connections.append(connection)
            before = stats()["no_memory"]
            assert connection.open() and connection.send(MASTER, requests, ACK | PSH)
            if stats()["no_memory"] > before:
                return number
        return most

    def stop(self):
        self.wire.close()


def forked(work):
    """A process that does this, and nothing behind it; it ends with 0 where that went well."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return process


class Worker:
    """A process with connections."""

    def __init__(self, number, plan):
        mine, its = os.pipe(), os.pipe()

        def work():
            os.close(mine[0])
            os.close(its[1])
            cpus = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, {cpus[number % len(cpus)]})
            self.serve(Peers(number, plan), os.fdopen(its[0]), os.fdopen(mine[1], "w"))

        self.process = forked(work)
        os.close(mine[1])
        os.close(its[0])
        self.answers, self.questions = os.fdopen(mine[0]), os.fdopen(its[1], "w")

    @staticmethod
    def serve(peers, questions, answers):
        for line in questions:
            name, *arguments = json.loads(line)
            print(json.dumps(getattr(peers, name)(*arguments)), file=answers, flush=True)

    def ask(self, *question):
        print(json.dumps(question), file=self.questions, flush=True)

    def answer(self):
        line = self.answers.readline()
        if not line:
            sys.exit("a worker is gone")
        return json.loads(line)

    def end(self):
        _, status = os.waitpid(self.process, 0)
        assert status == 0, f"a worker ended with {status}"


class Load:
    def __init__(self, plan):
        self.plan = plan
        self.module = subprocess.run(
            ["modinfo", "-n", "xt_dnp3"], check=True, capture_output=True, text=True
        ).stdout.strip()
        # What stays for as long as the kernel does is taken now: none of it is a leak.
        self.follow()
        self.unfollow()
        # The last to end is given back when the next one ends.
        self.namespaces = objects("net_namespace")["net_namespace"] + 1
        self.workers = [Worker(number, plan) for number in range(len(FAMILIES))]

    def all(self, *question):
        """Has both workers do it at the same time; the sum of what they say."""
        for worker in self.workers:
            worker.ask(*question)
        return sum(worker.answer() for worker in self.workers)

    def one(self, number, *question):
        self.workers[number].ask(*question)
        return self.workers[number].answer()

    @staticmethod
    def equal(what, is_, wanted):
        assert is_ == wanted, f"{what}: {is_}, and not {wanted}"

    def follow(self):
        restore(RULES)
        # Everything takes its time here; what a frame's age comes to is tested elsewhere.
        put(f"{PARAMETERS}/track_frame_age", 100_000)

    @staticmethod
    def unfollow():
        restore("*filter\n:FORWARD DROP\nCOMMIT\n")

    def known(self, count):
        """Waits until so many connections are known."""
        until(f"not {count} connections: {stats()}", lambda: stats()["connections"] == count)

    def empty(self):
        """Forgets all connections, and waits until nothing is left of them."""
        flush_conntrack()
        self.known(0)
        until("objects are left", lambda: not any(objects(*SLABS, "nf_conntrack").values()))
        self.equal("conntrack entries", conntrack_count(), 0)

    def held(self):
        """Very many at a time."""
        each, times = self.plan["connections"] // 2, self.plan["times"]
        self.follow()
        before = stats()
        begun = time.monotonic()
        self.equal("handshakes", self.all("open", 1024, each), 2 * each)
        self.figure("seconds-to-open", time.monotonic() - begun)
        begun = time.monotonic()
        self.equal("exchanges", self.all("talk"), 2 * each)
        self.figure("seconds-to-talk", time.monotonic() - begun)
        self.equal("hostile packets", self.all("attack", self.plan["hostile"]), 0)
        self.equal("frames begun", self.all("begin"), 4 * each)
        self.equal("hostile packets within frames", self.all("attack", self.plan["hostile"]), 0)
        now = stats()
        self.equal("connections", now["connections"], 2 * each)
        self.equal("followed", now["followed"] - before["followed"], 2 * each)
        self.equal("conntrack entries", conntrack_count(), 2 * each)
        self.equal("frames finished", self.all("finish"), 4 * each)
        begun = time.monotonic()
        for _ in range(times):
            self.equal("handshakes on the same ports", self.all("again"), 2 * each)
            self.equal("requests", self.all("request"), 2 * each)
        self.figure("seconds-to-churn", time.monotonic() - begun)
        self.figure("held", 2 * each)
        self.figure("churned", 2 * each * times)
        self.known(2 * each)
        now = stats()
        self.equal("followed in all", now["followed"] - before["followed"], 2 * each * (1 + times))
        for bound in ("full", "crowded", "short", "no_memory", "voided", "ended", "strayed"):
            self.equal(bound, now[bound], before[bound])
        self.equal("exchanges afterwards", self.all("talk"), 2 * each)

    def flushed(self):
        """Conntrack forgets all, with frames unfinished."""
        each = self.plan["few"]
        self.empty()
        for _ in range(self.plan["rounds"]):
            self.equal("handshakes", self.all("open", 1024, each), 2 * each)
            self.equal("frames begun", self.all("begin"), 4 * each)
            self.empty()
            self.equal("rests of frames", self.all("finish"), 0)
            self.equal("requests", self.all("request"), 0)
            self.equal("hostile packets", self.all("attack"), 0)
            self.equal("conntrack entries", conntrack_count(), 0)
        self.equal("handshakes on the same ports", self.all("open", 1024, each), 2 * each)
        self.equal("exchanges", self.all("talk"), 2 * each)

    def bounded(self):
        """Past track_connections nothing is followed, and nothing else happens."""
        each = self.plan["few"]
        self.empty()
        put(f"{PARAMETERS}/track_connections", each)
        before = stats()
        self.equal("handshakes within the bound", self.one(0, "open", 1024, each), each)
        self.equal("handshakes past it", self.one(1, "open", 1024, each), each)
        now = stats()
        self.equal("connections", now["connections"], each)
        self.equal("full", now["full"] - before["full"], each)
        self.equal("exchanges within the bound", self.one(0, "talk"), each)
        self.equal("requests past it", self.one(1, "request"), 0)
        self.equal("hostile packets", self.all("attack"), 0)
        # Half of them go, and there is room for as many of the others.
        half = each // 2
        self.equal("resets", self.one(0, "reset", half, each - half), each - half)
        self.known(half)
        self.equal("handshakes on the same ports", self.one(1, "again"), each)
        self.known(each)
        self.equal("exchanges of those that go on", self.one(0, "talk", half), half)
        self.equal("requests of the new", self.one(1, "request"), each - half)
        self.equal("hostile packets afterwards", self.all("attack"), 0)
        put(f"{PARAMETERS}/track_connections", 0)
        self.equal("handshakes with no connection allowed", self.one(1, "again", 0, 1), 1)
        self.equal("requests with no connection allowed", self.one(1, "request", 1), 0)
        self.equal("exchanges of those that were there", self.one(0, "talk", half), half)
        for most in (2**32 - 1, 16384):
            put(f"{PARAMETERS}/track_connections", most)
            self.equal(f"handshakes with {most} connections allowed", self.all("again"), 2 * each)
            self.equal(f"exchanges with {most} connections allowed", self.all("talk"), 2 * each)
        # Of few connections those that wait for an answer may be anywhere in the table.
        self.empty()
        put(f"{PARAMETERS}/track_connections", 8)
        self.equal("SYNs that nobody answers", self.one(0, "knock", 1024, 8), 8)
        self.equal("connections", stats()["connections"], 4)
        knocked = time.monotonic()
        until("time stands still", lambda: time.monotonic() - knocked > OPENING)
        before = stats()
        self.equal("a handshake behind them", self.one(1, "open", 1024, 1), 1)
        self.equal("a request behind them", self.one(1, "request"), 1)
        self.equal("full", stats()["full"], before["full"])
        put(f"{PARAMETERS}/track_connections", 16384)

    def short(self):
        """Past track_octets nothing is kept, and what is not kept is not believed."""
        each = self.plan["few"]
        self.empty()
        # Less than two of the three segments.
        put(f"{PARAMETERS}/track_octets", 2048)
        before = stats()
        self.equal("handshakes", self.all("open", 1024, each), 2 * each)
        self.equal("segments, of which the last may come again", self.all("lose"), 2 * each * (LOST + 1))
        now = stats()
        assert now["short"] > before["short"], "nothing is said to have been kept short"
        put(f"{PARAMETERS}/track_octets", 65536)

    def counted(self):
        """Each counter counts what it is for, and nothing else."""
        self.empty()
        restore(FOLLOWING)
        for number in range(len(FAMILIES)):
            for counter, happened in self.one(number, "happenings", 1024).items():
                self.equal(counter, happened, [counter in GOES_ON, {counter: 1}])
        restore(RULES)

    def beside(self):
        """What belongs to a connection and is no piece of it goes its way."""
        each = self.plan["few"]
        self.empty()
        self.equal("handshakes", self.all("open", 1024, each), 2 * each)
        self.equal("frames begun", self.all("begin"), 4 * each)
        self.equal("ICMP errors", self.all("errors"), 4 * each)
        self.equal("rests of frames", self.all("finish"), 4 * each)

    def chosen(self):
        """A connection is followed when a tracking rule has matched its own SYN and no rule has dropped it; what takes
        the place of a dropped one in memory is another connection."""
        self.empty()
        restore(CHOOSING)
        for number in range(self.plan["few"]):
            self.equal("SYNs that are dropped", self.all("knock", 1024 + number, 1), 0)
            self.equal("handshakes", self.all("open", 40_000 + number, 1), 2)
        self.equal("connections", stats()["connections"], 0)
        restore(RULES)

    def local(self):
        """The gateway is itself a station."""
        self.empty()
        restore(rules("INPUT", "OUTPUT"))
        before = stats()
        self.equal("visits", self.all("visit", 1024), len(FAMILIES))
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        # Over the loopback device a packet meets rules twice, if they are at both ends.
        for hooks in (("INPUT", "OUTPUT"), ("INPUT",)):
            restore(rules(*hooks))
            for family in FAMILIES:
                try:
                    self.speaks_with_itself(family)
                except TimeoutError as error:
                    raise AssertionError(f"IPv{family} to itself, rules in {hooks}: {error}") from None
        self.equal("followed", stats()["followed"] - before["followed"], 3 * len(FAMILIES))
        restore(RULES)

    def speaks_with_itself(self, family):
        """A request and its response, and a restart that is refused."""
        address = (LOOPBACK[family], PORT)
        read, restart, response = (bytes.fromhex(self.plan[name]) for name in ("read", "restart", "response"))
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(socket.create_server(address, family=FAMILY[family]))
            server.settimeout(SECONDS)
            master = stack.enter_context(socket.create_connection(address, SECONDS))
            # What is refused is not sent again behind the end.
            master.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            outstation = stack.enter_context(server.accept()[0])
            outstation.settimeout(SECONDS)
            master.sendall(read)
            self.equal("a request to itself", outstation.recv(len(read), socket.MSG_WAITALL), read)
            outstation.sendall(response)
            self.equal("its response", master.recv(len(response), socket.MSG_WAITALL), response)
            outstation.setblocking(False)
            master.sendall(restart)
            came = []

            def is_over():
                with contextlib.suppress(BlockingIOError):
                    came.append(outstation.recv(len(restart)))
                return came or restarts(family)

            until(f"a restart over IPv{family} is not counted", is_over)
            self.equal("restarts to itself", came, [])

    def replaced(self):
        """Rules are replaced, and then go, with frames unfinished."""
        each = self.plan["few"]
        self.empty()
        self.equal("handshakes", self.all("open", 1024, each), 2 * each)
        for _ in range(self.plan["rounds"]):
            self.equal("frames begun", self.all("begin"), 4 * each)
            for _ in range(3):
                restore(RULES)
            self.equal("rests of frames", self.all("finish"), 4 * each)
        self.equal("frames begun", self.all("begin"), 4 * each)
        self.unfollow()
        self.known(0)
        until("objects are left", lambda: not any(objects(*SLABS).values()))
        self.equal("conntrack entries", conntrack_count(), 2 * each)
        restore(RULES)
        self.equal("rests of frames after that", self.all("finish"), 0)
        self.equal("requests", self.all("request"), 0)

    def reloaded(self):
        """The module is unloaded with connections there, which is refused while a rule follows; and loaded again."""
        each = self.plan["few"]
        for round_ in range(self.plan["rounds"]):
            self.empty()
            self.follow()
            self.equal("handshakes", self.all("open", 1024, each), 2 * each)
            self.equal("frames begun", self.all("begin"), 4 * each)
            error = unload()
            assert error in (errno.EAGAIN, errno.EBUSY), f"unloaded under a rule: {error}"
            self.equal("connections", stats()["connections"], 2 * each)
            self.unfollow()
            until("rules are gone, and the module is in use", lambda: unload() == 0)
            self.equal("conntrack entries without the module", conntrack_count(), 2 * each)
            # Each other time a rule has it loaded.
            if round_ % 2:
                load(self.module)
            self.follow()
            self.equal("connections afterwards", stats()["connections"], 0)
            self.equal("rests of frames", self.all("finish"), 0)
            self.equal("requests", self.all("request"), 0)
            self.equal("handshakes on other ports", self.all("open", 1024 + each, each), 2 * each)
            self.equal("exchanges", self.all("talk"), 2 * each)
        self.figure("loads", self.plan["rounds"])

    def torn_down(self):
        """Namespaces end with frames unfinished, and all that they had with them."""
        each = self.plan["few"]
        self.empty()
        # The frames that are begun here wait for all the namespaces.
        put(f"{PARAMETERS}/track_frame_age", 3600)
        self.equal("handshakes here", self.all("open", 1024, each), 2 * each)
        self.equal("frames begun here", self.all("begin"), 4 * each)
        here = stats(), objects(*SLABS), references()
        for number in range(self.plan["namespaces"]):
            variant = ("legacy", "nft")[number % 2]
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    self.in_namespace(variant)
                    status = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    sys.stderr.flush()
                    os._exit(status)
            _, status = os.waitpid(child, 0)
            self.equal("a namespace's status", status, 0)
        until(f"rules of namespaces are left: {references()}", lambda: references() == here[2])
        until("namespaces are left", lambda: objects("net_namespace")["net_namespace"] <= self.namespaces)
        until("connections are left", lambda: objects(*SLABS) == here[1])
        self.equal("counters here", stats(), here[0])
        self.equal("rests of frames here", self.all("finish"), 4 * each)
        put(f"{PARAMETERS}/track_frame_age", 15)
        self.figure("namespaces", self.plan["namespaces"])

    def in_namespace(self, variant):
        each = self.plan["few"] // 4
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        restore(RULES, variant)
        for number in range(len(FAMILIES)):
            peers = Peers(number, self.plan)
            self.equal("handshakes", peers.open(1024, each), each)
            self.equal("exchanges", peers.talk(), each)
            self.equal("frames begun", peers.begin(), 2 * each)
            self.equal("hostile packets", peers.attack(), 0)
        self.equal("connections", stats()["connections"], len(FAMILIES) * each)

    def shared(self):
        """Users in namespaces of their own take no more than half of the memory."""
        each = self.plan["few"]
        self.empty()
        memory, large = (each * 2 + 16) << 16, 1 << 16
        put(f"{PARAMETERS}/track_memory", memory)
        mine, its = os.pipe(), os.pipe()

        def user():
            os.close(its[1])
            self.hoarded(memory // 2 // large, large)
            os.write(mine[1], b".")
            # Until the others have had theirs.
            os.read(its[0], 1)

        child = forked(user)
        os.close(mine[1])
        os.close(its[0])
        os.read(mine[0], 1)
        before = stats()
        self.equal("handshakes", self.all("open", 1024, each), 2 * each)
        self.equal("segments that are lost and come again", self.all("lose"), 2 * each * 2 * LOST)
        self.equal("times without memory", stats()["no_memory"], before["no_memory"])
        os.close(its[1])
        os.close(mine[0])
        _, status = os.waitpid(child, 0)
        self.equal("a user's status", status, 0)
        until("namespaces are left", lambda: objects("net_namespace")["net_namespace"] <= self.namespaces)
        put(f"{PARAMETERS}/track_memory", 64 << 20)

    def hoarded(self, share, large):
        """A user takes all the memory that he gets."""
        if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        put("/proc/self/setgroups", "deny")
        put("/proc/self/uid_map", "0 0 1")
        put("/proc/self/gid_map", "0 0 1")
        restore(RULES, families=FAMILIES[:1])
        peers = Peers(0, self.plan)
        self.equal("large ones that had their memory", peers.hoard(large, 2 * share + 1), share)
        size = large
        while size > 1 << 11:
            size //= 2
            peers.hoard(size, share)

    def failing(self):
        """Memory runs out."""
        each = self.plan["few"]
        self.empty()
        before = stats()
        with Faults.of(["xt_dnp3_conn"], 100):
            self.equal("handshakes without memory", self.all("open", 1024, each), 2 * each)
            self.equal("requests without memory", self.all("request"), 0)
        now = stats()
        self.equal("connections without memory", now["connections"], 0)
        self.equal("times without memory", now["no_memory"] - before["no_memory"], 2 * each)
        self.equal("handshakes", self.all("again"), 2 * each)
        self.equal("exchanges", self.all("talk"), 2 * each)
        with Faults.of(["xt_dnp3_octets"], 100):
            self.equal("handshakes, no octet kept", self.all("again"), 2 * each)
            # In order all goes on; what comes again is not believed.
            self.equal("exchanges, no octet kept", self.all("talk"), 2 * each)
            self.equal("requests, no octet kept", self.all("request"), 2 * each)
            self.equal("repetitions, no octet kept", self.all("repeat"), 0)
            self.equal("hostile packets, no octet kept", self.all("attack"), 0)
        self.equal("requests", self.all("request"), 2 * each)
        self.equal("repetitions", self.all("repeat"), 2 * each)
        with Faults.of(SLABS, 40):
            for _ in range(self.plan["rounds"]):
                self.equal("handshakes with little memory", self.all("again"), 2 * each)
                passed = self.all("talk")
                assert 0 < passed < 2 * each, f"{passed} of {2 * each} exchanges with little memory"
                self.equal("hostile packets with little memory", self.all("attack"), 0)
        self.equal("handshakes", self.all("again"), 2 * each)
        self.equal("exchanges", self.all("talk"), 2 * each)
        Faults.counted()
        self.empty()
        self.equal("handshakes", self.all("open", 1024, each), 2 * each)
        self.figure("failed-of-packets", self.all("nth", 60000))
        self.equal("exchanges afterwards", self.all("talk"), 2)
        with quiet():
            self.figure("failed-of-rules", self.failing_rules())

    def failing_rules(self):
        """Tracking rules come and go, each allocation failing once; how many failed."""
        follow, plain = ((bytes.fromhex(self.plan[name]), TCP, False) for name in ("follow", "plain"))
        failed = 0
        self.unfollow()
        for family, kind in itertools.product(("ipv4", "ipv6"), (Legacy, Nft)):
            number, hit = 0, True
            while hit:
                number += 1
                kernel = kind(family)
                error, hit = Faults.nth(number, attempt, kernel, *follow)
                assert error in (0, errno.ENOMEM, errno.ENOBUFS, errno.ENOENT), f"{kind.__name__}: {os.strerror(error)}"
                assert hit or not error, "a rule was refused with all the memory there is"
                failed += hit
                kernel.socket.close()
                kernel = kind(family)
                if kind is Legacy:
                    kernel.replace(*plain)
                else:
                    kernel.batch([kernel.message(DELRULE, (1, b"t\0"), (2, b"c\0"))])
                kernel.socket.close()
        self.unfollow()
        until("rules are gone, and the module is in use", lambda: references() == 0)
        return failed

    def failing_loads(self):
        """The module is loaded, each allocation failing once, or each of so many. Behind the search for leaks: the kernel
        leaves something of its own behind when it cannot name a slab."""
        number, hit, failed = 0, True, 0
        with quiet():
            while hit:
                number += self.plan["stride"]
                error, hit = Faults.nth(number, try_load, self.module)
                assert error == 0 or hit, f"the module was not loaded: {os.strerror(error)}"
                failed += hit
                if error == 0:
                    until("the module is in use", lambda: unload() == 0)
        self.figure("failed-of-loads", failed)

    def gone(self):
        """In the end nothing is left."""
        self.follow()
        self.empty()
        self.unfollow()
        # All first: the later workers have the earlier ones' pipes as well.
        for worker in self.workers:
            worker.questions.close()
        for worker in self.workers:
            worker.end()
        until("namespaces are left", lambda: objects("net_namespace")["net_namespace"] <= self.namespaces)
        until("rules are gone, and the module is in use", lambda: unload() == 0)
        with open("/proc/slabinfo", encoding="ascii") as stream:
            assert "xt_dnp3" not in stream.read(), "slabs without the module"

    @staticmethod
    def figure(name, number):
        print("figure", name, f"{number:.1f}" if isinstance(number, float) else number, flush=True)

    def run(self):
        checks = [self.held, self.flushed, self.bounded, self.short, self.counted, self.beside]
        checks += [self.chosen, self.local, self.replaced, self.reloaded, self.torn_down, self.shared]
        if Faults.are_there():
            checks += [self.failing, self.gone, None, self.failing_loads]
        else:
            checks += [self.gone]
        for check in checks:
            if check is None:
                leaks.main()
                continue
            name = check.__name__.replace("_", "-")
            begun = time.monotonic()
            try:
                check()
            except AssertionError as error:
                print("check", name, " ".join(str(error).split()), flush=True)
                # What follows begins from here, and would only say the same.
                return
            print("check", name, "ok", flush=True)
            self.figure(f"seconds-{name}", time.monotonic() - begun)


@contextlib.contextmanager
def quiet():
    """Keeps off the console what the kernel says of memory that it has not, with a trace each time; it is looked
    through here, for all else that would be there."""
    with open("/proc/sys/kernel/printk", encoding="ascii") as stream:
        before = stream.read()
    log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    os.lseek(log, 0, os.SEEK_END)
    put("/proc/sys/kernel/printk", 4)
    try:
        yield
    finally:
        put("/proc/sys/kernel/printk", before.split()[0])
    while True:
        try:
            record = os.read(log, 8192).decode(errors="replace")
        except BlockingIOError:
            break
        except BrokenPipeError:
            raise AssertionError("the kernel said more than its log holds") from None
        message = record.partition(";")[2].splitlines()[0]
        assert not REPORT.search(message), message
    os.close(log)


def restarts(family):
    """Packets that the policy's rule for restarts has counted."""
    command = f"ip{'6' if family == 6 else ''}tables-legacy-save"
    saved = subprocess.run([command, "-c", "-t", "filter"], check=True, capture_output=True, text=True).stdout
    (packets,) = re.findall(r"^\[(\d+):\d+\] -A DNP3 .*--frames any", saved, re.MULTILINE)
    return int(packets)


def attempt(kernel, *rule):
    """The error, 0 for none."""
    try:
        kernel.replace(*rule)
    except OSError as error:
        return error.errno
    return 0


def try_load(file):
    """The error, 0 for none."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return error.errno
    try:
        return ctypes.get_errno() if libc.syscall(FINIT_MODULE, handle, b"", 0) else 0
    finally:
        os.close(handle)


def load(file):
    error = try_load(file)
    if error:
        raise OSError(error, "finit_module")


def unload():
    """The error, 0 for none."""
    return ctypes.get_errno() if libc.syscall(DELETE_MODULE, b"xt_dnp3", os.O_NONBLOCK) else 0


def main():
    (plan,) = sys.argv[1:]
    with open(plan, encoding="ascii") as stream:
        plan = json.load(stream)
    # Longer than anything here takes, but what was reset goes at once.
    put("/proc/sys/net/netfilter/nf_conntrack_max", 65536)
    put("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close", 1)
    Load(plan).run()


if __name__ == "__main__":
    main()
