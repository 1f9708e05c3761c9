#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Page contents that change while the kernel judges them: sendfile() of memory that another process
writes to.

usage: changing.py PLAN

PLAN/changing is a file of tests/src/changing.rs:

    frame HEX       two of them, of one length; the memory holds now the one, now the other
    match RULE      behind each: it matches a packet of such frames
    udp RULE        matches no packet of either, nor of any mixture of their octets
    tcp RULE        the same

A process sends a page's octets over the loopback device, where OUTPUT and INPUT judge them, and another
one, on another CPU, writes to the page all the while. Prints `check contents-change-PROTOCOL-FAMILY ok`,
or what is wrong: a rule that must not match did; the rules' verdicts do not add up; or the page did not
change while it was judged, in so many packets that something else is amiss. `copied` in place of `ok`:
this kernel has no pages of others in datagrams, and nothing was judged.
"""

import contextlib
import mmap
import os
import signal
import socket
import subprocess
import sys
import time

SECONDS = 120
PORT = 20000
PAGE = 4096
PACKETS = 1000
# In a packet of TCP.
FRAMES = 3
LO = {"ipv4": "127.0.0.1", "ipv6": "::1"}
AF = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
# One variant for each: the match is the same.
IPTABLES = {"ipv4": "iptables-legacy", "ipv6": "ip6tables-nft"}


def read(plan):
    """The plan's lines by their first word."""
    words = {}
    with open(f"{plan}/changing", encoding="ascii") as stream:
        for line in stream:
            word, rest = line.rstrip("\n").split(" ", 1)
            words.setdefault(word, []).append(rest)
    return words


class Rules:
    """The rules of one run; counters by name."""

    def __init__(self, family, protocol, plan):
        self.command = IPTABLES[family]
        dnp3 = f"-p {protocol} -m dnp3"
        one, other = plan["match"]
        self.never = plan[protocol]
        chain = [("all", "")]
        chain += [(f"never {number}", f"{dnp3} {rule}") for number, rule in enumerate(self.never)]
        chain += [("one", f"{dnp3} {one}"), ("other", f"{dnp3} {other}")]
        # The same packet, a rule later.
        chain += [("again", f"{dnp3} {one} -j changed")]
        chain += [("taken one", f"{dnp3} {one} -j RETURN"), ("taken other", f"{dnp3} {other} -j RETURN")]
        chain += [("left", "")]
        self.names = [name for name, _ in chain]
        lines = ["*filter", ":changing - [0:0]", ":changed - [0:0]"]
        for hook in ("OUTPUT -o", "INPUT -i"):
            lines.append(f"-A {hook} lo -p {protocol} --dport {PORT} -j changing")
        lines += [f"-A changing {rule}" for _, rule in chain]
        lines += [f"-A changed {dnp3} {other}", "COMMIT", ""]
        subprocess.run([f"{self.command}-restore"], input="\n".join(lines), text=True, check=True)

    def counters(self):
        command = [f"{self.command}-save", "-c", "-t", "filter"]
        said = subprocess.run(command, check=True, text=True, capture_output=True).stdout
        packets = {"changing": [], "changed": []}
        for line in said.splitlines():
            if line.startswith("["):
                counter, _, chain, *_ = line.split(maxsplit=3)
                packets.get(chain, []).append(int(counter[1:].split(":")[0]))
        counters = dict(zip(self.names, packets["changing"], strict=True))
        (counters["changed"],) = packets["changed"]
        return counters


@contextlib.contextmanager
def writer(memory, frames, places):
    """A process that writes now one frame, now the other, as fast as it can."""
    cpu, *_, other = sorted(os.sched_getaffinity(0))
    process = os.fork()
    os.sched_setaffinity(0, {cpu if process else other})
    if process == 0:
        try:
            where = [slice(place, place + len(frames[0])) for place in places]
            while os.getppid() != 1:
                for _ in range(1000):
                    for frame in frames:
                        for octets in where:
                            memory[octets] = frame
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.sched_setaffinity(0, {cpu, other})


