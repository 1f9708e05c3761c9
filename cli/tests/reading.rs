// SPDX-License-Identifier: GPL-2.0

//! Reading: every format and link layer, streams however TCP delivers them, and damage of every
//! kind, for which nothing panics and what could be read is there.

mod support;

use dnp3_tests::{frames, vectors};
use etherparse::{IpFragOffset, IpNumber, Ipv4Header};
use proptest::prelude::*;
use proptest::sample::Index;
use support::{
    block, datagram, ether_type, ethernet, pcap, pcapng, read, read_raw, tagged, time_of, Order,
    Segment, Side,
};

/// The frames that the small captures have, in order.
fn exchange() -> Vec<Vec<u8>> {
    vec![
        vectors::READ.to_vec(),
        vectors::REQUEST_LINK_STATUS.to_vec(),
        vectors::COLD_RESTART.to_vec(),
    ]
}

/// A packet for each of them, of IPv4, IPv6 and UDP.
fn packets() -> Vec<Vec<u8>> {
    vec![
        Segment::of(1, vectors::READ).ip(false),
        Segment::of(1, vectors::REQUEST_LINK_STATUS).ip(true),
        datagram(vectors::COLD_RESTART),
    ]
}

fn in_ethernet(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    packets.iter().map(|ip| tagged(&[], ip)).collect()
}

#[test]
fn both_formats_in_every_order_and_resolution() {
    let packets = in_ethernet(&packets());
    let times: Vec<Option<u64>> = (0..3).map(|at| Some(time_of(at) * 1000)).collect();
    for order in [Order::Little, Order::Big] {
        for fine in [false, true] {
            let told = read(&pcap(order, fine, 1, &packets));
            assert_eq!(told.frames, exchange(), "pcap {order:?} {fine}");
            assert_eq!(told.times, times);
            assert_eq!(told.packets, [1, 2, 3]);
        }
        // Powers of ten, and of two.
        for resolution in [6, 7, 9, 0x80 | 20, 0x80 | 30] {
            let file = pcapng(order, resolution, 1, &packets);
            let told = read(&file);
            assert_eq!(told.frames, exchange(), "pcapng {order:?} {resolution}");
            for (time, wanted) in told.times.iter().zip(&times) {
                let (time, wanted) = (time.expect("a time"), wanted.expect("a time"));
                assert!(time.abs_diff(wanted) < 1000, "{time} {wanted}");
            }
            // A section of the other order behind it.
            let mut both = file.clone();
            let other = match order {
                Order::Little => Order::Big,
                Order::Big => Order::Little,
            };
            both.extend(pcapng(other, 6, 1, &packets));
            let told = read(&both);
            assert_eq!(told.counts.packets, 6);
            assert!(!told.counts.damaged);
        }
    }
}

#[test]
fn simple_packets_of_pcapng() {
    let order = Order::Little;
    let mut file = pcapng(order, 6, 1, &[]);
    for packet in in_ethernet(&packets()) {
        let mut body = order.four(packet.len() as u32).to_vec();
        body.extend(packet);
        file.extend(block(order, 3, &body));
    }
    let told = read(&file);
    assert_eq!(told.frames, exchange());
    assert_eq!(told.times, [None; 3]);
}

