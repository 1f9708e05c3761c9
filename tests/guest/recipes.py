#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Runs the recipes of xtables-ext/recipes in the VM, with traffic that must pass and traffic that must not.

usage: recipes.py PLAN

PLAN is a directory that tests/tests/recipes.rs makes: the recipes, and plan.json, a list of runs.

    place    where the recipe is loaded:
             gateway      master -- gateway -- rtu, two subnets
             rtu          the same, on the outstations' own host
             bridge       master -- bridge -- rtu, one subnet; `tagged` puts both hosts on a VLAN
    resend   TCP sends again as soon as ever; otherwise not while a run lasts
    hosts    variables for the recipe where it is not IPv4: a host's name in braces is its address
    steps    what is done, and what must come of it; see the methods do_* of Run

Each run is made with iptables-legacy and iptables-nft, at the same time, and each time in network
namespaces of its own. Printed are lines
    check RECIPE::VARIANT::FAMILY ok
or, in place of `ok`, what went wrong first.
"""

import concurrent.futures
import contextlib
import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time

from demo import namespace

SECONDS = 20
PORT = 20000
# By family and place: host -> address. The gateway has the first of each subnet.
MASTERS = {"master": 10, "operator": 11, "engineer": 12, "stranger": 66}
RTUS = {"rtu": 20, "rtu2": 21}
SUBNETS = {"ipv4": ("192.0.2.", "198.51.100."), "ipv6": ("2001:db8:1::", "2001:db8:2::")}
BITS = {"ipv4": 24, "ipv6": 64}
AF = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
VERDICTS = ("-j ACCEPT", "-j DROP", "-j REJECT")
# Of struct tcp_info.
TCPI_UNACKED, TCPI_TOTAL_RETRANS = 24, 100
NFULA_PAYLOAD, NFULA_PREFIX = 9, 10


class Wrong(Exception):
    """Something is not as the plan has it."""


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise Wrong(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def until(what, test):
    """Calls test until it returns something true, which is returned."""
    end = time.monotonic() + SECONDS
    while True:
        found = test()
        if found:
            return found
        if time.monotonic() > end:
            raise Wrong(f"{what}: not within {SECONDS} seconds")
        time.sleep(0.01)


def ready(sock, seconds=0):
    return bool(select.select([sock], [], [], seconds)[0])


class Network:
    """Three namespaces in a row, as the run's place says."""

    def __init__(self, name, place, family, tagged, resend):
        self.family = family
        self.names = {who: f"{name}-{who}" for who in ("master", "middle", "rtu")}
        self.devices = []
        near, far = SUBNETS[family]
        bridge = place == "bridge"
        if bridge:
            far = near
        bits = BITS[family]
        self.address = {who: f"{near}{host}" for who, host in MASTERS.items()}
        self.address.update({who: f"{far}{host}" for who, host in RTUS.items()})
        master, middle, rtu = self.names.values()
        self.batch(
            None,
            *(f"netns add {namespace_}" for namespace_ in self.names.values()),
            f"link add eth0 netns {master} type veth peer name eth0 netns {middle}",
            f"link add eth0 netns {rtu} type veth peer name eth1 netns {middle}",
        )
        device = "eth0.5" if tagged else "eth0"
        nodad = "nodad" if family == "ipv6" else ""
        vlan = ["link add link eth0 name eth0.5 type vlan id 5", "link set eth0.5 up"]
        # A busy machine is slow to acknowledge; what is sent again would be counted again.
        wait = "" if resend else f"rto_min {SECONDS}s"
        for end, subnet, hosts in ((master, near, MASTERS), (rtu, far, RTUS)):
            net = f"{subnet}0/{bits}" if family == "ipv4" else f"{subnet}/{bits}"
            self.batch(
                end,
                "link set lo up",
                "link set eth0 up",
                *(vlan if tagged else ()),
                *(
                    f"addr add {subnet}{host}/{bits} dev {device} noprefixroute {nodad}"
                    for host in hosts.values()
                ),
                f"route add {net} dev {device} {wait}",
                *(() if bridge else (f"route add default via {subnet}1 {wait}",)),
            )
        ports = ("eth0", "eth1")
        lines = [f"link set {device} up" for device in ("lo", *ports)]
        if bridge:
            lines.append("link add br0 type bridge")
            lines += [f"link set {port} master br0" for port in ports]
            lines.append("link set br0 up")
        else:
            subnets = zip(ports, (near, far))
            lines += [f"addr add {subnet}1/{bits} dev {port} {nodad}" for port, subnet in subnets]
        self.batch(middle, *lines)
        if not resend:
            # Nor the last segment after twice the round trip.
            for end in ("master", "rtu"):
                self.switch(end, "net/ipv4/tcp_early_retrans", 0)
        if not bridge:
            name = "ipv4/ip_forward" if family == "ipv4" else "ipv6/conf/all/forwarding"
            self.switch("middle", f"net/{name}", 1)

    @staticmethod
    def batch(where, *lines):
        command = ["ip"] + (["-n", where] if where else []) + ["-batch", "-"]
        run(*command, input="\n".join(lines))

    def within(self, who):
        return namespace(self.names["rtu" if who in RTUS else "master"])

    def inside(self, where):
        return namespace(self.names[where])

    def exec(self, where, *command, **options):
        with self.inside(where):
            return run(*command, **options)

    def switch(self, where, name, value):
        with self.inside(where), open(f"/proc/sys/{name}", "w", encoding="ascii") as file:
            file.write(str(value))

    def remove(self):
        self.batch(None, *(f"netns del {namespace_}" for namespace_ in self.names.values()))


