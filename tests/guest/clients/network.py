# SPDX-License-Identifier: GPL-2.0
"""The network of the real clients: namespaces, the gateway's rules, their counters, and what was on the wire.

      ns master                     ns gateway                       ns outstation
    +------------------+        +----------------------+         +---------------------+
    | 192.0.2.10/24    |--------| .1     POLICY     .1 |---------| 198.51.100.20/24    |
    | 2001:db8:1::10   | vm0    | vg0              vg1 |     vo0 | 2001:db8:2::20      |
    +------------------+        |                      |         +---------------------+
      ns stranger               |                      |
    +------------------+        |                      |
    | 203.0.113.66/24  |--------| .1                   |
    | 2001:db8:3::66   | vs0    | vg2                  |
    +------------------+        +----------------------+

Rules without `--track` want frames that are not cut: the maximum segment size is 1,460 for both families,
there are no TCP timestamps, and no device cuts or merges.
"""

import contextlib
import ctypes
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time

SECONDS = 60
BETWEEN = 0.05
PORT = 20000
MSS = 1460
CLONE_NEWNET = 0x40000000
# Of each family: where the master, the outstation and the stranger are, and their gateway.
ADDRESS = {
    "ipv4": {"master": "192.0.2.10", "outstation": "198.51.100.20", "stranger": "203.0.113.66"},
    "ipv6": {"master": "2001:db8:1::10", "outstation": "2001:db8:2::20", "stranger": "2001:db8:3::66"},
}
GATEWAY = {
    "ipv4": {"master": "192.0.2.1", "outstation": "198.51.100.1", "stranger": "203.0.113.1"},
    "ipv6": {"master": "2001:db8:1::1", "outstation": "2001:db8:2::1", "stranger": "2001:db8:3::1"},
}
DEVICE = {"master": ("vm0", "vg0"), "outstation": ("vo0", "vg1"), "stranger": ("vs0", "vg2")}
# What is counted apart: words for us, and what `--fc` takes.
CLASSES = {
    "confirm": "0", "read": "1", "write": "2", "select": "3", "operate": "4", "direct operate": "5",
    "restart": "13", "enable unsolicited": "20", "delay measure": "23", "record time": "24",
    "response": "129", "unsolicited": "130", "cont": "cont", "link": "link",
    "anything else": "7:12,14:19,21,22,25:128,131:255",
}
SETTINGS = {
    "ipv4/ip_forward": "1",
    "ipv6/conf/all/forwarding": "1",
    "ipv4/tcp_timestamps": "0",
    # A segment is sent again when it was lost, and not when the machine was slow: it would be counted twice.
    "ipv4/tcp_early_retrans": "0",
}
VARIANTS = ("legacy", "nft")
NO_RULES = """*filter
:INPUT ACCEPT
:FORWARD ACCEPT
:OUTPUT ACCEPT
COMMIT
*mangle
:PREROUTING ACCEPT
:INPUT ACCEPT
:FORWARD ACCEPT
:OUTPUT ACCEPT
:POSTROUTING ACCEPT
COMMIT
"""
libc = ctypes.CDLL(None, use_errno=True)


class Wrong(Exception):
    """What is not as it should be; for the one who reads the test's report."""