#[test]
fn every_link_layer() {
    let prefixed = |prefix: &dyn Fn(&[u8]) -> Vec<u8>| -> Vec<Vec<u8>> {
        packets()
            .iter()
            .map(|ip| [prefix(ip), ip.clone()].concat())
            .collect()
    };
    let family = |ip: &[u8]| if ip[0] >> 4 == 4 { 2u32 } else { 30 };
    let tags = |tags: &'static [(u16, u16)]| -> Vec<Vec<u8>> {
        packets().iter().map(|ip| tagged(tags, ip)).collect()
    };
    let cases: Vec<(&str, u32, Vec<Vec<u8>>)> = vec![
        ("Ethernet", 1, tags(&[])),
        ("VLAN", 1, tags(&[(0x8100, 7)])),
        ("QinQ", 1, tags(&[(0x88A8, 7), (0x8100, 8)])),
        ("QinQ of old", 1, tags(&[(0x9100, 7), (0x8100, 8)])),
        ("raw", 101, packets()),
        ("raw of BSD", 12, packets()),
        ("raw of OpenBSD", 14, packets()),
        (
            "loopback",
            0,
            prefixed(&|ip| family(ip).to_le_bytes().to_vec()),
        ),
        (
            "loopback, big-endian",
            0,
            prefixed(&|ip| family(ip).to_be_bytes().to_vec()),
        ),
        (
            "loopback of OpenBSD",
            108,
            prefixed(&|ip| family(ip).to_be_bytes().to_vec()),
        ),
        (
            "Linux cooked",
            113,
            prefixed(&|ip| {
                let mut header = vec![0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0];
                header.extend(ether_type(ip).to_be_bytes());
                header
            }),
        ),
        (
            "Linux cooked 2",
            276,
            prefixed(&|ip| {
                let mut header = ether_type(ip).to_be_bytes().to_vec();
                header.extend([0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0]);
                header
            }),
        ),
    ];
    for (name, link_type, packets) in cases {
        let told = read(&pcap(Order::Little, false, link_type, &packets));
        assert_eq!(told.frames, exchange(), "{name}");
        let told = read(&pcapng(Order::Big, 6, link_type, &packets));
        assert_eq!(told.frames, exchange(), "{name}");
    }
    let told = read(&pcap(Order::Little, false, 147, &packets()));
    assert_eq!(
        told.lines,
        [
            "note: test: 3 packets have a link type that is not known: 147",
            "note: test: none of the 3 packets is of TCP or UDP port 20000; --port names others"
        ]
    );
}

#[test]
fn ip_fragments_are_put_together_in_any_order() {
    let stream = [vectors::READ, vectors::WRITE, vectors::COLD_RESTART].concat();
    let whole = datagram(&stream);
    let udp = &whole[20..];
    let pieces: Vec<Vec<u8>> = udp
        .chunks(16)
        .enumerate()
        .map(|(at, data)| {
            let (source, destination) = ([192, 0, 2, 1], [192, 0, 2, 2]);
            let protocol = IpNumber::UDP;
            let mut ip = Ipv4Header::new(data.len() as u16, 64, protocol, source, destination)
                .expect("a header");
            ip.identification = 7;
            ip.dont_fragment = false;
            ip.more_fragments = (at + 1) * 16 < udp.len();
            ip.fragment_offset = IpFragOffset::try_new(at as u16 * 2).expect("an offset");
            ip.header_checksum = ip.calc_header_checksum();
            let mut packet = Vec::new();
            ip.write(&mut packet).expect("a packet");
            packet.extend(data);
            packet
        })
        .collect();
    assert!(pieces.len() > 3);
    let mut reversed = pieces.clone();
    reversed.reverse();
    for order in [&pieces, &reversed] {
        let told = read(&pcap(Order::Little, false, 101, order));
        assert_eq!(told.frames.len(), 3);
        assert_eq!(told.frames.concat(), stream);
        assert_eq!(told.packets, [pieces.len() as u64; 3]);
    }
    // Without one of them there is nothing.
    for lost in 0..pieces.len() {
        let mut some = pieces.clone();
        some.remove(lost);
        let told = read(&pcap(Order::Little, false, 101, &some));
        assert!(told.frames.is_empty());
    }
}

#[test]
fn fragments_of_ipv6() {
    let udp = {
        let builder =
            etherparse::PacketBuilder::ipv6(support::v6(1), support::v6(2), 64).udp(40_000, 20_000);
        let mut packet = Vec::new();
        builder.write(&mut packet, vectors::READ).expect("a packet");
        packet[40..].to_vec()
    };
    let piece = |from: usize, to: usize| {
        let data = &udp[from..to.min(udp.len())];
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((data.len() as u16 + 8).to_be_bytes());
        packet.extend([44, 64]);
        packet.extend(support::v6(1));
        packet.extend(support::v6(2));
        let more = u16::from(to < udp.len());
        packet.extend([17, 0]);
        packet.extend((from as u16 | more).to_be_bytes());
        packet.extend([0, 0, 0, 9]);
        packet.extend(data);
        packet
    };
    let told = read(&pcap(
        Order::Little,
        false,
        101,
        &[piece(16, 100), piece(0, 16)],
    ));
    assert_eq!(told.frames, [vectors::READ]);
}

