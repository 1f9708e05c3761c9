# SPDX-License-Identifier: GPL-2.0
"""Loads the rules of dnp3fw in a gateway, and sends it packets one by one, each with what is to come of it.

usage: cli_rules.py PLAN

PLAN is a JSON list of runs: {"name", "variant": "legacy" or "nft", "rules": {"4": FILE, "6": FILE}, "packets": FILE or
null, "own": CHAIN or null}, the files beside PLAN. With a chain of its own a file is loaded as its head says, beside rules
that must stay, and a second time, as who has a new one does. A line of packets is a FATE and an IP packet in hexadecimal digits:

    passes      it comes out on the other side as it came in
    reset       it does not, and its sender gets a TCP segment with RST
    dropped     it does not, and nobody is told

What iptables-save prints of each chain must be what the file has, to the octet. Printed are lines

    check NAME ok
    check NAME WORDS...     what is wrong
    time NAME SECONDS       that iptables-restore took
    sent NAME COUNTS        packets by their fates
"""

import ipaddress
import itertools
import json
import os
import select
import sys
import time

from replay import Gateway, forget, mended, program, run

SECONDS = 10
TCP, RST = 6, 0x04


class Wrong(Exception):
    """Something is not as the plan has it."""


def chains(text):
    """A file's chains, each with its policy and its rules in their order."""
    found = {}
    for line in text.splitlines():
        if line.startswith(":"):
            name, policy, _ = line[1:].split(" ")
            found.setdefault(name, [policy])
        elif line.startswith("-A "):
            name = line.split(" ", 2)[1]
            found.setdefault(name, ["ACCEPT"]).append(line)
    return found


def check_saved(variant, family, text):
    """What the kernel has is what the file says, chain by chain and rule by rule."""
    loaded = chains(text)
    saved = chains(run(program(variant, family, "-save"), "-t", "filter"))
    for name in ("INPUT", "FORWARD", "OUTPUT"):
        loaded.setdefault(name, ["ACCEPT"])
        saved.setdefault(name, ["ACCEPT"])
    if loaded.keys() != saved.keys():
        raise Wrong(f"chains {sorted(loaded.keys() ^ saved.keys())} are in the file only, or were saved only")
    for name, rules in loaded.items():
        for one, other in itertools.zip_longest(rules, saved[name]):
            if one != other:
                raise Wrong(f"chain {name} has {one!r}, and was saved with {other!r}")


def load_beside(variant, family, text, own):
    """Rules in a chain of their own, which leave all other chains alone."""
    iptables = program(variant, family)
    run(iptables, "-N", "OTHER")
    run(iptables, "-A", "FORWARD", "-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "OTHER")
    run(iptables, "-A", "OTHER", "-j", "ACCEPT")
    run(f"{iptables}-restore", "--noflush", text=text)
    run(iptables, "-I", "FORWARD", "-j", own)
    run(f"{iptables}-restore", "--noflush", text=text)
    beside = f"""*filter
:FORWARD ACCEPT [0:0]
:OTHER - [0:0]
-A FORWARD -j {own}
-A FORWARD -m conntrack --ctstate ESTABLISHED -j OTHER
-A OTHER -j ACCEPT
"""
    check_saved(variant, family, beside + text)


def parts(packet):
    """Addresses, protocol and payload of an IP packet."""
    if packet[0] >> 4 == 4:
        header = (packet[0] & 15) * 4
        return packet[12:16], packet[16:20], packet[9], packet[header:]
    return packet[8:24], packet[24:40], packet[6], packet[40:]


class Line:
    """The gateway's two lines, and what came out of them."""

    def __init__(self, gateway):
        self.files = gateway.files

    def come(self, seconds):
        """All packets that are there, which is waited for."""
        packets = []
        if select.select(self.files, [], [], seconds)[0]:
            for file in self.files:
                try:
                    while True:
                        packets.append(os.read(file, 65536))
                except BlockingIOError:
                    pass
        return packets

    def send(self, octets):
        """Sends a packet; its parts."""
        packet, is_lower = mended(octets)
        source, destination, protocol, payload = parts(packet)
        os.write(self.files[0 if is_lower else 1], packet)
        return source, destination, protocol, payload

    def fate(self, sent, wait):
        """What has become of it: a word for each packet that came out."""
        source, destination, protocol, payload = sent
        fates = []
        for packet in self.come(wait):
            from_, to, its, its_payload = parts(packet)
            if (from_, to, its, its_payload) == (source, destination, protocol, payload):
                fates.append("passes")
            elif (from_, to, its) == (destination, source, TCP) and its_payload[13] & RST:
                fates.append("reset")
            elif len(from_) == 16 and ipaddress.ip_address(from_).is_link_local:
                # The gateway's own, of which no capture has any.
                continue
            else:
                fates.append(f"{ipaddress.ip_address(from_)} > {ipaddress.ip_address(to)}: {packet.hex()}")
        return fates


def send_all(line, file):
    """Sends the packets; how many had which fate."""
    counts = {}
    with open(file, encoding="ascii") as stream:
        for number, text in enumerate(stream, 1):
            fate, octets = text.split()
            wanted = [] if fate == "dropped" else [fate]
            sent = line.send(bytes.fromhex(octets))
            # All rules are behind it when it is written. Were they not, what comes late is not what the next
            # packet should become.
            found = line.fate(sent, SECONDS if wanted else 0)
            if found != wanted:
                raise Wrong(f"packet {number} was to be {fate}, and came to {found}: {octets}")
            counts[fate] = counts.get(fate, 0) + 1
    return counts


def go(gateway, folder, one):
    forget()
    took = 0.0
    for family, name in one["rules"].items():
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            text = file.read()
        began = time.monotonic()
        if one["own"]:
            load_beside(one["variant"], family, text, one["own"])
        else:
            gateway.load(one["variant"], family, text)
            check_saved(one["variant"], family, text)
        took += time.monotonic() - began
    print(f"time {one['name']} {took:.2f}", flush=True)
    if one["packets"]:
        line = Line(gateway)
        line.come(0)
        counts = send_all(line, os.path.join(folder, one["packets"]))
        print(f"sent {one['name']} {counts}", flush=True)


def main():
    plan = os.path.abspath(sys.argv[1])
    with open(plan, encoding="utf-8") as file:
        runs = json.load(file)
    gateway = Gateway()
    for one in runs:
        try:
            go(gateway, os.path.dirname(plan), one)
            print(f"check {one['name']} ok", flush=True)
        except (Wrong, RuntimeError, OSError) as error:
            words_ = " ".join(str(error).split())
            print(f"check {one['name']} {words_}", flush=True)


if __name__ == "__main__":
    main()