def run(*command, **options):
    done = subprocess.run(command, text=True, capture_output=True, check=False, **options)
    if done.returncode:
        raise Wrong(f"{' '.join(command)}: exit status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


@contextlib.contextmanager
def within(namespace):
    """This thread, and those that it starts in the block, are in the network namespace."""

    def enter(path):
        with open(path, "rb") as file:
            if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns", path)

    with open(f"/proc/self/task/{threading.get_native_id()}/ns/net", "rb") as home:
        enter(f"/run/netns/{namespace}")
        try:
            yield
        finally:
            enter(f"/proc/self/fd/{home.fileno()}")


def inside(namespace, *command, **options):
    """Runs a command there, without what `ip netns exec` does beside that."""
    with within(namespace):
        return run(*command, **options)


def until(condition, what):
    """Waits until the condition holds; the one wait that asks again and again. `what` is words, or a
    function that has them when it was in vain."""
    end = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > end:
            raise Wrong(f"in {SECONDS} s not seen: {what() if callable(what) else what}")
        time.sleep(BETWEEN)


def build():
    """Makes the namespaces and what joins them."""
    lines = [f"netns add {name}" for name in ("gateway", *DEVICE)]
    for host, (far, near) in DEVICE.items():
        # The MTU is for IPv6, whose header is longer.
        lines.append(f"link add {far} mtu {MSS + 60} netns {host} type veth "
                     f"peer name {near} mtu {MSS + 60} netns gateway")
    run("ip", "-batch", "-", input="\n".join(lines))
    for namespace in ("gateway", *DEVICE):
        with within(namespace):
            for name, value in SETTINGS.items():
                with open(f"/proc/sys/net/{name}", "w", encoding="ascii") as file:
                    file.write(value)
    for host, (far, near) in DEVICE.items():
        for namespace, device, addresses in ((host, far, ADDRESS), ("gateway", near, GATEWAY)):
            inside(namespace, "ethtool", "-K", device, "tso", "off", "gso", "off", "gro", "off",
                   "tx", "off")
            lines = [f"addr add {addresses['ipv4'][host]}/24 dev {device}",
                     f"addr add {addresses['ipv6'][host]}/64 dev {device} nodad",
                     f"link set {device} up", "link set lo up"]
            inside(namespace, "ip", "-batch", "-", input="\n".join(lines))
        routes(host, MSS)
    with open("/proc/sys/net/netfilter/nf_log_all_netns", "w", encoding="ascii") as file:
        file.write("1")


def routes(host, mss):
    """Makes a host's ways out, and how large a segment it asks for there."""
    for family in ADDRESS:
        inside(host, "ip", f"-{family[-1]}", "route", "replace", "default", "via",
               GATEWAY[family][host], "advmss", str(mss), "rto_min", "10s")


def command(variant, family):
    return f"{'iptables' if family == 'ipv4' else 'ip6tables'}-{variant}"


class Gateway:
    """The gateway's rules, by one variant of iptables for one family and one transport protocol."""

    def __init__(self, variant, family, protocol, home="/run/variants"):
        self.protocol = protocol
        self.family = family
        self.command = command(variant, family)
        # A policy calls `iptables`: this is the one that it gets.
        self.path = f"{home}/{self.command}"
        os.makedirs(self.path, exist_ok=True)
        with open(f"{self.path}/iptables", "w", encoding="ascii") as file:
            file.write(f'#!/bin/sh\nexec {self.command} "$@"\n')
        os.chmod(file.name, 0o755)

    def open(self):
        """No rule of any session but those that count what passed, and nothing known of a connection."""
        for variant in VARIANTS:
            inside("gateway", f"{command(variant, self.family)}-restore", input=NO_RULES)
        lines = ["*mangle", f"-A PREROUTING -p {self.protocol} -m dnp3 --status "
                 f"{'malformed' if self.protocol == 'udp' else 'partial,malformed'}"]
        lines += [f"-A POSTROUTING -p {self.protocol} -m dnp3 --status valid --frames any --fc {functions}"
                  for functions in CLASSES.values()]
        inside("gateway", f"{self.command}-restore", input="\n".join([*lines, "COMMIT", ""]))
        inside("gateway", "conntrack", "-F")

    def close(self, policy):
        """Puts a policy before the outstation; it is a shell script that calls `iptables`."""
        hosts = ADDRESS[self.family]
        if self.family == "ipv6":
            policy = policy.replace("-p icmp ", "-p ipv6-icmp ")
        environment = dict(os.environ, MASTER=hosts["master"], RTU=hosts["outstation"],
                           PATH=f"{self.path}:{os.environ['PATH']}")
        inside("gateway", "sh", "-e", input=policy, env=environment)

    def _saved(self, table):
        saved = inside("gateway", f"{self.command}-save", "-c", "-t", table)
        for line in saved.splitlines():
            if line.startswith("["):
                count, _, rule = line.partition(" ")
                yield int(count[1:].partition(":")[0]), rule

    def passed(self):
        """Packets that left for the other side, by what is in them."""
        counts = [count for count, rule in self._saved("mangle") if "-A POSTROUTING" in rule]
        if len(counts) != len(CLASSES):
            raise Wrong(f"{len(counts)} rules count, and not {len(CLASSES)}")
        return dict(zip(CLASSES, counts))

    def cut(self):
        """Packets that came, and were not whole frames."""
        return sum(count for count, rule in self._saved("mangle") if "-A PREROUTING" in rule)

    def taken(self, *words):
        """Packets that a rule of the policy has taken; the one rule that has all these words."""
        counts = [count for count, rule in self._saved("filter")
                  if all(re.search(rf"(^| ){re.escape(word)}( |$)", rule) for word in words)]
        if len(counts) != 1:
            raise Wrong(f"{len(counts)} rules have the words {words}")
        return counts[0]


def logged(prefix):
    """How often the kernel has logged this."""
    return run("dmesg").count(prefix)


class Wire:
    """What is on the gateway's two sides, by tcpdump, until the block ends."""

    SIDES = {"outside": "vg0", "inside": "vg1"}

    def __init__(self, name, directory="/run/captures"):
        os.makedirs(directory, exist_ok=True)
        self.files = {side: f"{directory}/{name}-{side}.pcap" for side in self.SIDES}
        self.dumps = {}

    def __enter__(self):
        for side, device in self.SIDES.items():
            with within("gateway"):
                self.dumps[side] = subprocess.Popen(
                    ["tcpdump", "-n", "-U", "--immediate-mode", "-B", "8192", "-s", "0", "-i", device,
                     "-w", self.files[side], f"port {PORT}"],
                    stderr=subprocess.PIPE, text=True)
        for side, dump in self.dumps.items():
            line = dump.stderr.readline()
            while line and "listening on" not in line:
                line = dump.stderr.readline()
            if not line:
                raise Wrong(f"tcpdump on the {side}: exit status {dump.wait()}")
        return self

    def __exit__(self, *_):
        lost = ""
        for dump in self.dumps.values():
            dump.send_signal(signal.SIGINT)
            _, said = dump.communicate(timeout=SECONDS)
            lost += "".join(line for line in said.splitlines()
                            if line.endswith("dropped by kernel") and not line.startswith("0 "))
        if lost:
            raise Wrong(f"tcpdump lost packets: {lost}")

    def packets(self, side):
        """The packets up to now, in their order."""
        return list(read_pcap(self.files[side]))


class Packet:
    """A TCP or UDP packet: from where, to where, and its payload."""

    def __init__(self, frame):
        kind, = struct.unpack_from("!H", frame, 12)
        packet = frame[14:]
        if kind == 0x0800:
            length, = struct.unpack_from("!H", packet, 2)
            header, protocol = (packet[0] & 15) * 4, packet[9]
            family, size, at = socket.AF_INET, 4, 12
        elif kind == 0x86DD:
            length, = struct.unpack_from("!H", packet, 4)
            length, header, protocol = length + 40, 40, packet[6]
            family, size, at = socket.AF_INET6, 16, 8
        else:
            raise Wrong(f"a frame of type {kind:#06x} on the wire")
        ends = [socket.inet_ntop(family, packet[start:start + size]) for start in (at, at + size)]
        transport = packet[header:length]
        self.ports = struct.unpack_from("!HH", transport)
        self.source, self.destination = ends
        self.payload = transport[8:] if protocol == 17 else transport[(transport[12] >> 4) * 4:]


def read_pcap(file):
    with open(file, "rb") as stream:
        octets = stream.read()
    if struct.unpack_from("<I", octets)[0] != 0xA1B2C3D4:
        raise Wrong(f"{file} is no pcap of ours")
    at = 24
    while at + 16 <= len(octets):
        length, = struct.unpack_from("<I", octets, at + 8)
        at += 16 + length
        if at > len(octets):
            return  # still being written
        yield Packet(octets[at - length:at])


class Stream:
    """One direction of a connection, packet by packet: what the rules that count must find in each."""

    def __init__(self, follows):
        # Whether rules judge the packets as pieces of a stream; else each by itself.
        self.follows = follows
        self.begun = b""
        self.messages = {}

    def frames(self, payload):
        """The link frames of the next packet: their classes, in the words of CLASSES. Cut by LEN alone; the
        CRCs are the module's and tshark's to look at. A packet that ends inside a frame is not `valid`, and so
        counts for none."""
        octets, at, found = self.begun + payload, 0, []
        while at < len(octets):
            frame = octets[at:]
            if frame[:2] != b"\x05\x64"[:len(frame)]:
                raise Wrong(f"no frame begins at octet {at} of {octets.hex()}")
            data = frame[2] - 5 if len(frame) > 2 else 0
            size = 10 + data + 2 * ((data + 15) // 16)
            if len(frame) < size:
                break
            found.append(self.class_of(frame[:size]))
            at += size
        self.begun = octets[at:]
        if not self.begun:
            return found
        if not self.follows:
            raise Wrong(f"a frame is cut: {payload.hex()}")
        return []

    def class_of(self, frame):
        if len(frame) == 10:
            return "link"
        names = {int(code): name for name, code in CLASSES.items() if code.isdigit()}
        addresses, transport = frame[4:8], frame[10]
        if transport & 0x40:
            name = names.get(frame[12], "anything else")
        else:
            name = self.messages.get(addresses, "cont")
        if self.follows:
            self.messages[addresses] = name
        return name