#[test]
fn what_the_match_calls_malformed_beside_the_frames_is_said() {
    let mut urgent = Segment::of(1, vectors::READ).ip(false);
    urgent[20 + 13] |= 0x20;
    let mut long = datagram(vectors::READ);
    long[25] -= 2;
    let told = read(&pcap(Order::Little, false, 101, &[urgent, long]));
    let notes: Vec<&String> = told
        .lines
        .iter()
        .filter(|line| line.starts_with("note: test: 1 "))
        .collect();
    assert_eq!(notes.len(), 2, "{:?}", told.lines);
    assert!(notes[0].contains("URG") && notes[1].contains("UDP length"));
}

#[test]
fn what_the_vectors_are() {
    for (name, octets) in vectors::ALL {
        let told = read_raw(octets);
        let wanted: &[&str] = match *name {
            "FRAME_IN_FRAME" => &[
                "bad at 0: control octet D4 is not defined, 28",
                "frame at 28: function 13 in 1 frames",
                "bad at 43: a frame begins with 05 64, 3",
            ],
            "SHORT_FIR_1" => &["bad at 0: the first segment ends before its function code, 14"],
            "SHORT_FIR_2" | "CONT_RESTART" => {
                &["frame at 0: stray: no segment with FIR comes before it"]
            }
            "WRITE" => &["frame at 0: function 2 in 1 frames"],
            "READ" | "CARRIER_B" => &["frame at 0: function 1 in 1 frames"],
            "COLD_RESTART" => &["frame at 0: function 13 in 1 frames"],
            _ => &["frame at 0: link"],
        };
        assert_eq!(told.lines, wanted, "{name}");
    }
}

#[test]
fn a_datagram_must_be_whole_frames() {
    let told = read(&pcap(
        Order::Little,
        false,
        101,
        &[datagram(&vectors::READ[..20]), datagram(vectors::READ)],
    ));
    assert_eq!(
        told.lines,
        [
            "bad at 0: the datagram ends inside the frame, 20",
            "frame at 0: function 1 in 1 frames"
        ]
    );
}

fn stream_of(segments: &[Segment]) -> support::Told {
    let packets: Vec<Vec<u8>> = segments
        .iter()
        .map(|segment| tagged(&[], &segment.ip(false)))
        .collect();
    read(&ethernet(&packets))
}

#[test]
fn a_hole_is_given_up_when_the_receiver_has_what_is_behind_it() {
    let read = vectors::READ;
    let behind = Segment::of(1 + 2 * read.len() as u32, read);
    let mut acknowledgement = Segment::of(500, &[]);
    acknowledgement.side = Side::Outstation;
    acknowledgement.acknowledged = Some(behind.sequence + read.len() as u32);
    let last = Segment::of(behind.sequence + read.len() as u32, read);
    let told = stream_of(&[Segment::of(1, read), behind.clone(), acknowledgement, last]);
    assert_eq!(
        told.lines,
        [
            "frame at 0: function 1 in 1 frames",
            "gap of 27",
            "frame at 54: function 1 in 1 frames",
            "frame at 81: function 1 in 1 frames",
        ]
    );
    // Nobody says so: at the end.
    let mut half = Segment::of(1, &read[..13]);
    half.flags = "";
    let told = stream_of(&[half, behind]);
    assert_eq!(
        told.lines,
        [
            "unfinished at 0: 13",
            "gap of 41",
            "frame at 54: function 1 in 1 frames",
        ]
    );
}

