#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Goes through all that the module does, once, and through its rules very often, on the debug kernel.

usage: debug.py

For what the kernel reports by itself: a rule, datagrams, a stream in page fragments, the rule removed.
Then rules are replaced again and again, with the slabs' objects counted before and after, and at last
kmemleak has a look. Prints lines `check NAME ok`, or what is wrong.
"""

import contextlib
import glob
import socket
import subprocess
import time

import leaks

PORT = 20000
SECONDS = 30
RULES, REPLACEMENTS = 300, 10
# Far less than one object for each rule that was replaced; what the rest of the kernel does is far less.
MOST = RULES * REPLACEMENTS // 10
OCTETS = 16384
COMMANDS = ("iptables-legacy", "ip6tables-nft")


def run(*command, **options):
    subprocess.run(command, check=True, text=True, **options)


def packets():
    for protocol in ("udp", "tcp"):
        for chain in ("INPUT", "OUTPUT"):
            rule = f"-A {chain} -o lo -p {protocol} -m dnp3 --frames any --fc 1"
            run("iptables-legacy", *rule.replace("-o", "-i" if chain == "INPUT" else "-o").split())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", PORT))
        udp.sendto(bytes(100), ("127.0.0.1", PORT))
        udp.recv(100)
    with (
        socket.create_server(("127.0.0.1", PORT)) as server,
        socket.create_connection(("127.0.0.1", PORT)) as sender,
    ):
        receiver, _ = server.accept()
        with receiver:
            # The kernel's own TCP keeps what it sends in pages.
            sender.sendall(bytes(OCTETS))
            receiver.recv(OCTETS, socket.MSG_WAITALL)
    run("iptables-legacy", "-F")


def restore(command, count):
    rule = "-A INPUT -p tcp -m dnp3 --saddr 1 --fc 1\n"
    run(f"{command}-restore", input=f"*filter\n{rule * count}COMMIT\n")


def objects():
    """Objects in use, by slab."""
    # KASAN keeps what was freed for a while, lest it be used; to shrink a slab lets it go.
    for shrink in glob.glob("/sys/kernel/slab/kmalloc-*/shrink"):
        with contextlib.suppress(OSError), open(shrink, "w", encoding="ascii") as stream:
            stream.write("1")
    with open("/proc/slabinfo", encoding="ascii") as stream:
        lines = stream.read().splitlines()[2:]
    counts = {words[0]: int(words[1]) for words in map(str.split, lines)}
    return {name: count for name, count in counts.items() if name.startswith("kmalloc-")}


def grown(before):
    """How much each slab has grown, where it is more than it may."""
    growth = {name: count - before.get(name, 0) for name, count in objects().items()}
    return {name: count for name, count in growth.items() if count > MOST}


def slabs(command):
    """The slabs that have grown by replacing rules, when what dies in the background is gone."""
    restore(command, RULES)
    restore(command, 0)
    before = objects()
    for _ in range(REPLACEMENTS):
        restore(command, RULES)
    restore(command, 0)
    until = time.monotonic() + SECONDS
    while grown(before) and time.monotonic() < until:
        time.sleep(0.1)
    return grown(before)


def main():
    run("ip", "link", "set", "lo", "up")
    packets()
    print("check packets ok", flush=True)
    for command in COMMANDS:
        print(f"check slabs-{command}", slabs(command) or "ok", flush=True)
    leaks.main()


if __name__ == "__main__":
    main()
