#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Runs the examples of the README and of the manual pages in the guest.

usage: manual.py PLAN VARIANT

PLAN is a JSON object; tests/tests/manual.rs makes it of the documents:
    examples  a list of
        name      where it stands
        before    a script that is run first: what the example builds on
        script    the example, for sh -e; or
        console   pairs of a command and the lines that it must print
        packets   what is sent through its rules, a list of
            name      what it is
            family    4 or 6
            opening   pairs of a side and a packet: the connection's handshake
            packet    one such pair
        sent_in   the variant in which they are

Each example has a network namespace of its own, which forwards between two sides:

    tun "west", 192.0.2.1/24 and 2001:db8:1::1/64 --- [ FORWARD ] --- tun "east", 198.51.100.1/24 ...

VARIANT is nft or legacy: that is what iptables, ip6tables and the like are in the example. Printed is a
line of JSON for each example:
    name
    failed    what went wrong, or null
    output    the lines that the script or each command printed, errors among them
    saved     what iptables-save, and behind it ip6tables-save, says of the rules
    counted   for each packet the rules that counted it, as they are saved
"""

import ctypes
import fcntl
import json
import os
import struct
import subprocess
import sys

SECONDS = 30
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
NETWORK = """
link set lo up
addr add 192.0.2.1/24 dev west
addr add 198.51.100.1/24 dev east
addr add 2001:db8:1::1/64 dev west nodad
addr add 2001:db8:2::1/64 dev east nodad
link set west up
link set east up
"""
COMMANDS = ("iptables", "iptables-save", "iptables-restore",
            "ip6tables", "ip6tables-save", "ip6tables-restore")


def run(command, **options):
    """What a command printed, errors included, and how it ended."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL, text=True, timeout=SECONDS, **options)
    return done.stdout, done.returncode


def must(command):
    output, status = run(command)
    if status:
        raise RuntimeError(f"{' '.join(command)}: {output}")
    return output


def tun(name):
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


def network():
    """A namespace of our own, and its two sides."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    sides = {name: tun(name) for name in ("west", "east")}
    subprocess.run(["ip", "-batch", "-"], input=NETWORK.strip() + "\n", text=True, check=True)
    must(["sysctl", "-q", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])
    return sides


def saved(family, *options):
    """The rules of all tables, without iptables-save's comments."""
    command = ["iptables-save" if family == 4 else "ip6tables-save", *options]
    return [line for line in must(command).splitlines() if not line.startswith("#")]


def counters(family):
    """How many packets each rule has counted; rules that are the same count as one."""
    found = {}
    for line in saved(family, "-c", "-t", "filter"):
        if line.startswith("["):
            count, _, rule = line.partition(" ")
            found[rule] = found.get(rule, 0) + int(count[1:].partition(":")[0])
    return found


def send(sides, packets):
    """What each packet was counted by, when all connections are open."""
    write = lambda side, octets: os.write(sides[side], bytes.fromhex(octets))
    for packet in packets:
        for side, octets in packet["opening"]:
            write(side, octets)
    before = {family: counters(family) for family in (4, 6)}
    counted = {}
    for packet in packets:
        write(*packet["packet"])
        family = packet["family"]
        now = counters(family)
        counted[packet["name"]] = [
            rule for rule, count in now.items() if count > before[family][rule]
        ]
        before[family] = now
    return counted


def example(what, variant):
    sides = network()
    result = {"name": what["name"], "failed": None, "output": [], "saved": [], "counted": {}}
    if "script" in what:
        output, status = run(["sh", "-e", "-c", what["before"] + "\n" + what["script"]])
        if status:
            result["failed"] = f"exit status {status}: {output}"
            return result
        result["output"] = [output.splitlines()]
    else:
        if what["before"]:
            must(["sh", "-e", "-c", what["before"]])
        for command, _ in what["console"]:
            output, _ = run(["sh", "-c", command])
            result["output"].append(output.splitlines())
    result["saved"] = saved(4) + saved(6)
    if what["sent_in"] == variant:
        result["counted"] = send(sides, what["packets"])
    return result


def main():
    plan, variant = sys.argv[1:]
    with open(plan, encoding="utf-8") as file:
        plan = json.load(file)
    bin_dir = f"/run/manual-{variant}"
    os.mkdir(bin_dir)
    for command in COMMANDS:
        os.symlink(f"/usr/sbin/xtables-{variant}-multi", f"{bin_dir}/{command}")
    os.environ["PATH"] = f"{bin_dir}:{os.environ['PATH']}"
    for what in plan["examples"]:
        try:
            result = example(what, variant)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            result = {"name": what["name"], "failed": str(error), "output": [], "saved": [],
                      "counted": {}}
        print(variant, json.dumps(result), flush=True)


main()
