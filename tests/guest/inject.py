#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Sends the packets of one plan through one variant of iptables, and says what its rules counted.

usage: inject.py PLAN VARIANT FAMILY [ROUTE...]

PLAN is a directory that tests/src/vm.rs makes; VARIANT is legacy or nft, FAMILY ipv4 or ipv6. Of it
this reads
    FAMILY/rules        for iptables-restore
    FAMILY/untracked    source addresses whose fragments are not to be put together
    FAMILY/ROUTE        packets, one a line, in the order of ROUTES or as they are named

    tun HEX                             an IP packet, written to a tun device
    gso KIND HEADER SIZE START OFFSET HEX   the same with a virtio_net_hdr before it
    pages HEX,HEX...                    an Ethernet frame: linear part, then page fragments
    merge HEX,HEX...                    Ethernet frames of one flow, for GRO to make one of
    raw HEX                             an IP packet, sent by a raw socket
    udp SOURCE PORT SEGMENT TO PORT HEX     a payload that a UDP socket cuts into SEGMENT octets
    tcp SOURCE PORT SEGMENT TO PORT HEX     the same for a TCP socket

The network namespace is new and ours:

    tun and tap devices -----------> [ INPUT  10.0.0.1   fd00::1 ]
                                     [ FORWARD ----------------- ] --> sink  10.1.0.0/16, fd01::/64
    raw and UDP sockets, and TEE --> [ OUTPUT ------------------ ] --> sink
    tap device, port of a bridge --> [ FORWARD ----------------- ] --> another port of it

The route `user` is taken by another of us, in a user namespace.

Every packet of the plan is dropped at the end of its hook. Printed are lines
    count VARIANT FAMILY ROUTE CHAIN PACKETS:OCTETS...
with the counters of a chain's rules since the last route, where one of them is not zero, and
    fault VARIANT FAMILY WORDS...
for what should not be.
"""

import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
import time

ROUTES = (
    "input", "output", "forward", "paged", "copied", "bridged", "tagged", "merged", "listed", "user",
)
SECONDS = 20
MTU = 65535
# More than the largest packet of a plan.
BIG = 200000
# Before 5.19 there is no packet so big, and no allowing one.
HAS_BIG = tuple(map(int, os.uname().release.split(".")[:2])) >= (5, 19)
MAC = "02:00:00:00:00:01"

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_TAP, IFF_NAPI, IFF_NAPI_FRAGS = 0x0001, 0x0002, 0x0010, 0x0020
IFF_NO_PI, IFF_VNET_HDR = 0x1000, 0x4000
ETH_P_ALL = 0x0003
SO_SNDBUFFORCE = 32
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23
SOL_UDP, UDP_SEGMENT = 17, 103
IPV6_HDRINCL, IPV6_TRANSPARENT = 36, 75
IP_TRANSPARENT = 19
VIRTIO_NET_HDR_F_NEEDS_CSUM = 1
RTM_NEWLINK, NLM_F_REQUEST, NLM_F_ACK, NLMSG_ERROR = 16, 1, 4, 2
IFLA_GSO_IPV4_MAX_SIZE, IFLA_GRO_IPV4_MAX_SIZE = 63, 64
TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ, TCP_REPAIR_WINDOW = 19, 20, 21, 29
TCP_RECV_QUEUE, TCP_SEND_QUEUE = 1, 2
# Without a probe of the window.
TCP_REPAIR_OFF_NO_WP = -1

# The kernel's threads are called after the last two, and others like us may run beside us.
MERGE, LIST = f"m{os.getpid()}", f"l{os.getpid()}"
DEVICES = {
    "tun": IFF_TUN,
    "gso": IFF_TUN | IFF_VNET_HDR,
    "pages": IFF_TAP | IFF_NAPI | IFF_NAPI_FRAGS,
    MERGE: IFF_TAP | IFF_NAPI,
    LIST: IFF_TAP | IFF_NAPI,
}
# Those that the route `user` needs.
USERS = ("tun", "gso")


def run(*command, **options):
    return subprocess.run(command, check=True, text=True, **options)


def put(file, text):
    with open(file, "w", encoding="ascii") as stream:
        stream.write(text)


def open_device(name, flags):
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags | IFF_NO_PI))
    return device


def listen(name):
    """A packet socket: for each sk_buff that a device hands up, one clone in its queue."""
    listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    listener.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    listener.bind((name, 0))
    return listener


def set_ipv4_max_size(name, *attributes):
    """Allows BIG TCP in IPv4, which Debian 12's iproute2 does not know of."""
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, socket.if_nametoindex(name), 0, 0)
    for attribute in attributes:
        body += struct.pack("=HHI", 8, attribute, BIG)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        netlink.send(
            struct.pack("=IHHII", 16 + len(body), RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0)
            + body
        )
        answer = netlink.recv(4096)
    kind, error = struct.unpack_from("=4xH10xi", answer)
    if kind != NLMSG_ERROR or error:
        raise OSError(-error, f"maximum sizes of {name}")


