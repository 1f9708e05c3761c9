# SPDX-License-Identifier: GPL-2.0
"""Both ends of many TCP connections through a gateway, packet by packet, without a TCP of their own.

        peer                  the gateway                  peer
    +-----------+      +----------------------+      +-----------+
    | 10.N.1.2  |------| .1     FORWARD    .1 |------| 10.N.2.2  |
    | fd01:N::2 | mN   | mN                oN | oN   | fd02:N::2 |
    +-----------+      +----------------------+      +-----------+

The lines are tun devices: what is written to one is forwarded before write() returns, so that without any waiting it
can be read from the other or was dropped. TCP's checksums are left out, and conntrack is told not to look at them.
"""

import contextlib
import errno
import fcntl
import ipaddress
import os
import struct
import subprocess

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
ICMP, TCP, ICMPV6 = 1, 6, 58
PORT = 20000
FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
MASTER, OUTSTATION = 0, 1
WINDOW = 65535
LARGEST = 65536

# The policy of the manual, with DROP in place of REJECT: nobody is here to take the answer.
POLICY = """-A DNP3 -m conntrack --ctstate INVALID -j DROP
-A DNP3 -p tcp --syn -m conntrack --ctstate NEW,ESTABLISHED -m dnp3 --status none --track -j ACCEPT
-A DNP3 -p tcp ! --syn -m conntrack --ctstate ESTABLISHED -m dnp3 --status none --track -j ACCEPT
-A DNP3 -p tcp -m dnp3 --status valid --frames any --fc restart --track
-A DNP3 -p tcp -m conntrack --ctstate ESTABLISHED -m dnp3 --saddr 1024 --daddr 1 --fc 0,1,2,link --track -j ACCEPT
-A DNP3 -p tcp -m dnp3 --status ahead --track -j DROP
-A DNP3-REPLY -m conntrack --ctstate INVALID -j DROP
-A DNP3-REPLY -p tcp -m conntrack --ctstate ESTABLISHED -m dnp3 --status none --track -j ACCEPT
-A DNP3-REPLY -p tcp -m conntrack --ctstate ESTABLISHED -m dnp3 --dir outstation --saddr 1 --daddr 1024 --fc 129,130,link --track -j ACCEPT
COMMIT
"""


def rules(*hooks):
    """The policy in these chains."""
    lines = ["*filter", ":DNP3 -", ":DNP3-REPLY -"]
    for hook in ("INPUT", "FORWARD", "OUTPUT"):
        lines.append(f":{hook} {'DROP' if hook in hooks else 'ACCEPT'}")
    for hook in hooks:
        lines.append(f"-A {hook} -m conntrack --ctstate RELATED -j ACCEPT")
        lines.append(f"-A {hook} -p tcp --dport {PORT} -j DNP3")
        lines.append(f"-A {hook} -p tcp --sport {PORT} -j DNP3-REPLY")
    return "\n".join([*lines, POLICY])


RULES = rules("FORWARD")


def put(file, text):
    with open(file, "w", encoding="ascii") as stream:
        stream.write(str(text))


def restore(text, variant="legacy", families=(4, 6)):
    for family in families:
        command = f"ip{'6' if family == 6 else ''}tables-{variant}-restore"
        subprocess.run([command], input=text, text=True, check=True)


def checksum(octets):
    octets += bytes(len(octets) % 2)
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


