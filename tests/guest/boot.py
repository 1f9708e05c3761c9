#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""A gateway that has been booted by systemd: what its rules became, and what it forwards.

usage: boot.py network       bring the network up; run by a unit, as a network manager is
       boot.py SCENARIO      after the boot, one of the functions in SCENARIOS; prints lines
                                 check NAME ok
                             or, in place of `ok`, what is wrong

      ns master                       the guest                     ns outstation
    +-------------------+      +----------------------+      +----------------------+
    | 192.0.2.10        |------| .1     FORWARD    .1 |------| 198.51.100.20        |
    | 2001:db8:1::10    | vm0  | vg0              vg1 | vo0  | 2001:db8:2::20       |
    +-------------------+      +----------------------+      +----------------------+

tests/tests/boot.rs puts the files into place, and READ and RESTART (hexadecimal) into the environment.
"""

import contextlib
import json
import os
import pathlib
import select
import socket
import struct
import subprocess
import sys
import time

from demo import namespace

SECONDS = 20
PORT = 20000
FENCE = 7
NEVER = 9
ETH_P_ALL = 3
READ, RESTART = (bytes.fromhex(os.environ.get(name, "")) for name in ("READ", "RESTART"))
AT_NETWORK = "/run/at-network.json"
FAMILIES = ("4", "6")
AF = {"4": socket.AF_INET, "6": socket.AF_INET6}
TABLES = {"4": "iptables", "6": "ip6tables"}
PING = {"4": (socket.IPPROTO_ICMP, b"\x08\0\xf7\xff\0\0\0\0"), "6": (socket.IPPROTO_ICMPV6, b"\x80" + bytes(7))}
NAMES = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmp"}
HOSTS = {
    "master": ("vm0", "vg0", {"4": "192.0.2.10", "6": "2001:db8:1::10"}, {"4": "192.0.2.1", "6": "2001:db8:1::1"}),
    "outstation": ("vo0", "vg1", {"4": "198.51.100.20", "6": "2001:db8:2::20"}, {"4": "198.51.100.1", "6": "2001:db8:2::1"}),
}
OTHER = {"master": "outstation", "outstation": "master"}
# What probe() sends; all of it, in both directions and families, is what passes an open gateway.
PROBES = ("icmp", "tcp/20000", "tcp/22", "udp/20000", "udp/9")
EVERYTHING = sorted(f"{who}{family} {name}" for who in HOSTS for family in FAMILIES for name in PROBES)
UNIT = "dnp3-firewall.service"
ETC = pathlib.Path("/etc/dnp3-firewall")
EXTENSION = next(pathlib.Path("/usr/lib").glob("*/xtables")) / "libxt_dnp3.so"


class Wrong(Exception):
    """Something is not as it must be."""


def call(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    return done.returncode, (done.stdout + done.stderr).strip()


def must(*command, **options):
    status, said = call(*command, **options)
    if status:
        raise Wrong(f"{' '.join(command)}: exit status {status}: {said}")
    return said


def fails(*command):
    """The status of a command that must fail, but not die."""
    status, said = call(*command)
    if status != 1:
        raise Wrong(f"{' '.join(command)}: exit status {status}, not 1: {said}")


def same(what, got, wanted):
    if got != wanted:
        raise Wrong(f"{what}: {got!r}, and not {wanted!r}")


# The network.


def bring_up():
    lines = []
    for who, (outer, inner, host, gateway) in HOSTS.items():
        must("ip", "netns", "add", who)
        lines.append(f"link add {outer} netns {who} type veth peer name {inner}")
        macs = {}
        for device, own, where in ((outer, host, f"-n {who}"), (inner, gateway, "")):
            mac = macs[device] = f"02:00:00:00:00:{len(lines):02x}"
            lines.append(f"{where} link set {device} address {mac} up")
            lines.append(f"{where} addr add {own['4']}/24 dev {device}")
            lines.append(f"{where} addr add {own['6']}/64 dev {device} nodad")
        for family in FAMILIES:
            lines.append(f"-n {who} neigh add {gateway[family]} lladdr {macs[inner]} dev {outer}")
            lines.append(f"neigh add {host[family]} lladdr {macs[outer]} dev {inner}")
            lines.append(f"-n {who} -{family} route add default via {gateway[family]}")
    for line in lines:
        must("ip", *line.split())


def policies():
    found = {}
    for family, iptables in TABLES.items():
        listed = must(iptables, "-S", "FORWARD").splitlines()
        found[family] = [listed[0].split()[-1], sum("dnp3" in line.lower() for line in listed)]
    return found


def network():
    """The first moments of the network, for at_network() to tell of."""
    before = policies()
    bring_up()
    pathlib.Path(AT_NETWORK).write_text(json.dumps({"policies": before, "passed": passed()}))


@contextlib.contextmanager
def within(who):
    with namespace(who) if who else contextlib.nullcontext():
        yield


def datagram(who, family, source, target, port, payload):
    with within(who):
        sender = socket.socket(AF[family], socket.SOCK_DGRAM)
    with sender:
        sender.bind((source, 0))
        sender.sendto(payload, (target, port))


def ask(what, send, arrived):
    """Sends until it arrives: the network may have come up this very moment."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            send()
        except OSError:
            pass
        if arrived(0.5):
            return
    raise Wrong(f"{what}: nothing arrives")


