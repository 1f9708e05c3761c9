#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The module's life, in the guest's own namespace: loaded by a rule, held by it, let go after it.

Prints `check NAME ok`, or `check NAME` and what is wrong; tests/tests/vm_cases.rs has the names.
To be run last: it wants the module for itself.
"""

import contextlib
import ipaddress
import itertools
import os
import socket
import struct
import subprocess
import time

SECONDS = 20
BETWEEN = 0.05
RULE = ("INPUT", "-p", "tcp", "-m", "dnp3", "--fc", "read")
TABLES = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "security": ("INPUT", "FORWARD", "OUTPUT"),
}
REFERENCES = "/sys/module/xt_dnp3/refcnt"


def call(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, (done.stdout + done.stderr).strip()


def must(*command):
    status, said = call(*command)
    if status:
        raise AssertionError(f"{' '.join(command)}: exit status {status}: {said}")


def loaded():
    return os.path.exists(REFERENCES)


def unload():
    """Unloads the module as soon as nothing holds it: rules and namespaces die in the background."""
    until = time.monotonic() + SECONDS
    while True:
        status, said = call("rmmod", "xt_dnp3")
        if status == 0:
            return
        if time.monotonic() > until:
            raise AssertionError(f"rmmod: {said}")
        time.sleep(BETWEEN)


def the_namespaces_let_go():
    # What ran before had rules in namespaces that are gone.
    unload()


def a_rule_loads_it(iptables):
    if loaded():
        unload()
    must(iptables, "-A", *RULE)
    if not loaded():
        raise AssertionError("there is a rule, and no module")
    must(iptables, "-D", *RULE)


def a_rule_holds_it(iptables):
    must(iptables, "-A", *RULE)
    status, said = call("rmmod", "xt_dnp3")
    if status == 0:
        raise AssertionError("unloaded under a rule")
    if "in use" not in said:
        raise AssertionError(f"refused for another reason: {said}")
    must(iptables, "-D", *RULE)
    unload()


def a_namespace_holds_it(iptables):
    must("ip", "netns", "add", "holder")
    must("ip", "netns", "exec", "holder", iptables, "-A", *RULE)
    status, _ = call("rmmod", "xt_dnp3")
    must("ip", "netns", "del", "holder")
    if status == 0:
        raise AssertionError("unloaded under a rule")
    unload()


def replaced_and_flushed(iptables):
    rules = "*filter\n" + "".join(f"-A {' '.join(RULE)}\n" for _ in range(100)) + "COMMIT\n"
    for _ in range(5):
        subprocess.run([f"{iptables}-restore"], input=rules, text=True, check=True)
    must(iptables, "-F")
    unload()


def every_table_takes_it(iptables):
    for table, chains in TABLES.items():
        for chain in chains:
            rule = ("-t", table, "-A", chain, *RULE[1:])
            must(iptables, *rule)
        _, saved = call(f"{iptables}-save", "-t", table)
        rules = [line for line in saved.splitlines() if "-m dnp3 --fc 1" in line]
        if len(rules) != len(chains):
            raise AssertionError(f"{table}: {len(rules)} rules, and not {len(chains)}")
        must(iptables, "-t", table, "-F")
    unload()


@contextlib.contextmanager
def a_neighbour():
    """A way out to 10.9.0.2 and fd09::2, where nobody has to answer."""
    must("ip", "link", "add", "out0", "type", "dummy")
    for address, neighbour in (("10.9.0.1/24", "10.9.0.2"), ("fd09::1/64", "fd09::2")):
        extra = ("nodad",) if ":" in address else ()
        must("ip", "addr", "add", address, "dev", "out0", *extra)
        must("ip", "link", "set", "out0", "up")
        must("ip", "neigh", "add", neighbour, "lladdr", "02:00:00:00:00:09", "dev", "out0")
    try:
        yield
    finally:
        must("ip", "link", "del", "out0")


IDENTIFICATIONS = itertools.count(1)


def packets_of_two_fragments(iptables):
    """Sends a UDP datagram in two fragments; how many packets leave: 1 if they were put together."""
    datagram = struct.pack("!HHHH", 1, 20000, 48, 0) + bytes(40)
    identification = next(IDENTIFICATIONS)
    is_ipv6 = iptables.startswith("ip6")
    destination = "fd09::2" if is_ipv6 else "10.9.0.2"
    family = socket.AF_INET6 if is_ipv6 else socket.AF_INET
    source = "fd09::1" if is_ipv6 else "10.9.0.1"
    addresses = b"".join(ipaddress.ip_address(a).packed for a in (source, destination))
    must(iptables, "-t", "mangle", "-A", "POSTROUTING", "-o", "out0", "-d", destination)
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for offset, more, piece in ((0, True, datagram[:24]), (24, False, datagram[24:])):
            if is_ipv6:
                header = struct.pack("!IHBB", 6 << 28, 8 + len(piece), 44, 64) + addresses
                header += struct.pack("!BBHI", 17, 0, offset | more, identification)
            else:
                header = struct.pack(
                    "!BBHHHBBH", 0x45, 0, 20 + len(piece), identification,
                    more << 13 | offset // 8, 64, 17, 0,
                ) + addresses
            raw.sendto(header + piece, (destination, 0))
    _, listed = call(iptables, "-t", "mangle", "-vxnL", "POSTROUTING")
    must(iptables, "-t", "mangle", "-F", "POSTROUTING")
    (counted,) = (line for line in listed.splitlines() if destination in line)
    return int(counted.split()[0])


def defragmentation_is_given_back(iptables):
    def expect(count, when):
        # Rules of nf_tables are destroyed in the background.
        until = time.monotonic() + SECONDS
        while (packets := packets_of_two_fragments(iptables)) != count:
            if time.monotonic() > until:
                raise AssertionError(f"{when}: {packets} packets left, and not {count}")
            time.sleep(BETWEEN)

    with a_neighbour():
        expect(2, "before any rule")
        must(iptables, "-A", *RULE)
        must(iptables, "-A", *RULE)
        expect(1, "with two rules")
        must(iptables, "-D", *RULE)
        expect(1, "with one rule")
        # The match is in order, and has been checked, when the target is refused: no tcp-reset to UDP.
        refused = [word if word != "tcp" else "udp" for word in RULE]
        if call(iptables, "-A", *refused, "-j", "REJECT", "--reject-with", "tcp-reset")[0] == 0:
            raise AssertionError("a tcp-reset was taken for UDP")
        must(iptables, "-F")
        expect(2, "when all rules are gone")
        # Conntrack wants fragments put together as well, for as long as a rule wants conntrack.
        must(iptables, "-A", *RULE, "--track")
        expect(1, "with a rule that follows connections")
        must(iptables, "-D", *RULE, "--track")
        expect(2, "when that is gone")
    unload()


def run(name, check, *arguments):
    try:
        check(*arguments)
    except AssertionError as error:
        print("check", name, " ".join(str(error).split()))
    else:
        print("check", name, "ok")


CHECKS = (
    a_rule_loads_it,
    a_rule_holds_it,
    a_namespace_holds_it,
    replaced_and_flushed,
    every_table_takes_it,
    defragmentation_is_given_back,
)


def main():
    run("namespaces-let-go", the_namespaces_let_go)
    for variant, family in itertools.product(("legacy", "nft"), ("ipv4", "ipv6")):
        iptables = f"{'iptables' if family == 'ipv4' else 'ip6tables'}-{variant}"
        for check in CHECKS:
            run(f"{check.__name__.replace('_', '-')}-{variant}-{family}", check, iptables)


if __name__ == "__main__":
    main()
