# SPDX-License-Identifier: GPL-2.0
"""The gateway between an attacker and outstations, its policies, and what the outstations were given.

    attacker            ns gateway              ns router              ns outstation
    192.0.2.10   -tun-  POLICY          -gr--rg-  one more hop  -ro--or-  198.51.100.20 keeps the octets that it reads
    2001:db8:1::10      203.0.113.1 (NAT)                                 198.51.100.21 is opendnp3
                                                                          2001:db8:2::20

The attacker is this program, which writes IP packets to the tun device: it sends whatever it wants, with whose address
it wants. A packet that is written goes through all three namespaces on this CPU, in its turn; a ping which is
answered tells that all before it have arrived. The router is there for what expires behind the gateway.
"""

import fcntl
import os
import select
import socket
import struct
import time

import wire

import network
from network import Wrong, inside, run, within

TUNSETIFF, IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x400454CA, 0x0001, 0x1000, 0x4000
TCP_REPAIR = 19
SECONDS = 30
NAMESPACES = ("gateway", "router", "outstation")
ADDRESS = {
    "ipv4": {"attacker": "192.0.2.10", "recorder": "198.51.100.20", "opendnp3": "198.51.100.21",
             "gateway": "203.0.113.1", "stations": "198.51.100.20/31", "monitor": "203.0.115.2"},
    "ipv6": {"attacker": "2001:db8:1::10", "recorder": "2001:db8:2::20", "opendnp3": "2001:db8:2::21",
             "gateway": "2001:db8:3::1", "stations": "2001:db8:2::20/127", "monitor": "2001:db8:5::2"},
}
LINKS = (
    ("gateway", "gr", "203.0.113.1/24", "2001:db8:3::1/64"), ("router", "rg", "203.0.113.2/24", "2001:db8:3::2/64"),
    ("router", "ro", "198.51.100.1/24", "2001:db8:2::1/64"), ("outstation", "or", "198.51.100.20/24", "2001:db8:2::20/64"),
    ("outstation", "or", "198.51.100.21/24", "2001:db8:2::21/64"),
)
ROUTES = {
    "gateway": ("198.51.100.0/24 via 203.0.113.2", "2001:db8:2::/64 via 2001:db8:3::2",
                "192.0.2.0/24 dev tun0", "2001:db8:1::/64 dev tun0"),
    "router": ("default via 203.0.113.1", "default via 2001:db8:3::1"),
    "outstation": ("default via 198.51.100.1", "default via 2001:db8:2::1"),
}
SETTINGS = {
    "ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1",
    "ipv4/conf/all/rp_filter": "0", "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/send_redirects": "0", "ipv4/conf/default/send_redirects": "0",
    "ipv4/icmp_ratelimit": "0",
}
# How conntrack is set. Liberal, it leaves to us what it would refuse.
CONNTRACK = {
    False: {"be_liberal": "0", "checksum": "1"},
    True: {"be_liberal": "1", "checksum": "0"},
}
PARAMETERS = "/sys/module/xt_dnp3/parameters"

