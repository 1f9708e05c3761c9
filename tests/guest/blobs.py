#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Hands rules that are mere octets to the kernel, past iptables and its extension.

usage: blobs.py PLAN

PLAN/blobs has a line for each:
    NUMBER PROTOCOL INVERTED FLAGGED HEX [REASON...]
PROTOCOL is that of the rule, INVERTED and FLAGGED 0 or 1: whether `!` stands before it, and whether
IPv6 is told to look at it. Each is put into a table of iptables-legacy by setsockopt, and into one
of nf_tables by netlink. Printed are lines
    blob VARIANT FAMILY NUMBER ERROR LOGGED
ERROR is the errno's name, or `taken`. LOGGED is `logged` or `silent`: whether the kernel's log then
said REASON, looked at for the first variant and family only, since such lines are rate-limited; and
    check log-is-rate-limited ok
if they are.
"""

import ctypes
import errno
import os
import socket
import struct
import subprocess
import sys
import time

# The kernel lets ten such lines through in five seconds.
SECONDS = 20
MANY, FEW = 300, 100
BETWEEN = 0.1

SO_SET_REPLACE = SO_GET_INFO = 64
SOL_IP, SOL_IPV6 = 0, 41
INPUT, FORWARD, OUTPUT = 1, 2, 3
NF_ACCEPT = 1
INV_PROTO = 0x40
IP6T_F_PROTO = 0x01

NETLINK_NETFILTER = 12
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP, NLM_F_CREATE = 0x1, 0x4, 0x300, 0x400
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLA_F_NESTED = 0x8000
BATCH_BEGIN, BATCH_END = 16, 17
NFNL_SUBSYS_NFTABLES = 10
NEWTABLE, NEWCHAIN, NEWRULE, DELRULE, GETOBJ = 0, 3, 6, 8, 19
NFT_OBJECT_COUNTER = 1
RULE_COMPAT_F_INV = 2

libc = ctypes.CDLL(None, use_errno=True)


def check(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Legacy:
    """Replaces the filter table by one with a single rule, as iptables-legacy does.

    The layout is that of struct ipt_replace and struct ip6t_replace: entries one behind the other,
    each a header, its matches, its target.
    """

    def __init__(self, family, load=True):
        self.is_v4 = family == "ipv4"
        if load:
            # Where the tables are modules, it is iptables that has them loaded.
            command = "iptables-legacy" if self.is_v4 else "ip6tables-legacy"
            subprocess.run([command, "-S"], stdout=subprocess.DEVNULL, check=True)
        self.level = SOL_IP if self.is_v4 else SOL_IPV6
        self.socket = socket.socket(
            socket.AF_INET if self.is_v4 else socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW
        )

    def entry(self, match, target, protocol=0, inverted=False, flagged=True):
        interfaces = bytes(64)
        invert = INV_PROTO if inverted else 0
        if self.is_v4:
            ip = bytes(16) + interfaces + struct.pack("=HBB", protocol, 0, invert)
            pad = b""
        else:
            flags = IP6T_F_PROTO if flagged and protocol else 0
            ip = bytes(64) + interfaces + struct.pack("=HBBBxxx", protocol, 0, flags, invert)
            pad = bytes(4)
        header = len(ip) + 12 + len(pad) + 16
        offsets = (header + len(match), header + len(match) + len(target))
        return ip + struct.pack("=IHHI", 0, *offsets, 0) + pad + bytes(16) + match + target

    def replace(self, *rule, **match):
        self.socket.setsockopt(self.level, SO_SET_REPLACE, self.table(*rule, **match))

    def table(self, octets, protocol, inverted, flagged=True, name=b"dnp3", revision=0):
        """What setsockopt takes. The kernel writes the old counters to `self.counters`."""
        match = struct.pack("=H29sB", 32 + len(octets), name, revision) + octets
        accept = struct.pack("=H29sBixxxx", 40, b"", 0, -NF_ACCEPT - 1)
        error = struct.pack("=H29sB30sxx", 64, b"ERROR", 0, b"ERROR")
        rule = self.entry(match, accept, protocol, inverted, flagged)
        policy = self.entry(b"", accept)
        entries = rule + policy * 3 + self.entry(b"", error)
        offset = {
            INPUT: (0, len(rule)),
            FORWARD: (len(rule) + len(policy),) * 2,
            OUTPUT: (len(rule) + 2 * len(policy),) * 2,
        }
        begins = [offset.get(hook, (0, 0))[0] for hook in range(5)]
        policies = [offset.get(hook, (0, 0))[1] for hook in range(5)]
        old = self.count()
        self.counters = ctypes.create_string_buffer(16 * old)
        hooks = 1 << INPUT | 1 << FORWARD | 1 << OUTPUT
        table = struct.pack(
            "=32sIII5I5IIQ", b"filter", hooks, 5, len(entries), *begins, *policies,
            old, ctypes.addressof(self.counters),
        )
        return table + entries

    def count(self):
        """How many entries the table has, whose counters the kernel wants to give back."""
        info = ctypes.create_string_buffer(b"filter", 84)
        size = ctypes.c_uint(84)
        file = self.socket.fileno()
        check(libc.getsockopt(file, self.level, SO_GET_INFO, info, ctypes.byref(size)))
        return struct.unpack_from("=I", info.raw, 76)[0]


class Nft:
    """Adds a rule with the match to a chain of nf_tables, as iptables-nft does."""

    def __init__(self, family):
        self.family = socket.AF_INET if family == "ipv4" else socket.AF_INET6
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self.batch([
            self.message(NEWTABLE, (1, b"t\0")),
            self.message(NEWCHAIN, (1, b"t\0"), (3, b"c\0")),
        ])

    @staticmethod
    def attribute(kind, value):
        """Netlink's type, length, value; a list is nested attributes."""
        if isinstance(value, list):
            kind |= NLA_F_NESTED
            value = b"".join(Nft.attribute(*item) for item in value)
        return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)

    def message(self, kind, *attributes):
        body = struct.pack("=BBH", self.family, 0, 0)
        body += b"".join(self.attribute(*item) for item in attributes)
        flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE
        kind |= NFNL_SUBSYS_NFTABLES << 8
        return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body

    def send(self, messages):
        def frame(kind):
            body = struct.pack("!BBH", 0, 0, NFNL_SUBSYS_NFTABLES)
            return struct.pack("=IHHII", 20, kind, NLM_F_REQUEST, 0, 0) + body

        self.socket.send(frame(BATCH_BEGIN) + b"".join(messages) + frame(BATCH_END))

    def errors(self, messages):
        """What the kernel says of each; it does nothing at all unless all are zero."""
        self.send(messages)
        errors = []
        for _ in messages:
            kind, error = struct.unpack_from("=4xH10xi", self.socket.recv(65536))
            if kind != NLMSG_ERROR:
                raise OSError(errno.EPROTO, f"an answer of type {kind}")
            errors.append(-error)
        return errors

    def batch(self, messages):
        for error in self.errors(messages):
            if error:
                raise OSError(error, os.strerror(error))

    def counters(self, table):
        """The packets that each named counter of a table has counted."""
        request = bytearray(self.message(GETOBJ, (1, table + b"\0")))
        struct.pack_into("=H", request, 6, NLM_F_REQUEST | NLM_F_DUMP)
        self.socket.send(request)
        packets = {}
        while True:
            answer = self.socket.recv(65536)
            while answer:
                size, kind = struct.unpack_from("=IH", answer)
                if kind == NLMSG_DONE:
                    return packets
                if kind == NLMSG_ERROR:
                    raise OSError(-struct.unpack_from("=16xi", answer)[0], "no counters")
                found = self.attributes(answer[20:size])
                counter = self.attributes(found[4])
                packets[found[2].rstrip(b"\0").decode()] = int.from_bytes(counter[2], "big")
                answer = answer[size:]

    @staticmethod
    def attributes(octets):
        """Netlink's attributes by their types."""
        found = {}
        while octets:
            size, kind = struct.unpack_from("=HH", octets)
            found[kind & ~NLA_F_NESTED] = octets[4:size]
            octets = octets[size + -size % 4 :]
        return found

    @staticmethod
    def count(name):
        """The expression that counts by a named counter."""
        what = struct.pack("!I", NFT_OBJECT_COUNTER)
        return [(1, b"objref\0"), (2, [(1, what), (2, name + b"\0")])]

    def replace(self, *rule, **match):
        self.batch([self.rule(*rule, **match)])

    def rule(self, octets, protocol, inverted, _flagged=True, name=b"dnp3", revision=0,
             table=b"t", chain=b"c", before=(), more=()):
        """The message for a rule with the match, with expressions BEFORE it and MORE behind."""
        match = [(1, name + b"\0"), (2, struct.pack("!I", revision)), (3, octets)]
        expressions = [(1, one) for one in (*before, [(1, b"match\0"), (2, match)], *more)]
        attributes = [(1, table + b"\0"), (2, chain + b"\0"), (4, expressions)]
        if protocol or inverted:
            flags = RULE_COMPAT_F_INV if inverted else 0
            compat = [(1, struct.pack("!I", protocol)), (2, struct.pack("!I", flags))]
            attributes.append((5, compat))
        return self.message(NEWRULE, *attributes)


