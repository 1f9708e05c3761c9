# SPDX-License-Identifier: GPL-2.0
"""What wants the machine for itself: two CPUs that send at the same moment, and a gateway told to believe
SYN-ACKs wherever they come from.
"""

import mmap
import os
import time

import attacks
import wire
import world as worlds
from network import Wrong


class Second:
    """A process on the other CPU, which writes a packet when it is told to; both see a page of memory."""

    GO, DONE, END = 1, 2, 3

    def __init__(self, device):
        self.page = mmap.mmap(-1, 4096)
        self.child = os.fork()
        if self.child == 0:
            os.sched_setaffinity(0, {1})
            self.serve(device)
            os._exit(0)
        os.sched_setaffinity(0, {0})

    def serve(self, device):
        while True:
            self.wait_not(self.DONE)
            if self.page[0] == self.END:
                return
            length = int.from_bytes(self.page[8:12], "big")
            os.write(device, wire.NO_GSO + self.page[16:16 + length])
            self.page[0] = self.DONE

    def wait_not(self, state):
        end = time.monotonic() + worlds.SECONDS
        while self.page[0] == state or self.page[0] == 0:
            if time.monotonic() > end:
                raise Wrong("the other CPU does not answer")

    def start(self, packet):
        self.page[8:12] = len(packet).to_bytes(4, "big")
        self.page[16:16 + len(packet)] = packet
        self.page[0] = self.GO

    def wait(self):
        """Until it has written."""
        self.wait_not(self.GO)

    def end(self):
        self.page[0] = self.END
        os.waitpid(self.child, 0)


def two_cpus(world, second, rounds):
    """Two packets at the same place, each valid, from two CPUs. For the control they come one after the other."""
    for variant, policy in (("legacy", "tracked"), ("nft", "lax"), ("nft", "stateless")):
        world.load(variant, "ipv4", policy)
        try:
            for number in range(rounds):
                session = world.session("recorder")
                session.open()
                session.settle()
                octets = [wire.OTHER, wire.B]
                if policy == "stateless":
                    second.start(session.segment(0, octets[0]))
                    second.wait()
                    world.settle(1)
                    session.send(0, octets[1])
                else:
                    mine = session.segment(0, octets[number % 2])
                    second.start(session.segment(0, octets[1 - number % 2]))
                    # From before the other has waked up until it is through.
                    for _ in range(number * 37 % 2000):
                        pass
                    world.write(mine)
                    second.wait()
                world.settle(0)
                world.settle(1)
                print("run two_cpus", policy, variant, "ipv4 recorder",
                      *(one.hex() or "-" for one in session.streams()))
        except (Wrong, OSError) as error:
            print("fault", f"two_cpus {policy} {variant} {error}")


def believing(world):
    """Forged SYN-ACKs, where the gateway believes them, and where it does not."""
    for policy, word in (("believing", "N"), ("tracked", "Y")):
        worlds.put(f"{worlds.PARAMETERS}/track_symmetric", word)
        for variant in ("legacy", "nft"):
            world.load(variant, "ipv4", "tracked")
            for name in ("a_forged_syn_ack_after_rst", "a_forged_syn_ack_after_a_flush"):
                try:
                    session = attacks.ALL[name].run(world, "recorder")
                    print("run", name, policy, variant, "ipv4 recorder",
                          *(one.hex() or "-" for one in session.streams()))
                except (Wrong, OSError) as error:
                    print("fault", f"{name} {policy} {variant} {error}")


def run(rounds):
    devices = worlds.build(2)
    start = time.monotonic()
    # Before there is a thread.
    second = Second(devices[1])
    world = worlds.World(devices)
    two_cpus(world, second, rounds)
    second.end()
    print("time two_cpus", f"{time.monotonic() - start:.1f}")
    believing(world)
