#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Real DNP3 stacks speak through the gateway: yadnp3 (opendnp3) and dnp3py.

usage: main.py README STATELESS [--captures] [SESSION...]

sessions.json has the sessions: each a policy before its outstation, and its checks in the order of a day's
work; README is the page with the policy, STATELESS the recipe that has it packet by packet. Printed are
    check SESSION/CHECK ok          or what is wrong; the checks behind it are then not made
    note WORDS                      what a user should know
    time SESSION SECONDS
    capture NAME BASE64             with --captures: what tcpdump saw on the gateway's two sides
"""

import base64
import collections
import json
import os
import re
import sys
import time

import dnp3py_peers as dnp3py
import network
import yadnp3_peers as yadnp3
from network import ADDRESS, Gateway, Stream, Wire, Wrong, logged, until

HERE = os.path.dirname(os.path.abspath(__file__))
# What an operator's station may do: what the README's may, and control.
OPERATOR = "0:6,20,21,23,24,link"
LOG_PREFIX = "dnp3 restart "
# Milliseconds since 1970 that a clock is set to.
A_TIME = 1_700_000_000_000
# Of each of the kinds that opendnp3 has: more than a fragment of 2,048 octets holds.
POINTS = 100
# Octets of payload in a segment when a frame of 292 is to be cut.
SHORT = 256


class Failed(Exception):
    """A check did."""


class Session:
    """One policy, and what is said through it."""

    def __init__(self, name, variant, family, protocol, policy):
        self.name = name
        self.hosts = ADDRESS[family]
        self.gateway = Gateway(variant, family, protocol)
        self.policy = policy
        # Rules that follow the connections have all others judge them as streams.
        rules = [line for line in policy.splitlines() if not line.startswith("#")]
        self.follows = protocol == "tcp" and any("--track" in line for line in rules)
        self.chain = "-A DNP3" + ("-UDP" if protocol == "udp" else "")
        self.last = "-j REJECT" if protocol == "tcp" else f"{self.chain} -p udp -j DROP"
        self.before = {}
        self.wire = Wire(name)
        self.peers = []
        self.master = self.outstation = None

    def run(self, checks):
        """The checks one by one, until one finds something wrong."""
        began = time.monotonic()
        self.gateway.open()
        if self.policy:
            self.gateway.close(self.policy)
        try:
            with self.wire:
                for name, check in checks:
                    self.check(name, lambda check=check: check(self))
                self.check("wire-and-counters-agree", self.agree)
        except Failed:
            pass
        while self.peers:
            self.end(self.peers[-1])
        print("time", self.name, f"{time.monotonic() - began:.1f}", flush=True)

    def check(self, name, what):
        try:
            what()
        except Exception as error:  # whatever a stack raises is what is wrong
            words = f"{type(error).__name__}: {error}".replace("\n", " ")
            print(f"check {self.name}/{name} {words}", flush=True)
            raise Failed from error
        print(f"check {self.name}/{name} ok", flush=True)

    def begin(self, peer):
        self.peers.append(peer)
        return peer

    def end(self, peer):
        self.peers.remove(peer)
        peer.stop()

    def counted(self, expected, loose=("link",)):
        """What has passed since the last look is this, and nothing else but keep-alives."""
        if self.follows and "cont" in expected:
            # What continues a response is counted as one.
            expected = {**expected, "response": expected["response"] + expected["cont"]}
            del expected["cont"]

        def news():
            now = self.gateway.passed()
            return {name: now[name] - self.before[name] for name in now
                    if now[name] != self.before[name] and name not in loose}

        until(lambda: all(news().get(name, 0) >= count for name, count in expected.items()),
              lambda: f"{expected} through the gateway, but {news()}")
        if news() != expected:
            raise Wrong(f"{news()} passed, and not {expected}")
        self.look()

    def look(self):
        self.before = self.gateway.passed()

    def refused(self):
        """Packets of the master's side that the policy's last rule took."""
        return self.gateway.taken(self.chain, self.last)

    def restarts_logged(self):
        return self.gateway.taken(self.chain, "-j LOG"), logged(LOG_PREFIX)

    def agree(self):
        """tcpdump's packets, cut into frames by LEN, are what the rules have counted."""
        def seen():
            found = collections.Counter()
            streams = collections.defaultdict(lambda: Stream(self.follows))
            for side, host in (("inside", "outstation"), ("outside", "master")):
                for packet in self.wire.packets(side):
                    # The stranger is on neither side; what is for it has come from the inside.
                    if packet.destination in (self.hosts[host], self.hosts["stranger"]):
                        stream = streams[packet.source, packet.destination, packet.ports]
                        found.update(set(stream.frames(packet.payload)))
            return found

        def counted():
            return +collections.Counter(self.gateway.passed())

        while self.peers:
            self.end(self.peers[-1])
        until(lambda: seen() == counted(),
              lambda: f"by the rules {dict(counted())}, but on the wire {dict(seen())}")

    def sent_inside(self, source, since=0):
        """Octets of payload that a host's packets had when they left for the outstation."""
        return sum(len(packet.payload) for packet in self.wire.packets("inside")[since:]
                   if packet.source == self.hosts[source])