def fence(who, family):
    """Returns when all that `who` has sent before is behind the gateway: on one CPU, and by one queue."""
    _, _, host, gateway = HOSTS[who]
    with socket.socket(AF[family], socket.SOCK_DGRAM) as receiver:
        receiver.bind((gateway[family], FENCE))
        ask(
            f"{who} to the gateway",
            lambda: datagram(who, family, host[family], gateway[family], FENCE, b"x"),
            lambda seconds: select.select([receiver], [], [], seconds)[0],
        )


class Tap:
    """What arrives at a host, seen by a packet socket."""

    def __init__(self, who):
        self.who = who
        with within(who):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.bind((HOSTS[who][0], 0))

    def packets(self, family):
        """Yields (source, protocol/port, packet) of what has arrived, up to a datagram of the gateway's own."""
        _, _, host, gateway = HOSTS[self.who]
        found = []

        def arrived(seconds):
            while select.select([self.socket], [], [], seconds)[0]:
                frame, address = self.socket.recvfrom(65536)
                if address[2] == socket.PACKET_OUTGOING:
                    continue
                one = parse(frame)
                if one and one[:2] == (gateway[family], f"udp/{FENCE}"):
                    return True
                if one:
                    found.append(one)
            return False

        ask(
            f"the gateway to {self.who}",
            lambda: datagram(None, family, gateway[family], host[family], FENCE, b"x"),
            arrived,
        )
        return found

    def close(self):
        self.socket.close()


def parse(frame):
    kind, packet = frame[12:14], frame[14:]
    if kind == b"\x08\0":
        source, protocol, header = socket.inet_ntop(socket.AF_INET, packet[12:16]), packet[9], (packet[0] & 15) * 4
    elif kind == b"\x86\xdd":
        source, protocol, header = socket.inet_ntop(socket.AF_INET6, packet[8:24]), packet[6], 40
    else:
        return None
    name = NAMES.get(protocol, str(protocol))
    if name in ("tcp", "udp"):
        name += f"/{int.from_bytes(packet[header + 2 : header + 4], 'big')}"
    return source, name, packet


def probe(who, family):
    """Sends DNP3 and other things through the gateway; the names of what arrived."""
    other = OTHER[who]
    source, target = HOSTS[who][2][family], HOSTS[other][2][family]
    tap = Tap(other)
    fence(who, family)
    tap.packets(family)
    datagram(who, family, source, target, PORT, READ)
    datagram(who, family, source, target, NEVER, b"x")
    with within(who):
        protocol, echo = PING[family]
        with socket.socket(AF[family], socket.SOCK_RAW, protocol) as raw:
            raw.sendto(echo, (target, 0))
        openings = []
        for port in (PORT, 22):
            opening = socket.socket(AF[family], socket.SOCK_STREAM)
            opening.setblocking(False)
            opening.bind((source, 0))
            opening.connect_ex((target, port))
            openings.append(opening)
    fence(who, family)
    arrived = {name for found, name, _ in tap.packets(family) if found == source}
    for one in (*openings, tap):
        one.close()
    return arrived


def passed():
    """All that passes the gateway of what may be tried."""
    return sorted(f"{who}{family} {name}" for who in HOSTS for family in FAMILIES for name in probe(who, family))


def nothing_passes():
    same("what passes", passed(), [])


def everything_passes():
    same("what passes", passed(), EVERYTHING)


# What the README's rules let begin: a session of the master's, and no more.
ALLOWED = [f"master{family} tcp/{PORT}" for family in FAMILIES]


def connect(family):
    address, target = HOSTS["master"][2][family], HOSTS["outstation"][2][family]
    with within("outstation"):
        listener = socket.create_server((target, PORT), family=AF[family])
    with within("master"):
        client = socket.socket(AF[family])
    with listener:
        listener.settimeout(SECONDS)
        client.settimeout(SECONDS)
        client.bind((address, 0))
        client.connect((target, PORT))
        server, _ = listener.accept()
    server.settimeout(SECONDS)
    for end in (client, server):
        # Closed without a FIN, which would be repeated, and counted, at any later time.
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return client, server


