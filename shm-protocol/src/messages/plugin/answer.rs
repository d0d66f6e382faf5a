//! What the bridge sends to the plugin: replies to requests, and events that charon acts on.

use super::value::{Host, TrafficSelector};
use super::{ANY_CPU, DETAIL_OCTETS, Header, MAGIC, NEVER_USED, VERSION, wire};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// How a request ended; charon's `status_t` follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    /// Done.
    Success = 0,
    /// Refused or impossible; the sentence says why.
    Failed = 1,
    /// `update_sa` cannot do it in place: charon rekeys instead.
    NotSupported = 2,
    /// It was so already.
    AlreadyDone = 3,
    /// There is no such SA or policy.
    NotFound = 4,
}

wire! {
    /// Answers every request, the hello included.
    #[derive(Copy, Debug)]
    struct Reply {
        /// Carries the request's id.
        header: Header,
        /// A [`Status`].
        status: U32,
        /// The SPI that `GetSpi` asked for; host order.
        spi: U32,
        /// `QuerySa`.
        octets: U64,
        /// `QuerySa`.
        packets: U64,
        /// `QuerySa`, `QueryPolicy`: how long ago the last packet was, or [`NEVER_USED`].
        last_use_ago_ns: U64,
        /// Octets used in `detail`.
        detail_octets: U16,
        /// Zero.
        reserved: [u8; 6],
        /// One sentence for charon's log.
        detail: [u8; DETAIL_OCTETS],
    }

    /// An SA reached a limit.
    #[derive(Copy, Debug)]
    struct Expire {
        /// Starts the message.
        header: Header,
        /// Destination of the SA.
        dst: Host,
        /// Host order.
        spi: U32,
        /// 50 for ESP.
        proto: u8,
        /// 1: the SA is gone; 0: charon rekeys.
        hard: u8,
        /// Zero.
        reserved: [u8; 6],
    }

    /// A packet met a policy without an SA.
    #[derive(Copy, Debug)]
    struct Acquire {
        /// Starts the message.
        header: Header,
        /// The packet's source.
        src_ts: TrafficSelector,
        /// The packet's destination.
        dst_ts: TrafficSelector,
        /// The policy's.
        reqid: U32,
        /// [`ANY_CPU`], or the CPU that wants an SA of its own.
        cpu: U32,
        /// 0 for none.
        acquire_seq: U32,
        /// Zero.
        reserved: U32,
    }

    /// A peer behind a NAT sends from another address or port.
    #[derive(Copy, Debug)]
    struct Mapping {
        /// Starts the message.
        header: Header,
        /// Destination of the inbound SA.
        dst: Host,
        /// Where its packets come from now.
        remote: Host,
        /// Host order.
        spi: U32,
        /// 50 for ESP.
        proto: u8,
        /// Zero.
        reserved: [u8; 3],
    }
}

impl Reply {
    /// Answers `request_id`; the counters are zero, the last use is [`NEVER_USED`].
    pub fn new(request_id: u64, status: Status) -> Self {
        Reply {
            header: head::<Self>(64, request_id),
            status: U32::new(status as u32),
            spi: U32::ZERO,
            octets: U64::ZERO,
            packets: U64::ZERO,
            last_use_ago_ns: U64::new(NEVER_USED),
            detail_octets: U16::ZERO,
            reserved: [0; 6],
            detail: [0; DETAIL_OCTETS],
        }
    }

    /// Adds the sentence, cut at a character's boundary if it is longer than [`DETAIL_OCTETS`].
    pub fn with_detail(mut self, sentence: &str) -> Self {
        let mut end = sentence.len().min(DETAIL_OCTETS);
        while !sentence.is_char_boundary(end) {
            end -= 1;
        }
        self.detail = [0; DETAIL_OCTETS];
        for (to, from) in self.detail.iter_mut().zip(sentence.bytes().take(end)) {
            *to = from;
        }
        self.detail_octets = U16::new(u16::try_from(end).unwrap_or(0));
        self
    }
}

/// A hint to charon; the truth stays in the segments.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// Limit reached.
    Expire(Expire),
    /// SA wanted.
    Acquire(Acquire),
    /// Peer moved.
    Mapping(Mapping),
}

impl Event {
    /// Says that the SA `spi` towards `dst` reached its soft or `hard` limit.
    pub fn expire(spi: u32, dst: Host, hard: bool) -> Self {
        let (spi, hard) = (U32::new(spi), u8::from(hard));
        Event::Expire(Expire { header: head::<Expire>(128, 0), dst, spi, proto: ESP, hard, reserved: [0; 6] })
    }

    /// Asks for an SA for the policy with `reqid`.
    pub fn acquire(reqid: u32, src_ts: TrafficSelector, dst_ts: TrafficSelector) -> Self {
        Event::Acquire(Acquire {
            header: head::<Acquire>(129, 0),
            src_ts,
            dst_ts,
            reqid: U32::new(reqid),
            cpu: U32::new(ANY_CPU),
            acquire_seq: U32::ZERO,
            reserved: U32::ZERO,
        })
    }

    /// Says that packets of the inbound SA `spi` towards `dst` now come from `remote`.
    pub fn mapping(spi: u32, dst: Host, remote: Host) -> Self {
        let header = head::<Mapping>(130, 0);
        Event::Mapping(Mapping { header, dst, remote, spi: U32::new(spi), proto: ESP, reserved: [0; 3] })
    }

    /// Returns the datagram.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Event::Expire(message) => IntoBytes::as_bytes(message),
            Event::Acquire(message) => IntoBytes::as_bytes(message),
            Event::Mapping(message) => IntoBytes::as_bytes(message),
        }
    }
}

const ESP: u8 = 50;

fn head<T>(kind: u16, request_id: u64) -> Header {
    Header {
        magic: U32::new(MAGIC),
        version: U16::new(VERSION),
        kind: U16::new(kind),
        length: U32::new(u32::try_from(size_of::<T>()).unwrap_or(0)),
        flags: U32::ZERO,
        request_id: U64::new(request_id),
    }
}