class Merger:
    """A tap device with GRO.

    GRO merges what one poll of the device finds, so the poll must wait until all frames of a flow
    are written: it runs in a thread of the kernel's on our own CPU, and we are of real-time
    priority as we write. main.py has seen to it that this is never too long.
    """

    def __init__(self, name, device):
        self.device = device
        put(f"/sys/class/net/{name}/threaded", "1")
        cpus = os.sched_getaffinity(0)
        for process in os.listdir("/proc"):
            if process.isdigit():
                try:
                    with open(f"/proc/{process}/comm", encoding="ascii") as comm:
                        if comm.read().startswith(f"napi/{name}-"):
                            os.sched_setaffinity(int(process), cpus)
                except (FileNotFoundError, ProcessLookupError):
                    pass
        self.listener = listen(name)
        self.listener.settimeout(SECONDS)

    def write(self, frames):
        # What an earlier flow left, if it was not all merged; the counters will tell.
        while select.select([self.listener], [], [], 0)[0]:
            self.listener.recv(64)
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
        for frame in frames:
            os.write(self.device, frame)
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        self.listener.recv(64)


class Network:
    def __init__(self, family, plan, names):
        self.family = family
        run("mount", "-t", "sysfs", "sysfs", "/sys")
        self.devices = {name: open_device(name, DEVICES[name]) for name in names}
        lines = ["link set lo up", "link add sink type veth peer name drain"]
        big = f"gso_max_size {BIG}" if HAS_BIG else ""
        lines += [f"link set {name} mtu {MTU} {big} up" for name in ("sink", "drain")]
        lines += [f"link set {name} address {MAC}" for name in names if DEVICES[name] & IFF_TAP]
        lines += [f"link set {name} up" for name in names]
        lines += ["addr add 10.0.0.1/32 dev lo", "addr add fd00::1/128 dev lo"]
        lines += [f"route add {to} dev sink initcwnd 1000" for to in ("10.1.0.0/16", "fd01::/64")]
        run("ip", "-batch", "-", input="\n".join(lines))
        put("/proc/sys/net/ipv4/ip_forward", "1")
        put("/proc/sys/net/ipv6/conf/all/forwarding", "1")
        put("/proc/sys/net/ipv4/tcp_timestamps", "0")
        for name in ("all", *names):
            put(f"/proc/sys/net/ipv4/conf/{name}/rp_filter", "0")
        if HAS_BIG:
            set_ipv4_max_size("sink", IFLA_GSO_IPV4_MAX_SIZE)
        if LIST in names:
            run("ethtool", "-K", LIST, "rx-gro-list", "on")
        if MERGE in names and HAS_BIG:
            run("ethtool", "-K", MERGE, "rx-udp-gro-forwarding", "on")
            run("ip", "link", "set", MERGE, "gro_max_size", str(BIG))
            set_ipv4_max_size(MERGE, IFLA_GRO_IPV4_MAX_SIZE)
        # Before the defragmentation, which leaves untracked packets alone.
        with open(f"{plan}/{family}/untracked", encoding="ascii") as stream:
            addresses = ", ".join(stream.read().split())
        if addresses:
            rule = f"{'ip' if family == 'ipv4' else 'ip6'} saddr {{ {addresses} }} notrack"
            hooks = [
                f"chain {hook} {{ type filter hook {hook} priority -450; {rule}; }}"
                for hook in ("prerouting", "output")
            ]
            run("nft", "-f", "-", input="\n".join(["table inet untracked {", *hooks, "}"]))
        self.raw = self.raw_socket()
        self.listeners = []
        self.merger = None

    def raw_socket(self):
        if self.family == "ipv4":
            return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
        raw.setsockopt(socket.IPPROTO_IPV6, IPV6_HDRINCL, 1)
        return raw

    def begin(self, route, tables):
        if route == "copied":
            # Of each packet the copy only, which is sent anew.
            to = {"ipv4": "10.1.255.1", "ipv6": "fd01::ffff"}[self.family]
            for target in (("TEE", "--gateway", to), ("DROP",)):
                run(tables.command, *"-t mangle -A PREROUTING -i pages -j".split(), *target)
        elif route == "bridged":
            # The frames' destination is no longer ours. The other port has nobody behind it.
            lines = ["link set pages address 02:00:00:00:00:03"]
            lines += ["link add bridge type bridge", "link add beyond type dummy"]
            lines += [f"link set {name} master bridge" for name in ("pages", "beyond")]
            lines += [f"link set {name} mtu {MTU} up" for name in ("beyond", "bridge")]
            run("ip", "-batch", "-", input="\n".join(lines))
        elif route == "tagged":
            put("/proc/sys/net/bridge/bridge-nf-filter-vlan-tagged", "1")
        elif route == "forward":
            # From here on every sk_buff of theirs is cloned.
            self.listeners = [listen(name) for name in ("tun", "gso")]
        elif route == "merged":
            self.merger = Merger(MERGE, self.devices[MERGE])
        elif route == "listed":
            self.merger = Merger(LIST, self.devices[LIST])

    def send(self, line):
        kind, *words = line.split()
        octets = [bytes.fromhex(part) for part in words[-1].split(",")]
        if kind == "tun":
            os.write(self.devices["tun"], octets[0])
        elif kind == "gso":
            header = struct.pack("=BBHHHH", VIRTIO_NET_HDR_F_NEEDS_CSUM, *map(int, words[:-1]))
            os.write(self.devices["gso"], header + octets[0])
        elif kind == "pages":
            os.writev(self.devices["pages"], octets)
        elif kind == "merge":
            self.merger.write(octets)
        elif kind == "raw":
            packet = octets[0]
            if self.family == "ipv4":
                to = (socket.inet_ntop(socket.AF_INET, packet[16:20]), 0)
            else:
                to = (socket.inet_ntop(socket.AF_INET6, packet[24:40]), 0)
            self.dropped(lambda: self.raw.sendto(packet, to))
        elif kind in ("udp", "tcp"):
            source, source_port, segment, to, to_port = words[:-1]
            kind = socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM
            domain = socket.AF_INET if self.family == "ipv4" else socket.AF_INET6
            with socket.socket(domain, kind) as sender:
                if self.family == "ipv4":
                    sender.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
                else:
                    sender.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
                sender.bind((source, int(source_port)))
                if kind == socket.SOCK_DGRAM:
                    sender.setsockopt(SOL_UDP, UDP_SEGMENT, int(segment))
                    self.dropped(lambda: sender.sendto(octets[0], (to, int(to_port))))
                else:
                    self.stream(sender, int(segment), (to, int(to_port)), octets[0])
        else:
            raise ValueError(f"no kind {kind}")

    @staticmethod
    def stream(sender, segment, to, octets):
        """Sends through a TCP connection that has no other end, in one packet.

        As a checkpoint is restored, so that there is neither a handshake nor a reset.
        """
        tcp = socket.IPPROTO_TCP
        sender.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 4 * BIG)
        sender.setsockopt(tcp, socket.TCP_NODELAY, 1)
        sender.setsockopt(tcp, socket.TCP_MAXSEG, segment)
        sender.setsockopt(tcp, TCP_REPAIR, 1)
        for queue in (TCP_SEND_QUEUE, TCP_RECV_QUEUE):
            sender.setsockopt(tcp, TCP_REPAIR_QUEUE, queue)
            sender.setsockopt(tcp, TCP_QUEUE_SEQ, 1)
        sender.connect(to)
        window = struct.pack("=5I", 1, 4 * BIG, 4 * BIG, 65535, 1)
        sender.setsockopt(tcp, TCP_REPAIR_WINDOW, window)
        sender.setsockopt(tcp, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP)
        sender.send(octets)
        sender.setsockopt(tcp, TCP_REPAIR, 1)

    @staticmethod
    def dropped(send):
        """Sends what OUTPUT drops, which the kernel tells the sender."""
        try:
            send()
        except PermissionError:
            pass