def session(families=FAMILIES):
    """A READ passes, and a restart does not."""
    for family in families:
        client, server = connect(family)
        client.sendall(READ)
        got = server.recv(65536)
        same(f"IPv{family}: what the outstation got", got, READ)
        client.sendall(RESTART)
        try:
            raise Wrong(f"IPv{family}: a restart was answered: {client.recv(1)!r}")
        except ConnectionResetError:
            pass
        server.setblocking(False)
        try:
            raise Wrong(f"IPv{family}: behind the READ the outstation got {server.recv(65536)!r}")
        except BlockingIOError:
            pass
        client.close()
        server.close()


def gateway_decides():
    session()
    same("what passes", passed(), ALLOWED)


# systemd and the journal.


def show(unit, *properties):
    said = must("systemctl", "show", unit, *(f"-p{name}" for name in properties))
    values = dict(line.split("=", 1) for line in said.splitlines())
    return [values[name] for name in properties]


def state(unit, wanted):
    same(unit, show(unit, "ActiveState")[0], wanted)


def journal(unit=UNIT):
    """What a unit has said: (priority, text)."""
    must("journalctl", "--sync")
    lines = must("journalctl", "-b", "-q", "-u", unit, "-o", "json").splitlines()
    lines = map(json.loads, lines)
    return [(int(line["PRIORITY"]), line["MESSAGE"]) for line in lines if line["_TRANSPORT"] == "stdout"]


SEEN = {}


def said(*words, unit=UNIT, priority=2):
    """That the unit has said one line with these words since the last time, and no other of that priority."""
    before = SEEN.get(unit, 0)
    lines = journal(unit)
    SEEN[unit] = len(lines)
    loud = [text for level, text in lines[before:] if level <= 2]
    if len(loud) != 1 or not all(word in loud[0] for word in words):
        raise Wrong(f"the journal has {lines[before:]}, and not one line of {priority} with {words}")
    same("its priority", [level for level, text in lines[before:] if text == loud[0]], [priority])


def silent(unit=UNIT):
    lines = journal(unit)
    loud = [line for line in lines[SEEN.get(unit, 0) :] if line[0] <= 4]
    SEEN[unit] = len(lines)
    same("what was said", loud, [])


def before_the_network(unit=UNIT):
    """The unit had done its work when the network was allowed to come up."""
    done = int(show(unit, "ExecMainExitTimestampMonotonic")[0])
    allowed = int(show("network-pre.target", "ActiveEnterTimestampMonotonic")[0])
    begun = int(show("gateway-network.service", "ExecMainStartTimestampMonotonic")[0])
    if not 0 < done <= allowed <= begun:
        raise Wrong(f"{unit} had done at {done}, the target was reached at {allowed}, the network began at {begun}")
    if "network-pre.target" not in show(unit, "Before")[0].split():
        raise Wrong("it has no such order")


def at_network(policy, has_rules, what):
    """What the network unit found as it began, and what passed the moment that it was up."""
    found = json.loads(pathlib.Path(AT_NETWORK).read_text())
    for family, (its, rules) in found["policies"].items():
        same(f"IPv{family} policy", its, policy)
        same(f"IPv{family} rules", rules > 0, has_rules)
    same("what passed", found["passed"], what)


def policy_is(policy):
    for family, (found, rules) in policies().items():
        same(f"IPv{family} policy", found, policy)
        same(f"IPv{family} rules", rules, 0)


def status(wanted):
    found, text = call("dnp3-firewall", "status")
    same(f"status ({text})", found, wanted)


def admin_gets_in():
    """The gateway itself can be reached."""
    for family in FAMILIES:
        fence("master", family)


def closed():
    policy_is("DROP")
    nothing_passes()
    admin_gets_in()


def saved():
    """All rules and their counters."""
    return [
        line
        for iptables in TABLES.values()
        for line in must(f"{iptables}-save", "-c").splitlines()
        # The counters of other built-in chains may rise at any time.
        if not line.startswith(("#", ":INPUT", ":OUTPUT", ":PREROUTING", ":POSTROUTING"))
    ]


def as_booted():
    """The tables as the kernel begins with them: open."""
    for iptables in TABLES.values():
        open_ = "*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n"
        must(f"{iptables}-restore", input=open_)


@contextlib.contextmanager
def edited(file, text):
    """A file with another text, or without the file if that is None."""
    file = pathlib.Path(file)
    before = file.read_text() if file.exists() else None
    if text is None:
        file.unlink(missing_ok=True)
    else:
        file.write_text(text)
    try:
        yield
    finally:
        if before is None:
            file.unlink(missing_ok=True)
        else:
            file.write_text(before)


def with_line(name, line):
    """A rules file with one line more in front of its COMMIT, and the number of that line."""
    text = (ETC / name).read_text()
    return text.replace("COMMIT", f"{line}\nCOMMIT"), text.splitlines().index("COMMIT") + 1


