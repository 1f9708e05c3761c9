#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Memory that nobody refers to any more, by the kernel's own search: kmemleak.

usage: leaks.py

Prints `check no-leaks ok`, or how many objects were found and what is known of the first of them;
nothing on a kernel without kmemleak.
"""

import os
import subprocess
import time

DEBUG = "/sys/kernel/debug"
KMEMLEAK = f"{DEBUG}/kmemleak"
# The kernel calls nothing a leak that is younger than five seconds.
AGE = 5.5


def mounted():
    """Whether there is a kmemleak, with its file system mounted."""
    if not os.path.exists(KMEMLEAK):
        subprocess.run(["mount", "-t", "debugfs", "debugfs", DEBUG], capture_output=True, check=False)
    return os.path.exists(KMEMLEAK)


def found():
    """What kmemleak reports of all that was allocated until now, by objects."""
    time.sleep(AGE)
    # What moved while it searched is found only by the second search.
    for _ in range(2):
        with open(KMEMLEAK, "w", encoding="ascii") as stream:
            stream.write("scan")
    with open(KMEMLEAK, encoding="utf-8", errors="replace") as stream:
        _, *reports = stream.read().split("unreferenced object ")
    return reports


def main():
    if mounted():
        reports = found()
        said = f"{len(reports)} objects: {' '.join(reports[0].split())}" if reports else "ok"
        print("check no-leaks", said)


if __name__ == "__main__":
    main()