# In each, %T is the match, with --track or without.
REPLIES = """
-A DNP3-REPLY -m conntrack --ctstate INVALID -j DROP
-A DNP3-REPLY -p tcp -d $MASTER -m conntrack --ctstate ESTABLISHED %T --status none -j ACCEPT
-A DNP3-REPLY -p tcp -d $MASTER -m conntrack --ctstate ESTABLISHED %T --dir outstation --saddr 1 --daddr 1024 --fc 129,130,link -j ACCEPT
-A DNP3-REPLY -p tcp -j REJECT --reject-with tcp-reset
"""
# The README's, where only reading is allowed.
README = """
-A DNP3 -m conntrack --ctstate INVALID -j DROP
-A DNP3 -p tcp --syn -s $MASTER -m conntrack --ctstate NEW %T --status none -j ACCEPT
-A DNP3 -p tcp ! --syn -m conntrack --ctstate ESTABLISHED %T --status none -j ACCEPT
-A DNP3 -p tcp -s $MASTER -m conntrack --ctstate ESTABLISHED %T --saddr 1024 --daddr 1 --fc {functions} -j ACCEPT
{ahead}-A DNP3 -p tcp -j REJECT --reject-with tcp-reset
""" + REPLIES
AHEAD = "-A DNP3 -p tcp %T --status ahead -j DROP\n"
# What a careless admin may write: any SYN at any time, and nothing asked of conntrack.
LAX_REPLIES = """
-A DNP3-REPLY -p tcp %T --status none -j ACCEPT
-A DNP3-REPLY -p tcp %T --fc 129,130,link -j ACCEPT
-A DNP3-REPLY -p tcp -j DROP
"""
LAX = """
-A DNP3 -p tcp %T --status none -j ACCEPT
-A DNP3 -p tcp %T {accept} -j ACCEPT
-A DNP3 -p tcp %T --status ahead -j DROP
-A DNP3 -p tcp -j DROP
""" + LAX_REPLIES
# What is refused is listed, and all else goes through.
DENY = """
-A DNP3 -p tcp %T --status none -j ACCEPT
-A DNP3 -p tcp %T --frames any ! --fc 0,1,link,cont -j DROP
-A DNP3 -p tcp %T --status ahead,malformed -j DROP
-A DNP3 -p tcp %T --status valid,partial --frames only -j ACCEPT
-A DNP3 -p tcp -j DROP
""" + LAX_REPLIES
TRACK, ALONE = "-m dnp3 --track", "-m dnp3"
READS = "--saddr 1024 --daddr 1 --fc 0,1,link"
# Of each policy: its rules, and whether conntrack is liberal; those that follow the stream come first.
POLICIES = {
    "tracked": (README.format(functions="0,1,link", ahead=AHEAD).replace("%T", TRACK), False),
    "lax": (LAX.format(accept=READS).replace("%T", TRACK), True),
    "deny": (DENY.replace("%T", TRACK), True),
    "others": (LAX.format(accept="! --daddr 1").replace("%T", TRACK), True),
    "stateless": (README.format(functions="0,1,link,cont", ahead="").replace("%T", ALONE), False),
    "none": (None, True),
}
FOLLOWING = ("tracked", "lax", "deny", "others")
# Put before and behind a policy's rules, of which attacks ask for some.
EXTRAS = {
    # Every packet of the attacker's that has payload waits behind the rules.
    "queue": "*mangle\n-A POSTROUTING -o gr -p tcp --tcp-flags PSH PSH -j NFQUEUE --queue-num 1\nCOMMIT\n",
    # A copy of each goes to a monitor, before any rule.
    "tee": "*mangle\n-A PREROUTING -i tun0 -p tcp -j TEE --gateway $MONITOR\nCOMMIT\n",
    "nat": "*nat\n-A PREROUTING -i tun+ -p tcp -d $GATEWAY --dport 20000 -j DNAT --to-destination $RECORDER\n"
           "-A POSTROUTING -o gr -p tcp -j MASQUERADE\nCOMMIT\n",
}


def put(file, text):
    with open(file, "w", encoding="ascii") as stream:
        stream.write(text)


def build(tuns):
    """Makes the namespaces; `tuns` devices for the attacker, whose files are returned."""
    run("ip", "-batch", "-", input="\n".join(f"netns add {name}" for name in NAMESPACES))
    for name in NAMESPACES:
        with within(name):
            for setting, value in SETTINGS.items():
                put(f"/proc/sys/net/{setting}", value)
    run("ip", "-batch", "-", input="\n".join(
        f"link add {one} netns {here} type veth peer name {other} netns {there}"
        for one, here, other, there in (("gr", "gateway", "rg", "router"), ("ro", "router", "or", "outstation"))))
    devices = []
    with within("gateway"):
        for number in range(tuns):
            device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(device, TUNSETIFF, struct.pack(
                "16sH22x", f"tun{number}".encode(), IFF_TUN | IFF_NO_PI | IFF_VNET_HDR))
            devices.append(device)
    for name in NAMESPACES:
        lines = ["link set lo up"]
        if name == "gateway":
            lines += [f"link set tun{number} up" for number in range(tuns)]
            # Behind it nobody is.
            lines += ["link add monitor type dummy", "addr add 203.0.115.1/24 dev monitor",
                      "addr add 2001:db8:5::1/64 dev monitor", "link set monitor up"]
        for namespace, device, v4, v6 in LINKS:
            if namespace == name:
                lines += [f"addr add {v4} dev {device}", f"addr add {v6} dev {device} nodad", f"link set {device} up"]
        lines += [f"route add {route}" for route in ROUTES[name]]
        inside(name, "ip", "-batch", "-", input="\n".join(lines))
        for _, device, *_ in (link for link in LINKS if link[0] == name):
            inside(name, "ethtool", "-K", device, "tso", "off", "gso", "off", "gro", "off", "tx", "off")
    return devices