def responses(session):
    """Packets that passed with a response in them, or with what continues one."""
    passed = session.gateway.passed()
    return passed["response"] + passed["cont"]


def classes_of_reading(fragments, is_confirmed):
    """What a READ whose answer has so many fragments makes pass. Of the last fragment the master confirms
    only what has events in it."""
    return {"read": 1, "response": fragments, "confirm": fragments - 1 + is_confirmed}


# yadnp3 with yadnp3


def starts(session):
    udp = session.gateway.protocol == "udp"
    session.outstation = session.begin(yadnp3.Outstation(
        "outstation", session.hosts["outstation"], points=POINTS,
        udp_master=session.hosts["master"] if udp else None))
    if udp:
        session.outstation.wait(session.outstation.is_open, "the outstation's channel")
    session.master = session.begin(yadnp3.Master(
        "master", session.hosts["outstation"], keep_alive=1,
        udp_local=session.hosts["master"] if udp else None,
        time_sync="NonLAN" if udp else "LAN",
        # Nobody tells a master that speaks UDP that it is refused.
        response_timeout=5 if udp else network.SECONDS))


def connects_and_starts(session):
    """The master reads all, clears the outstation's restart indication, and has it report by itself."""
    starts(session)
    master, outstation = session.master, session.outstation
    master.wait(lambda: "SUCCESS" in master.ended("ENABLE_UNSOLICITED"), "the end of the start")
    outstation.wait(lambda: True in outstation.confirms, "the first report confirmed")
    if master.ended("STARTUP_INTEGRITY_POLL")[-1] != "SUCCESS" or \
            master.ended("ENABLE_UNSOLICITED")[-1] != "SUCCESS":
        raise Wrong(f"{master.tasks}")
    passed = session.gateway.passed()
    if passed["enable unsolicited"] < 1 or passed["write"] < 1 or passed["unsolicited"] < 1:
        raise Wrong(f"{passed} passed")
    session.look()


def reads_everything_in_fragments(session):
    master = session.master
    fragments, values = len(master.fragments), len(master.values)
    before = responses(session)
    if master.integrity() != "SUCCESS":
        raise Wrong(f"{master.tasks}")
    fragments = len(master.fragments) - fragments
    points = collections.Counter()
    for kind, of_kind in master.values[values:]:
        points[kind] += len(of_kind)
    if len(points) < 8 or set(points.values()) != {POINTS}:
        raise Wrong(f"{POINTS} of each kind of points, but {dict(points)}")
    # opendnp3's fragments have 2,048 octets, and so nine frames but the last.
    conts = responses(session) - before - fragments
    if fragments < 2 or not 8 * (fragments - 1) < conts <= 8 * fragments:
        raise Wrong(f"{fragments} fragments in {fragments + conts} frames")
    session.counted({**classes_of_reading(fragments, False), "cont": conts})