#[test]
fn a_connection_begins_anew_with_another_syn_and_ends_with_fin_and_rst() {
    let read = vectors::READ;
    let flagged = |sequence, flags, payload: &[u8]| Segment {
        flags,
        ..Segment::of(sequence, payload)
    };
    let told = stream_of(&[
        flagged(100, "S", &[]),
        Segment::of(101, &read[..20]),
        flagged(121, "F", &[]),
        // The same ports, a moment later.
        flagged(7, "S", &[]),
        flagged(7, "S", &[]),
        Segment::of(8, read),
        Segment::of(35, &read[..9]),
        flagged(44, "R", &[]),
    ]);
    assert_eq!(
        told.lines,
        [
            "bad at 0: the connection ends inside the frame, 20",
            "frame at 0: function 1 in 1 frames",
            "bad at 27: the connection ends inside the frame, 9",
        ]
    );
}

#[test]
fn what_comes_behind_fin_is_old_or_another_connection() {
    let read = vectors::READ;
    let mut fin = Segment::of(101, read);
    fin.flags = "F";
    let again = Segment::of(101, read);
    let other = Segment::of(3_000_000_000, vectors::WRITE);
    let told = stream_of(&[fin.clone(), again, fin, other]);
    assert_eq!(told.frames, [read, vectors::WRITE]);
    assert_eq!(told.lines.len(), 2, "{:?}", told.lines);
}

#[test]
fn a_keep_alive_of_tcp_is_no_octet_of_the_stream() {
    let read = vectors::READ;
    let next = 1 + read.len() as u32;
    let told = stream_of(&[
        Segment::of(1, read),
        Segment::of(next - 1, &[0]),
        Segment::of(next, read),
    ]);
    assert_eq!(told.frames.len(), 2);
    assert_eq!(told.lines.len(), 2, "{:?}", told.lines);
}

/// A fragment of this many octets in frames with this many octets of user data.
fn fragment(octets: usize, size: usize, first: u8) -> (Vec<u8>, Vec<u8>) {
    let fragment: Vec<u8> = [0xC0, 129, 0, 0]
        .into_iter()
        .chain((0..octets).map(|at| (at % 251) as u8))
        .collect();
    let pieces: Vec<&[u8]> = fragment.chunks(size).collect();
    let mut stream = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let fir = if at == 0 { 0x40 } else { 0 };
        let fin = if at + 1 == pieces.len() { 0x80 } else { 0 };
        let mut data = vec![fir | fin | first.wrapping_add(at as u8) & 0x3F];
        data.extend(*piece);
        stream.extend(frames::frame(0x44, 1, 10, &data));
    }
    (stream, fragment)
}

#[test]
fn fragments_of_many_frames() {
    for (octets, size) in [
        (0, 249),
        (245, 249),
        (246, 249),
        (2048, 249),
        (2048, 16),
        (9000, 3),
    ] {
        // The sequence numbers go over 63 to 0.
        let (stream, fragment) = fragment(octets, size, 60);
        let told = read_raw(&stream);
        assert_eq!(told.fragments, [fragment], "{octets} {size}");
    }
}

#[test]
fn a_segment_out_of_sequence_discards_the_fragment_and_a_repetition_does_not() {
    let (stream, fragment) = fragment(700, 249, 5);
    let sizes: Vec<usize> = std::iter::successors(Some(0usize), |at| {
        let len = usize::from(*stream.get(at + 2)?);
        Some(at + frames::wire_len(len as u8))
    })
    .collect();
    let frame = |at: usize| &stream[sizes[at]..sizes[at + 1]];
    let told = read_raw(&[frame(0), frame(1), frame(1), frame(2)].concat());
    assert_eq!(told.fragments, [fragment]);
    assert!(told.lines[2].ends_with("repeated"), "{:?}", told.lines);
    let told = read_raw(&[frame(0), frame(2), frame(1)].concat());
    assert!(told.fragments.is_empty());
    assert!(told.lines[1].ends_with("its sequence number is not the next one"));
    assert!(told.lines[2].ends_with("no segment with FIR comes before it"));
}

