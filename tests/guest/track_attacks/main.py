#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Attacks an outstation behind a gateway that follows the stream; world.py has the network, attacks.py the attacks.

usage: main.py PLAN             all of it: a worker for each variant of iptables, each on a CPU of its own, then what
                                wants both
       main.py PLAN VARIANT     that worker

PLAN has lines
    attack NAME                             an attack; `attack` alone stands for each there is
    all                                     each attack meets every variant, family and policy that it is for, and not just some
    exchange NUMBER VARIANT FAMILY POLICY WAITS HOST ISN STEP...    see exchanges.py
    rounds NUMBER                           how often two CPUs send at a time
Printed are
    attack NAME CONTROL                     there is this one
    run NAME POLICY VARIANT FAMILY HOST STREAM...       what TCP delivered on each connection, in hexadecimal, "-" where
                                            that is nothing; of opendnp3 what it did, as tests/guest/opendnp3 has it
    exchange NUMBER HOST STREAM...          the same
    fault WORDS                             it could not be told
    time WORDS SECONDS
    end
"""

import importlib.util
import os
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "clients"))

import attacks
import exchanges
import network
import race
import wire
import world as worlds
from network import VARIANTS, Wrong, within

# It is a program of its own, beside other programs called main.
spec = importlib.util.spec_from_file_location("real_outstation", os.path.join(HERE, "..", "opendnp3", "main.py"))
real = importlib.util.module_from_spec(spec)
spec.loader.exec_module(real)

# A wait for opendnp3's thread is a short one.
network.BETWEEN = 0.002


class OpenDnp3:
    """opendnp3, and what it did since it was asked last."""

    def __init__(self):
        self.host = worlds.ADDRESS["ipv4"]["opendnp3"]
        self.outstation = real.Outstation(self.host)
        self.log = self.outstation.log
        self.taken = 0

    def take(self, session):
        """Until it has read and done all; what that was."""
        session.settle()
        network.until(lambda: self.outstation.has_read(session.port), "all octets read by opendnp3")
        # A connection that comes closes the one before, and behind that nothing comes any more.
        before = len(self.log.connections)
        with within("outstation"), socket.create_connection((self.host, wire.PORT)):
            network.until(lambda: len(self.log.connections) > before, "a new connection of opendnp3's")
        did = [event for events in self.log.connections[self.taken:before] for event in events]
        self.taken = before
        return did


def streams(octets):
    return [one.hex() or "-" for one in octets]


class Work:
    """What a worker does."""

    def __init__(self, plan, variant):
        self.variant = variant
        self.names, self.exchanges, self.all = [], [], False
        for kind, *words in plan:
            if kind == "attack":
                self.names += words or attacks.ALL
            elif kind == "all":
                self.all = True
            elif kind == "exchange" and words[1] == variant:
                self.exchanges.append(exchanges.Exchange(*words))
        self.world = worlds.World(worlds.build(1))
        self.opendnp3 = None

    def load(self, family, policy, extras):
        world = self.world
        if (world.variant, world.family, world.policy, world.extras) != (self.variant, family, policy, extras):
            world.load(self.variant, family, policy, extras)

    def what_came(self, session):
        if session.host == "opendnp3":
            self.opendnp3 = self.opendnp3 or OpenDnp3()
            return self.opendnp3.take(session)
        return streams(session.streams())

    def honest(self):
        """A connection begins, and a READ is delivered on it: the gateway is as it was."""
        host = "gateway" if "nat" in self.world.extras else "recorder"
        session = self.world.session(host)
        session.open()
        queue = attacks.nfqueue.Queue() if "queue" in self.world.extras else None
        read = wire.READ if self.world.policy != "others" else wire.frame(bytes.fromhex("c0c001"), destination=2)
        session.send(0, read)
        if queue:
            with queue:
                queue.wait(1)
                queue.release()
        came = session.streams()
        if came != [read]:
            raise Wrong(f"a READ was sent, and came as {came}")

    def attack(self, attack, family, policy, host):
        name = f"{attack.name} {policy} {self.variant} {family} {host}"
        try:
            if host == "opendnp3":
                self.opendnp3 = self.opendnp3 or OpenDnp3()
            session = attack.run(self.world, host)
            print("run", name, *self.what_came(session))
            if policy in worlds.FOLLOWING:
                self.honest()
        except (Wrong, OSError) as error:
            print("fault", name, f"{type(error).__name__}: {error}")

    def runs(self):
        """Attacks with what they meet; those that need the same rules are together. An attack meets its control
        once in each family, or in its only one."""
        own = {"legacy": "ipv4", "nft": "ipv6"}[self.variant]
        for family in wire.FAMILIES:
            for name in self.names:
                attack = attacks.ALL[name]
                # With few families of its own, it meets both variants in those.
                is_own = family == own or len(attack.families) == 1
                if family not in attack.families or not (is_own or self.all):
                    continue
                policies = [policy for policy in attack.policies if self.all or policy != "deny"]
                if is_own:
                    policies.append(attack.control)
                for policy in policies:
                    for host in attack.hosts:
                        if host != "opendnp3" or family == "ipv4" and policy in ("tracked", attack.control):
                            yield family, policy, attack.extras, attack, host

    def run(self):
        def same(run):
            return list(wire.FAMILIES).index(run[0]), list(worlds.POLICIES).index(run[1]), run[2]

        start = time.monotonic()
        for family, policy, extras, attack, host in sorted(self.runs(), key=same):
            self.load(family, policy, extras)
            self.attack(attack, family, policy, host)
        print("time", "attacks", self.variant, f"{time.monotonic() - start:.1f}")
        start = time.monotonic()
        for exchange in sorted(self.exchanges, key=lambda one: (one.family, one.policy, one.extras)):
            self.load(exchange.family, exchange.policy, exchange.extras)
            try:
                print("exchange", exchange.number, exchange.host, *self.what_came(exchange.run(self.world)))
            except (Wrong, OSError) as error:
                print("fault", f"exchange {exchange.number} {type(error).__name__}: {error}")
        print("time", "exchanges", self.variant, f"{time.monotonic() - start:.1f}")


def read(plan):
    with open(plan, encoding="ascii") as file:
        return [line.split() for line in file]


def prepare():
    """Mount points of our own, where namespaces have the same names in each worker."""
    os.makedirs("/run/netns", exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run/netns"], check=True)


def main():
    file, *variants = sys.argv[1:]
    plan = read(file)
    if variants:
        prepare()
        work = Work(plan, *variants)
        try:
            work.run()
        finally:
            # Its threads would go on.
            if work.opendnp3:
                work.opendnp3.outstation.manager.Shutdown()
        return
    for name, attack in attacks.ALL.items():
        print("attack", name, attack.control)
    with open("/proc/sys/net/netfilter/nf_conntrack_max", "w", encoding="ascii") as stream:
        stream.write("131072")
    workers = []
    for cpu, variant in enumerate(VARIANTS):
        workers.append(subprocess.Popen(
            ["unshare", "--mount", "taskset", "-c", str(cpu % os.cpu_count()), sys.executable, __file__, file, variant],
            stdout=subprocess.PIPE, text=True))
    for worker, variant in zip(workers, VARIANTS):
        said, _ = worker.communicate()
        sys.stdout.write(said)
        if worker.returncode:
            print("fault", f"{variant}: exit status {worker.returncode}")
    for kind, *words in plan:
        if kind == "rounds":
            prepare()
            race.run(int(words[0]))
    print("end")


if __name__ == "__main__":
    main()
