#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""DNP3 stacks speak in pieces through a gateway that follows the streams: yadnp3 (opendnp3), dnp3py, and a pair of
plain sockets that says what PLAN has.

usage: stacks.py PLAN POLICY [--long] [SESSION...]

sessions.json has the sessions: who speaks, by which rules, over which lines, in pieces of which sizes. POLICY is a page or a
script with the policy; PLAN/requests and PLAN/answers are streams of frames. Printed are
    check SESSION ok                or what is wrong
    figures SESSION STACK LINE NAME=NUMBER...
                                    what went through
    time SESSION SECONDS
"""

import contextlib
import json
import os
import re
import selectors
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "clients"))

import dnp3py_peers as dnp3py
import lines
import network
import yadnp3_peers as yadnp3
from lines import Gateway, Pieces, Relay, Relays, WAYS
from network import ADDRESS, PORT, SECONDS, Wrong, until

REQUEST, REPLY = WAYS
# Of each of the kinds that opendnp3 has.
POINTS = 30
# So many that the answer to a READ takes several fragments of 2,048 octets.
MANY_POINTS = 300
STATIONS = (10, 11, 15, 20)
# Events of a station: more than a frame holds.
EVENTS = 60
# Milliseconds since 1970 that a clock is set to.
A_TIME = 1_700_000_000_000
BULK = {False: 256 << 10, True: 16 << 20}
# What the devices do with segments, and whether more of them than one become a packet.
OFFLOADS = {
    "off": ({"tx": "off", "tso": "off", "gso": "off", "gro": "off"}, False),
    "gro": ({"tx": "on", "tso": "off", "gso": "off", "gro": "on"}, True),
    "tso": ({"tx": "on", "sg": "on", "tso": "on", "gso": "on", "gro": "off"}, True),
}


def numbers(text):
    """"1,5,10:30:10" is 1, 5, 10, 20, 30; "whole" is a piece for each frame."""
    found = []
    for word in text.split(","):
        if word == "whole":
            found.append(None)
            continue
        first, last, step = ([int(number) for number in word.split(":")] + [0, 0])[:3]
        found += range(first, max(first, last) + 1, step or 1)
    return found


class Session:
    """One policy, a kind of line, and what is said through them."""

    def __init__(self, entry, is_long, plan, policy):
        self.name, self.stack, self.line = entry["name"], entry["stack"], entry.get("line", "good")
        self.family = entry["family"]
        self.hosts = ADDRESS[self.family]
        self.gateway = Gateway(entry["variant"], self.family)
        self.sizes = numbers(entry["long" if is_long and "long" in entry else "sizes"])
        self.is_long = is_long
        self.plan = plan
        self.policy = policy
        self.pieces = {way: Pieces(None) for way in WAYS}
        self.ending = contextlib.ExitStack()
        # Where pieces are not ours to count, the octets may still be known.
        self.octets = None
        self.is_exact = True

    def run(self):
        began = time.monotonic()
        try:
            self.gateway.open()
            self.gateway.close(self.policy)
            with lines.line(self.line, self.family):
                with self.ending:
                    SESSIONS[self.stack](self)
                if "refused" not in self.stack:
                    self.agree()
            if "refused" not in self.stack:
                # What the ends send again would be counted for the next session.
                until(lambda: not lines.unfinished(), lambda: f"the end of {lines.unfinished()}")
        except Exception as error:  # whatever a stack raises is what is wrong
            words = f"{type(error).__name__}: {error}".replace("\n", " ")
            print(f"check {self.name} {words}; {self.gateway.statuses()} {self.gateway.policy()}", flush=True)
        else:
            print(f"check {self.name} ok", flush=True)
        print("time", self.name, f"{time.monotonic() - began:.1f}", flush=True)

    def begin(self, peer):
        self.ending.callback(peer.stop)
        return peer

    def relays(self):
        """Both stacks speak by way of relays that cut; they are where the other side is for each."""
        is_refused = "refused" in self.stack
        return self.begin(Relays({host: Relay(host, self.family, self.pieces[way], is_refused)
                                  for host, way in (("outstation", REPLY), ("master", REQUEST))}))

    def cut(self, size):
        for pieces in self.pieces.values():
            pieces.size = size

    def rejected(self):
        """Packets that the policy's last rules took."""
        return sum(self.gateway.taken_by(way, "-j REJECT") for way in WAYS)

    def agree(self):
        """Each piece was judged once for what it is, nothing was refused, and each packet is counted by one rule.
        A packet that is still under way may change what is counted, but not that."""
        if self.is_exact:
            expected = {(chain, way, status): getattr(pieces, status)
                        for chain in ("FORWARD", "POSTROUTING") for way, pieces in self.pieces.items()
                        for status in ("valid", "partial")}

            def judged():
                return {key: packets for key, (packets, _) in self.gateway.statuses().items() if key in expected}

            until(lambda: judged() == expected, lambda: f"pieces: {expected}, but {judged()}")
        until(lambda: not self.problems(), lambda: "; ".join(self.problems()))
        figures = {"sizes": len(self.sizes), **self.totals()}
        print("figures", self.name, self.stack, self.line, *(f"{name}={count}" for name, count in figures.items()),
              flush=True)

    def totals(self):
        statuses, policy = self.gateway.statuses(), self.gateway.policy()
        totals = {name: sum(statuses["FORWARD", way, name][0] for way in WAYS) for name in lines.STATUSES}
        for name, words in (("ahead", "--status ahead"), ("invalid", "--ctstate INVALID")):
            totals[name] = sum(packets for _, rules in policy.values() for packets, rule in rules if words in rule)
        return totals

    def problems(self):
        """What of the counters is not right."""
        found = []

        def wanted(way, what, number, right):
            if number != right:
                found.append(f"{way}: {what}: {number}, and not {right}")

        statuses = self.gateway.statuses()
        for way, (came, rules) in self.gateway.policy().items():

            def taken(*words, rules=rules):
                return sum(packets for packets, rule in rules if all(word in rule for word in words))

            status = {name: statuses["FORWARD", way, name][0] for name in lines.STATUSES}
            ahead, invalid = taken("--status ahead"), taken("--ctstate INVALID")
            wanted(way, "rules that took a packet", sum(packets for packets, _ in rules), came)
            wanted(way, "packets by status", sum(status.values()) + ahead, came)
            wanted(way, "accepted with frames", taken("-j ACCEPT", "--fc"), status["valid"] + status["partial"])
            # What comes when both ends have closed the connection is nothing to conntrack.
            wanted(way, "empty", taken("-j ACCEPT", "--status none") + invalid, status["none"])
            wanted(way, "malformed", status["malformed"], 0)
            wanted(way, "rejected", taken("-j REJECT"), 0)
            for name in ("valid", "partial"):
                wanted(way, f"{name} behind the policy", statuses["POSTROUTING", way, name],
                       statuses["FORWARD", way, name])
            if self.line == "good":
                wanted(way, "invalid to conntrack", invalid, 0)
                octets = sum(statuses["FORWARD", way, name][1] for name in ("valid", "partial"))
                if self.octets:
                    wanted(way, "new octets", octets, self.octets[way])
        # Of a stack's few packets perhaps none is lost; of the pair's hundreds some are.
        ahead, is_bad = self.totals()["ahead"], self.line in ("before", "both")
        if (ahead and not is_bad) or (not ahead and is_bad and self.stack == "pair"):
            found.append(f"{ahead} packets were ahead")
        return found