@contextlib.contextmanager
def changing(length, frames, places):
    """A file of a length that holds now one frame, now the other, at all these places."""
    file = os.memfd_create("changing")
    try:
        os.truncate(file, length)
        with mmap.mmap(file, length) as memory, writer(memory, frames, places):
            yield file
    finally:
        os.close(file)


def copies(family):
    """Whether a datagram that sendfile() sent has its octets for itself. If not, a receiver that looks later
    sees what has been written to the page since."""
    with (
        socket.socket(AF[family], socket.SOCK_DGRAM) as receiver,
        socket.socket(AF[family], socket.SOCK_DGRAM) as sender,
    ):
        receiver.settimeout(SECONDS)
        receiver.bind((LO[family], PORT))
        sender.connect((LO[family], PORT))
        file = os.memfd_create("copied")
        try:
            os.pwrite(file, b"before", 0)
            os.sendfile(sender.fileno(), file, 0, 6)
            os.pwrite(file, b"behind", 0)
            return {b"before": True, b"behind": False}[receiver.recv(6)]
        finally:
            os.close(file)


def datagrams(family, frames):
    """Rounds of datagrams of one frame, within a page and across two; how many each time."""
    length = len(frames[0])
    places = (0, PAGE - 5)
    with (
        socket.socket(AF[family], socket.SOCK_DGRAM) as receiver,
        socket.socket(AF[family], socket.SOCK_DGRAM) as sender,
        changing(2 * PAGE, frames, places) as file,
    ):
        # Nobody reads; without a socket there would be ICMP errors.
        receiver.bind((LO[family], PORT))
        sender.connect((LO[family], PORT))
        while True:
            for number in range(PACKETS):
                sent = os.sendfile(sender.fileno(), file, places[number % len(places)], length)
                if sent != length:
                    raise AssertionError(f"a datagram of {sent} octets, and not {length}")
            yield PACKETS


def stream(family, frames):
    """Rounds of packets of some frames each on a TCP connection; acknowledgements come between them."""
    length = FRAMES * len(frames[0])
    with (
        socket.create_server((LO[family], PORT), family=AF[family]) as server,
        socket.create_connection((LO[family], PORT)) as sender,
        changing(PAGE, frames, range(0, length, len(frames[0]))) as file,
    ):
        receiver, _ = server.accept()
        with receiver:
            while True:
                for _ in range(PACKETS):
                    at = 0
                    while at < length:
                        at += os.sendfile(sender.fileno(), file, at, length - at)
                    at = 0
                    while at < length:
                        at += len(receiver.recv(length - at))
                yield None


def run(family, protocol, plan):
    rules = Rules(family, protocol, plan)
    frames = [bytes.fromhex(frame) for frame in plan["frame"]]
    rounds = (datagrams if protocol == "udp" else stream)(family, frames)
    wanted = ("one", "other", "changed")
    sent = 0
    end = time.monotonic() + SECONDS
    try:
        for count in rounds:
            sent += count or 0
            counters = rules.counters()
            for number, rule in enumerate(rules.never):
                if counters[f"never {number}"]:
                    raise AssertionError(f"{counters[f'never {number}']} packets match {rule!r}")
            taken = sum(counters[name] for name in ("taken one", "taken other", "left"))
            if taken != counters["all"] or (sent and counters["all"] != 2 * sent):
                raise AssertionError(f"of {sent} datagrams: {counters}")
            if all(counters[name] for name in wanted):
                return counters
            if time.monotonic() > end:
                raise AssertionError(f"nothing changed in {SECONDS} seconds: {counters}")
    finally:
        rounds.close()


def main():
    plan = read(sys.argv[1])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for protocol in ("udp", "tcp"):
        for family in LO:
            name = f"contents-change-{protocol}-{family}"
            if protocol == "udp" and copies(family):
                print("check", name, "copied")
                continue
            try:
                counters = run(family, protocol, plan)
            except AssertionError as error:
                print("check", name, error)
            else:
                print("check", name, "ok")
                said = (f"{counters[key]} {key}" for key in ("all", "one", "other", "changed", "left"))
                print("changing", protocol, family, ", ".join(said))


if __name__ == "__main__":
    main()