class Log:
    """The kernel's log from now on."""

    def __init__(self):
        self.file = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self.file, 0, os.SEEK_END)

    def count(self, words=""):
        """How many new lines of the module's say WORDS, or anything."""
        count = 0
        while True:
            try:
                record = os.read(self.file, 8192).decode(errors="replace")
            except BlockingIOError:
                return count
            message = record.partition(";")[2].splitlines()[0]
            count += message.startswith(f"xt_dnp3: {words}")


def attempt(kernel, *rule):
    try:
        kernel.replace(*rule)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))
    return "taken"


def main():
    (plan,) = sys.argv[1:]
    with open(f"{plan}/blobs", encoding="ascii") as stream:
        blobs = [line.split(maxsplit=5) for line in stream.read().splitlines()]
    first = True
    for variant, kind in (("legacy", Legacy), ("nft", Nft)):
        for family in ("ipv4", "ipv6"):
            kernel = kind(family)
            for number, protocol, inverted, flagged, octets, *reason in sorted(
                blobs, key=lambda blob: len(blob) < 6
            ):
                rule = (bytes.fromhex(octets), int(protocol), inverted == "1", flagged == "1")
                log = Log()
                said = attempt(kernel, *rule)
                logged = "silent"
                if first and reason and said != "taken":
                    until = time.monotonic() + SECONDS
                    while not log.count(reason[0]) and time.monotonic() < until:
                        time.sleep(BETWEEN)
                        attempt(kernel, *rule)
                    logged = "logged" if time.monotonic() < until else "silent"
                print("blob", variant, family, number, said, logged)
            first = False
    log = Log()
    for _ in range(MANY):
        attempt(kernel, bytes.fromhex(octets), 0, False, False)
    lines = log.count()
    print("check log-is-rate-limited", "ok" if lines < FEW else f"{MANY} rules made {lines} lines")


if __name__ == "__main__":
    main()