class Pair:
    """A TCP connection: the client's end and, when it was accepted, the server's."""

    def __init__(self, client):
        self.client = client
        self.server = None


class Nflog:
    """tcpdump, which reads a group of NFLOG; what it writes has the prefixes."""

    def __init__(self, command):
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
        self.octets = b""
        said = b""
        while b"listening on" not in said:
            if not ready(self.process.stderr, SECONDS):
                raise Wrong(f"tcpdump does not listen: {said!r}")
            more = os.read(self.process.stderr.fileno(), 4096)
            if not more:
                raise Wrong(f"tcpdump: {said.decode().strip()}")
            said += more
        self.take(24)

    def take(self, number):
        while len(self.octets) < number:
            if not ready(self.process.stdout, SECONDS):
                raise Wrong("nothing more from NFLOG")
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                raise Wrong("tcpdump has ended")
            self.octets += more
        taken, self.octets = self.octets[:number], self.octets[number:]
        return taken

    def next(self):
        """Prefix and packet of the next record."""
        (length,) = struct.unpack_from("=8xI4x", self.take(16))
        record = self.take(length)
        fields, at = {}, 4
        while at + 4 <= len(record):
            size, kind = struct.unpack_from("=HH", record, at)
            fields[kind] = record[at + 4 : at + size]
            at += max(4, (size + 3) & ~3)
        return fields[NFULA_PREFIX].rstrip(b"\0").decode(), fields[NFULA_PAYLOAD]

    def end(self):
        self.process.terminate()
        self.process.wait(SECONDS)