def selects_and_operates(session):
    if session.master.select_and_operate(3) != "SUCCESS":
        raise Wrong(f"{session.master.tasks}")
    expected = [("select", "ControlRelayOutputBlock", 3),
                ("SelectBeforeOperate", "ControlRelayOutputBlock", 3)]
    if session.outstation.commands != expected:
        raise Wrong(f"the outstation did {session.outstation.commands}")
    session.counted({"select": 1, "operate": 1, "response": 2})


def operates_directly(session):
    if session.master.direct_operate(4, -7) != "SUCCESS":
        raise Wrong(f"{session.master.tasks}")
    if session.outstation.commands[2:] != [("DirectOperate", "AnalogOutputInt16", 4)]:
        raise Wrong(f"the outstation did {session.outstation.commands}")
    session.counted({"direct operate": 1, "response": 1})


def sets_the_clock(session):
    """The outstation says that it wants the time, and the master writes it after it has measured."""
    session.outstation.need_time = True
    if session.master.read(yadnp3.dnp3.ClassField(False, True, True, True)) != "SUCCESS":
        raise Wrong(f"{session.master.tasks}")
    session.outstation.wait(lambda: session.outstation.times, "the time written")
    measure = "delay measure" if session.gateway.protocol == "udp" else "record time"
    session.counted({"read": 1, measure: 1, "write": 1, "response": 3})


def reports_unsolicited(session):
    master, outstation = session.master, session.outstation
    values, confirms = len(master.values), len(outstation.confirms)
    outstation.event(5, 42.0)
    master.wait(lambda: [(5, 42.0)] in [of_kind for _, of_kind in master.values[values:]], "the event")
    outstation.wait(lambda: True in outstation.confirms[confirms:], "its confirmation")
    session.counted({"unsolicited": 1, "confirm": 1})


def keeps_the_link_alive(session):
    """Two keep-alives, and the answers to them, with nothing else passing; and nobody was cut off."""
    before = session.before["link"]
    until(lambda: session.gateway.passed()["link"] >= before + 4, "two keep-alives and their answers")
    session.counted({})
    if not session.master.is_open() or session.master.states.count("OPEN") != 1:
        raise Wrong(f"the master's channel: {session.master.states}")


def cold_restart_never_arrives(session):
    master, outstation = session.master, session.outstation
    refused, (rules, lines) = session.refused(), session.restarts_logged()
    states, confirms = len(master.states), len(outstation.confirms)
    answer = master.cold_restart()
    if answer == "SUCCESS" or outstation.restarts:
        raise Wrong(f"the master has {answer}, the outstation did restart {len(outstation.restarts)} times")
    if session.gateway.passed()["restart"]:
        raise Wrong("a restart passed")
    if session.refused() != refused + 1:
        raise Wrong(f"{session.refused() - refused} packets refused")
    if session.restarts_logged() != (rules + 1, lines + 1):
        raise Wrong(f"logged by rule and in lines: {session.restarts_logged()}, before {rules}, {lines}")
    if session.gateway.protocol == "tcp":
        # Cut off by the reset, it comes again, and the outstation reports that it sees it.
        master.wait(lambda: "OPEN" in master.states[states:], "the master's next connection")
        outstation.wait(lambda: True in outstation.confirms[confirms:], "the report confirmed")
    session.look()


def session_recovers(session):
    reads_everything_in_fragments(session)
    if session.outstation.restarts:
        raise Wrong("the outstation did restart after all")
    if any(b"\x0d" == packet.payload[12:13] and packet.payload[10] & 0x40
           for packet in session.wire.packets("inside") if len(packet.payload) > 12):
        raise Wrong("there is a restart on the inside")


def another_master_address_gets_nothing(session):
    """From the master's own host: it can connect, and every frame of its is refused."""
    session.end(session.master)
    inside, refused = len(session.wire.packets("inside")), session.refused()
    session.look()
    other = session.begin(yadnp3.Master(
        "master", session.hosts["outstation"], address=2, response_timeout=2,
        udp_local=session.hosts["master"] if session.gateway.protocol == "udp" else None))
    until(lambda: session.refused() > refused, "a packet of its refused")
    nothing(session, other, inside, "master")