class Wire:
    """The two lines of a gateway, in the network namespace where this is made."""

    def __init__(self, number, family):
        self.family = family
        self.header = 20 if family == 4 else 40
        self.headers = ({}, {})
        # Whether a device may have no memory for a packet.
        self.lossy = False
        self.files = []
        self.names = [f"m{number}", f"o{number}"]
        if family == 4:
            ends = [(f"10.{number}.{side + 1}.1", f"10.{number}.{side + 1}.2") for side in (0, 1)]
        else:
            ends = [(f"fd0{side + 1}:{number}::1", f"fd0{side + 1}:{number}::2") for side in (0, 1)]
        self.own = ends[MASTER][0]
        self.addresses = [ipaddress.ip_address(peer).packed for _, peer in ends]
        put("/proc/sys/net/ipv4/ip_forward", 1)
        put("/proc/sys/net/ipv6/conf/all/forwarding", 1)
        put("/proc/sys/net/netfilter/nf_conntrack_checksum", 0)
        for name, (own, _) in zip(self.names, ends):
            tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
            self.files.append(tun)
            # The kernel would say something of its own.
            put(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", int(family == 4))
            length = 24 if family == 4 else 64
            subprocess.run(["ip", "addr", "add", f"{own}/{length}", "dev", name, *["nodad"][: family == 6]], check=True)
            subprocess.run(["ip", "link", "set", name, "mtu", "65535", "up"], check=True)

    def close(self):
        for tun in self.files:
            os.close(tun)

    def ip(self, side, length, protocol=TCP):
        """The IP header of a packet of so many octets."""
        header = self.headers[side].get((length, protocol))
        if header is None:
            addresses = self.addresses[side] + self.addresses[1 - side]
            if self.family == 6:
                header = struct.pack("!IHBB", 6 << 28, length, protocol, 64) + addresses
            else:
                fields = (0x45, 0, 20 + length, 0, 0, 64, protocol)
                bare = struct.pack("!BBHHHBBH", *fields, 0) + addresses
                header = struct.pack("!BBHHHBBH", *fields, checksum(bare)) + addresses
            self.headers[side][length, protocol] = header
        return header

    def carry(self, side, octets, by=None):
        """Sends TCP's octets from a side, or in its name `by` the other's line; whether just these come out at the other."""
        with contextlib.suppress(OSError if self.lossy else ()):
            os.write(self.files[side if by is None else by], self.ip(side, len(octets)) + octets)
        came = [packet[self.header :] for packet in self.read(1 - side)]
        assert came in ([], [octets]), f"sent {octets.hex()}, and {[packet.hex() for packet in came]} came"
        return bool(came)

    def refuse(self, side, segment):
        """Sends an ICMP error from a side, about the head of a segment of the other's; whether it passes."""
        about = (self.ip(1 - side, len(segment)) + segment)[: self.header + 8]
        # The path takes no packet of this size.
        protocol, kind, code = (ICMP, 3, 4) if self.family == 4 else (ICMPV6, 2, 0)
        error = struct.pack("!BBHI", kind, code, 0, 1280) + about
        os.write(self.files[side], self.ip(side, len(error), protocol) + error)
        return error in [packet[self.header :] for packet in self.read(1 - side, protocol)]

    def read(self, side, protocol=TCP):
        """The packets that have come to a side. The kernel's own IPv6 has words to say as well."""
        packets = []
        place = 9 if self.family == 4 else 6
        while True:
            try:
                packet = os.read(self.files[side], LARGEST)
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    raise
                return packets
            if packet[0] >> 4 == self.family and packet[place] == protocol:
                packets.append(packet)


class Connection:
    """A TCP connection, known from both of its ends."""

    def __init__(self, wire, port, first=0):
        self.wire = wire
        self.ports = (port, PORT)
        # Each with another, and all near the wrap for some packets.
        self.next = [(first - 2 * port) & 0xFFFFFFFF, (first + 7 * port) & 0xFFFFFFFF]
        self.unfinished = [b"", b""]
        self.last = [b"", b""]
        self.headers = [b"", b""]

    def send(self, side, payload=b"", flags=ACK, back=0, ahead=0, by=None):
        """Sends a packet; whether it passes. `back` octets of it have been sent before."""
        sequence = (self.next[side] - back + ahead) & 0xFFFFFFFF
        acknowledged = self.next[1 - side] if flags & ACK else 0
        ports = (self.ports[side], self.ports[1 - side])
        header = struct.pack("!HHIIBBHHH", *ports, sequence, acknowledged, 5 << 4, flags, WINDOW, 0, 0)
        self.headers[side] = header
        passes = self.wire.carry(side, header + payload, by)
        if passes and not ahead:
            new = len(payload) - back + bool(flags & (SYN | FIN))
            self.next[side] = (self.next[side] + new) & 0xFFFFFFFF
            self.last[side] = payload[-1:] or self.last[side]
        return passes

    def open(self):
        """Whether all of a handshake passes."""
        return self.send(MASTER, flags=SYN) and self.send(OUTSTATION, flags=SYN | ACK) and self.send(MASTER)

    def say(self, side, octets, cut):
        """Sends octets in two segments; whether both pass."""
        return self.begin(side, octets, cut) and self.finish(side)

    def begin(self, side, octets, cut):
        """Sends the first `cut` of the octets."""
        self.unfinished[side] = octets[cut:]
        return self.send(side, octets[:cut], ACK | PSH)

    def finish(self, side):
        """Sends what is left of them."""
        octets, self.unfinished[side] = self.unfinished[side], b""
        return self.send(side, octets, ACK | PSH)

    def reset(self):
        """Ends it by RST."""
        return self.send(MASTER, flags=RST | ACK)


class Host(Connection):
    """A TCP connection with the gateway's own TCP, which has the other end."""

    def __init__(self, wire, port):
        super().__init__(wire, port)
        self.ends = [wire.addresses[MASTER], ipaddress.ip_address(wire.own).packed]

    def send(self, payload=b"", flags=ACK):
        """Sends a packet from the master's side."""
        length = 20 + len(payload)
        numbers = (self.next[MASTER], self.next[OUTSTATION] if flags & ACK else 0)
        header = bytearray(struct.pack("!HHIIBBHHH", *self.ports, *numbers, 5 << 4, flags, WINDOW, 0, 0))
        pseudo = b"".join(self.ends) + struct.pack("!II", length, TCP)
        struct.pack_into("!H", header, 16, checksum(pseudo + header + payload))
        if self.wire.family == 6:
            ip = struct.pack("!IHBB", 6 << 28, length, TCP, 64) + b"".join(self.ends)
        else:
            ip = bytearray(struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, TCP, 0) + b"".join(self.ends))
            struct.pack_into("!H", ip, 10, checksum(bytes(ip)))
        os.write(self.wire.files[MASTER], bytes(ip + header) + payload)

    def open(self):
        """Whether the gateway's TCP answers a SYN."""
        self.send(flags=SYN)
        for packet in self.wire.read(MASTER):
            *ports, sequence, flags = struct.unpack_from("!HHI5xB", packet, self.wire.header)
            if (*ports, flags) == (*reversed(self.ports), SYN | ACK):
                self.next = [self.next[MASTER] + 1, sequence + 1 & 0xFFFFFFFF]
                self.send()
                return True
        return False
