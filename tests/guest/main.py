#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Runs a plan in the guest, each variant of iptables and each family in a namespace of its own.

usage: main.py PLAN

As many of them at a time as there are CPUs, each on a CPU of its own: inject.py needs that. What
they print is passed on, and `end VARIANT FAMILY` for each that succeeded.
"""

import concurrent.futures
import itertools
import os
import queue
import subprocess
import sys


def main():
    (plan,) = sys.argv[1:]
    cpus = queue.Queue()
    for cpu in os.sched_getaffinity(0):
        cpus.put(cpu)

    def run(job):
        variant, family = job
        cpu = cpus.get()
        guest = os.path.dirname(os.path.abspath(__file__))
        command = ["unshare", "--net", "--mount", "taskset", "-c", str(cpu)]
        command += [sys.executable, f"{guest}/inject.py", plan, variant, family]
        done = subprocess.run(command, capture_output=True, text=True)
        cpus.put(cpu)
        return job, done

    jobs = list(itertools.product(("legacy", "nft"), ("ipv4", "ipv6")))
    with concurrent.futures.ThreadPoolExecutor(cpus.qsize()) as pool:
        results = list(pool.map(run, jobs))
    for (variant, family), done in results:
        sys.stdout.write(done.stdout)
        for line in done.stderr.splitlines():
            print("fault", variant, family, line)
        if done.returncode:
            print("fault", variant, family, f"inject.py: exit status {done.returncode}")
        else:
            print("end", variant, family)


if __name__ == "__main__":
    main()