# A gateway with all that it needs.


def it_comes_up():
    state(UNIT, "active")
    silent()
    before_the_network()
    at_network("DROP", True, ALLOWED)
    status(0)
    gateway_decides()


def the_unit_is_well_formed():
    # Besides, systemd would only log what it does not understand.
    same("systemd-analyze", must("systemd-analyze", "verify", "--man=no", UNIT), "")


def a_reload_loads():
    text, _ = with_line("rules.v4", "-A FORWARD -s 192.0.2.77 -j DROP")
    with edited(ETC / "rules.v4", text):
        must("systemctl", "reload", UNIT)
        if "192.0.2.77" not in must("iptables", "-S", "FORWARD"):
            raise Wrong("the new rule is not there")
    must("systemctl", "reload", UNIT)
    silent()
    gateway_decides()


def refused_reload(file, text, *words):
    session()
    before = saved()
    with edited(ETC / file, text):
        fails("systemctl", "reload", UNIT)
        after = saved()
        same("changed rules", [pair for pair in zip(after, before) if pair[0] != pair[1]], [])
        same("rules", len(after), len(before))
        said("the rules that ran before stay", *words)
        state(UNIT, "active")
    gateway_decides()


def a_bad_line_leaves_what_runs():
    text, number = with_line("rules.v4", "-A FORWARD -p tcp -m dnp3 --fc raed -j ACCEPT")
    refused_reload("rules.v4", text, f"/etc/dnp3-firewall/rules.v4 line {number}:", "raed")


def refusal(number):
    if "legacy" in os.readlink("/etc/alternatives/ip6tables"):
        # It is the table's COMMIT that fails.
        return f"/etc/dnp3-firewall/rules.v6 line {number + 1}:", "the kernel refuses a rule of this table"
    return (f"/etc/dnp3-firewall/rules.v6 line {number}:",)


def what_the_kernel_refuses_leaves_what_runs():
    # A bare -m dnp3 without -p is for the kernel to refuse; IPv4 has been loaded by then.
    text, number = with_line("rules.v6", "-A FORWARD -m dnp3 -j ACCEPT")
    four, _ = with_line("rules.v4", "-A FORWARD -s 192.0.2.77 -j DROP")
    with edited(ETC / "rules.v4", four):
        refused_reload("rules.v6", text, *refusal(number))


def a_missing_file_leaves_what_runs():
    refused_reload("rules.v6", None, "no file /etc/dnp3-firewall/rules.v6", "IPV6=no")


def an_open_policy_is_refused():
    text = (ETC / "rules.v4").read_text()
    refused_reload("rules.v4", text.replace(":FORWARD DROP", ":FORWARD ACCEPT"), ":FORWARD DROP")
    refused_reload("rules.v4", "", ":FORWARD DROP")
    text, _ = with_line("rules.v4", "-P FORWARD ACCEPT")
    refused_reload("rules.v4", text, ":FORWARD DROP", "no other policy")


# What iptables-restore takes for -P, and a look at the file does not.
HIDDEN = '"-P" FORWARD ACCEPT'


def a_policy_that_opens_is_undone():
    text, _ = with_line("rules.v4", HIDDEN)
    refused_reload("rules.v4", text, "IPv4", "the policy of FORWARD is not DROP", "-P FORWARD ACCEPT")


def a_policy_that_opens_closes():
    text, _ = with_line("rules.v6", HIDDEN)
    with edited(ETC / "rules.v6", text):
        failed_start("IPv6", "the policy of FORWARD is not DROP", "-P FORWARD ACCEPT")
        closed()


def a_reload_closes_what_was_flushed():
    with edited(ETC / "config", "IPV6=no\n"), edited(ETC / "rules.v6", None):
        must("nft", "flush", "ruleset")
        policy_is("ACCEPT")
        must("systemctl", "reload", UNIT)
        silent()
        session(["4"])
        same("what passes", passed(), [ALLOWED[0]])
        status(0)
    must("systemctl", "reload", UNIT)
    gateway_decides()


def stop_closes():
    pairs = [connect(family) for family in FAMILIES]
    must("systemctl", "stop", UNIT)
    state(UNIT, "inactive")
    silent()
    closed()
    status(3)
    # A session that was there ends as well.
    for family, (client, _) in zip(FAMILIES, pairs):
        tap = Tap("outstation")
        client.sendall(READ)
        fence("master", family)
        source = HOSTS["master"][2][family]
        same("what passes", [name for found, name, _ in tap.packets(family) if found == source], [])
        tap.close()
    for pair in pairs:
        for end in pair:
            end.close()
    as_booted()
    everything_passes()
    status(1)