# A pair of sockets


class Pair:
    """A master and an outstation that both say all that they have to say as fast as they can."""

    def __init__(self, session):
        self.session = session
        self.listener = lines.prepared("outstation", session.family)
        self.listener.bind((session.hosts["outstation"], PORT))
        self.listener.listen()

    def stop(self):
        self.listener.close()

    def speak(self, streams, cut):
        """One connection: `streams` are said, and `cut` makes of a way and a connection what sends there."""
        failed = []

        def say(way, connection):
            send = cut(way, connection)
            try:
                send(streams[way])
            except (OSError, Wrong) as error:
                failed.append(error)

        def saying(way, connection):
            connection.settimeout(None)
            thread = threading.Thread(target=say, args=(way, connection), daemon=True)
            thread.start()
            return thread

        master = lines.prepared("master", self.session.family)
        master.settimeout(SECONDS)
        self.listener.settimeout(SECONDS)
        with master:
            master.connect((self.session.hosts["outstation"], PORT))
            # Where the acknowledgement of the handshake is lost, what the master says acknowledges it as well.
            threads = {master: saying(REQUEST, master)}
            outstation, _ = self.listener.accept()
            with outstation:
                threads[outstation] = saying(REPLY, outstation)
                self.hear({REQUEST: outstation, REPLY: master}, streams, threads, failed)
                # The master closes the connection, and the outstation after it.
                master.shutdown(1)
                outstation.settimeout(SECONDS)
                if outstation.recv(1):
                    raise Wrong("more than was said has come")

    @staticmethod
    def hear(receivers, streams, threads, failed):
        """Takes what comes until it is all that is said; `threads` say it, and what goes wrong there is in `failed`."""
        came = {way: bytearray() for way in receivers}
        with selectors.DefaultSelector() as selector:
            for way, receiver in receivers.items():
                selector.register(receiver, selectors.EVENT_READ, way)
            quiet = 0
            while any(len(came[way]) < len(streams[way]) for way in receivers):
                ready = selector.select(1)
                quiet = 0 if ready else quiet + 1
                if failed:
                    raise failed[0]
                if quiet == SECONDS:
                    raise Wrong(f"for {SECONDS} s nothing, after {[len(octets) for octets in came.values()]} octets")
                for key, _ in ready:
                    octets = key.fileobj.recv(1 << 20)
                    came[key.data] += octets
                    if not octets:
                        # A reset is told to one alone, and that may be who says something here.
                        threads[key.fileobj].join(SECONDS)
                        raise failed[0] if failed else Wrong(f"the end, after {len(came[key.data])} octets")
        for thread in threads.values():
            thread.join(SECONDS)
        for way in receivers:
            if came[way] != streams[way]:
                raise Wrong(f"{way}: what came is not what was said")