class Tables:
    """One variant of iptables, and what its rules have counted."""

    def __init__(self, variant, family):
        self.command = f"{'iptables' if family == 'ipv4' else 'ip6tables'}-{variant}"
        self.before = {}

    def restore(self, file):
        with open(file, encoding="ascii") as stream:
            run(f"{self.command}-restore", stdin=stream)

    def save(self, *options):
        return run(f"{self.command}-save", *options, stdout=subprocess.PIPE).stdout

    def counters(self):
        """Each chain's counters: packets and octets of rule after rule."""
        chains = {}
        for line in self.save("-c", "-t", "filter").splitlines():
            if line.startswith("["):
                counter, _, chain, *_ = line.split(maxsplit=3)
                packets, octets = counter.strip("[]").split(":")
                chains.setdefault(chain, []).append((int(packets), int(octets)))
        return chains

    def since(self, chains):
        """The same, less what was counted the last time."""
        before, self.before = self.before, chains
        result = {}
        for chain, counters in chains.items():
            old = before.get(chain, [(0, 0)] * len(counters))
            result[chain] = [(p - q, b - c) for (p, b), (q, c) in zip(counters, old)]
        return result


def body(save):
    """What iptables-save says, without the time in its comments and without the hooks' counters."""
    lines = (line for line in save.splitlines() if not line.startswith("#"))
    return [line.split(" [")[0] if line.startswith(":") else line for line in lines]