def kill(connection):
    """Has a host forget a connection, and tell nobody."""
    connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    connection.close()


class Recorder:
    """An outstation that keeps the octets which TCP delivers to it, of each connection."""

    def __init__(self, address, family):
        self.connections = []
        self.open = {}
        self.paused = False
        with within("outstation"):
            self.listener = socket.socket(wire.FAMILIES[family])
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.listener.bind((address, wire.PORT))
        self.listener.listen(128)
        self.listener.setblocking(False)

    def add(self, connection, port):
        connection.setblocking(False)
        self.connections.append((port, bytearray()))
        self.open[connection] = self.connections[-1][1]

    def read(self):
        """Takes all that has arrived."""
        while True:
            try:
                connection, peer = self.listener.accept()
            except BlockingIOError:
                break
            self.add(connection, peer[1])
        if self.paused:
            return
        for connection, octets in list(self.open.items()):
            try:
                while True:
                    some = connection.recv(65536)
                    if not some:
                        break
                    octets += some
            except BlockingIOError:
                continue
            except OSError:
                pass
            # It has ended, and what comes behind that is nobody's.
            del self.open[connection]
            kill(connection)

    def forget(self):
        """The host loses all connections."""
        for connection in self.open:
            kill(connection)
        self.open.clear()

    def take(self, port):
        """What came from a port, a stream for each connection; all is forgotten."""
        self.read()
        self.forget()
        streams = [bytes(octets) for of, octets in self.connections if of == port]
        self.connections.clear()
        return streams


class World:
    """The gateway with one policy by one variant of iptables, for one family."""

    def __init__(self, devices):
        self.devices = devices
        self.recorders = {family: Recorder(ADDRESS[family]["recorder"], family) for family in wire.FAMILIES}
        self.came = []
        self.pings = 0
        self.port = 1024
        self.family = self.variant = self.policy = None
        self.extras = ()
        self.liberal = None

    def host(self, name):
        return ADDRESS[self.family][name]

    def octets(self, name):
        return socket.inet_pton(wire.FAMILIES[self.family], self.host(name))

    @property
    def recorder(self):
        return self.recorders[self.family]

    def command(self, name=""):
        return network.command(self.variant, self.family) + name

    def restore(self, tables, *options):
        icmp = "icmp" if self.family == "ipv4" else "ipv6-icmp"
        words = {"$MASTER": "attacker", "$MONITOR": "monitor", "$GATEWAY": "gateway", "$RECORDER": "recorder",
                 "$STATIONS": "stations"}
        for word, host in words.items():
            tables = tables.replace(word, self.host(host))
        inside("gateway", self.command("-restore"), *options, input=tables.replace("$ICMP", icmp))

    def rules(self, policy):
        """The filter table."""
        rules, _ = POLICIES[policy]
        if rules is None:
            # Conntrack is there all the same, and knows of each connection.
            return ("*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\n"
                    "-A FORWARD -m conntrack --ctstate INVALID\nCOMMIT\n")
        return ("*filter\n:INPUT ACCEPT\n:FORWARD DROP\n:OUTPUT ACCEPT\n:DNP3 -\n:DNP3-REPLY -\n"
                "-A FORWARD -p $ICMP -j ACCEPT\n"
                f"-A FORWARD -p tcp --dport {wire.PORT} -d $STATIONS -j DNP3\n"
                f"-A FORWARD -p tcp --sport {wire.PORT} -s $STATIONS -j DNP3-REPLY\n"
                f"{rules}COMMIT\n")

    def load(self, variant, family, policy, extras=()):
        """Has this policy and no other in the gateway."""
        if self.variant and (self.variant, self.family) != (variant, family):
            self.restore("".join(f"*{table}\nCOMMIT\n" for table in ("mangle", "nat")) + self.rules("none"))
        self.variant, self.family = variant, family
        if extras or self.extras:
            self.restore("".join(f"*{table}\nCOMMIT\n" for table in ("mangle", "nat")))
        self.restore(self.rules(policy) + "".join(EXTRAS[extra] for extra in extras))
        self.policy, self.extras = policy, extras
        self.set_conntrack(POLICIES[policy][1])

    def set_conntrack(self, liberal):
        if liberal == self.liberal:
            return
        with within("gateway"):
            put("/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal", CONNTRACK[liberal]["be_liberal"])
            put("/proc/sys/net/netfilter/nf_conntrack_checksum", CONNTRACK[liberal]["checksum"])
        self.liberal = liberal

    def flush_conntrack(self):
        inside("gateway", "conntrack", "-F")

    def write(self, packet, device=0, gso=wire.NO_GSO):
        os.write(self.devices[device], gso + packet)

    def settle(self, device=0):
        """Until all that was written has arrived, and all answers have."""
        self.pings = self.pings + 1 & 0xFFFF
        self.write(wire.echo(self.octets("attacker"), self.octets("recorder"), self.pings), device)
        end = time.monotonic() + SECONDS
        while True:
            try:
                came = wire.Came(os.read(self.devices[0], 65536)[len(wire.NO_GSO):])
            except BlockingIOError:
                if not select.select([self.devices[0]], [], [], end - time.monotonic())[0]:
                    raise Wrong("no answer to a ping") from None
                continue
            if came.ping == self.pings:
                break
            if came.port is not None:
                self.came.append(came)
        self.recorder.read()

    def session(self, host="recorder", **how):
        self.port += 1
        if self.port == 65535:
            self.port = 1024
        if self.port % 4096 == 0:
            # Connections end without a word, so conntrack would keep more than are followed at most.
            self.flush_conntrack()
        return Session(self, host, self.port, **how)