proptest! {
    /// However TCP cuts, orders, repeats and overlaps the octets, the frames are the same.
    #[test]
    fn a_stream_is_the_same_however_it_is_delivered(
        cuts in prop::collection::vec(any::<Index>(), 0..40),
        swaps in prop::collection::vec((any::<Index>(), 1..6usize), 0..40),
        repeats in prop::collection::vec((any::<Index>(), any::<Index>(), 0..60usize), 0..10),
        start in prop_oneof![Just(u32::MAX - 50), any::<u32>()],
    ) {
        let (answer, _) = fragment(900, 200, 3);
        let stream = [vectors::READ, &answer, vectors::COLD_RESTART, vectors::WRITE].concat();
        let straight = read_raw(&stream);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        cuts.dedup();
        let mut segments: Vec<Segment> = cuts
            .windows(2)
            .map(|ends| {
                Segment::of(start.wrapping_add(ends[0] as u32), &stream[ends[0]..ends[1]])
            })
            .collect();
        for (at, far) in swaps {
            let at = at.index(segments.len());
            let with = (at + far).min(segments.len() - 1);
            segments.swap(at, with);
        }
        for (place, from, length) in repeats {
            let from = from.index(stream.len());
            let piece = &stream[from..(from + length).min(stream.len())];
            let place = place.index(segments.len() + 1);
            segments.insert(place, Segment::of(start.wrapping_add(from as u32), piece));
        }
        let mut syn = Segment::of(start.wrapping_sub(1), &[]);
        syn.flags = "S";
        segments.insert(0, syn);
        let told = stream_of(&segments);
        prop_assert_eq!(&told.frames, &straight.frames);
        prop_assert_eq!(&told.lines, &straight.lines);
        prop_assert_eq!(&told.fragments, &straight.fragments);
    }

    /// Octets that are not there make holes, and never a frame that nobody sent.
    #[test]
    fn loss_makes_holes_and_no_frames(lost in prop::collection::vec(any::<Index>(), 1..6)) {
        let (answer, _) = fragment(900, 200, 3);
        let stream = [vectors::READ, &answer, vectors::COLD_RESTART].concat();
        let sent = read_raw(&stream).frames;
        let mut segments: Vec<Segment> = stream
            .chunks(60)
            .enumerate()
            .map(|(at, piece)| Segment::of(1 + 60 * at as u32, piece))
            .collect();
        for lost in lost {
            // The first stays, since it says where the stream begins.
            let at = 1 + lost.index(segments.len() - 1);
            if segments.len() > 2 {
                segments.remove(at);
            }
        }
        let told = stream_of(&segments);
        let mut left = sent.iter();
        for frame in &told.frames {
            prop_assert!(left.any(|sent| sent == frame), "{:?}", told.lines);
        }
    }

    /// Octets of every kind are told of exactly once: as a frame, or as none.
    #[test]
    fn nothing_is_left_out(pieces in prop::collection::vec(
        prop_oneof![
            prop::sample::select(vectors::ALL).prop_map(|(_, octets)| octets.to_vec()),
            prop::collection::vec(prop_oneof![Just(5u8), Just(0x64u8), any::<u8>()], 0..40),
            prop::sample::select(vectors::ALL).prop_map(|(_, octets)| octets[..11.min(octets.len())].to_vec()),
        ], 0..12), size in 1..70usize)
    {
        let stream = pieces.concat();
        let mut at = 0u64;
        let mut packets = Vec::new();
        for (number, piece) in stream.chunks(size).enumerate() {
            packets.push(Segment::of((number * size) as u32, piece).ip(false));
        }
        let mut lines = Vec::new();
        let mut input = dnp3fw::Input::default();
        let file = pcap(Order::Little, false, 101, &packets);
        let none = dnp3fw::Progress::none();
        input.capture("test", &file[..], &none, &mut |event| {
            let (offset, length) = match event {
                dnp3fw::Event::Frame(frame) => (frame.offset, frame.octets.len() as u64),
                dnp3fw::Event::Bad(bad) => (bad.offset, bad.length),
                dnp3fw::Event::Unfinished(part) => (part.offset, part.octets.len() as u64),
                _ => return true,
            };
            lines.push((offset, offset == at));
            at = offset + length;
            true
        });
        prop_assert!(lines.iter().all(|(_, follows)| *follows), "{:?}", lines);
        prop_assert_eq!(at, stream.len() as u64);
        // And alike for a serial line.
        let raw = read_raw(&stream);
        let told = read(&file);
        prop_assert_eq!(raw.frames, told.frames);
    }
}

