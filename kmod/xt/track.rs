// SPDX-License-Identifier: GPL-2.0

//! Following TCP connections: the core as track.c calls it, and a connection in use.
//!
//! Both entries have this file, each with a packet of its own in `super`. C header: `track.h`; track.c
//! holds the layouts to the same numbers.

use super::{headers_from, RawHeaders, SkBuff};
use core::mem::{align_of, offset_of, size_of};
use dnp3_core::track::{self, Connection, Direction, Limits, Passing, Scratch, Tracked};
use dnp3_core::{Headers, Packet, Rule, Verdict};

/// `XT_DNP3_CONNECTION_SIZE`, `XT_DNP3_SCRATCH_SIZE`, `XT_DNP3_ANYWHERE`.
// rustc 1.85 counts no use in a `const _`.
#[allow(dead_code)]
const CONNECTION_SIZE: usize = 544;
#[allow(dead_code)]
const SCRATCH_SIZE: usize = 4480;
const ANYWHERE: u32 = u32::MAX;

const _: () = {
    assert!(size_of::<Connection>() <= CONNECTION_SIZE && align_of::<Connection>() <= 8);
    assert!(size_of::<Scratch>() <= SCRATCH_SIZE && align_of::<Scratch>() <= 8);
};

/// `struct xt_dnp3_tracked` of track.h: a connection whose lock is held.
#[repr(C)]
pub(crate) struct RawTracked {
    connection: *mut Connection,
    scratch: *mut Scratch,
    memory: *mut u8,
    size: u32,
    now: u32,
    frame_age: u32,
    messages: u32,
    came_in: u32,
    goes_out: u32,
    direction: u8,
}

const _: () = {
    assert!(offset_of!(RawTracked, connection) == 0);
    assert!(offset_of!(RawTracked, scratch) == 8);
    assert!(offset_of!(RawTracked, memory) == 16);
    assert!(offset_of!(RawTracked, size) == 24);
    assert!(offset_of!(RawTracked, now) == 28);
    assert!(offset_of!(RawTracked, frame_age) == 32);
    assert!(offset_of!(RawTracked, messages) == 36);
    assert!(offset_of!(RawTracked, came_in) == 40);
    assert!(offset_of!(RawTracked, goes_out) == 44);
    assert!(offset_of!(RawTracked, direction) == 48);
    assert!(size_of::<RawTracked>() == 56);
};

// What it points to C never looks into.
#[allow(improper_ctypes)]
extern "C" {
    fn xt_dnp3_track_find(skb: *const SkBuff) -> *mut RawTracked;
    fn xt_dnp3_track_put(tracked: *mut RawTracked);
    fn xt_dnp3_track_grow(tracked: *mut RawTracked, wanted: u32);
    fn xt_dnp3_track_matched(skb: *const SkBuff, transport: u32);
}

fn direction(of: u8) -> Direction {
    if of == Direction::Original as u8 {
        Direction::Original
    } else {
        Direction::Reply
    }
}

/// The octets of a direction.
///
/// # Safety
///
/// `memory` must be null, or valid for reads of `size` octets while the slice is in use, and nobody may
/// write to them meanwhile.
unsafe fn octets<'a>(memory: *const u8, size: u32) -> &'a [u8] {
    if memory.is_null() {
        return &[];
    }
    // SAFETY: By the function's contract.
    unsafe { core::slice::from_raw_parts(memory, size as usize) }
}

/// The same, to write to.
///
/// # Safety
///
/// `memory` must be null, or valid for reads and writes of `size` octets while the slice is in use, and
/// nobody else may use them meanwhile.
unsafe fn octets_mut<'a>(memory: *mut u8, size: u32) -> &'a mut [u8] {
    if memory.is_null() {
        return &mut [];
    }
    // SAFETY: By the function's contract.
    unsafe { core::slice::from_raw_parts_mut(memory, size as usize) }
}

/// A connection that is in use.
///
/// # Invariants
///
/// The pointer is what `xt_dnp3_track_find` returned, and the connection's lock is held: nobody else
/// uses the connection, its memory, or this CPU's scratch.
struct Held(*mut RawTracked);

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: The lock is held by the type's invariants.
        unsafe { xt_dnp3_track_put(self.0) };
    }
}

fn limits(raw: &RawTracked) -> Limits {
    Limits {
        frame_age: raw.frame_age,
        messages: raw.messages,
    }
}

/// Judges a TCP packet as a piece of its connection. `None` where there is none that is followed.
#[inline(never)] // other packets need none of its stack
pub(crate) fn judge(
    rule: &Rule,
    skb: &SkBuff,
    packet: &dyn Packet,
    headers: &Headers,
) -> Option<Verdict> {
    // SAFETY: The packet is valid by its type's invariants.
    let raw = unsafe { xt_dnp3_track_find(skb) };
    if raw.is_null() {
        return None;
    }
    // INVARIANT: It was found, and its lock is held.
    let _held = Held(raw);
    // SAFETY: By the invariants of `_held` all of it is valid, and nobody else's.
    let mut tracked = unsafe {
        let raw = &*raw;
        Tracked {
            connection: &*raw.connection,
            direction: direction(raw.direction),
            memory: octets(raw.memory, raw.size),
            scratch: &mut *raw.scratch,
            now: raw.now,
            limits: limits(raw),
        }
    };
    track::judge(rule, packet, headers, &mut tracked)
}