def pair(session):
    speaker = session.begin(Pair(session))
    streams = {REQUEST: session.plan["requests"], REPLY: session.plan["answers"]}
    for size in session.sizes:
        session.cut(size)
        speaker.speak(streams, lambda way, connection: session.pieces[way].begin(connection))
    session.octets = {way: pieces.octets for way, pieces in session.pieces.items()}


def bulk(session):
    """Large transfers, each with other features of the devices, that become other packets."""
    speaker = session.begin(Pair(session))
    session.is_exact = False
    repeated = -(-BULK[session.is_long] // len(session.plan["answers"]))
    streams = {REQUEST: session.plan["requests"], REPLY: session.plan["answers"] * repeated}
    session.octets = dict.fromkeys(WAYS, 0)
    session.ending.callback(lambda: lines.offload(**OFFLOADS["off"][0]))
    sent = 0
    for name, (features, are_merged) in OFFLOADS.items():
        lines.offload(**features)
        speaker.speak(streams, lambda way, connection: connection.sendall)
        for way, octets in streams.items():
            session.octets[way] += len(octets)
        statuses = session.gateway.statuses()
        packets = sum(statuses["FORWARD", REPLY, status][0] for status in ("valid", "partial")) - sent
        sent += packets
        least = len(streams[REPLY]) // network.MSS
        if (packets < least) != are_merged:
            raise Wrong(f"{name}: {packets} packets for {least} segments")
        print(f"note {session.name}: {name}: {len(streams[REPLY])} octets in {packets} packets", flush=True)


def closed(session):
    """Where nobody listens, the answer to the first SYN is a reset, and it comes through."""
    session.is_exact = False
    for count in range(1, len(session.sizes) + 1):
        with lines.prepared("master", session.family) as master:
            master.settimeout(SECONDS)
            try:
                master.connect((session.hosts["outstation"], PORT))
            except ConnectionRefusedError:
                pass
            else:
                raise Wrong("connected to a port where nobody listens")
        asked, answered = (session.gateway.statuses()["FORWARD", way, "none"][0] for way in WAYS)
        if (asked, answered) != (count, count):
            raise Wrong(f"{asked} SYNs and {answered} resets, and not {count}")


def refused(session):
    """By rules that do not follow the stream: cut in pieces it is refused, in whole frames it is not."""
    streams = {REQUEST: session.plan["requests"], REPLY: session.plan["answers"]}
    for size in session.sizes:
        speaker = Pair(session)
        session.cut(size)
        before = session.gateway.statuses()
        rejected = session.rejected()
        answer = "passed"
        try:
            speaker.speak(streams, lambda way, connection: session.pieces[way].begin(connection))
        except (ConnectionResetError, BrokenPipeError):
            answer = "reset"
        finally:
            speaker.stop()
        after = session.gateway.statuses()
        rejected = session.rejected() - rejected
        odd = sum(after["FORWARD", way, status][0] - before["FORWARD", way, status][0]
                  for way in WAYS for status in ("partial", "malformed"))
        if (answer, rejected > 0, odd > 0) != (("passed", False, False) if size is None else ("reset", True, True)):
            raise Wrong(f"in pieces of {size}: {answer}, {rejected} packets rejected, {odd} not of whole frames")


# Real stacks


def begins(session, others=(), **how):
    """yadnp3 with yadnp3, and a relay before each. The relays come last, so that no station speaks before
    all its masters are there."""
    session.cut(session.sizes[0])
    outstation = session.begin(Stations("outstation", "127.0.0.1", **how))
    master = session.begin(Masters("master", "127.0.0.1", time_sync="LAN"))
    for address in others:
        outstation.add(address)
        master.add(address)
    return session.relays(), master, outstation


def each_size(session, relays, master, outstation, count=1):
    """Begins at the first size: the master of each station reads all, and switches reports on. Then sets each size,
    and has the master connect anew; each of the stations reports that it sees it."""
    for number, size in enumerate(session.sizes):
        if number == 0:
            kinds = "STARTUP_INTEGRITY_POLL", "ENABLE_UNSOLICITED"
            master.wait(lambda: len(master.ended(kinds[-1])) >= count, f"the start, in pieces of {size}")
            if any(set(master.ended(kind)) != {"SUCCESS"} for kind in kinds):
                raise Wrong(f"in pieces of {size}: {master.tasks}")
        else:
            session.cut(size)
            states, confirms = len(master.states), len(outstation.confirms)
            relays.hang_up()
            master.wait(lambda: "OPEN" in master.states[states:], "the master's next connection")
            outstation.wait(lambda: outstation.confirms[confirms:].count(True) >= count,
                            f"the reports confirmed, in pieces of {size}")
        yield number


def all_points(master, since, points):
    counted = {}
    for kind, values in master.values[since:]:
        counted[kind] = counted.get(kind, 0) + len(values)
    if len(counted) < 8 or set(counted.values()) != {points}:
        raise Wrong(f"{points} of each kind of points, but {counted}")


def yadnp3_alone(session):
    """A day's work at each size: all read, an event reported, the clock set."""
    relays, master, outstation = begins(session, points=POINTS)
    for number in each_size(session, relays, master, outstation):
        values, tasks = len(master.values), len(master.tasks)
        confirms, times = len(outstation.confirms), len(outstation.times)
        if master.integrity() != "SUCCESS":
            raise Wrong(f"{master.tasks}")
        all_points(master, values, POINTS)
        outstation.event(5, 42.0 + number)
        master.wait(lambda: [(5, 42.0 + number)] in [of_kind for _, of_kind in master.values[values:]], "the event")
        outstation.wait(lambda: True in outstation.confirms[confirms:], "its confirmation")
        outstation.need_time = True
        master.read(yadnp3.dnp3.ClassField(False, True, True, True))
        # When the answer to that is still under way as the connection ends, the next one begins with it.
        master.wait(lambda: master.ended("LAN_TIME_SYNC", tasks) == ["SUCCESS"], "the clock set")
        if len(outstation.times) != times + 1:
            raise Wrong(f"the time written {len(outstation.times) - times} times")


def large(session):
    """Answers of many fragments."""
    relays, master, outstation = begins(session, points=MANY_POINTS)
    for _ in each_size(session, relays, master, outstation):
        values, fragments = len(master.values), len(master.fragments)
        if master.integrity() != "SUCCESS":
            raise Wrong(f"{master.tasks}")
        all_points(master, values, MANY_POINTS)
        if len(master.fragments) - fragments < 5:
            raise Wrong(f"{len(master.fragments) - fragments} fragments")


class Stations(yadnp3.Outstation):
    """Several stations behind one connection."""

    def __init__(self, *where, **how):
        super().__init__(*where, **how)
        self.all = [self.station]

    def add(self, address, master=1):
        self.config.link = self.link(False, address, master, 3600)
        self.all.append(self.channel.AddOutstation(
            f"outstation {address}", self.keep(self.command_handler()), self.keep(self.application()), self.config))
        self.all[-1].Enable()


class Masters(yadnp3.Master):
    """Several masters on one connection, one for each station."""

    def __init__(self, *where, **how):
        super().__init__(*where, **how)
        self.all = [self.master]

    def add(self, station, address=1):
        self.config.link = self.link(True, address, station, 3600)
        self.all.append(self.channel.AddMaster(
            f"master of {station}", self.events, self.keep(self.application()), self.config))
        self.all[-1].Enable()


def stations(session):
    """Several stations behind one connection: all are read, and all report much at the same time."""
    relays, master, outstation = begins(session, STATIONS[1:], points=EVENTS, address=STATIONS[0])
    for number in each_size(session, relays, master, outstation, len(STATIONS)):
        since = len(master.tasks)
        for one in master.all:
            one.ScanClasses(yadnp3.dnp3.ClassField.AllClasses(), master.events)
        master.wait(lambda: len(master.ended("USER_TASK", since)) == len(STATIONS), "each station read")
        if set(master.ended("USER_TASK", since)) != {"SUCCESS"}:
            raise Wrong(f"{master.tasks[since:]}")
        values = len(master.values)
        for place, one in enumerate(outstation.all):
            builder = yadnp3.dnp3.UpdateBuilder()
            for index in range(EVENTS):
                builder.Update(yadnp3.dnp3.Analog(1000.0 * (number + 1) + place), index)
            one.Apply(builder.Build())

        def reported(place):
            wanted = 1000.0 * (number + 1) + place
            return sum(value == wanted for _, points in master.values[values:] for _, value in points)

        master.wait(lambda: all(reported(place) >= EVENTS for place in range(len(STATIONS))), "all events")


def asks(session, master, outstation, number):
    """What a master of dnp3py does in a connection of its own."""
    master.open()
    times = len(outstation.times)
    if len(master.integrity()) < 2:
        raise Wrong("an answer of one fragment")
    master.write_time(A_TIME + number)
    until(lambda: outstation.times[times:] == [A_TIME + number], lambda: f"the time written: {outstation.times}")
    master.keep_alive()
    master.events()
    master.close()


def dnp3py_with(outstation):
    """dnp3py asks; the outstation is yadnp3's or dnp3py's."""

    def session_of(session):
        session.cut(session.sizes[0])
        session.relays()
        station = session.begin(outstation("outstation", "127.0.0.1"))
        master = session.begin(dnp3py.Master("master", "127.0.0.1"))
        for number, size in enumerate(session.sizes):
            session.cut(size)
            asks(session, master, station, number)

    return session_of


def yadnp3_that_is_silent(namespace, host):
    return yadnp3.Outstation(namespace, host, points=100, unsolicited=False)


def segments(session):
    """Without relays: the hosts ask for small segments, and so it is the kernel that cuts."""
    session.is_exact = False
    station = session.begin(yadnp3_that_is_silent("outstation", session.hosts["outstation"]))
    for number, size in enumerate(session.sizes):
        for host in ("master", "outstation"):
            lines.route(host, session.family, size)
        before = session.gateway.statuses()
        master = dnp3py.Master("master", session.hosts["outstation"])
        try:
            asks(session, master, station, number)
        finally:
            master.stop()
        after = session.gateway.statuses()
        packets, octets = (sum(after["FORWARD", REPLY, status][at] - before["FORWARD", REPLY, status][at]
                               for status in ("valid", "partial")) for at in (0, 1))
        if packets < octets / size:
            raise Wrong(f"{octets} octets in {packets} segments of {size}")


# By rules that do not follow the stream


def refused_yadnp3(session):
    """The same stacks come to nothing, for what they say is cut."""
    for size in session.sizes:
        with contextlib.ExitStack() as session.ending:
            rejected = session.rejected()
            session.cut(size)
            session.begin(yadnp3.Outstation("outstation", "127.0.0.1", points=POINTS))
            master = session.begin(yadnp3.Master("master", "127.0.0.1"))
            session.relays()
            until(lambda: session.rejected() > rejected, f"a piece of {size} rejected")
            master.wait(lambda: "OPEN" in master.states[:-1], "the master's connection closed")
            if master.values or "SUCCESS" in dict(master.tasks).values():
                raise Wrong(f"in pieces of {size}: {master.tasks}, {len(master.values)} values")


def refused_dnp3py(session):
    session.cut(session.sizes[0])
    session.relays()
    station = session.begin(yadnp3_that_is_silent("outstation", "127.0.0.1"))
    master = session.begin(dnp3py.Master("master", "127.0.0.1"))
    for size in session.sizes:
        session.cut(size)
        rejected = session.rejected()
        master.refused(lambda: (master.open(), master.integrity()))
        until(lambda: session.rejected() > rejected, f"a piece of {size} rejected")
    if station.times or station.commands:
        raise Wrong("the outstation did something")


def policies(page):
    """The README's policy, as it stands there, and what it is without `--track`."""
    with open(page, encoding="utf-8") as file:
        text = file.read()
    track = text.partition("<!-- the demo runs")[2].partition("```sh\n")[2].partition("```\n")[0]
    if track.count("--track") < 8:
        raise Wrong(f"{page} has no policy that follows the streams")
    whole = "\n".join(line for line in track.replace(" --track", "").splitlines() if "ahead" not in line)
    whole, changed = re.subn(r"(--fc \S*link) -j ACCEPT", r"\1,cont -j ACCEPT", whole)
    if changed != len(WAYS):
        raise Wrong(f"{changed} rules accept frames")
    return {"track": track, "whole": whole}


SESSIONS = {
    "pair": pair, "bulk": bulk, "closed": closed, "refused": refused,
    "yadnp3": yadnp3_alone, "large": large, "stations": stations,
    "dnp3py-yadnp3": dnp3py_with(yadnp3_that_is_silent), "dnp3py": dnp3py_with(dnp3py.Outstation),
    "segments": segments, "refused-yadnp3": refused_yadnp3, "refused-dnp3py": refused_dnp3py,
}


def main():
    plan, policy, *rest = sys.argv[1:]
    is_long = "--long" in rest
    wanted = [name for name in rest if name != "--long"]
    streams = {}
    for name in ("requests", "answers"):
        with open(f"{plan}/{name}", "rb") as file:
            streams[name] = file.read()
    texts = policies(policy)
    with open(f"{HERE}/sessions.json", encoding="ascii") as file:
        sessions = json.load(file)
    began = time.monotonic()
    # On a bad line, in an emulated machine on a busy host, honest retransmission can take longer than the
    # default. What comes of too old a frame is tested elsewhere.
    with open("/sys/module/xt_dnp3/parameters/track_frame_age", "w", encoding="ascii") as file:
        file.write("120")
    network.build()
    for entry in sessions:
        if not wanted or entry["name"] in wanted:
            Session(entry, is_long, streams, texts[entry.get("policy", "track")]).run()
    print(f"time all {time.monotonic() - began:.1f}", flush=True)


if __name__ == "__main__":
    main()