class Run:
    """One recipe with one variant of iptables in one family."""

    def __init__(self, plan, one, variant, family):
        self.plan, self.one, self.family = plan, one, family
        self.place = one["place"]
        self.where = "rtu" if self.place == "rtu" else "middle"
        self.iptables = f"{'iptables' if family == 'ipv4' else 'ip6tables'}-{variant}"
        self.pairs = {}
        self.graveyard = []
        self.listeners = {}
        self.datagrams = {}
        self.nflog = None
        # What the rules counted when they were last looked at, if all that came since is known.
        self.last = None
        name = f"{variant}-{family}"
        self.network = Network(name, self.place, family, one["tagged"], one["resend"])
        self.address = self.network.address

    def end(self):
        if self.nflog:
            self.nflog.end()
        for pair in [*self.pairs.values(), *self.graveyard]:
            for sock in (pair.client, pair.server):
                if sock:
                    sock.close()
        for sock in (*self.listeners.values(), *self.datagrams.values()):
            sock.close()
        self.network.remove()

    # The rules.

    def do_load(self, step):
        """Loads the recipe; `fails`: with that in its one line of complaint, and closed."""
        env = dict(os.environ, iptables=self.iptables)
        if self.family == "ipv6":
            for name, hosts in self.one["hosts"].items():
                env[name] = hosts.format(**self.address)
        command = ["sh", f"{self.plan}/{self.one['file']}"]
        if "fails" in step:
            # A switch that stays empty, whatever is written to it.
            hide = f"mount --bind /dev/null {step['hide']} && exec \"$@\""
            command = ["unshare", "--mount", "sh", "-c", hide, "sh", *command]
        with self.network.inside(self.where):
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if "fails" in step:
            lines = done.stderr.splitlines()
            if done.returncode == 0 or len(lines) != 1 or step["fails"] not in lines[0]:
                raise Wrong(f"exit status {done.returncode}, and {done.stderr!r}")
            for family in ("iptables", "ip6tables"):
                command = self.iptables.replace("ip6tables", "iptables").replace("iptables", family)
                said = self.network.exec(self.where, command, "-S", "FORWARD")
                if "-P FORWARD DROP" not in said:
                    raise Wrong(f"the recipe gave up, and left {said!r}")
        elif done.returncode or done.stderr:
            raise Wrong(f"exit status {done.returncode}, and {done.stderr!r}")

    def do_boot(self, _step):
        """Saves all that the folder's README says is to be saved, takes it away, and loads it."""
        do = lambda *command, **options: self.network.exec(self.where, *command, **options)
        empty = "*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n"
        other = self.iptables.replace("ip6", "ip")
        commands = (other, other.replace("ip", "ip6", 1))
        bridge = self.place == "bridge"
        files = {command: do(f"{command}-save") for command in commands}
        sets = do("ipset", "save")
        chain = bridge and do("nft", "list", "table", "bridge", "dnp3")
        for command in commands:
            do(f"{command}-restore", input=empty)
        do("ipset", "destroy")
        names = ("call-iptables", "call-ip6tables", "filter-vlan-tagged") if bridge else ()
        if bridge:
            do("nft", "delete", "table", "bridge", "dnp3")
        for value in (0, 1):
            for name in names:
                self.network.switch(self.where, f"net/bridge/bridge-nf-{name}", value)
        if sets:
            try:
                do(f"{self.iptables}-restore", input=files[self.iptables])
            except Wrong:
                pass
            else:
                raise Wrong("the rules are loaded without their sets")
        do("ipset", "restore", input=sets)
        if bridge:
            do("nft", "-f", "-", input=chain)
            if do("nft", "list", "table", "bridge", "dnp3") != chain:
                raise Wrong(f"the bridge's chain is not what it was: {chain!r}")
        for command in commands:
            do(f"{command}-restore", input=files[command])
        self.last = None

    def counters(self):
        """Packets of each rule, and of each chain's policy where it is not ACCEPT."""
        found = {}
        saved = self.network.exec(self.where, f"{self.iptables}-save", "-c", "-t", "filter")
        for line in saved.splitlines():
            if line.startswith("["):
                count, _, rule = line.partition(" ")
                found[rule] = int(count[1:].partition(":")[0])
            elif line.startswith(":") and " - " not in line:
                chain, policy, count = line[1:].split()
                if policy != "ACCEPT":
                    found[f"-A {chain} policy -j {policy}"] = int(count[1:].partition(":")[0])
        return found

    def before(self):
        return self.last or self.counters()

    @staticmethod
    def fits(rule, words):
        return all(f"{word} " in f"{rule} " for word in words)

    def took(self, step, before, after):
        """The rules that took what was sent: the one that the step names, and others."""
        took = [
            rule
            for rule, count in after.items()
            if count > before.get(rule, 0) and any(verdict in rule for verdict in VERDICTS)
        ]
        # Bare ACKs, a new handshake, and in IPv6 how hosts find each other, are not what was sent.
        noise = ("--status none", "icmp", " policy ")
        named = [rule for rule in took if step["rule"] and self.fits(rule, step["rule"])]
        other = [
            rule
            for rule in took
            if rule not in named and not any(word in rule for word in noise)
        ]
        return named, other

    def judge(self, step, before):
        """Whether the rule that was to take it did, and no other; where none is named, none may."""
        self.last = self.counters()
        named, other = self.took(step, before, self.last)
        if step["rule"] and not named:
            raise Wrong(f"it was taken by {other}, and not by {step['rule']}")
        if other:
            raise Wrong(f"it was taken by {other} beside {named}")

    def dropped(self, step, before):
        """Waits for the rule to count what nobody will hear of."""

        def counted():
            named, other = self.took(step, before, self.counters())
            if other:
                raise Wrong(f"it was taken by {other}")
            return named

        until(f"a rule with {step['rule']} counts", counted)
        self.last = None

    def do_counted(self, step):
        """A rule has counted so many packets since it was loaded."""
        found = [
            count for rule, count in self.counters().items() if self.fits(rule, step["rule"])
        ]
        if found != [step["packets"]]:
            raise Wrong(f"{found} packets")

    # TCP.

    def listener(self, to):
        if to not in self.listeners:
            with self.network.within(to):
                listener = socket.create_server((self.address[to], PORT), family=AF[self.family])
            listener.settimeout(SECONDS)
            self.listeners[to] = listener
        return self.listeners[to]

    def client(self, who):
        with self.network.within(who):
            client = socket.socket(AF[self.family])
        client.settimeout(SECONDS)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.bind((self.address[who], 0))
        return client

    def accept(self, pair, to):
        pair.server, _ = self.listener(to).accept()
        pair.server.settimeout(SECONDS)
        pair.server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connect(self, who, to, half=False):
        self.listener(to)
        self.last = None
        pair = Pair(self.client(who))
        pair.client.connect((self.address[to], PORT))
        if not half:
            self.accept(pair, to)
        self.pairs[who, to] = pair

    def do_open(self, step):
        """A connection; `half`: the server has no ACK of its SYN-ACK and so has not accepted it."""
        who, to, fate = step["from"], step["to"], step["fate"]
        before = self.before()
        self.listener(to)
        if fate == "passes":
            self.connect(who, to, step.get("half", False))
        elif fate == "reset":
            with self.client(who) as client:
                try:
                    client.connect((self.address[to], PORT))
                except ConnectionRefusedError:
                    pass
                else:
                    raise Wrong("the connection was made")
        else:
            with self.client(who) as client:
                client.setblocking(False)
                client.connect_ex((self.address[to], PORT))
                self.dropped(step, before)
            return
        self.judge(step, before)

    def do_send(self, step):
        """Octets on a connection, which is made anew where it was lost to an earlier step."""
        who, to, fate = step["from"], step["to"], step["fate"]
        octets = bytes.fromhex(step["octets"])
        key = (to, who) if who in RTUS else (who, to)
        if key not in self.pairs:
            self.connect(*key)
        pair = self.pairs[key]
        before = self.before()
        sender = pair.server if who in RTUS else pair.client
        sender.sendall(octets)
        if not pair.server and fate == "passes":
            self.accept(pair, key[1])
        receiver = pair.client if who in RTUS else pair.server
        if fate == "dropped":
            self.dropped(step, before)
            if receiver and ready(receiver):
                raise Wrong("it arrived")
            # At once, or it would be sent again.
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sender.close()
        else:
            arrived = self.arrived(sender, receiver, octets)
            if arrived != (fate == "passes"):
                raise Wrong("it arrived" if arrived else "it was reset")
            self.judge(step, before)
        if fate != "passes":
            # The other end stays open until all is over, so that no packet of it gets into the counts.
            self.graveyard.append(self.pairs.pop(key))

    @staticmethod
    def arrived(sender, receiver, octets):
        arrived = b""
        while len(arrived) < len(octets):
            found, _, _ = select.select([sender, receiver], [], [], SECONDS)
            if receiver in found:
                arrived += receiver.recv(65536)
            elif sender in found:
                try:
                    raise Wrong(f"the other end sent {sender.recv(1)!r}")
                except ConnectionResetError:
                    return False
            else:
                raise Wrong("neither arrived nor reset")
        if arrived != octets:
            raise Wrong(f"{arrived.hex()} arrived")
        return True

    @staticmethod
    def tcp_info(sock, at):
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        return struct.unpack_from("=I", info, at)[0]

    def do_acknowledged(self, step):
        """The server has an ACK of all that it sent; or it has none, and sends again."""
        server = self.pairs[step["from"], step["to"]].server
        if step["fate"] == "passes":
            until("an ACK", lambda: self.tcp_info(server, TCPI_UNACKED) == 0)
        else:
            until("a retransmission", lambda: self.tcp_info(server, TCPI_TOTAL_RETRANS) > 0)
            if self.tcp_info(server, TCPI_UNACKED) == 0:
                raise Wrong("there is an ACK")

    def do_close(self, step):
        """The client closes the connection, and the server sees it; or the FIN is dropped."""
        pair = self.pairs.pop((step["from"], step["to"]))
        self.graveyard.append(pair)
        before = self.before()
        pair.client.shutdown(socket.SHUT_WR)
        if step["fate"] == "passes":
            if not ready(pair.server, SECONDS) or pair.server.recv(1) != b"":
                raise Wrong("the server does not see the end")
        else:
            self.dropped(step, before)
            if ready(pair.server):
                raise Wrong("the server sees the end")

    def do_forget(self, _step):
        """conntrack forgets all connections; they go on."""
        self.network.exec(self.where, "conntrack", "-F")

    # UDP.

    def datagram_socket(self, host):
        if host not in self.datagrams:
            with self.network.within(host):
                sock = socket.socket(AF[self.family], socket.SOCK_DGRAM)
            sock.bind((self.address[host], PORT))
            self.datagrams[host] = sock
        return self.datagrams[host]

    def do_datagram(self, step):
        """A datagram from port 20000 to port 20000."""
        who, to, fate = step["from"], step["to"], step["fate"]
        for host in (who, to):
            self.datagram_socket(host)
        before = self.before()
        octets = bytes.fromhex(step["octets"])
        self.datagrams[who].sendto(octets, (self.address[to], PORT))
        receiver = self.datagrams[to]
        if fate == "dropped":
            self.dropped(step, before)
            if ready(receiver):
                raise Wrong("it arrived")
            return
        if not ready(receiver, SECONDS):
            raise Wrong("it did not arrive")
        if receiver.recv(65536) != octets:
            raise Wrong("something else arrived")
        self.judge(step, before)

    def do_closed(self, step):
        """A datagram comes to the chain of the bridge family, which drops it; the hosts know each other."""
        # Of all that comes to the chain, neighbour discovery for one, only this is UDP.
        rule = ("nft", "insert", "rule", "bridge", "dnp3", "forward", "meta", "l4proto", "udp")
        self.network.exec(self.where, *rule, "counter")
        receiver = self.datagram_socket(step["to"])
        sender = self.datagram_socket(step["from"])
        sender.sendto(bytes.fromhex(step["octets"]), (self.address[step["to"]], PORT))

        def counted():
            if ready(receiver):
                raise Wrong("it crossed the bridge")
            listed = self.network.exec(self.where, "nft", "list", "table", "bridge", "dnp3")
            return "udp counter packets 1 " in listed

        until("the bridge's chain counts it", counted)
        # Were it not dropped there, this one would come to the other end behind it.
        self.network.exec(self.where, "nft", "delete", "table", "bridge", "dnp3")
        sender.sendto(b"behind it", (self.address[step["to"]], PORT))
        if not ready(receiver, SECONDS):
            raise Wrong("nothing passes without the chain either")
        if receiver.recv(65536) != b"behind it":
            raise Wrong("it crossed the bridge")

    # What stands around the rules.

    def do_clock(self, step):
        """Sets the clock (UTC)."""
        run("date", "-u", "-s", step["at"])

    def do_switch(self, step):
        """A sysctl where the rules are."""
        self.network.switch(self.where, step["name"], step["value"])

    def do_gateway(self, step):
        """A command of ip where the rules are."""
        self.network.exec(self.where, "ip", *step["ip"].split())

    def do_listen(self, step):
        """Reads a group of NFLOG from here on."""
        command = f"tcpdump -Z root -i nflog:{step['group']} --immediate-mode -U -w -"
        with self.network.inside(self.where):
            self.nflog = Nflog(command.split())

    def do_logged(self, step):
        """The next record of NFLOG, its prefix and the payload at its end."""
        prefix, packet = self.nflog.next()
        if prefix != step["prefix"]:
            raise Wrong(f"the prefix is {prefix!r}")
        if not packet.endswith(bytes.fromhex(step["octets"])):
            raise Wrong(f"the packet is {packet.hex()}")

    def go(self):
        for number, step in enumerate(self.one["steps"]):
            try:
                getattr(self, f"do_{step['do']}")(step)
            except (Wrong, OSError) as error:
                what = step.get("what", step["do"])
                raise Wrong(f"step {number}, {what}: {error}") from error