/// A rule has matched a TCP packet of no connection. When it is a SYN that survives, and the rule
/// follows connections, it will be followed.
pub(crate) fn matched(rule: &Rule, skb: &SkBuff, headers: &Headers) {
    if rule.tracks() {
        // SAFETY: The packet is valid by its type's invariants.
        unsafe { xt_dnp3_track_matched(skb, headers.transport) };
    }
}

/// Begins with a packet that has passed all rules. False when it is no SYN to begin with.
///
/// # Safety
///
/// `connection` must be valid for writes of a `Connection`, and `headers` what `xt_dnp3_find_headers`
/// found in `skb`, with which a netfilter hook was called.
#[no_mangle]
unsafe extern "C" fn xt_dnp3_core_begin(
    connection: *mut Connection,
    id: u64,
    interface: u32,
    skb: *const SkBuff,
    headers: *const RawHeaders,
) -> bool {
    // SAFETY: Valid by the function's contract.
    // INVARIANT: A packet is not changed while its hook runs.
    let (skb, headers) = unsafe { (&*skb, headers_from(&*headers)) };
    match Connection::begin(id, &skb.reader(), &headers, interface) {
        Some(begun) => {
            // SAFETY: Valid for writes by the function's contract.
            unsafe { connection.write(begun) };
            true
        }
        None => false,
    }
}

/// Commits a packet that has passed all rules: `enum xt_dnp3_commit`.
///
/// # Safety
///
/// `tracked` must be as `xt_dnp3_track_find` writes it, its lock held, and `headers` what
/// `xt_dnp3_find_headers` found in `skb`, with which a netfilter hook was called.
#[no_mangle]
unsafe extern "C" fn xt_dnp3_core_commit(
    tracked: *const RawTracked,
    skb: *const SkBuff,
    headers: *const RawHeaders,
) -> u8 {
    // SAFETY: Valid by the function's contract.
    // INVARIANT: A packet is not changed while its hook runs.
    let (tracked, skb, headers) = unsafe { (&*tracked, &*skb, headers_from(&*headers)) };
    let passing = Passing {
        direction: direction(tracked.direction),
        headers: &headers,
        now: tracked.now,
        came_in: (tracked.came_in != ANYWHERE).then_some(tracked.came_in),
        goes_out: tracked.goes_out,
    };
    // SAFETY: The lock is held by the function's contract, so that nobody else uses these.
    let (connection, memory, scratch) = unsafe {
        (
            &mut *tracked.connection,
            octets_mut(tracked.memory, tracked.size),
            &mut *tracked.scratch,
        )
    };
    let commit = connection.commit(&skb.reader(), &passing, memory, &limits(tracked), scratch);
    commit as u8
}

/// Makes room for so many octets of a packet that will be committed.
///
/// # Safety
///
/// `tracked` must be as `xt_dnp3_track_find` writes it, its lock held.
#[no_mangle]
unsafe extern "C" fn xt_dnp3_core_make_room(tracked: *mut RawTracked, more: u32) {
    // SAFETY: Valid by the function's contract; nobody else uses it while the lock is held.
    let (wanted, size) = unsafe {
        let raw = &*tracked;
        (
            (*raw.connection).wanted(direction(raw.direction), more),
            raw.size,
        )
    };
    if wanted > size {
        // SAFETY: By the function's contract; nothing of it is borrowed here.
        unsafe { xt_dnp3_track_grow(tracked, wanted) };
    }
}

/// Octets of a direction that have not been acknowledged.
///
/// # Safety
///
/// `connection` must be valid, its lock held.
#[no_mangle]
unsafe extern "C" fn xt_dnp3_core_unacknowledged(connection: *const Connection, of: u8) -> u32 {
    // SAFETY: Valid by the function's contract.
    unsafe { &*connection }.unacknowledged(direction(of))
}

/// Whether no octet of a connection will be looked at again.
///
/// # Safety
///
/// `connection` must be valid, its lock held.
#[no_mangle]
unsafe extern "C" fn xt_dnp3_core_needs_no_octets(connection: *const Connection) -> bool {
    // SAFETY: Valid by the function's contract.
    unsafe { &*connection }.needs_no_octets()
}

/// Moves the octets of a direction to other memory.
///
/// # Safety
///
/// `connection` must be valid, its lock held; `from` must be null or the direction's memory, `to` valid
/// for writes, each of its size.
#[no_mangle]
unsafe extern "C" fn xt_dnp3_core_move(
    connection: *mut Connection,
    of: u8,
    from: *const u8,
    from_size: u32,
    to: *mut u8,
    to_size: u32,
) {
    // SAFETY: New memory is not initialised, and is before a slice of it is made.
    unsafe { to.write_bytes(0, to_size as usize) };
    // SAFETY: Valid, and nobody else's, by the function's contract.
    let (connection, from, to) = unsafe {
        (
            &mut *connection,
            octets(from, from_size),
            octets_mut(to, to_size),
        )
    };
    connection.move_to(direction(of), from, to);
}
