# SPDX-License-Identifier: GPL-2.0
"""The counters of connections that are followed, as a tool reads them by generic netlink.

python3 stats.py prints them as JSON, those of the network namespace that it runs in.
"""

import json
import os
import socket
import struct
import sys

NETLINK_GENERIC = 16
GENL_ID_CTRL, CTRL_CMD_GETFAMILY = 16, 3
CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME = 1, 2
NLMSG_ERROR, NLM_F_REQUEST, HEADER, GENL_HEADER = 2, 1, 16, 4
STATS_GET = 1

# enum xt_dnp3_stats, in its order, behind UNSPEC and PAD; tests/tests/stats.rs holds it to the header.
NAMES = [
    "connections",
    "followed",
    "ahead",
    "overlap",
    "strayed",
    "renewed",
    "voided",
    "ended",
    "full",
    "crowded",
    "short",
    "no_memory",
]


def attributes(octets):
    """The attributes of a message: {type: payload}."""
    found, at = {}, 0
    while at + 4 <= len(octets):
        length, kind = struct.unpack_from("=HH", octets, at)
        found[kind & 0x3FFF] = octets[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def ask(sock, family, command, payload=b""):
    """The attributes of the answer to a command."""
    body = struct.pack("=BBH", command, 1, 0) + payload
    sock.send(struct.pack("=IHHII", HEADER + len(body), family, NLM_F_REQUEST, 1, 0) + body)
    answer = sock.recv(65536)
    length, kind = struct.unpack_from("=IH", answer)
    if kind == NLMSG_ERROR:
        error = -struct.unpack_from("=i", answer, HEADER)[0]
        raise OSError(error, os.strerror(error))
    return attributes(answer[HEADER + GENL_HEADER : length])


def stats():
    """The counters: {name: number}."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC) as sock:
        sock.settimeout(10)
        sock.bind((0, 0))
        name = b"xt_dnp3\0"
        wanted = struct.pack("=HH", 4 + len(name), CTRL_ATTR_FAMILY_NAME) + name
        found = ask(sock, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, wanted)
        (family,) = struct.unpack_from("=H", found[CTRL_ATTR_FAMILY_ID])
        numbers = ask(sock, family, STATS_GET)
        return {
            name: struct.unpack("=Q", numbers[kind])[0] for kind, name in enumerate(NAMES, start=2)
        }


if __name__ == "__main__":
    json.dump(stats(), sys.stdout)
    print()