/// The small captures that are damaged in every way.
fn small() -> Vec<(&'static str, Vec<u8>)> {
    let packets = in_ethernet(&packets());
    vec![
        ("pcap", ethernet(&packets)),
        ("pcap, big-endian", pcap(Order::Big, true, 1, &packets)),
        ("pcapng", pcapng(Order::Little, 9, 1, &packets)),
        ("pcapng, big-endian", pcapng(Order::Big, 6, 1, &packets)),
    ]
}

#[test]
fn every_truncation_gives_what_comes_before_it() {
    for (name, file) in small() {
        let whole = read(&file);
        assert_eq!(whole.frames.len(), 3);
        assert!(!whole.counts.damaged);
        let mut frames_before = 0;
        for end in 0..file.len() {
            let told = read(&file[..end]);
            assert_eq!(told.frames, exchange()[..told.frames.len()], "{name} {end}");
            assert!(told.frames.len() >= frames_before, "{name} {end}");
            frames_before = told.frames.len();
            let is_said = told.lines.iter().any(|line| line.starts_with("damage: "));
            assert_eq!(told.counts.damaged, is_said, "{name} {end}");
            // Between two records nobody can tell; inside one it must be said.
            if !told.counts.damaged {
                let more = read(&file[..end + 1]);
                assert!(more.counts.damaged, "{name} {end}");
            }
        }
        assert_eq!(frames_before, 2, "{name}");
    }
}

#[test]
fn every_bit_can_be_wrong() {
    for (name, file) in small() {
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut file = file.clone();
                file[at] ^= 1 << bit;
                let told = read(&file);
                for frame in &told.frames {
                    assert!(exchange().contains(frame), "{name} {at} {bit}");
                }
            }
        }
    }
}

proptest! {
    /// Several at a time, and octets that a length can be.
    #[test]
    fn damage_never_panics(
        which in 0..4usize,
        edits in prop::collection::vec((any::<Index>(), prop_oneof![any::<u8>(), Just(0), Just(0xFF)]), 0..30),
        end in any::<Index>(),
    ) {
        let (_, mut file) = small().swap_remove(which);
        for (at, octet) in edits {
            let at = at.index(file.len());
            file[at] = octet;
        }
        let end = end.index(file.len() + 1);
        read(&file[..end]);
        read_raw(&file[..end]);
    }

    /// Packets of chance behind every link layer.
    #[test]
    fn packets_of_chance_never_panic(
        link_type in prop::sample::select(vec![0u32, 1, 12, 14, 101, 108, 113, 228, 229, 276, 5]),
        edits in prop::collection::vec((any::<Index>(), any::<Index>(), any::<u8>()), 0..12),
        cuts in prop::collection::vec(any::<Index>(), 3),
    ) {
        let mut packets = match link_type {
            1 => in_ethernet(&packets()),
            _ => packets(),
        };
        for (packet, at, octet) in edits {
            let packet = packet.index(packets.len());
            let at = at.index(packets[packet].len());
            packets[packet][at] = octet;
        }
        for (packet, cut) in packets.iter_mut().zip(cuts) {
            packet.truncate(cut.index(packet.len() + 1));
        }
        read(&pcap(Order::Little, false, link_type, &packets));
    }

    /// Objects of chance: reading them ends, and says how.
    #[test]
    fn object_headers_of_chance_never_panic(
        function in any::<u8>(),
        octets in prop::collection::vec(prop_oneof![any::<u8>(), 0..10u8, Just(0x5B), Just(0x28)], 0..60),
    ) {
        let headers = dnp3fw::objects::Headers::new(function, &octets);
        let count = headers.count();
        prop_assert!(count <= octets.len() / 3 + 1);
    }
}