def failed_start(*words):
    """From the tables of a fresh boot; the unit does not run."""
    as_booted()
    fails("systemctl", "start", UNIT)
    said("NOTHING IS FORWARDED: ", *words)
    state(UNIT, "failed")


def it_starts_again():
    must("dnp3-firewall", "check")
    must("systemctl", "start", UNIT)
    state(UNIT, "active")
    silent()
    status(0)
    gateway_decides()


def a_bad_line_closes():
    text, number = with_line("rules.v6", "-A FORWARD -p tcp -m dnp3 --saddr 70000 -j ACCEPT")
    with edited(ETC / "rules.v6", text):
        failed_start(f"/etc/dnp3-firewall/rules.v6 line {number}:", "70000")
        closed()
        fails("dnp3-firewall", "check")


def what_the_kernel_refuses_closes():
    text, number = with_line("rules.v6", "-A FORWARD -m dnp3 -j ACCEPT")
    with edited(ETC / "rules.v6", text):
        failed_start(*refusal(number))
        closed()


def a_missing_file_closes():
    with edited(ETC / "rules.v4", None):
        failed_start("no file /etc/dnp3-firewall/rules.v4")
        closed()


def a_wrong_configuration_closes():
    with edited(ETC / "config", "# what it is\nIPV6=perhaps\n"):
        failed_start('/etc/dnp3-firewall/config line 2: "IPV6=perhaps"', "IPV6=no")
        closed()
    config = ETC / "config"
    for make, unmake in ((config.mkdir, config.rmdir), (lambda: config.symlink_to("nowhere"), config.unlink)):
        make()
        try:
            failed_start("/etc/dnp3-firewall/config is no file that can be read")
            closed()
        finally:
            unmake()


def whose_file_it_is_does_not_matter():
    file = ETC / "rules.v4"
    os.chown(file, 1000, 1000)
    file.chmod(0o600)
    try:
        must("systemctl", "start", UNIT)
        silent()
        gateway_decides()
        must("systemctl", "stop", UNIT)
    finally:
        os.chown(file, 0, 0)
    away = file.with_suffix(".away")
    file.rename(away)
    file.mkdir()
    try:
        failed_start("/etc/dnp3-firewall/rules.v4 is no file that can be read")
        closed()
    finally:
        file.rmdir()
        away.rename(file)


def without_ipv6_by_declaration():
    with edited(ETC / "config", "IPV6=no\n"), edited(ETC / "rules.v6", None):
        must("systemctl", "restart", UNIT)
        session(["4"])
        same("what passes", passed(), [ALLOWED[0]])


def rescue_rules():
    rescue = "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n-A INPUT -i lo -j ACCEPT\n-A INPUT -p udp --dport 7 -j ACCEPT\nCOMMIT\n"
    with edited(ETC / "rules.v4", None), edited(ETC / "rescue.v4", rescue):
        failed_start("no file")
        closed()
        same("INPUT", must("iptables", "-S", "INPUT").splitlines()[0], "-P INPUT DROP")
    open_ = rescue.replace("COMMIT", "-A FORWARD -j ACCEPT\nCOMMIT")
    with edited(ETC / "rules.v4", None), edited(ETC / "rescue.v4", open_):
        failed_start("no file")
        closed()
        same("INPUT", must("iptables", "-S", "INPUT"), "-P INPUT ACCEPT")


def iptables_itself_fails():
    """As on a kernel without x_tables: what is left is to switch forwarding off."""
    as_booted()
    links = [pathlib.Path(f"/usr/sbin/{iptables}{end}") for iptables in TABLES.values() for end in ("", "-restore")]
    targets = [os.readlink(link) for link in links]
    for link in links:
        link.unlink()
        link.write_text("#!/bin/sh\necho no x_tables >&2\nexit 3\n")
        link.chmod(0o755)
    try:
        fails("systemctl", "start", UNIT)
        state(UNIT, "failed")
        status(3)
        nothing_passes()
        loud = "\n".join(text for level, text in journal()[SEEN[UNIT] :] if level == 2)
        for words in (
            "NOTHING IS FORWARDED: iptables -P FORWARD DROP failed",
            "no x_tables",
            "(net/ipv4/ip_forward=0, nft table ip dnp3_closed)",
            "(net/ipv6/conf/all/forwarding=0, nft table ip6 dnp3_closed)",
        ):
            if words not in loud:
                raise Wrong(f"the journal lacks {words!r}: {loud}")
        # As udev may set it, for an interface that comes later.
        for setting in pathlib.Path("/proc/sys/net/ipv4/conf").glob("vg*/forwarding"):
            setting.write_text("1")
        nothing_passes()
        status(3)
        # Without the second barrier that would open the gateway, and it would be told.
        must("nft", "delete", "table", "ip", "dnp3_closed")
        same("what passes", passed(), [one for one in EVERYTHING if "4 " in one])
        status(1)
        fails("dnp3-firewall", "close")
        for setting in pathlib.Path("/proc/sys/net/ipv4/conf").glob("vg*/forwarding"):
            setting.write_text("1")
        nothing_passes()
    finally:
        SEEN[UNIT] = len(journal())
        for link, target in zip(links, targets):
            link.unlink()
            link.symlink_to(target)
    # The two words that the message gives.
    must("systemctl", "restart", "systemd-sysctl", "dnp3-firewall")
    gateway_decides()
    must("systemctl", "stop", UNIT)


