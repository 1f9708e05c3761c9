# SPDX-License-Identifier: GPL-2.0
"""Exchanges that were generated on the host: what to send from one port, step by step.

    open                        SYN, and the ACK of what answers, tried twice
    data:AT:FLAGS:HOW:URGENT:HEX    a segment, AT octets behind the first; HOW is a name in HOWS
    ack:AT                      an ACK with the outstation's address, from the attacker's side
    syn:MORE:HOW                a SYN whose number is so much higher than the last one's
    synack                      a SYN-ACK with the outstation's address
    rst:AT:HOW                  an RST
    forget                      the outstation's host loses its connections
    flush                       conntrack does
    go:AT                       one of the packets that wait goes on
    settle                      all that was sent arrives
"""

import nfqueue
import wire

HOWS = {
    "": {}, "ttl": {"ttl": 2}, "sum": {"wrong": True}, "md5": {"options": wire.MD5}, "stale": {"stamp": -100_000},
}


class Exchange:
    """One of them."""

    def __init__(self, number, variant, family, policy, waits, host, isn, *steps):
        self.number, self.variant, self.family, self.policy, self.host = number, variant, family, policy, host
        self.extras = ("queue",) if waits == "waits" else ()
        self.isn = int(isn)
        self.steps = [step.split(":") for step in steps]
        self.queue = None

    def run(self, world):
        session = world.session(self.host, isn=self.isn, stamped=self.isn % 2 == 0)
        if self.extras:
            with nfqueue.Queue() as self.queue:
                self.take(session)
                session.settle()
                for _ in range(self.queue.count()):
                    self.queue.release()
                session.settle()
        else:
            self.take(session)
        return session

    def take(self, session):
        for what, *words in self.steps:
            getattr(self, what)(session, *words)

    def open(self, s):
        for _ in range(2):
            s.syn()
            if s.answered():
                break

    def data(self, s, at, flags, how, urgent, octets):
        s.send(int(at), bytes.fromhex(octets), int(flags), urgent=int(urgent), **HOWS[how])

    def ack(self, s, at):
        s.forge_ack(int(at))

    def syn(self, s, more, how):
        s.isn = s.isn + int(more) & 0xFFFFFFFF
        s.syn(**HOWS[how])
        s.answered()

    def synack(self, s):
        s.send(0, b"", wire.SYN | wire.ACK, reverse=True, sequence=s.theirs - 1, ack=s.isn + 1)

    def rst(self, s, at, how):
        s.send(int(at), b"", wire.RST, **HOWS[how])

    def forget(self, s):
        s.settle()
        s.world.recorder.forget()

    def flush(self, s):
        s.settle()
        s.world.flush_conntrack()

    def go(self, s, at):
        if self.queue:
            s.settle()
            count = self.queue.count()
            if count:
                self.queue.release(int(at) % count)

    def settle(self, s):
        s.settle()