def another_host_gets_nothing(session):
    """With the master's DNP3 address, from elsewhere."""
    inside, refused = len(session.wire.packets("inside")), session.refused()
    session.look()
    other = session.begin(yadnp3.Master(
        "stranger", session.hosts["outstation"], response_timeout=2,
        udp_local=session.hosts["stranger"] if session.gateway.protocol == "udp" else None))
    until(lambda: session.refused() > refused, "a packet of its refused")
    nothing(session, other, inside, "stranger")


def nothing(session, other, inside, host):
    session.end(other)
    passed = session.gateway.passed()
    asked = {name: passed[name] - session.before[name] for name in passed
             if name not in ("link", "unsolicited") and passed[name] != session.before[name]}
    octets = session.sent_inside(host, inside)
    if asked or octets or other.fragments.count("response") or "SUCCESS" in dict(other.tasks).values():
        raise Wrong(f"{octets} octets on the inside, {asked} passed, {other.fragments}, {other.tasks}")


# dnp3py asks; the outstation is yadnp3's or dnp3py's


def asks(session, outstation):
    session.outstation = session.begin(outstation)
    session.master = session.begin(dnp3py.Master("master", session.hosts["outstation"]))
    session.master.open()
    session.before = dict.fromkeys(network.CLASSES, 0)


def connects_to_yadnp3(session):
    """RESET_LINK_STATES and its acknowledgement."""
    asks(session, yadnp3.Outstation("outstation", session.hosts["outstation"], points=POINTS,
                                    unsolicited=False))
    session.counted({"link": 2}, loose=())


def connects_to_yadnp3_that_reports(session):
    """The same; and it says by itself that it has started, which dnp3py confirms when it listens."""
    asks(session, yadnp3.Outstation("outstation", session.hosts["outstation"], points=POINTS))
    if session.master.unsolicited() is None:
        raise Wrong("not a word of the outstation's start")
    session.counted({"unsolicited": 1, "confirm": 1, "link": 2}, loose=())


def connects_to_dnp3py(session):
    asks(session, dnp3py.Outstation("outstation", session.hosts["outstation"]))
    session.counted({"link": 2}, loose=())


def reads_with_dnp3py(session):
    before = responses(session)
    answer = session.master.integrity()
    confirmed = sum(fragment.con for fragment in answer)
    conts = responses(session) - before - len(answer)
    if len(answer) < 2 or len(session.master.handler.analog_inputs) < POINTS or conts < 8:
        raise Wrong(f"{len(answer)} fragments, {len(session.master.handler.analog_inputs)} analog inputs")
    session.counted({"read": 1, "response": len(answer), "confirm": confirmed, "cont": conts})


def reads_an_event(session):
    session.outstation.event(5, 42.0)
    session.master.events()
    value = session.master.handler.get_analog_input(5).value
    if value != 42.0:
        raise Wrong(f"{value}")
    session.counted(classes_of_reading(1, True))


def hears_unsolicited(session):
    answer = session.master.enable_unsolicited()
    if len(answer) != 1:
        raise Wrong(f"{answer}")
    session.counted({"enable unsolicited": 1, "response": 1})
    session.outstation.event(5, 42.0)
    if session.master.unsolicited() is None:
        raise Wrong("not a word of the event")
    value = session.master.handler.get_analog_input(5).value
    if value != 42.0:
        raise Wrong(f"{value}")
    session.outstation.wait(lambda: session.outstation.confirms.count(True) >= 2, "the confirmation")
    session.counted({"unsolicited": 1, "confirm": 1})


def writes_the_time(session):
    session.master.write_time(A_TIME)
    until(lambda: session.outstation.times, "the time written")
    if session.outstation.times != [A_TIME]:
        raise Wrong(f"{session.outstation.times}")
    session.counted({"write": 1, "response": 1})


def asks_for_the_link(session):
    session.look()
    session.master.keep_alive()
    session.counted({"link": 2}, loose=())


