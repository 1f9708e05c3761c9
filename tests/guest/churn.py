#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Replaces rules, makes and destroys network namespaces, loads and unloads the module, while packets flow.

usage: churn.py PLAN

PLAN/numbers has lines REPLACEMENTS NAMESPACES LOADS PACKETS: one for a first run, after which the kernel has what it
keeps, and one for each run that counts. PLAN/rules has a line `PROTOCOL HEX` for each rule that comes and goes, PLAN/valid the
one that takes valid packets, PLAN/opening one of TCP that has connections followed, PLAN/payloads lines `1 HEX` for
payloads that are valid and `0 HEX` for others.

    [ CPU 0: this ]                        [ CPU 1: traffic ]
      rules of four kinds: iptables-legacy    UDP on 127.0.0.1 and ::1, and TCP
      and nf_tables, IPv4 and IPv6            OUTPUT --> lo --> INPUT

Each set of rules counts all datagrams and all valid ones, so that in the end no packet may be missing. Printed are
    count KIND HOOK DATAGRAMS VALID      what the rules counted, and below `sent` what was sent
    life WHAT TIMES SECONDS              how often that was done
    followed NUMBER                      connections of TCP that were followed, by rules with --track
    kept OCTETS...                       memory that the kernel does not give back: before, and after each run
    leaks NUMBER                         what kmemleak found, where the kernel has it
