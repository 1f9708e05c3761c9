#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The module's life, in the guest's own namespace: loaded by a rule, held by it, let go after it.

Prints `check NAME ok`, or `check NAME` and what is wrong; tests/tests/vm_cases.rs has the names.
To be run last: it wants the module for itself.
"""

import itertools
import os
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
)


def main():
    run("namespaces-let-go", the_namespaces_let_go)
    for variant, family in itertools.product(("legacy", "nft"), ("ipv4", "ipv6")):
        iptables = f"{'iptables' if family == 'ipv4' else 'ip6tables'}-{variant}"
        for check in CHECKS:
            run(f"{check.__name__.replace('_', '-')}-{variant}-{family}", check, iptables)


if __name__ == "__main__":
    main()