BRIDGED = {"master": "203.0.113.1", None: "203.0.113.254", "outstation": "203.0.113.2"}
SETTINGS = pathlib.Path("/proc/sys/net/bridge")


def make_bridge():
    """The same hosts once more, on two ports of a bridge; and the gateway itself on it."""
    macs = {who: f"02:00:00:00:01:{number:02x}" for number, who in enumerate(BRIDGED)}
    lines = [f"link add br0 address {macs[None]} type bridge", f"addr add {BRIDGED[None]}/24 dev br0", "link set br0 up"]
    for who in HOSTS:
        lines += [
            f"link add b0 netns {who} type veth peer name b-{who}",
            f"link set b-{who} master br0 up",
            f"-n {who} link set b0 address {macs[who]} up",
            f"-n {who} addr add {BRIDGED[who]}/24 dev b0",
            f"neigh add {BRIDGED[who]} lladdr {macs[who]} dev br0",
            f"-n {who} neigh add {BRIDGED[None]} lladdr {macs[None]} dev b0",
            f"-n {who} neigh add {BRIDGED[OTHER[who]]} lladdr {macs[OTHER[who]]} dev b0",
        ]
    for line in lines:
        must("ip", *line.split())


def crosses_the_bridge():
    """Whether a datagram comes from one port to the other, in each direction."""
    crossed = []
    for who, other in OTHER.items():
        receivers = {}
        for end in (other, None):
            with within(end):
                receivers[end] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            receivers[end].bind((BRIDGED[end], PORT))

        def passes(source, target, payload):
            ask(
                f"{source} to {target} by the bridge",
                lambda: datagram(source, "4", BRIDGED[source], BRIDGED[target], PORT, payload),
                lambda seconds: select.select([receivers[target]], [], [], seconds)[0],
            )

        # As fence(): first what was sent is behind the bridge, then it is here, if it comes at all.
        passes(who, None, b"x")
        datagram(who, "4", BRIDGED[who], BRIDGED[other], PORT, READ)
        receivers[None].recv(9)
        passes(who, None, b"x")
        passes(None, other, b"end")
        if receivers[other].recv(999) == READ:
            crossed.append(who)
        for receiver in receivers.values():
            receiver.close()
    return crossed