class Session:
    """What an attacker does from one port."""

    def __init__(self, world, host, port, isn=None, stamped=False):
        self.world, self.host, self.port = world, host, port
        self.isn = 0x1234_0000 + port if isn is None else isn
        self.theirs = 0
        self.stamp = 1_000_000 if stamped else None
        self.echo = 0
        self.answers_from = host

    def segment(self, at=0, payload=b"", flags=wire.ACK | wire.PSH, *, ack=None, sequence=None, ttl=64, options=b"",
                stamp=0, reverse=False, ip=None, **how):
        """A packet. `at` is its place in the stream, `reverse` has it come from the outstation's address."""
        ends = [self.world.octets("attacker"), self.world.octets(self.host)]
        ports = [self.port, wire.PORT]
        if sequence is None:
            sequence = self.theirs if reverse else self.isn + 1 + at
        if ack is None:
            ack = self.theirs if flags & wire.ACK else 0
        if self.stamp is not None and not options and not reverse:
            self.stamp += 1
            options = wire.timestamp(self.stamp + stamp, self.echo)
        if reverse:
            ends.reverse()
            ports.reverse()
        segment = wire.tcp(*ends, ports, sequence, ack, flags, payload, options=options, **how)
        return wire.ip(*ends, wire.TCP, segment, ttl=ttl, **(ip or {}))

    def send(self, *what, device=0, **how):
        self.world.write(self.segment(*what, **how), device)

    def send_at_once(self, at, octets, size):
        """Several segments of this size, which the gateway has as one packet."""
        packet = self.segment(at, octets)
        self.world.write(packet, gso=wire.gso(packet, size))

    def settle(self):
        """What has come to this port since the last time."""
        self.world.settle()
        mine = [came for came in self.world.came if came.port == self.port]
        self.world.came.clear()
        return mine

    def syn(self, payload=b"", flags=wire.SYN, **how):
        options = wire.MSS
        if self.stamp is not None:
            options += wire.timestamp(self.stamp)
        self.send(-1, payload, flags, options=options, **how)

    def answered(self):
        """Whether a SYN-ACK has come for the SYN, which is then acknowledged."""
        for came in self.settle():
            if came.flags & wire.SYN and came.flags & wire.ACK and came.acknowledgement == self.isn + 1 & 0xFFFFFFFF:
                self.theirs = came.sequence + 1 & 0xFFFFFFFF
                self.send(0, b"", wire.ACK)
                return True
        return False

    def open(self, **how):
        self.syn(**how)
        if not self.answered():
            raise Wrong("no connection")

    def was_reset(self):
        return any(came.flags & wire.RST for came in self.settle())

    def forge_ack(self, at):
        """An ACK with the outstation's address, from the attacker's side."""
        self.send(0, b"", wire.ACK, reverse=True, ack=self.isn + 1 + at)

    def streams(self):
        self.settle()
        return self.world.recorder.take(self.port)