def check_listing(tables, fault):
    """What is saved is restored to the same octets, and can be listed."""
    first = tables.save()
    run(f"{tables.command}-restore", input=first)
    second = tables.save()
    for one, other in zip(body(first), body(second)):
        if one != other:
            fault(f"saved as {one!r}, and after restore as {other!r}")
    if len(body(first)) != len(body(second)):
        fault("saved in more or fewer lines after restore")
    for options in (["-L"], ["-L", "-n", "-v", "-x"]):
        run(tables.command, *options, stdout=subprocess.DEVNULL)


def main():
    plan, variant, family, *routes = sys.argv[1:]

    def fault(words):
        print("fault", variant, family, words)

    began = time.monotonic()
    # An unprivileged user is given no tap with page fragments.
    network = Network(family, plan, USERS if routes else DEVICES)
    tables = Tables(variant, family)
    tables.restore(f"{plan}/{family}/rules")
    restored = time.monotonic()
    times = []
    for route in routes or ROUTES:
        with open(f"{plan}/{family}/{route}", encoding="ascii") as stream:
            lines = stream.read().splitlines()
        if not lines:
            continue
        start = time.monotonic()
        if route == "user" and not routes:
            sys.stdout.flush()
            run("unshare", "--user", "--map-root-user", "--net", "--mount", *sys.orig_argv, route)
            continue
        network.begin(route, tables)
        for line in lines:
            try:
                network.send(line)
            except OSError as error:
                fault(f"{route}: {error}: {line[:80]}")
        sent = time.monotonic()
        for chain, counters in tables.since(tables.counters()).items():
            if any(packets for packets, _ in counters):
                words = (f"{packets}:{octets}" for packets, octets in counters)
                print("count", variant, family, route, chain, *words)
        times.append(f"{route} {sent - start:.1f} {time.monotonic() - sent:.1f}")
    start = time.monotonic()
    if not routes:
        check_listing(tables, fault)
    times.append(f"listing {time.monotonic() - start:.1f}")
    print("time", variant, family, f"restore {restored - began:.1f},", ", ".join(times))


if __name__ == "__main__":
    main()
