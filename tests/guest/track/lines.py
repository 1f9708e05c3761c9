# SPDX-License-Identifier: GPL-2.0
"""What carries the sessions of stacks.py: a gateway that counts what its rules say of each piece, senders that cut what
they say, and lines on which packets are lost, doubled and put out of order.

      ns master                       ns gateway                      ns outstation
    +---------------------------+   +---------------------+   +--------------------------------+
    | stack -- relay, cuts, vm0 |---| vg0  POLICY     vg1 |---| vo0, cuts, relay -- stack      |
    |   127.0.0.1:20000         |   |                     |   |         127.0.0.1:20000        |
    +---------------------------+   +---------------------+   +--------------------------------+
               before the gateway: vm0 and vo0; behind it: vg0 and vg1

A piece is a TCP segment: MSG_EOR keeps the kernel from putting it into one with the next, now and when it is sent
again. So it is known how many segments there are, and which of them end where a frame ends.
"""

import contextlib
import re
import socket
import threading

import network
from network import ADDRESS, DEVICE, PORT, Wrong, inside, within

# A way through the gateway, by the chain of the policy that judges it.
WAYS = {"DNP3": "--dport", "DNP3-REPLY": "--sport"}
STATUSES = ("none", "valid", "partial", "malformed")
# Whether packets may come behind a hole to the gateway, as well.
BAD = "limit 10000 delay 2ms reorder 2% loss 1% duplicate 2%"
BEFORE, BEHIND = ("master vm0", "outstation vo0"), ("gateway vg0", "gateway vg1")
LINES = {"good": (), "before": BEFORE, "behind": BEHIND, "both": BEFORE + BEHIND, "acks": ()}
# Of the acknowledgements so many are lost on their way: before the gateway, and behind it. Which ones is left to chance:
# with one of every two or three it can be just that of the only new segment each time that TCP tries again. More, and
# in hundreds of connections there is one whose handshake is not acknowledged within a minute.
ACKS_LOST = {"OUTPUT": 0.1, "INPUT": 0.1}
# An empty segment, with whatever options it has.
IS_EMPTY = {"ipv4": "40:80", "ipv6": "60:100"}
# IP and TCP headers without options.
HEADERS = {"ipv4": 40, "ipv6": 60}
BUFFER = 4 << 20
# Seconds after which the other end of a connection that was refused is asked whether it is there.
SILENCE = 10
# Python does not have them.
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33


# What is counted beside the policy's own rules: in front of it each status, and behind it what has octets.
COUNTED = [("FORWARD", way, status) for way in WAYS for status in STATUSES]
COUNTED += [("POSTROUTING", way, status) for way in WAYS for status in ("valid", "partial")]


class Gateway(network.Gateway):
    """The gateway, with rules that count statuses."""

    loaded = {}

    def __init__(self, variant, family):
        super().__init__(variant, family, "tcp")
        self.variant = variant

    def open(self):
        for variant in network.VARIANTS:
            inside("gateway", f"{network.command(variant, self.family)}-restore", input=network.NO_RULES)
        rules = [f"-A {chain} -p tcp -m tcp {WAYS[way]} {PORT} -m dnp3 --status {status}"
                 for chain, way, status in COUNTED]
        inside("gateway", f"{self.command}-restore", input="\n".join(["*mangle", *rules, "COMMIT", ""]))
        inside("gateway", "conntrack", "-F")

    def close(self, policy):
        """Puts a policy before the outstation; the second time as it was saved the first time."""
        key = self.command, policy
        if key in self.loaded:
            inside("gateway", f"{self.command}-restore", input=self.loaded[key])
        else:
            super().close(policy)
            self.loaded[key] = inside("gateway", f"{self.command}-save", "-t", "filter")

    def _counted(self, table):
        for line in inside("gateway", f"{self.command}-save", "-c", "-t", table).splitlines():
            found = re.match(r"\[(\d+):(\d+)\] (.*)", line)
            if found:
                yield int(found[1]), int(found[2]), found[3]

    def statuses(self):
        """{(chain, way, status): (packets, octets of payload)}"""
        counted = [(packets, octets - packets * HEADERS[self.family])
                   for packets, octets, _ in self._counted("mangle")]
        if len(counted) != len(COUNTED):
            raise Wrong(f"{len(counted)} rules count, and not {len(COUNTED)}")
        return dict(zip(COUNTED, counted))

    def policy(self):
        """Of each way: the packets that came to its chain, and those that each rule there has taken."""
        came, taken = {}, {way: [] for way in WAYS}
        for packets, _, rule in self._counted("filter"):
            words = rule.split()
            chain, target = words[1], words[words.index("-j") + 1]
            if target in WAYS:
                came[target] = packets
            elif chain in WAYS and target != "LOG":
                taken[chain].append((packets, rule))
        return {way: (came[way], taken[way]) for way in WAYS}

    def taken_by(self, way, words):
        """Packets that the one rule of a way with these words has taken."""
        counts = [packets for packets, rule in self.policy()[way][1] if words in rule]
        if len(counts) != 1:
            raise Wrong(f"{len(counts)} rules of {way} have the words {words!r}")
        return counts[0]


