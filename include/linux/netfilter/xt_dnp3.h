/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Revision 0 of the dnp3 match: what iptables hands to the kernel.
 *
 * All members are in host byte order and of fixed width; the size is a multiple
 * of 8, so that a 32-bit iptables and a 64-bit kernel agree. The kernel refuses
 * (-EINVAL) whatever is not in the form that is described here, so that every
 * bit which has no meaning yet is zero and can be given one later.
 */
#ifndef _XT_DNP3_H
#define _XT_DNP3_H

#include <linux/types.h>

/* Ranges in one list of addresses, after neighbours and overlaps were merged. */
#define XT_DNP3_MAX_RANGES 8

/* Octet values of a function code, one bit each, in words of 32. */
#define XT_DNP3_FC_WORDS 8

/* Bits of xt_dnp3_mtinfo.set and .invert: the options of the rule. */
enum xt_dnp3_option {
	XT_DNP3_SADDR	= 1 << 0,	/* --saddr: .saddr, .saddr_count */
	XT_DNP3_DADDR	= 1 << 1,	/* --daddr: .daddr, .daddr_count */
	XT_DNP3_FC	= 1 << 2,	/* --fc: .fc, .classes */
	XT_DNP3_STATUS	= 1 << 3,	/* --status: .status */
	XT_DNP3_DIR	= 1 << 4,	/* --dir: .dir */
	XT_DNP3_FRAMES	= 1 << 5,	/* --frames was given: .frames; never inverted */
	XT_DNP3_TRACK	= 1 << 6,	/* --track: TCP only; never inverted */
};

/* xt_dnp3_mtinfo.frames: how the frame test is asked of the frames of a packet. */
enum xt_dnp3_frames {
	XT_DNP3_FRAMES_ONLY	= 0,	/* surely every frame satisfies it; the default */
	XT_DNP3_FRAMES_ANY	= 1,	/* some frame may satisfy it */
};

/* xt_dnp3_mtinfo.dir: the DIR bit of the link control octet. */
enum xt_dnp3_dir {
	XT_DNP3_DIR_UNSET	= 0,	/* no --dir */
	XT_DNP3_DIR_MASTER	= 1,	/* DIR=1, sent by a master */
	XT_DNP3_DIR_OUTSTATION	= 2,	/* DIR=0, sent by an outstation */
};

/* Bits of xt_dnp3_mtinfo.status. */
enum xt_dnp3_status {
	XT_DNP3_STATUS_NONE		= 1 << 0,	/* no payload and no URG */
	XT_DNP3_STATUS_VALID		= 1 << 1,	/* valid frames and nothing else */
	XT_DNP3_STATUS_PARTIAL		= 1 << 2,	/* TCP: ends inside a frame that is right so far */
	XT_DNP3_STATUS_MALFORMED	= 1 << 3,	/* everything else */
	XT_DNP3_STATUS_AHEAD		= 1 << 4,	/* payload behind a hole in a stream */
};

/* Bits of xt_dnp3_mtinfo.classes: frames without a function code. */
enum xt_dnp3_class {
	XT_DNP3_CLASS_LINK	= 1 << 0,	/* a frame without user data */
	XT_DNP3_CLASS_CONT	= 1 << 1,	/* a continuation segment: transport FIR=0 */
};

/* Addresses from min to max, both included; min <= max. */
struct xt_dnp3_range {
	__u16 min;
	__u16 max;
};

/**
 * struct xt_dnp3_mtinfo - one dnp3 match of a rule
 * @set: options that were given, of enum xt_dnp3_option
 * @invert: options that are inverted, each of them in @set as well; of SADDR,
 *	DADDR, FC, STATUS and DIR only
 * @frames: enum xt_dnp3_frames; 0 where XT_DNP3_FRAMES is not set
 * @dir: enum xt_dnp3_dir; not 0 if and only if XT_DNP3_DIR is set
 * @status: set of enum xt_dnp3_status; not 0 if and only if XT_DNP3_STATUS is
 *	set; AHEAD only with XT_DNP3_TRACK
 * @classes: set of enum xt_dnp3_class; 0 where XT_DNP3_FC is not set
 * @saddr_count: ranges used in @saddr, 1..8; 0 if XT_DNP3_SADDR is not set
 * @daddr_count: ranges used in @daddr, 1..8; 0 if XT_DNP3_DADDR is not set
 * @reserved: zero
 * @saddr: ranges of link source addresses, ascending, with at least one address
 *	between one and the next; zero from @saddr_count on
 * @daddr: ranges of link destination addresses, in the same form
 * @fc: function codes: bit (code % 32) of word (code / 32); zero where
 *	XT_DNP3_FC is not set; where it is set, @fc or @classes is not zero
 */
struct xt_dnp3_mtinfo {
	__u16 set;
	__u16 invert;
	__u8 frames;
	__u8 dir;
	__u8 status;
	__u8 classes;
	__u8 saddr_count;
	__u8 daddr_count;
	__u8 reserved[6];
	struct xt_dnp3_range saddr[XT_DNP3_MAX_RANGES];
	struct xt_dnp3_range daddr[XT_DNP3_MAX_RANGES];
	__u32 fc[XT_DNP3_FC_WORDS];
};

/*
 * What following connections (--track) has come to in a network namespace, by generic
 * netlink: XT_DNP3_CMD_STATS_GET, without attributes, is answered by all of enum
 * xt_dnp3_stats, 64 bits each. Counted since the namespace or the module came.
 */
#define XT_DNP3_GENL_NAME	"xt_dnp3"
#define XT_DNP3_GENL_VERSION	1

enum xt_dnp3_cmd {
	XT_DNP3_CMD_UNSPEC,
	XT_DNP3_CMD_STATS_GET,
};

enum xt_dnp3_stats {
	XT_DNP3_STATS_UNSPEC,
	XT_DNP3_STATS_PAD,
	XT_DNP3_STATS_CONNECTIONS,	/* connections that are known now */
	XT_DNP3_STATS_FOLLOWED,		/* connections that were followed */
	XT_DNP3_STATS_AHEAD,		/* packets dropped: payload behind a hole */
	XT_DNP3_STATS_OVERLAP,		/* packets dropped: not what was committed */
	XT_DNP3_STATS_STRAYED,		/* packets dropped: SYN-ACK by another interface */
	XT_DNP3_STATS_RENEWED,		/* connections given up for a SYN with another ISN */
	XT_DNP3_STATS_VOIDED,		/* the same for a SYN-ACK, or an odd handshake */
	XT_DNP3_STATS_ENDED,		/* connections given up: let through unjudged, or too old a frame */
	XT_DNP3_STATS_FULL,		/* bound: connections not followed for track_connections */
	XT_DNP3_STATS_CROWDED,		/* bound: packets with a message beyond track_messages */
	XT_DNP3_STATS_SHORT,		/* bound: packets of which track_octets keeps too few */
	XT_DNP3_STATS_NO_MEMORY,	/* times that the kernel had no memory */
	__XT_DNP3_STATS_MAX
};

#define XT_DNP3_STATS_MAX	(__XT_DNP3_STATS_MAX - 1)

#endif /* _XT_DNP3_H */