@contextlib.contextmanager
def clock(needed):
    """There is one clock for all."""
    with open("/run/recipes-clock", "w", encoding="ascii") as lock:
        if needed:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def worker(plan, variant):
    """All runs of a variant; a process of its own, because a namespace is entered by thread."""
    with open(f"{plan}/plan.json", encoding="utf-8") as file:
        runs = json.load(file)
    for one in runs:
        for family in one["families"]:
            began = time.monotonic()
            with clock(any(step["do"] == "clock" for step in one["steps"])):
                try:
                    this = Run(plan, one, variant, family)
                    try:
                        this.go()
                    finally:
                        this.end()
                    word = "ok"
                except (Wrong, OSError) as error:
                    word = str(error).replace("\n", " ")
            name = f"{one['name']}::{variant}::{family}"
            print(f"check {name} {word}", flush=True)
            print(f"time {name} {time.monotonic() - began:.2f}", flush=True)


def main():
    plan = os.path.abspath(sys.argv[1])
    if len(sys.argv) > 2:
        worker(plan, sys.argv[2])
        return
    run("sysctl", "-q", "net.netfilter.nf_log_all_netns=1")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        commands = [
            [sys.executable, os.path.abspath(__file__), plan, variant]
            for variant in ("legacy", "nft")
        ]
        codes = list(pool.map(lambda command: subprocess.run(command, check=False), commands))
    sys.exit(any(done.returncode for done in codes))


if __name__ == "__main__":
    main()
