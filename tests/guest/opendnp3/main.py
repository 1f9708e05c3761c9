#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""A real outstation (yadnp3, which is opendnp3) behind the gateway, given sequences of packets.

usage: main.py PLAN

Each sequence has a connection of its own, and each packet is a segment of its own: the next is sent when
the outstation's host has acknowledged the last one. A reset ends the sequence. PLAN has lines
    rule POLICY TARGET OPTIONS...           a rule of a policy's, by its place; what no rule takes is rejected
    sequence NUMBER POLICY PACKET...        a packet is hexadecimal, with "/urgent" behind it for URG, "/awaited" where
                                            an answer is awaited before the next, and "/last" where it is not
                                            sent until the outstation has read all that came before
Printed are
    heard NUMBER ACCEPTED EVENT...          how many packets were acknowledged, and in its order what the outstation
                                            did: EVENT is one of
        f:OCTETS    its link layer delivered this frame
        w:WORDS     its link layer found something wrong
        t           a segment of that frame came to its transport function
        a:CODE      its application layer was handed a request with this function code
        c:NAME      its application was called
        r:OCTETS    the sender has received this; it stands at the end
    fault NUMBER WORDS                      it could not be told
    end

A worker for each variant of iptables runs an outstation at an address of its own:

      master                 gateway                        outstation
    192.0.2.10 + POLICY  --  FORWARD, by both variants  --  198.51.100.20 + worker
