#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Runs a plan in the guest: each variant of iptables and each family in a namespace of its own.

usage: main.py PLAN [--cases]      with --cases nothing but the plan's packets

As many jobs at a time as there are CPUs, each on a CPU of its own: inject.py needs that. What they
print is passed on; what they complain of becomes `fault JOB WORDS`, and `end JOB` follows when a job
has succeeded. JOB is two words.
"""

import concurrent.futures
import glob
import itertools
import os
import queue
import subprocess
import sys

GUEST = os.path.dirname(os.path.abspath(__file__))


def python(script, *arguments):
    return [sys.executable, f"{GUEST}/{script}", *arguments]


def put(file, text):
    with open(file, "w", encoding="ascii") as stream:
        stream.write(text)


def never_throttle():
    """Lets a real-time task run for as long as it likes, however slow this guest is.

    inject.py keeps the poll of a device waiting by being one. After 950 ms the kernel would else let
    other tasks go first: up to 6.11 by throttling, since then by a server for them, of each CPU.
    """
    put("/proc/sys/kernel/sched_rt_runtime_us", "-1")
    debug = "/sys/kernel/debug"
    if not os.path.exists(f"{debug}/sched"):
        subprocess.run(["mount", "-t", "debugfs", "debugfs", debug], check=True)
    for server in glob.glob(f"{debug}/sched/fair_server/cpu*/runtime"):
        put(server, "0")


def report(job, done):
    sys.stdout.write(done.stdout)
    for line in done.stderr.splitlines():
        print("fault", *job, line)
    if done.returncode:
        print("fault", *job, f"exit status {done.returncode}")
    else:
        print("end", *job)


def main():
    plan, *options = sys.argv[1:]
    only_cases = options == ["--cases"]
    # iptables-nft hands over all rules in one message: more than an unprivileged user may else send.
    put("/proc/sys/net/core/wmem_default", str(64 << 20))
    never_throttle()
    cpus = queue.Queue()
    for cpu in os.sched_getaffinity(0):
        cpus.put(cpu)

    def run(job, command):
        cpu = cpus.get()
        command = ["unshare", "--net", "--mount", "taskset", "-c", str(cpu), *command]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        cpus.put(cpu)
        return job, done

    jobs = [] if only_cases else [(("rules", "blobs"), python("blobs.py", plan))]
    for job in itertools.product(("legacy", "nft"), ("ipv4", "ipv6")):
        jobs.append((job, python("inject.py", plan, *job)))
    # A stock kernel has it as a module, which no bridge loads.
    subprocess.run(["modprobe", "-q", "br_netfilter"], check=False)
    with concurrent.futures.ThreadPoolExecutor(cpus.qsize()) as pool:
        for job, done in pool.map(lambda job: run(*job), jobs):
            report(job, done)
    if only_cases:
        return
    for job, command in (
        # It wants two CPUs.
        (("pages", "changing"), ["unshare", "--net", *python("changing.py", plan)]),
        # Alone, when all else is gone.
        (("module", "life"), python("module.py")),
        (("memory", "leaks"), python("leaks.py")),
    ):
        report(job, subprocess.run(command, capture_output=True, text=True, check=False))


if __name__ == "__main__":
    main()