def selects_and_operates_with_dnp3py(session):
    session.master.select_and_operate(3)
    until(lambda: len(session.outstation.commands) >= 2, "select and operate")
    commands = [command[0].lower() for command in session.outstation.commands]
    if commands[0] != "select" or "operate" not in commands[1]:
        raise Wrong(f"the outstation did {session.outstation.commands}")
    session.counted({"select": 1, "operate": 1, "response": 2})


def operates_directly_with_dnp3py(session):
    before = len(session.outstation.commands)
    session.master.direct_operate(4)
    until(lambda: len(session.outstation.commands) > before, "the operation")
    session.counted({"direct operate": 1, "response": 1})


def a_select_is_refused(session):
    refused_with_dnp3py(session, lambda: session.master.select_and_operate(3))
    if session.outstation.commands:
        raise Wrong(f"the outstation did {session.outstation.commands}")


def refused_with_dnp3py(session, ask):
    """The master is cut off by a reset, and nothing passed."""
    refused = session.refused()
    session.look()
    session.master.refused(ask)
    if session.refused() != refused + 1:
        raise Wrong(f"{session.refused() - refused} packets refused")
    session.counted({}, loose=())
    session.master.open()
    until(lambda: session.gateway.passed()["link"] - session.before["link"] >= 2, "the next connection")
    session.look()


def cold_restart_of_dnp3py_never_arrives(session):
    rules, lines = session.restarts_logged()
    refused_with_dnp3py(session, session.master.cold_restart)
    if session.restarts_logged() != (rules + 1, lines + 1):
        raise Wrong(f"logged by rule and in lines: {session.restarts_logged()}, before {rules}, {lines}")
    if session.outstation.restarts:
        raise Wrong("the outstation did restart")


def session_with_dnp3py_recovers(session):
    reads_with_dnp3py(session)
    if session.outstation.restarts:
        raise Wrong("the outstation did restart after all")


def another_dnp3py_address_gets_nothing(session):
    session.end(session.master)
    dnp3py_gets_nothing(session, "master", 2)


def another_host_with_dnp3py_gets_nothing(session):
    dnp3py_gets_nothing(session, "stranger", 1)


def dnp3py_gets_nothing(session, host, address):
    inside, refused = len(session.wire.packets("inside")), session.refused()
    session.look()
    other = session.begin(dnp3py.Master(host, session.hosts["outstation"], address))
    # From elsewhere it is the connection that is refused; else what it says first, a RESET_LINK_STATES.
    other.refused(lambda: (other.open(), other.integrity()))
    session.end(other)
    passed = session.gateway.passed()
    asked = {name: passed[name] - session.before[name] for name in passed
             if name != "unsolicited" and passed[name] != session.before[name]}
    octets = session.sent_inside(host, inside)
    if octets or asked or session.refused() == refused:
        raise Wrong(f"{octets} octets on the inside, {asked} passed, "
                    f"{session.refused() - refused} packets refused")


# Without the policy: what the checks above would find if it did nothing


def cold_restart_arrives(session):
    if session.master.cold_restart() != "SUCCESS" or len(session.outstation.restarts) != 1:
        raise Wrong(f"the outstation did restart {len(session.outstation.restarts)} times")
    session.counted({"restart": 1, "response": 1})


def cold_restart_of_dnp3py_arrives(session):
    session.master.cold_restart()
    if len(session.outstation.restarts) != 1:
        raise Wrong(f"the outstation did restart {len(session.outstation.restarts)} times")
    session.counted({"restart": 1, "response": 1})


def another_master_address_arrives(session):
    session.end(session.master)
    another_arrives(session, "master", 2)


def another_host_arrives(session):
    another_arrives(session, "stranger", 1)


def another_arrives(session, host, address):
    inside = len(session.wire.packets("inside"))
    session.begin(yadnp3.Master(host, session.hosts["outstation"], address=address,
                                response_timeout=2))
    until(lambda: session.sent_inside(host, inside), "its octets on the inside")


# Segments that are too short for a frame