"""

import ctypes
import errno
import mmap
import os
import random
import socket
import struct
import subprocess
import sys
import time

import module
import stats
from blobs import DELRULE, FORWARD, INPUT, NEWRULE, NF_ACCEPT, OUTPUT, SO_SET_REPLACE, Legacy, Nft, libc

CLONE_NEWNET = 0x40000000
DELETE_MODULE, FINIT_MODULE = 176, 313
TCP, UDP = 6, 17
SETS = 16
MESSAGES = 64
# Namespaces that may wait for their end.
WAITING = 50
HELD = ("SUnreclaim", "VmallocUsed", "Percpu", "KernelStack")
READINGS = 20
KMEMLEAK = "/sys/kernel/debug/kmemleak"
# How old an object must be for kmemleak.
AGE = 6
# Of a rule's first two octets.
TRACK = 1 << 6
NFT_META_L4PROTO, NFT_REG_1, NFT_CMP_EQ = 16, 1, 0
PORT = 20000
# Of a TCP connection, before another is opened.
PIECES = 8


def read(plan, name):
    with open(f"{plan}/{name}", encoding="ascii") as stream:
        return [line.split() for line in stream]


def put(file, text):
    with open(file, "w", encoding="ascii") as stream:
        stream.write(text)


def until(what, holds):
    """Waits, for a minute at most: on an emulated debug kernel things take their time."""
    end = time.monotonic() + 60
    while not holds():
        if time.monotonic() > end:
            sys.exit(f"after a minute: {what}")
        time.sleep(module.BETWEEN)


def references():
    try:
        with open(module.REFERENCES, encoding="ascii") as stream:
            return int(stream.read())
    except FileNotFoundError:
        return 0


class LegacySets:
    """Sets of rules for the filter table, built beforehand.

    In INPUT and OUTPUT stand: all of UDP, the valid ones, some of the rules, the policy.
    """

    def __init__(self, family, sets):
        self.kernel = Legacy(family)
        self.sets = [self.build(rules) for rules in sets]
        self.bare = self.build([])
        self.entries, self.places = self.kernel.count(), None
        self.counted = [0, 0, 0, 0]

    def build(self, rules):
        """The first of the rules, if there are any, is the one that takes valid packets."""
        kernel = self.kernel
        at = 0
        octets = b""
        begins, policies, places = [0] * 5, [0] * 5, []
        count = 0
        accept = struct.pack("=H29sBixxxx", 40, b"", 0, -NF_ACCEPT - 1)
        error = struct.pack("=H29sB30sxx", 64, b"ERROR", 0, b"ERROR")
        own = [(UDP, b""), *rules]
        for hook in (INPUT, FORWARD, OUTPUT):
            begins[hook] = at
            if hook != FORWARD:
                places += [count, count + 1 if rules else None]
                for protocol, match in own:
                    if match:
                        match = struct.pack("=H29sB", 32 + len(match), b"dnp3", 0) + match
                    # On to the next entry, as without -j.
                    size = len(kernel.entry(match, accept))
                    on = struct.pack("=H29sBixxxx", 40, b"", 0, at + size)
                    octets += kernel.entry(match, on, protocol)
                    at += size
                    count += 1
            policies[hook] = at
            policy = kernel.entry(b"", accept)
            octets += policy
            at += len(policy)
            count += 1
        octets += kernel.entry(b"", error)
        hooks = 1 << INPUT | 1 << FORWARD | 1 << OUTPUT
        table = struct.pack(
            "=32sIII5I5IIQ", b"filter", hooks, count + 1, len(octets), *begins, *policies, 0, 0
        )
        return bytearray(table + octets), count + 1, places

    def replace(self, bare=False, numbers=random):
        table, entries, places = self.bare if bare else numbers.choice(self.sets)
        counters = ctypes.create_string_buffer(16 * self.entries)
        struct.pack_into("=IQ", table, 84, self.entries, ctypes.addressof(counters))
        self.kernel.socket.setsockopt(self.kernel.level, SO_SET_REPLACE, bytes(table))
        # What the old ones counted: no packet is under way in them any more.
        for number, place in enumerate(self.places or ()):
            if place is not None:
                self.counted[number] += struct.unpack_from("=Q", counters, 16 * place)[0]
        self.entries, self.places = entries, places

    def totals(self):
        """INPUT's datagrams and valid ones, OUTPUT's."""
        return self.counted


class NftSets:
    """The same for chains of nf_tables, whose counters stay where they are."""

    def __init__(self, family, sets):
        table = "ip" if family == "ipv4" else "ip6"
        self.kernel = Nft(family)
        lines = [f"add table {table} churn"]
        for hook in ("input", "output"):
            lines += [f"add counter {table} churn {hook}-{what}" for what in ("all", "valid")]
            chain = f"type filter hook {hook} priority -10;"
            lines.append(f"add chain {table} churn {hook} {{ {chain} }}")
        subprocess.run(["nft", "-f", "-"], input="\n".join(lines), text=True, check=True)
        self.sets = [self.build(rules) for rules in sets]
        self.bare = self.build([])

    def build(self, rules):
        """As for the other kind."""
        kernel = self.kernel

        def is_protocol(number):
            meta = [(1, struct.pack("!I", NFT_REG_1)), (2, struct.pack("!I", NFT_META_L4PROTO))]
            data = [(1, struct.pack("!I", NFT_REG_1)), (2, struct.pack("!I", NFT_CMP_EQ)), (3, [(1, bytes([number]))])]
            return [(1, b"meta\0"), (2, meta)], [(1, b"cmp\0"), (2, data)]

        messages = []
        for hook in (b"input", b"output"):
            messages.append(kernel.message(DELRULE, (1, b"churn\0"), (2, hook + b"\0")))
            counted = (*is_protocol(UDP), kernel.count(hook + b"-all"))
            expressions = [(1, one) for one in counted]
            messages.append(
                kernel.message(NEWRULE, (1, b"churn\0"), (2, hook + b"\0"), (4, expressions))
            )
            place = {"table": b"churn", "chain": hook}
            more = [kernel.count(hook + b"-valid")]
            for protocol, match in rules:
                before = is_protocol(protocol)
                messages.append(kernel.rule(match, protocol, False, **place, before=before, more=more))
                more = ()
        return messages

    def replace(self, bare=False, numbers=random):
        self.kernel.batch(self.bare if bare else numbers.choice(self.sets))

    def totals(self):
        packets = self.kernel.counters(b"churn")
        return [packets[f"{hook}-{what}"] for hook in ("input", "output") for what in ("all", "valid")]


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class Msghdr(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p), ("namelen", ctypes.c_uint), ("iov", ctypes.POINTER(Iovec)),
        ("iovlen", ctypes.c_size_t), ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class Mmsghdr(ctypes.Structure):
    _fields_ = [("header", Msghdr), ("len", ctypes.c_uint)]


class Traffic:
    """A process that sends until it is told to stop, and has sent as many packets as it should."""

    STOP, TCP, ALL_4, VALID_4, ALL_6, VALID_6 = range(6)

    def __init__(self, payloads, packets):
        self.shared = mmap.mmap(-1, 4096)
        self.words = (ctypes.c_uint64 * 6).from_buffer(self.shared)
        self.process = os.fork()
        if self.process == 0:
            status = 1
            try:
                os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
                self.send(payloads, packets)
                status = 0
            finally:
                os._exit(status)

    def send(self, payloads, packets):
        words = self.words
        senders = []
        for domain, host, at in ((socket.AF_INET, "127.0.0.1", self.ALL_4), (socket.AF_INET6, "::1", self.ALL_6)):
            # Nobody reads: what does not fit any more has come through INPUT all the same.
            sink = socket.socket(domain, socket.SOCK_DGRAM)
            sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            sink.bind((host, PORT))
            sender = socket.socket(domain, socket.SOCK_DGRAM)
            sender.connect((host, PORT))
            senders.append((sender, sink, at))
        kept = []
        messages = (Mmsghdr * MESSAGES)()
        valid = []
        for number, message in enumerate(messages):
            is_valid, digits = payloads[number % len(payloads)]
            octets = bytes.fromhex(digits)
            buffer = ctypes.create_string_buffer(octets, len(octets))
            iovec = Iovec(ctypes.addressof(buffer), len(octets))
            kept += [buffer, iovec]
            message.header.iov, message.header.iovlen = ctypes.pointer(iovec), 1
            valid.append(int(is_valid))
        # How many of the first so many are valid.
        first = [sum(valid[:number]) for number in range(MESSAGES + 1)]
        listener = socket.create_server(("127.0.0.1", PORT))
        stream = other = None
        frame = bytes.fromhex(next(digits for is_valid, digits in payloads if is_valid == "1"))
        while not words[self.STOP] or words[self.ALL_4] + words[self.ALL_6] < packets:
            for sender, _, at in senders:
                sent = libc.sendmmsg(sender.fileno(), messages, MESSAGES, 0)
                if sent < 0:
                    raise OSError(ctypes.get_errno(), "sendmmsg")
                words[at] += sent
                words[at + 1] += first[sent]
            if words[self.TCP] % PIECES == 0:
                if stream:
                    # Reset, so that it is forgotten soon.
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
                    stream.close()
                    other.close()
                stream = socket.create_connection(("127.0.0.1", PORT))
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                other, _ = listener.accept()
            stream.sendall(frame)
            other.recv(65536)
            words[self.TCP] += 1

    def datagrams(self):
        return self.words[self.ALL_4] + self.words[self.ALL_6]

    def flows(self):
        """Waits until some more of each kind have been sent."""
        sent = self.words[self.TCP]
        until("no packet flows", lambda: self.words[self.TCP] > sent + 1)

    def stop(self):
        self.words[self.STOP] = 1
        _, status = os.waitpid(self.process, 0)
        if status:
            sys.exit(f"the traffic ended with {status}")


class Churn:
    def __init__(self, plan):
        self.numbers = random.Random(5)
        self.rules = [(int(protocol), bytes.fromhex(digits)) for protocol, digits in read(plan, "rules")]
        ((digits,),) = read(plan, "valid")
        self.valid = bytes.fromhex(digits)
        self.payloads = read(plan, "payloads")
        self.kinds = {
            "legacy-ipv4": LegacySets("ipv4", self.sets(plan)),
            "legacy-ipv6": LegacySets("ipv6", self.sets(plan, tracks=False)),
            "nft-ipv4": NftSets("ipv4", self.sets(plan)),
            "nft-ipv6": NftSets("ipv6", self.sets(plan, tracks=False)),
        }
        self.file = subprocess.run(
            ["modinfo", "-n", "xt_dnp3"], check=True, capture_output=True, text=True
        ).stdout.strip()
        self.said = []

    def sets(self, plan, tracks=True):
        """What stands behind the rule that counts: of half of the sets one first that has connections followed.

        In IPv6 none tracks here. The kernel does not put fragments together on lo where conntrack has seen their
        datagram on its way out, so that INPUT would count each.
        """
        ((digits,),) = read(plan, "opening")
        opening = [(TCP, bytes.fromhex(digits))]
        rules = [rule for rule in self.rules if tracks or not rule[1][0] & TRACK]
        for number in range(SETS):
            some = self.numbers.sample(rules, self.numbers.randrange(8))
            yield [(UDP, self.valid), *(opening if tracks and number % 2 else ()), *some]

    def say(self, *words):
        self.said.append(" ".join(map(str, words)))

    def replaced(self, bare=False):
        for kind in self.kinds.values():
            kind.replace(bare, self.numbers)

    def follows(self):
        """Whether a connection was followed; sets that have none followed make room for others."""
        self.replaced()
        return stats.stats()["followed"]

    def replacements(self, count):
        kinds = list(self.kinds.values())
        for number in range(count):
            kinds[number % len(kinds)].replace(False, self.numbers)

    def namespaces(self, count):
        with open("/proc/self/ns/net", encoding="ascii") as home:
            for _ in range(count):
                if libc.unshare(CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "unshare")
                for family in ("ipv4", "ipv6"):
                    protocol, rule = self.numbers.choice(self.rules)
                    for kernel in (Legacy(family, load=False), Nft(family)):
                        kernel.replace(rule, protocol, False)
                        kernel.socket.close()
                if libc.setns(home.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
                # Four rules each.
                until("namespaces do not end", lambda: references() < 4 * WAITING + 200)

    def load(self):
        file = os.open(self.file, os.O_RDONLY | os.O_CLOEXEC)
        if libc.syscall(FINIT_MODULE, file, b"", 0):
            raise OSError(ctypes.get_errno(), "finit_module")
        os.close(file)

    @staticmethod
    def unload():
        """The error, 0 for none."""
        if libc.syscall(DELETE_MODULE, b"xt_dnp3", os.O_NONBLOCK) == 0:
            return 0
        return ctypes.get_errno()

    def unloaded(self):
        until("rules are gone, and the module is in use", lambda: self.unload() == 0)

    def loads(self, count, traffic):
        kinds = list(self.kinds.values())
        for number in range(count):
            # Each other time it is the rule that loads it.
            if number % 2:
                self.load()
            kind = kinds[number // 2 % len(kinds)]
            kind.replace(False, self.numbers)
            traffic.flows()
            error = self.unload()
            if error not in (errno.EAGAIN, errno.EBUSY):
                sys.exit(f"unloaded under a rule: {error}")
            kind.replace(True, self.numbers)
            self.unloaded()

    def timed(self, what, count, work):
        begun = time.monotonic()
        work()
        self.say("life", what, count, f"{time.monotonic() - begun:.1f}")

    def run(self, replacements, namespaces, loads, packets):
        self.replaced()
        before = {name: list(kind.totals()) for name, kind in self.kinds.items()}
        traffic = Traffic(self.payloads, packets)
        self.timed("replacements", replacements, lambda: self.replacements(replacements))
        self.timed("namespaces", namespaces, lambda: self.namespaces(namespaces))
        until("no connection is followed", self.follows)
        self.timed("packets", packets, traffic.stop)
        followed = stats.stats()["followed"]
        self.replaced(bare=True)
        words = traffic.words
        self.say("run")
        for name, kind in self.kinds.items():
            counted = [new - old for new, old in zip(kind.totals(), before[name])]
            at = traffic.ALL_4 if name.endswith("4") else traffic.ALL_6
            self.say("count", name, "input", *counted[:2])
            self.say("count", name, "output", *counted[2:])
            self.say("count", name, "sent", words[at], words[at + 1])
        self.say("tcp", words[traffic.TCP])
        self.say("followed", followed)
        self.unloaded()
        traffic = Traffic(self.payloads, 0)
        self.timed("loads", loads, lambda: self.loads(loads, traffic))
        traffic.stop()
        self.say("datagrams", words[2] + words[4] + traffic.datagrams())


def kept():
    """Octets that the kernel holds, when it has given back what it need not: the least of some readings, since what
    was freed is given back by and by."""
    readings = []
    os.sync()
    put("/proc/sys/vm/drop_caches", "3")
    for _ in range(READINGS):
        with open("/proc/meminfo", encoding="ascii") as stream:
            sizes = {line.split(":")[0]: int(line.split()[1]) for line in stream}
        readings.append(sum(sizes[name] for name in HELD))
        time.sleep(module.BETWEEN)
    return 1024 * min(readings)


def main():
    (plan,) = sys.argv[1:]
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    # So that large datagrams come in fragments; and none is lost for want of a place to wait.
    subprocess.run(["ip", "link", "set", "lo", "mtu", "1500", "up"], check=True)
    put("/proc/sys/net/core/netdev_max_backlog", "1000000")
    first, *runs = (list(map(int, line)) for line in read(plan, "numbers"))
    # As it begins, the module is not there.
    module.unload()
    churn = Churn(plan)
    churn.run(*first)
    churn.said.clear()
    subprocess.run(["mount", "-t", "debugfs", "debugfs", "/sys/kernel/debug"], check=True)
    has_kmemleak = os.path.exists(KMEMLEAK)
    if has_kmemleak:
        put(KMEMLEAK, "clear")
    held = [kept()]
    for run in runs:
        churn.run(*run)
        held.append(kept())
    churn.say("kept", *held)
    if has_kmemleak:
        end = time.monotonic() + AGE
        until("the clock stands", lambda: time.monotonic() > end)
        # What one scan suspects, another may find a way to.
        for _ in range(2):
            put(KMEMLEAK, "scan")
        with open(KMEMLEAK, encoding="ascii") as stream:
            report = stream.read()
        churn.say("leaks", report.count("unreferenced object"))
        sys.stderr.write(report[:20000])
    print("\n".join(churn.said))


if __name__ == "__main__":
    main()