class Pieces:
    """What one sender cuts: pieces of so many octets, and how many of them have ended where a frame ends."""

    def __init__(self, size):
        self.size = size
        self.lock = threading.Lock()
        self.valid = self.partial = self.octets = 0

    def of(self, octets):
        """The pieces; those of no size are frames, for octets of whole frames."""
        at = 0
        while at < len(octets):
            size = self.size or frame_length(octets[at + 2])
            yield octets[at:at + size]
            at += size

    def begin(self, connection):
        """A stream begins; returned is what cuts it and sends it."""
        walk = Walk()

        def send(octets):
            for piece in self.of(octets):
                ends = walk.over(piece)
                with self.lock:
                    self.octets += len(piece)
                    if ends:
                        self.valid += 1
                    else:
                        self.partial += 1
                if connection.send(piece, socket.MSG_EOR) != len(piece):
                    raise Wrong(f"a piece of {len(piece)} octets was sent in part")

        return send


def frame_length(number):
    """Octets of a frame whose LEN this is."""
    data = number - 5
    return 10 + data + 2 * ((data + 15) // 16)


class Walk:
    """A way over valid frames, by LEN alone."""

    def __init__(self):
        self.header, self.left = b"", 0

    def over(self, octets):
        """Whether a frame ends behind these octets."""
        at = 0
        while at < len(octets):
            if not self.left:
                more = octets[at:at + 3 - len(self.header)]
                self.header += more
                at += len(more)
                if len(self.header) < 3:
                    break
                self.left, self.header = frame_length(self.header[2]) - 3, b""
            step = min(self.left, len(octets) - at)
            self.left -= step
            at += step
        return not self.left and not self.header


def prepared(namespace, family):
    """A TCP socket there that takes many small segments."""
    with within(namespace):
        made = socket.socket(socket.AF_INET if family == "ipv4" else socket.AF_INET6)
    for option, value in ((SO_RCVBUFFORCE, BUFFER), (SO_SNDBUFFORCE, BUFFER), (socket.SO_REUSEADDR, 1)):
        made.setsockopt(socket.SOL_SOCKET, option, value)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


class Relay:
    """Stands between a stack and the gateway, and cuts what the stack says. What it has once said to the gateway goes its
    way, whatever becomes of the stack, so that it can be counted: of the gateway all is read up to the end."""

    def __init__(self, host, family, pieces, is_refused=False):
        """`host` is where the stack is. Where pieces are refused, the other side's end may never come through."""
        self.host, self.family, self.pieces, self.is_refused = host, family, pieces, is_refused
        self.outside = ADDRESS[family]["outstation"]
        is_master = host == "master"
        self.listener = prepared(host, "ipv4" if is_master else family)
        self.listener.bind(("127.0.0.1" if is_master else self.outside, PORT))
        self.listener.listen()
        self.stacks, self.sockets, self.threads = [], [self.listener], []
        self.start(self.accept)

    def start(self, what, *arguments):
        thread = threading.Thread(target=what, args=arguments, daemon=True)
        self.threads.append(thread)
        thread.start()
        return thread

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                is_master = self.host == "master"
                far = prepared(self.host, self.family if is_master else "ipv4")
                stack, gateway = (near, far) if is_master else (far, near)
                if is_master and not all(ended(thread) for thread in self.threads[1:]):
                    raise OSError("the connection before does not end")
                self.sockets += [near, far]
                self.stacks.append(stack)
                near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self.is_refused:
                    gateway.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                    for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL):
                        gateway.setsockopt(socket.IPPROTO_TCP, option, SILENCE)
                    gateway.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 2000 * SILENCE)
                try:
                    far.connect((self.outside if is_master else "127.0.0.1", PORT))
                except OSError:
                    end(near)
                    continue
                self.start(self.hear, gateway, stack, self.start(self.say, stack, gateway))

    def say(self, stack, gateway):
        send = self.pieces.begin(gateway)
        try:
            for octets in received(stack):
                send(octets)
            gateway.shutdown(socket.SHUT_WR)
        except OSError:
            end(stack)

    @staticmethod
    def hear(gateway, stack, saying):
        for octets in received(gateway):
            with contextlib.suppress(OSError):
                stack.sendall(octets)
        # The stack closes the other way, and only then does the other side hear of the end: opendnp3 would close
        # the next connection for the end of this one, if that came later.
        end(stack, socket.SHUT_WR)
        # All sizes together are more connections than a process may have open.
        saying.join()
        gateway.close()
        stack.close()

    def hang_up(self):
        """Closes the connections that there are, for the stack; more may come, unless the listener is closed
        as well."""
        for stack in self.stacks:
            end(stack)

    def stop(self):
        end(self.listener)
        if not ended(self.threads[0]):
            raise Wrong(f"the relay of the {self.host} does not end")
        self.hang_up()