def a_bridge_is_closed():
    make_bridge()
    as_booted()
    names = [f"bridge-nf-{name}" for name in ("call-iptables", "call-ip6tables", "filter-vlan-tagged", "filter-pppoe-tagged")]
    for name in names:
        (SETTINGS / name).write_text("0")
    same("what crosses", crosses_the_bridge(), list(HOSTS))
    with edited(ETC / "rules.v4", None):
        # Whether it is a bridge is not to be guessed.
        failed_start("no file")
        same("what crosses", crosses_the_bridge(), list(HOSTS))
        with edited(ETC / "config", "BRIDGE=yes\n"):
            failed_start("no file")
            same("what crosses", crosses_the_bridge(), [])
        same("settings", [(SETTINGS / name).read_text().strip() for name in names], ["1"] * len(names))
        for name in names:
            (SETTINGS / name).write_text("0")
        with edited(ETC / "config", "BRIDGE=maybe\n"):
            failed_start("line 1", "BRIDGE=maybe")
            same("what crosses", crosses_the_bridge(), [])
    # One that works: its rules are heeded, and it is seen where they are not.
    text, _ = with_line("rules.v4", f"-A FORWARD -p udp -s {BRIDGED['master']} --dport {PORT} -j ACCEPT")
    with edited(ETC / "config", "BRIDGE=yes\n"), edited(ETC / "rules.v4", text):
        as_booted()
        must("systemctl", "start", UNIT)
        silent()
        same("what crosses", crosses_the_bridge(), ["master"])
        for name in names:
            status(0)
            (SETTINGS / name).write_text("0")
            status(1)
            (SETTINGS / name).write_text("1")
        must("systemctl", "stop", UNIT)
    for name in names:
        (SETTINGS / name).write_text("0")
    # Without br_netfilter.
    must("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(SETTINGS))
    try:
        with edited(ETC / "config", "BRIDGE=yes\n"):
            as_booted()
            same("what crosses", crosses_the_bridge(), list(HOSTS))
            # Not by the unit, whose own view of the mounts does not hold this one.
            status_, text = call("dnp3-firewall", "start")
            same("exit status", status_, 1)
            same("what crosses", crosses_the_bridge(), [])
            closed()
            for words in ("(ebtables -P FORWARD DROP)", "NOTHING IS FORWARDED: br_netfilter does not work on kernel"):
                if words not in text:
                    raise Wrong(f"{text!r} lacks {words!r}")
    finally:
        must("umount", str(SETTINGS))
    # The word that the message gives.
    must("ebtables", "-P", "FORWARD", "ACCEPT")
    same("what crosses", crosses_the_bridge(), list(HOSTS))


def sets_and_bridge_rules():
    """What iptables-save leaves out."""
    text, _ = with_line("rules.v4", "-A FORWARD -p udp -m set --match-set masters src --dport 9 -j ACCEPT")
    sets = f"create masters hash:ip\nadd masters {HOSTS['master'][2]['4']}\n"
    rules = "table bridge gateway {\n\tchain forward {\n\t\ttype filter hook forward priority filter; policy accept;\n\t\tether type 0x88ba counter packets 0 bytes 0 drop\n\t}\n}"
    wanted = sorted([*ALLOWED, "master4 udp/9"])
    with edited(ETC / "rules.v4", text), edited(ETC / "ipset", sets), edited(ETC / "bridge.nft", rules + "\n"):
        as_booted()
        must("systemctl", "start", UNIT)
        silent()
        same("what passes", passed(), wanted)
        must("systemctl", "reload", UNIT)
        same("the bridge's rules", must("nft", "list", "table", "bridge", "gateway"), rules)
        with edited(ETC / "bridge.nft", rules.replace("0x88ba", "0x88bx")):
            fails("systemctl", "reload", UNIT)
            said("the rules that ran before stay", "/etc/dnp3-firewall/bridge.nft", ":4:", "0x88bx")
            same("what passes", passed(), wanted)
            must("systemctl", "stop", UNIT)
            as_booted()
            fails("systemctl", "start", UNIT)
            loud = "\n".join(text for level, text in journal()[SEEN[UNIT] :] if level == 2)
            SEEN[UNIT] = len(journal())
            for words in ("NOTHING IS FORWARDED: /etc/dnp3-firewall/bridge.nft", "(ebtables -P FORWARD DROP)"):
                if words not in loud:
                    raise Wrong(f"the journal lacks {words!r}: {loud}")
            closed()
            if "policy: DROP" not in must("ebtables", "-L", "FORWARD"):
                raise Wrong("ebtables has another policy")
            must("ebtables", "-P", "FORWARD", "ACCEPT")
        with edited(ETC / "ipset", sets.replace("hash:ip", "hash:frob")):
            failed_start("/etc/dnp3-firewall/ipset", "frob")
            closed()
    must("nft", "delete", "table", "bridge", "gateway")
    must("ipset", "destroy", "masters")


def a_lost_extension_closes():
    away = EXTENSION.with_suffix(".away")
    EXTENSION.rename(away)
    try:
        failed_start("libxt_dnp3.so is missing")
        closed()
    finally:
        away.rename(EXTENSION)


SCRIPT = pathlib.Path("/usr/sbin/dnp3-firewall")


@contextlib.contextmanager
def without_the_script():
    away = SCRIPT.with_suffix(".away")
    SCRIPT.rename(away)
    try:
        yield
    finally:
        away.rename(SCRIPT)


@contextlib.contextmanager
def without_the_sandbox():
    """As on a system on which it cannot be made: systemd fails with 226/NAMESPACE."""
    drop_in = pathlib.Path(f"/run/systemd/system/{UNIT}.d/50-sandbox.conf")
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text("[Service]\nInaccessiblePaths=/nowhere\n")
    must("systemctl", "daemon-reload")
    try:
        yield
    finally:
        drop_in.unlink()
        drop_in.parent.rmdir()
        must("systemctl", "daemon-reload")


def what_systemd_cannot_run_closes():
    for broken, result in ((without_the_script, "203"), (without_the_sandbox, "226")):
        as_booted()
        with broken():
            fails("systemctl", "start", UNIT)
            state(UNIT, "failed")
            same("exit status", show(UNIT, "ExecMainStatus"), [result])
            closed()
        must("systemctl", "start", UNIT)
        # What somebody opens, stopping closes.
        as_booted()
        with broken():
            must("systemctl", "stop", UNIT)
            closed()
        must("systemctl", "reset-failed", UNIT)
    silent()


def netfilter_persistent_with_the_drop_in():
    must("systemctl", "stop", UNIT)
    must("systemctl", "start", PERSISTENT)
    silent(PERSISTENT)
    gateway_decides()
    text, number = with_line("rules.v4", "-A FORWARD -p tcp -m dnp3 --fc 256 -j ACCEPT")
    as_booted()
    with edited("/etc/iptables/rules.v4", text):
        fails("systemctl", "restart", PERSISTENT)
        said(f"/etc/iptables/rules.v4 line {number}:", "256", unit=PERSISTENT)
        state(PERSISTENT, "failed")
        closed()
    as_booted()
    with without_the_script():
        fails("systemctl", "restart", PERSISTENT)
        state(PERSISTENT, "failed")
        closed()
    # Stopping it with FLUSH_ON_STOP sets ACCEPT everywhere.
    with edited("/etc/default/netfilter-persistent", "FLUSH_ON_STOP=1\n"):
        must("systemctl", "start", PERSISTENT)
        must("systemctl", "stop", PERSISTENT)
        closed()


# Gateways that lack something from the boot on.

PERSISTENT = "netfilter-persistent.service"


def nothing_is_forwarded_without_the_module():
    state(UNIT, "failed")
    same("failed", must("systemctl", "--failed", "--plain", "--no-legend").split()[0], UNIT)
    before_the_network()
    at_network("DROP", False, [])
    said("NOTHING IS FORWARDED: the module xt_dnp3 cannot be loaded", f"on kernel {os.uname().release}", "dkms autoinstall", "not found")
    same("the system", call("systemctl", "is-system-running")[1], "degraded")
    closed()
    status(3)
    fails("dnp3-firewall", "check")


def nothing_is_forwarded_without_the_extension():
    state(UNIT, "failed")
    before_the_network()
    at_network("DROP", False, [])
    said("NOTHING IS FORWARDED: /etc/dnp3-firewall/rules.v4 line", "libxt_dnp3.so is missing")
    closed()


def netfilter_persistent_alone_is_open():
    """The control: this is what the rest is for, and that it would be seen."""
    at_network("ACCEPT", False, EVERYTHING)
    policy_is("ACCEPT")
    everything_passes()
    status(1)
    # With a wrong line it does not even fail.
    with edited("/etc/iptables/rules.v4", "*filter\n:FORWARD DROP [0:0]\n-A FORWARD --frob\nCOMMIT\n"):
        with edited("/etc/iptables/rules.v6", None):
            must("systemctl", "restart", PERSISTENT)
            state(PERSISTENT, "active")
            everything_passes()


def netfilter_persistent_guarded_is_closed():
    state(PERSISTENT, "failed")
    at_network("DROP", False, [])
    said("the module xt_dnp3 cannot be loaded", f"on kernel {os.uname().release}", unit=PERSISTENT)
    closed()


# What begins anew where the two variants of iptables differ.
VARIANT = [
    it_comes_up,
    a_bad_line_leaves_what_runs,
    what_the_kernel_refuses_leaves_what_runs,
    stop_closes,
    a_bad_line_closes,
    what_the_kernel_refuses_closes,
    it_starts_again,
]
# The rest, behind those.
WHOLE = [
    the_unit_is_well_formed,
    a_reload_loads,
    a_missing_file_leaves_what_runs,
    an_open_policy_is_refused,
    a_policy_that_opens_is_undone,
    a_reload_closes_what_was_flushed,
    without_ipv6_by_declaration,
    netfilter_persistent_with_the_drop_in,
    a_missing_file_closes,
    a_wrong_configuration_closes,
    a_policy_that_opens_closes,
    whose_file_it_is_does_not_matter,
    rescue_rules,
    sets_and_bridge_rules,
    a_lost_extension_closes,
    what_systemd_cannot_run_closes,
    a_bridge_is_closed,
    iptables_itself_fails,
]
SCENARIOS = {
    "whole": VARIANT + WHOLE,
    "variant": VARIANT,
    "no-module": [nothing_is_forwarded_without_the_module],
    "no-extension": [nothing_is_forwarded_without_the_extension],
    "persistent": [netfilter_persistent_alone_is_open],
    "guarded": [netfilter_persistent_guarded_is_closed],
}


def main():
    (scenario,) = sys.argv[1:]
    if scenario == "network":
        network()
        return
    for test in SCENARIOS[scenario]:
        begun = time.monotonic()
        try:
            test()
            result = "ok"
        except (Wrong, OSError) as error:
            line = sys.exc_info()[2].tb_next.tb_lineno
            result = f"line {line}: {error!r}"
        print("check", test.__name__, result, flush=True)
        print(f"{test.__name__}: {time.monotonic() - begun:.1f} s", flush=True)


if __name__ == "__main__":
    main()
