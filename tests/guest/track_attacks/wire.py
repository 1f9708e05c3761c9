# SPDX-License-Identifier: GPL-2.0
"""DNP3 frames and TCP packets, octet by octet: whatever an attacker may want to send."""

import socket
import struct

PORT = 20000
FIN, SYN, RST, PSH, ACK, URG = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
TCP, ICMP, ICMPV6, FRAGMENT, OPTIONS = 6, 1, 58, 44, 60
WINDOW = 0xFFFF
FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}


def crc(octets):
    value = 0
    for octet in octets:
        value ^= octet
        for _ in range(8):
            value = value >> 1 ^ (0xA6BC if value & 1 else 0)
    return struct.pack("<H", value ^ 0xFFFF)


def frame(user_data, control=0xC4, destination=1, source=1024):
    header = struct.pack("<BBBBHH", 0x05, 0x64, 5 + len(user_data), control, destination, source)
    octets = header + crc(header)
    for at in range(0, len(user_data), 16):
        block = user_data[at:at + 16]
        octets += block + crc(block)
    return octets


READ = frame(bytes.fromhex("c0c3013c0206"))
LINK = frame(b"", control=0xC9)
RESTART = frame(bytes.fromhex("c0c00d"))
WRITE = frame(bytes.fromhex("c0c50232010701f8b86caaf000"))


def carrier(inner):
    """A READ with another frame whole inside, from the octet INNER on."""
    return frame(bytes.fromhex("c1c101") + bytes(13) + inner)


INNER = 28
B = carrier(RESTART)
HEAD, TAIL = B[:INNER], B[INNER:]
# As long as HEAD, and whole frames.
OTHER = LINK + READ
assert len(HEAD) == len(OTHER) == INNER and RESTART in TAIL
# 28 octets of a frame whose next block is a header and 6 octets more.
BEGINNING = frame(bytes.fromhex("c0c001") + bytes(13 + 8))[:INNER]


def checksum(octets):
    if len(octets) % 2:
        octets += b"\0"
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def timestamp(value, echo=0):
    return struct.pack("!BBBBII", 1, 1, 8, 10, value & 0xFFFFFFFF, echo)


MSS = struct.pack("!BBH", 2, 4, 1400)
MD5 = struct.pack("!BB", 19, 18) + bytes(range(16)) + b"\1\1"


def tcp(source, destination, ports, sequence, acknowledgement, flags, payload=b"", *, options=b"", urgent=0,
        window=WINDOW, wrong=False):
    """A TCP segment; the addresses, as octets, are for its checksum."""
    words = 5 + len(options) // 4
    segment = struct.pack("!HHIIBBHHH", *ports, sequence & 0xFFFFFFFF, acknowledgement & 0xFFFFFFFF, words << 4,
                          flags, window, 0, urgent) + options + payload
    pseudo = source + destination + struct.pack("!IHBB", len(segment), 0, 0, TCP)
    right = checksum(pseudo + segment)
    # A sum of zero and one of ones are the same.
    return segment[:16] + struct.pack("!H", right ^ 0x1111 if wrong else right) + segment[18:]


def ip(source, destination, protocol, payload, *, ttl=64, fragment=None, identity=0, header=b""):
    """The IP packet. `fragment` is its offset in octets, and whether more come; `header` an IPv6 extension."""
    if len(source) == 4:
        where = 0 if fragment is None else fragment[0] // 8 | fragment[1] << 13
        begin = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), identity, where, ttl, protocol, 0,
                            source, destination)
        return begin[:10] + struct.pack("!H", checksum(begin)) + begin[12:] + payload
    following = protocol
    if fragment is not None:
        payload = struct.pack("!BBHI", protocol, 0, fragment[0] | fragment[1], identity) + payload
        following = FRAGMENT
    if header:
        payload = struct.pack("!B", protocol) + header[1:] + payload
        following = OPTIONS
    return struct.pack("!IHBB", 6 << 28, len(payload), following, ttl) + source + destination + payload


def echo(source, destination, number):
    """A ping."""
    kind, protocol = (8, ICMP) if len(source) == 4 else (128, ICMPV6)
    message = struct.pack("!BBHHH", kind, 0, 0, 1, number)
    pseudo = b"" if len(source) == 4 else source + destination + struct.pack("!IHBB", len(message), 0, 0, protocol)
    message = message[:2] + struct.pack("!H", checksum(pseudo + message)) + message[4:]
    return ip(source, destination, protocol, message)


# What a tun device has before a packet: struct virtio_net_hdr.
NO_GSO = bytes(10)


def gso(packet, size):
    """The same of a TCP packet without options that is to be sent in segments of this size."""
    kind, header = (1, 20) if packet[0] >> 4 == 4 else (4, 40)
    # With needs_csum, the checksum is that of the pseudo header alone, and the kernel makes the rest; the packet's is
    # right as it is for the whole, which is all that a gateway looks at, and each segment gets its own.
    return struct.pack("=BBHHHH", 0, kind, header + 20, size, 0, 0)


class Came:
    """What came to the attacker: a TCP segment, or the answer to a ping."""

    def __init__(self, packet):
        version = packet[0] >> 4
        header, protocol = ((packet[0] & 15) * 4, packet[9]) if version == 4 else (40, packet[6])
        self.source = packet[12:16] if version == 4 else packet[8:24]
        self.ping = self.port = None
        inner = packet[header:]
        if protocol == TCP:
            (self.their_port, self.port, self.sequence, self.acknowledgement, words, self.flags,
             self.window) = struct.unpack_from("!HHIIBBH", inner)
            self.payload = inner[(words >> 4) * 4:]
        elif (protocol, inner[0]) in ((ICMP, 0), (ICMPV6, 129)):
            self.ping, = struct.unpack_from("!H", inner, 6)