"""

import fcntl
import multiprocessing
import os
import select
import socket
import struct
import sys
import termios
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "clients"))

import network
import opendnp3 as dnp3
from network import PORT, SECONDS, Wrong, inside, until, within

MASTER, STATION = 1024, 1
SOURCE, HOST = "192.0.2.{}", "198.51.100.{}"
FIRST_SOURCE, FIRST_HOST = 10, 20
# opendnp3's levels that matter here: warnings and errors, accepted connections, and what was received by
# the link layer, the transport function and the application layer, some of it in hexadecimal too.
ERR, WARN, INFO = 0x02, 0x04, 0x08
LINK, LINK_HEX, TRANSPORT, HEADER, APPLICATION_HEX = 0x20, 0x40, 0x200, 0x800, 0x8000
LEVELS = ERR | WARN | INFO | LINK | LINK_HEX | TRANSPORT | HEADER | APPLICATION_HEX
ACCEPTED, PARSER = "Accepted connection", "LinkLayerParser.cpp"
LONG = dnp3.TimeDuration.Seconds(3600)
TICK = 1


class Log(dnp3.ILogHandler):
    """What opendnp3 says that it does, apart for each connection."""

    def __init__(self):
        super().__init__()
        # What comes before the first connection is nobody's.
        self.connections = [[]]
        self.request = None

    def event(self, kind, words=None):
        self.connections[-1].append(kind if words is None else f"{kind}:{words}")

    def log(self, _module, _name, level, where, words):
        level = level.value
        if level == LINK:
            self.event("f", "")
        elif level == LINK_HEX:
            self.connections[-1][-1] += words.replace(" ", "")
        elif level == TRANSPORT:
            self.event("t")
            self.request = None
        elif level == APPLICATION_HEX:
            # Behind application control; a request of several lines begins with the first.
            self.request = self.request or words.split()
        elif level == HEADER:
            self.event("a", int(self.request[1], 16))
        elif level == INFO and words.startswith(ACCEPTED):
            self.connections.append([])
        elif level in (ERR, WARN) and PARSER in where:
            self.event("w", words.replace(" ", "_"))


class Commands(dnp3.ICommandHandler):
    """Controls what there is."""

    def __init__(self, log):
        super().__init__()
        self.log = log

    def Begin(self):
        pass

    def End(self):
        pass

    def Select(self, *_):
        self.log.event("c", "Select")
        return dnp3.CommandStatus.SUCCESS

    def Operate(self, _command, _index, _handler, kind):
        self.log.event("c", kind.name)
        return dnp3.CommandStatus.SUCCESS


class Application(dnp3.IOutstationApplication):
    """Supports all that it can be asked to support."""

    def __init__(self, log):
        super().__init__()
        self.log = log

    def GetApplicationIIN(self):
        return dnp3.ApplicationIIN()

    def SupportsWriteAbsoluteTime(self):
        return True

    def WriteAbsoluteTime(self, _):
        self.log.event("c", "WriteAbsoluteTime")
        return True

    def SupportsAssignClass(self):
        return True

    def RecordClassAssignment(self, *_):
        self.log.event("c", "RecordClassAssignment")

    def ColdRestartSupport(self):
        return dnp3.RestartMode.SUPPORTED_DELAY_FINE

    def ColdRestart(self):
        self.log.event("c", "ColdRestart")
        return 1

    def WarmRestartSupport(self):
        return dnp3.RestartMode.SUPPORTED_DELAY_FINE

    def WarmRestart(self):
        self.log.event("c", "WarmRestart")
        return 1


class Outstation:
    """The station, and who speaks to it."""

    def __init__(self, host):
        self.host = host
        self.log = Log()
        self.commands, self.application = Commands(self.log), Application(self.log)
        with within("outstation"):
            self.manager = dnp3.DNP3Manager(1, self.log)
            channel = self.manager.AddTCPServer(
                "outstation", dnp3.LogLevels(LEVELS), dnp3.ServerAcceptMode.CloseExisting,
                dnp3.IPEndpoint(host, PORT), None)
            # It goes on to be that of this namespace.
            self.sockets = open("/proc/thread-self/net/tcp", encoding="ascii")
        config = dnp3.OutstationStackConfig(dnp3.DatabaseConfig(5))
        config.link = dnp3.LinkConfig(False, STATION, MASTER, LONG, LONG)
        parameters = config.outstation.params
        parameters.allowUnsolicited = False
        parameters.selectTimeout = parameters.solConfirmTimeout = LONG
        self.station = channel.AddOutstation("outstation", self.commands, self.application, config)
        self.station.Enable()
        until(self.listens, "the outstation's listening socket")

    def rows(self):
        self.sockets.seek(0)
        for line in list(self.sockets)[1:]:
            _, local, remote, state, queues, *_ = line.split()
            yield local, int(remote.partition(":")[2], 16), state, int(queues.partition(":")[2], 16)

    def listens(self):
        octets = struct.unpack("=I", socket.inet_aton(self.host))
        local = f"{octets[0]:08X}:{PORT:04X}"
        return any(row[0] == local and row[2] == "0A" for row in self.rows())

    def has_read(self, port):
        """Whether nothing from this port waits to be read."""
        return not any(remote == port and unread for _, remote, _, unread in self.rows())

    def speak(self, source, packets):
        """One connection. How many packets were accepted, and the octets that came back."""
        with within("master"):
            connection = socket.socket()
        with connection:
            connection.bind((source, 0))
            connection.settimeout(SECONDS)
            connection.connect((self.host, PORT))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
            speech = Speech(connection)
            for accepted, packet in enumerate(packets):
                if "last" in packet[1]:
                    # An answer that finds nobody there any more would else make it close the connection
                    # with something unread.
                    port = connection.getsockname()[1]
                    speech.wait(lambda: self.has_read(port), "all that was accepted read by the outstation")
                if not speech.send(*packet):
                    return accepted, speech.answers
            connection.shutdown(socket.SHUT_WR)
            # The outstation closes the connection when it has come to its end.
            speech.wait(lambda: speech.ended, "the end of the outstation's answers")
            return len(packets), speech.answers

    def converse(self, sequences):
        """All sequences; what is to be printed of them."""
        heard = []
        for number, policy, packets in sequences:
            source = SOURCE.format(FIRST_SOURCE + policy)
            try:
                heard.append((number, *self.speak(source, packets)))
            except (Wrong, OSError) as error:
                return [f"fault {number} {type(error).__name__}: {error}"]
        # A connection that comes closes the one before, which a reset has left open here: behind the
        # last one too nothing comes any more.
        self.speak(SOURCE.format(FIRST_SOURCE), [])
        self.manager.Shutdown()
        connections = self.log.connections[1:-1]
        if len(connections) != len(heard):
            return [f"fault 0 {len(connections)} connections of {len(heard)} sequences"]
        return [" ".join(["heard", number, str(accepted), *events, *([f"r:{answers.hex()}"] if answers else [])])
                for (number, accepted, answers), events in zip(heard, connections)]


class Speech:
    """What goes over a connection."""

    def __init__(self, connection):
        self.connection = connection
        self.poll = select.poll()
        self.poll.register(connection, select.POLLIN)
        self.answers = b""
        self.ended = False

    def unacknowledged(self):
        return struct.unpack("i", fcntl.ioctl(self.connection, termios.TIOCOUTQ, b"\0" * 4))[0]

    def wait(self, condition, what):
        """Until the condition holds. Whatever comes wakes it; what does not, such as an acknowledgement,
        is looked for every millisecond."""
        end = time.monotonic() + SECONDS
        while not condition():
            if time.monotonic() > end:
                raise Wrong(f"in {SECONDS} s not seen: {what}")
            if self.poll.poll(TICK) and not self.ended:
                octets = self.connection.recv(65536)
                self.answers += octets
                if not octets:
                    self.ended = True
                    self.poll.unregister(self.connection)

    def send(self, octets, how):
        """Whether it was acknowledged; if not, it was answered by a reset."""
        before = len(self.answers)
        try:
            sent = self.connection.send(octets, socket.MSG_OOB if "urgent" in how else 0)
            if sent != len(octets):
                raise Wrong(f"{sent} octets of {len(octets)} sent")
            self.wait(lambda: not self.unacknowledged(), "an acknowledgement or a reset")
            if "awaited" in how:
                self.wait(lambda: len(self.answers) > before, "an answer")
        except ConnectionResetError:
            return False
        return True


def build(rules):
    """The namespaces, and each variant's policies before its outstation."""
    network.build()
    policies = sorted({policy for policy, _ in rules})
    for policy in policies[1:]:
        inside("master", "ip", "addr", "add", f"{SOURCE.format(FIRST_SOURCE + policy)}/24", "dev", "vm0")
    for worker in range(1, len(network.VARIANTS)):
        inside("outstation", "ip", "addr", "add", f"{HOST.format(FIRST_HOST + worker)}/24", "dev", "vo0")
    # Each segment is acknowledged at once, so that nobody waits for the next.
    inside("outstation", "ip", "route", "replace", "default", "via",
           network.GATEWAY["ipv4"]["outstation"], "advmss", str(network.MSS), "quickack", "1")
    for worker, variant in enumerate(network.VARIANTS):
        host = HOST.format(FIRST_HOST + worker)
        lines = ["*filter", ":FORWARD ACCEPT"]
        lines += [f":policy{policy} -" for policy in policies]
        for policy in policies:
            lines.append(f"-A FORWARD -p tcp --dport {PORT} -d {host} "
                         f"-s {SOURCE.format(FIRST_SOURCE + policy)} -j policy{policy}")
            lines.append(f"-A policy{policy} -p tcp -m dnp3 --status none -j ACCEPT")
            lines += [f"-A policy{policy} -p tcp {words}" for of, words in rules if of == policy]
            lines.append(f"-A policy{policy} -p tcp -j REJECT --reject-with tcp-reset")
        inside("gateway", f"iptables-{variant}-restore", input="\n".join([*lines, "COMMIT", ""]))


def read(plan):
    rules, sequences = [], []
    with open(plan, encoding="ascii") as file:
        for line in file:
            kind, *words = line.split()
            if kind == "rule":
                policy, target, *options = words
                match = " ".join(["-m dnp3", *options]) if options else ""
                reset = " --reject-with tcp-reset" if target == "REJECT" else ""
                rules.append((int(policy), f"{match} -j {target}{reset}"))
            else:
                number, policy, *packets = words
                sequences.append((number, int(policy), [
                    (bytes.fromhex(octets), how)
                    for octets, *how in (packet.split("/") for packet in packets)]))
    return rules, sequences


def work(worker, sequences):
    return Outstation(HOST.format(FIRST_HOST + worker)).converse(sequences)


def main():
    rules, sequences = read(sys.argv[1])
    build(rules)
    workers = len(network.VARIANTS)
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        shares = [(worker, sequences[worker::workers]) for worker in range(workers)]
        for lines in pool.starmap(work, shares, 1):
            print("\n".join(lines))
    print("end")


if __name__ == "__main__":
    main()