def a_cut_response_is_refused(session):
    """What rules without `--track` cannot do: the outstation's frames come in pieces."""
    network.routes("master", SHORT)
    try:
        asks(session, yadnp3.Outstation("outstation", session.hosts["outstation"], points=POINTS,
                                        unsolicited=False))
        session.counted({"link": 2}, loose=())
        answer = session.master.start_integrity()
        until(lambda: session.gateway.taken("-A DNP3-REPLY", "-j REJECT"), "a packet of the outstation's refused")
        # The reset is for the sender, the outstation; the master would wait in vain.
        answer.cancel()
        cut, refused = session.gateway.cut(), session.gateway.taken("-A DNP3-REPLY", "-j REJECT")
        if not cut or session.gateway.passed()["response"]:
            raise Wrong(f"{cut} packets cut, {refused} refused")
        print(f"note {session.name}: the maximum segment size is {SHORT}, so that {cut} segments did not hold "
              f"whole frames and {refused} were refused; rules with --track follow the stream", flush=True)
    finally:
        network.routes("master", network.MSS)


def a_cut_response_passes(session):
    """The same outstation, by rules that follow the stream."""
    network.routes("master", SHORT)
    try:
        asks(session, yadnp3.Outstation("outstation", session.hosts["outstation"], points=POINTS,
                                        unsolicited=False))
        session.counted({"link": 2}, loose=())
        answer = session.master.integrity()
        if len(answer) < 2 or len(session.master.handler.analog_inputs) < POINTS:
            raise Wrong(f"{len(answer)} fragments, {len(session.master.handler.analog_inputs)} analog inputs")
        cut, refused = session.gateway.cut(), session.gateway.taken("-A DNP3-REPLY", "-j REJECT")
        if not cut or refused:
            raise Wrong(f"{cut} packets cut, {refused} refused")
        # Nothing was lost on the way, so that no hole is to be filled.
        ahead = session.gateway.taken("-A DNP3-REPLY", "--status ahead")
        if ahead:
            raise Wrong(f"{ahead} packets ahead")
        session.look()
        cold_restart_of_dnp3py_never_arrives(session)
        print(f"note {session.name}: {cut} segments ended inside a frame, and all of them passed", flush=True)
    finally:
        network.routes("master", network.MSS)


def policies(page, recipe):
    """The policies that sessions.json names: the README's, as it stands there, and what is made of it and of its
    twin for UDP; and the one without state."""
    with open(page, encoding="utf-8") as file:
        text = file.read()
    readme = text.partition("<!-- the demo runs")[2].partition("```sh\n")[2].partition("```\n")[0]
    with open(f"{HERE}/udp-policy.sh", encoding="ascii") as file:
        udp = file.read()
    with open(recipe, encoding="utf-8") as file:
        stateless = file.read()
    return {"readme": readme, "operator": operator(readme), "udp-operator": operator(udp),
            "stateless": stateless, "none": ""}


def operator(policy):
    """The policy with an operator's functions for the master."""
    changed, rules = re.subn(r"(--saddr 1 .*--fc )\S+( --track)? -j ACCEPT",
                             rf"\g<1>{OPERATOR}\g<2> -j ACCEPT", policy)
    if rules != 1:
        raise Wrong(f"the policy accepts from the master by {rules} rules, and not by one")
    return changed


def main():
    page, recipe, *rest = sys.argv[1:]
    captures = "--captures" in rest
    wanted = [name for name in rest if name != "--captures"]
    texts = policies(page, recipe)
    with open(f"{HERE}/sessions.json", encoding="ascii") as file:
        sessions = json.load(file)
    began = time.monotonic()
    network.build()
    print(f"time network {time.monotonic() - began:.1f}", flush=True)
    for entry in sessions:
        if wanted and entry["name"] not in wanted:
            continue
        session = Session(entry["name"], entry["variant"], entry["family"], entry["protocol"],
                          texts[entry["policy"]])
        session.run([(name, globals()[name.replace("-", "_")]) for name in entry["checks"]])
        if captures and entry.get("captured"):
            for side, file in session.wire.files.items():
                with open(file, "rb") as stream:
                    octets = base64.b64encode(stream.read()).decode()
                print("capture", f"{entry['captured']}-{side}", octets, flush=True)
    print(f"time all {time.monotonic() - began:.1f}", flush=True)


if __name__ == "__main__":
    main()
