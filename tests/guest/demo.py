#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""A default-drop gateway at work, shown in the VM.

usage: demo.py POLICY STEPS

       ns master                 ns gateway                  ns outstation
    +---------------+      +--------------------+      +--------------------+
    | 192.0.2.10/24 |------| .1   POLICY    .1  |------| 198.51.100.20/24   |
    | 192.0.2.66/24 | vm0  | vg0            vg1 | vo0  | TCP server, 20000  |
    +---------------+      +--------------------+      +--------------------+

POLICY is a shell script of iptables commands, for the gateway. STEPS is a JSON list of what is sent:
    what     words for the table
    from     "master", "stranger" (the master's second address) or "outstation"
    octets   hexadecimal; absent where the step is to open a connection
    arrives  whether it must arrive
    rule     words that the rule which takes it must hold
    logged   whether a LOG rule must count it
Prints a table, and exits with 1 when a line is not as promised.
"""

import contextlib
import ctypes
import json
import os
import select
import socket
import subprocess
import sys

SECONDS = 20
PORT = 20000
ADDRESS = {"master": "192.0.2.10", "stranger": "192.0.2.66", "outstation": "198.51.100.20"}
NAMESPACE = {"master": "master", "stranger": "master", "outstation": "outstation"}
NETWORK = """
ip netns add master
ip netns add gateway
ip netns add outstation
ip link add vm0 netns master type veth peer name vg0 netns gateway
ip link add vo0 netns outstation type veth peer name vg1 netns gateway
ip -n master addr add 192.0.2.10/24 dev vm0
ip -n master addr add 192.0.2.66/24 dev vm0
ip -n gateway addr add 192.0.2.1/24 dev vg0
ip -n gateway addr add 198.51.100.1/24 dev vg1
ip -n outstation addr add 198.51.100.20/24 dev vo0
ip -n master link set vm0 up
ip -n gateway link set vg0 up
ip -n gateway link set vg1 up
ip -n outstation link set vo0 up
ip -n master route add default via 192.0.2.1
ip -n outstation route add default via 198.51.100.1
ip netns exec gateway sysctl -q net.ipv4.ip_forward=1
sysctl -q net.netfilter.nf_log_all_netns=1
"""
ROW = "{:<4}{:<47} {:<11} {:<8} {:<11} {}"
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def namespace(name):
    """Sockets that are made in the block belong to the network namespace."""

    def enter(path):
        with open(path) as file:
            if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns", path)

    home = f"/proc/{os.getpid()}/fd/{HOME.fileno()}"
    enter(f"/run/netns/{name}")
    try:
        yield
    finally:
        enter(home)


def counters():
    """Packets of each rule of the gateway that decides or logs."""
    saved = subprocess.run(
        ["ip", "netns", "exec", "gateway", "iptables-save", "-c", "-t", "filter"],
        check=True, capture_output=True, text=True,
    ).stdout
    found = {}
    for line in saved.splitlines():
        count, _, rule = line.partition(" ")
        if count.startswith("[") and any(
            f"-j {target}" in rule for target in ("ACCEPT", "DROP", "REJECT", "LOG")
        ):
            found[rule] = int(count[1:].partition(":")[0])
    return found


class Connection:
    """A TCP connection through the gateway: the client's end and the server's."""

    def __init__(self, listener, who):
        with namespace(NAMESPACE[who]):
            self.client = socket.socket()
        self.client.settimeout(SECONDS)
        self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client.bind((ADDRESS[who], 0))
        self.client.connect((ADDRESS["outstation"], PORT))
        self.server, _ = listener.accept()
        self.server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, who, octets):
        """Sends octets; true when the other end has them, false when they were rejected."""
        sender, receiver = (
            (self.server, self.client) if who == "outstation" else (self.client, self.server)
        )
        sender.sendall(octets)
        arrived = b""
        while len(arrived) < len(octets):
            ready, _, _ = select.select([sender, receiver], [], [], SECONDS)
            if receiver in ready:
                arrived += receiver.recv(65536)
            elif sender in ready:
                try:
                    raise RuntimeError(f"the other end sent {sender.recv(1)!r}")
                except ConnectionResetError:
                    return bool(arrived)
            else:
                raise TimeoutError("neither arrived nor rejected")
        if arrived != octets:
            raise RuntimeError(f"{arrived.hex()} arrived")
        return True


def shown(rule, logged):
    """A rule of iptables-save, cut down to what a reader of the table wants to know."""
    words = rule.split()
    target = words[words.index("-j") + 1]
    if "dnp3" in words:
        test = " ".join(words[words.index("dnp3") + 1 : words.index("-j")])
    else:
        test = "whatever is left"
    return words[1], f"{test} -> {'LOG, ' if logged else ''}{target}"


def run(step, listener, connections):
    """Carries out a step; true when what was sent arrived."""
    who = step["from"]
    if "octets" not in step:
        try:
            connections.append(Connection(listener, who))
            return True
        except ConnectionRefusedError:
            return False
    # A rejected segment ends its connection: the session goes on over a new one. The old one stays
    # open at the other end, so that no packet of it gets into the counts.
    arrived = connections[-1].send(who, bytes.fromhex(step["octets"]))
    if not arrived:
        connections.append(Connection(listener, "master"))
    return arrived


def main():
    policy, steps = sys.argv[1:]
    with open(steps) as file:
        steps = json.load(file)
    for line in NETWORK.strip().splitlines():
        subprocess.run(line.split(), check=True)
    subprocess.run(["ip", "netns", "exec", "gateway", "sh", "-e", policy], check=True)

    with namespace("outstation"):
        listener = socket.create_server((ADDRESS["outstation"], PORT))
    listener.settimeout(SECONDS)

    print("The policy of README.md on a gateway between a master, {master}, and an outstation, "
          "{outstation}.\n".format(**ADDRESS))
    print(ROW.format("", "what was sent", "from", "arrived", "chain", "the rule that took it"))
    connections = []
    broken = 0
    for step in steps:
        before = counters()
        arrived = run(step, listener, connections)
        counted = [rule for rule, count in counters().items() if count > before[rule]]
        if "octets" in step:
            # Bare ACKs and the new handshake behind a rejected segment are not what was sent.
            counted = [rule for rule in counted if "--status none" not in rule]
        elif arrived:
            # Of the handshake, the first segment is what this step is about.
            counted = [rule for rule in counted if "--ctstate NEW" in rule]
        took = [rule for rule in counted if "-j LOG" not in rule]
        logged = len(took) < len(counted)
        good = (
            arrived == step["arrives"]
            and len(took) == 1
            and all(word in took[0] for word in step["rule"])
            and logged == step.get("logged", False)
        )
        broken += not good
        if not took:
            took = ["-A none -j none"]
        for number, rule in enumerate(took):
            chain, text = shown(rule, logged)
            if number == 0:
                print(ROW.format("ok" if good else "BAD", step["what"], step["from"],
                                 "yes" if arrived else "no", chain, text), flush=True)
            else:
                print(ROW.format("", "", "", "", chain, text), flush=True)

    log = subprocess.run(["dmesg"], check=True, capture_output=True, text=True).stdout
    restarts = log.count("dnp3 restart ")
    wanted = sum(step.get("logged", False) for step in steps)
    print(f"\nThe kernel log has {restarts} lines with 'dnp3 restart' ({wanted} promised).")
    broken += restarts != wanted
    if broken:
        print(f"{broken} lines are not as the policy promises.")
    else:
        print(f"All {len(steps)} lines are as the policy promises.")
    sys.exit(1 if broken else 0)


HOME = open("/proc/self/ns/net")
if __name__ == "__main__":
    main()
