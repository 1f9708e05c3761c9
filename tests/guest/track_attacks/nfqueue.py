# SPDX-License-Identifier: GPL-2.0
"""Packets that wait in an NFQUEUE, and go on in whatever order (linux/netfilter/nfnetlink_queue.h)."""

import os
import select
import socket
import struct

from network import Wrong, within

NETLINK_NETFILTER = 12
REQUEST, ACKNOWLEDGE, ERROR = 0x1, 0x4, 2
QUEUE, PACKET, VERDICT, CONFIG = 3, 0, 1, 2
CFG_CMD, CFG_PARAMS = 1, 2
BIND, COPY_META = 1, 1
PACKET_HDR, VERDICT_HDR = 1, 2
NF_DROP, NF_ACCEPT = 0, 1
SECONDS = 30


def attribute(kind, octets):
    return struct.pack("=HH", 4 + len(octets), kind) + octets + bytes(-len(octets) % 4)


class Queue:
    """The packets of a queue, in their order; each is let go, or dropped."""

    def __init__(self, namespace="gateway", number=1):
        self.number = number
        with within(namespace):
            self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self.socket.bind((0, 0))
        self.waiting = []
        # A command's protocol family is that of old kernels.
        self.configure(attribute(CFG_CMD, struct.pack("!BxH", BIND, socket.AF_UNSPEC)))
        self.configure(attribute(CFG_PARAMS, struct.pack("!IB", 0, COPY_META)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def say(self, kind, attributes, flags):
        body = struct.pack("!BBH", socket.AF_UNSPEC, 0, self.number) + attributes
        self.socket.send(struct.pack("=IHHII", 16 + len(body), QUEUE << 8 | kind, REQUEST | flags, 0, 0) + body)

    def configure(self, attributes):
        self.say(CONFIG, attributes, ACKNOWLEDGE)
        kind, error = struct.unpack_from("=4xH10xi", self.socket.recv(65536))
        if kind != ERROR or error:
            raise Wrong(f"queue {self.number}: {os.strerror(-error)}")

    def wait(self, count):
        """Until so many wait."""
        while len(self.waiting) < count:
            if not select.select([self.socket], [], [], SECONDS)[0]:
                raise Wrong(f"{len(self.waiting)} packets in the queue, and not {count}")
            message = self.socket.recv(65536)
            at = 20
            while at < len(message):
                length, kind = struct.unpack_from("=HH", message, at)
                if kind & 0x3FFF == PACKET_HDR:
                    self.waiting.append(struct.unpack_from("!I", message, at + 4)[0])
                at += length + 3 & ~3

    def count(self):
        """How many wait by now."""
        while select.select([self.socket], [], [], 0)[0]:
            self.wait(len(self.waiting) + 1)
        return len(self.waiting)

    def release(self, at=0, verdict=NF_ACCEPT):
        """Lets one go."""
        number = self.waiting.pop(at)
        self.say(VERDICT, attribute(VERDICT_HDR, struct.pack("!II", verdict, number)), 0)