class Relays:
    """Those of the master and of the outstation."""

    def __init__(self, relays):
        self.all = relays

    def hang_up(self):
        """The master's connection ends."""
        self.all["master"].hang_up()

    def stop(self):
        for host in ("master", "outstation"):
            self.all[host].stop()
        for relay in self.all.values():
            if not all(ended(thread) for thread in relay.threads):
                raise Wrong(f"the relay of the {relay.host} does not end")
            for one in relay.sockets:
                one.close()


def ended(thread):
    """Whether a thread has ended, within the time that there is."""
    thread.join(network.SECONDS)
    return not thread.is_alive()


def received(connection):
    """What comes, up to the end, or up to a reset."""
    with contextlib.suppress(OSError):
        while octets := connection.recv(65536):
            yield octets


def end(one, ways=socket.SHUT_RDWR):
    with contextlib.suppress(OSError):
        one.shutdown(ways)


@contextlib.contextmanager
def line(kind, family):
    """The lines are of this kind until the block ends."""
    for way in LINES[kind]:
        namespace, device = way.split()
        inside(namespace, "tc", "qdisc", "replace", "dev", device, "root", "netem", *BAD.split())
    if kind != "good":
        for host in ("master", "outstation"):
            route(host, family, network.MSS, "40ms")
    if kind == "acks":
        rules = [f"-A {chain} -p tcp -m length --length {IS_EMPTY[family]} -m tcp --tcp-flags ALL ACK -m statistic "
                 f"--mode random --probability {share} -j DROP" for chain, share in ACKS_LOST.items()]
        for host in ("master", "outstation"):
            inside(host, f"{network.command('legacy', family)}-restore",
                   input="\n".join(["*filter", *rules, "COMMIT", ""]))
    try:
        yield
    finally:
        for way in LINES[kind]:
            namespace, device = way.split()
            inside(namespace, "tc", "qdisc", "del", "dev", device, "root")
        for host in ("master", "outstation"):
            if kind == "acks":
                inside(host, f"{network.command('legacy', family)}-restore", input=network.NO_RULES)
            route(host, family, network.MSS)


def route(host, family, mss, rto_min="10s"):
    """A host's way out: how large a segment it asks for there, and how soon it sends again. What comes is
    acknowledged at once."""
    inside(host, "ip", f"-{family[-1]}", "route", "replace", "default", "via", network.GATEWAY[family][host],
           "advmss", str(mss), "rto_min", rto_min, "quickack", "1")


def unfinished():
    """Connections of the hosts that may send by themselves: their sockets, a line each."""
    states = [word for state in ("established", "syn-sent", "syn-recv", "fin-wait-1", "last-ack", "closing")
              for word in ("state", state)]
    return [line for host in ("master", "outstation")
            for line in inside(host, "ss", "-Htan", *states).splitlines()]


def offload(**features):
    """Sets devices' features, as `ethtool -K` calls them, on all hosts."""
    words = [word for name, value in features.items() for word in (name, value)]
    for host in ("master", "outstation"):
        far, near = DEVICE[host]
        inside(host, "ethtool", "-K", far, *words)
        inside("gateway", "ethtool", "-K", near, *words)
