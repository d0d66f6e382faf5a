//! Messages between charon's kernel-espalier plugin and the bridge: one fixed little-endian struct a datagram.
//!
//! The same layout in C is `ike-bridge/charon-plugin/espalier_msg.h`. A longer tail is ignored, a shorter
//! message refused. A datagram is copied into an aligned-for-nothing struct by reference, so a parsed
//! [`Request`] borrows the receive buffer: whoever owns that buffer wipes it, [`AddSa`] carries keys.

mod answer;
mod layout;
mod value;

use std::fmt;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub use answer::{Acquire, Event, Expire, Mapping, Reply, Status};
pub use value::{BadValue, Host, Limit, Mark, PolicyId, Ports, Range, SaId, TrafficSelector, text};

/// First word of every message, `ESPK` as it lies in memory.
pub const MAGIC: u32 = u32::from_le_bytes(*b"ESPK");
/// Version of this layout; another one is refused.
pub const VERSION: u16 = 1;
/// Selectors an [`AddSa`] carries for each side.
pub const MAX_TS: usize = 8;
/// Room for each of the two keys. Units: octets.
pub const KEY_OCTETS: usize = 64;
/// Room for the sentence of a [`Reply`]. Units: octets.
pub const DETAIL_OCTETS: usize = 200;
/// No message is longer. Units: octets.
pub const MAX_OCTETS: usize = 2048;
/// [`Header::flags`]: sent before under the same request id.
pub const RESENT: u32 = 1;
/// `cpu` of what is bound to no CPU.
pub const ANY_CPU: u32 = u32::MAX;
/// [`Reply::last_use_ago_ns`] of what carried no packet yet.
pub const NEVER_USED: u64 = u64::MAX;

/// Declares wire structs: field order and types are the layout, all without padding or alignment.
macro_rules! wire {
    ($($(#[$meta:meta])* struct $name:ident { $($(#[$note:meta])* $field:ident: $ty:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
        #[repr(C)]
        pub struct $name { $($(#[$note])* pub $field: $ty,)* }
    )*};
}
pub(crate) use wire;

wire! {
    /// Starts every message.
    #[derive(Copy, Debug)]
    struct Header {
        /// [`MAGIC`].
        magic: U32,
        /// [`VERSION`].
        version: U16,
        /// What the message is: a [`RequestKind`], 64 for a [`Reply`], 128 and up for events.
        kind: U16,
        /// Units: octets, header included.
        length: U32,
        /// [`RESENT`] or nothing.
        flags: U32,
        /// Unique within one charon process; 0 in events.
        request_id: U64,
    }

    /// First request on every connection; tells a new charon process from a new connection of the old one.
    #[derive(Copy, Debug)]
    struct Hello {
        /// Starts the message.
        header: Header,
        /// charon's process id as it sees it.
        pid: U32,
        /// Deletes that could not be delivered before and follow at once.
        pending_deletes: U32,
        /// Field 22 of `/proc/self/stat`. Units: clock ticks since boot.
        start_ticks: U64,
        /// `charon-systemd`, `charon`, ...; see [`text`].
        daemon: [u8; 32],
        /// The daemon's strongSwan version; see [`text`].
        strongswan: [u8; 32],
        /// The plugin's version; see [`text`].
        plugin: [u8; 16],
    }

    /// Asks for an inbound SPI.
    #[derive(Copy, Debug)]
    struct GetSpi {
        /// Starts the message.
        header: Header,
        /// The peer.
        src: Host,
        /// The gateway.
        dst: Host,
        /// 50 for ESP.
        proto: u8,
        /// Zero.
        reserved: [u8; 7],
    }

    /// Adds one SA; carries its keys, so it has no derived `Debug`.
    struct AddSa {
        /// Starts the message.
        header: Header,
        /// Which SA.
        id: SaId,
        /// Units: seconds.
        time: Limit,
        /// Units: octets.
        octets: Limit,
        /// Units: packets.
        packets: Limit,
        /// Joins the SA to policies.
        reqid: U32,
        /// 0 turns the check off; means nothing outbound.
        replay_window_pkts: U32,
        /// Padding against traffic analysis; `u32::MAX` pads to the MTU. Units: octets.
        tfc: U32,
        /// Put on the packet after processing.
        set_mark: Mark,
        /// [`ANY_CPU`], or the CPU of a per-CPU SA.
        cpu: U32,
        /// The acquire this SA answers, 0 for none.
        acquire_seq: U32,
        /// IKEv2 encryption transform.
        enc_alg: U16,
        /// IKEv2 integrity transform; 1024 or 0 for AEAD.
        int_alg: U16,
        /// True length of the cipher key with its salt; above [`KEY_OCTETS`] no key was sent.
        enc_key_octets: U16,
        /// True length of the integrity key; above [`KEY_OCTETS`] no key was sent.
        int_key_octets: U16,
        /// Compression transform, 0 for none.
        ipcomp: U16,
        /// Compression parameter index.
        cpi: U16,
        /// 1 transport, 2 tunnel, 3 BEET.
        mode: u8,
        /// 1 asks for UDP encapsulation with the ports of the addresses.
        encap: u8,
        /// 0 no, 1 yes, 2 auto.
        hw_offload: u8,
        /// 1 if a security label was given.
        label_present: u8,
        /// 1 for 64-bit sequence numbers.
        esn: u8,
        /// 1 copies DF to the outer header.
        copy_df: u8,
        /// 1 copies ECN to and from the outer header.
        copy_ecn: u8,
        /// 0 out only, 1 in only, 2 both ways, 3 never.
        copy_dscp: u8,
        /// 1 if this side began the exchange.
        initiator: u8,
        /// 1 for an inbound SA.
        inbound: u8,
        /// 1 if the SPI was reserved with [`GetSpi`].
        update: u8,
        /// Entries used in `src_ts`.
        src_ts_count: u8,
        /// Entries used in `dst_ts`.
        dst_ts_count: u8,
        /// 1 if a side had more than [`MAX_TS`] selectors.
        ts_truncated: u8,
        /// 1 if the interface's name did not fit and is left out.
        interface_truncated: u8,
        /// Zero.
        reserved: [u8; 9],
        /// Restricts the policy to an interface; see [`text`].
        interface: [u8; 16],
        /// Cipher key, then its salt.
        enc_key: [u8; KEY_OCTETS],
        /// Integrity key.
        int_key: [u8; KEY_OCTETS],
        /// Source side; the first `src_ts_count` count.
        src_ts: [TrafficSelector; MAX_TS],
        /// Destination side; the first `dst_ts_count` count.
        dst_ts: [TrafficSelector; MAX_TS],
        /// Zero.
        spare: [u8; 16],
    }

    /// Moves an SA to other addresses or ports.
    #[derive(Copy, Debug)]
    struct UpdateSa {
        /// Starts the message.
        header: Header,
        /// The SA under its old addresses.
        id: SaId,
        /// New source.
        new_src: Host,
        /// New destination.
        new_dst: Host,
        /// 0 leaves it as it is.
        new_reqid: U32,
        /// Compression parameter index.
        cpi: U16,
        /// 1 if UDP encapsulation is on now.
        encap: u8,
        /// 1 if it shall be on.
        new_encap: u8,
    }

    /// Names one SA, to query or to delete.
    #[derive(Copy, Debug)]
    struct SaRef {
        /// Starts the message.
        header: Header,
        /// Which SA.
        id: SaId,
        /// Compression parameter index.
        cpi: U16,
        /// Zero.
        reserved: [u8; 6],
    }

    /// Names one policy, to query.
    #[derive(Copy, Debug)]
    struct PolicyRef {
        /// Starts the message.
        header: Header,
        /// Which policy.
        id: PolicyId,
    }

    /// One policy with its template, to add or to delete.
    #[derive(Copy, Debug)]
    struct Policy {
        /// Starts the message.
        header: Header,
        /// Which policy.
        id: PolicyId,
        /// 1 IPsec, 2 pass, 3 drop.
        kind: u8,
        /// 0 pass, 1 default, 2 routed (trap), 3 fallback.
        prio: u8,
        /// Mode of the SA.
        mode: u8,
        /// 1 if the template asks for ESP.
        esp_use: u8,
        /// 0 computes the priority from `prio` and the selectors.
        manual_prio: U32,
        /// Source of the SA.
        src: Host,
        /// Destination of the SA.
        dst: Host,
        /// Joins the policy to SAs.
        reqid: U32,
        /// Policies of this direction on the SA.
        policy_count: U32,
        /// 0 for any; host order.
        esp_spi: U32,
        /// Host order.
        ah_spi: U32,
        /// 1 if the template asks for AH.
        ah_use: u8,
        /// Zero.
        reserved: u8,
        /// Compression transform, 0 for none.
        ipcomp: U16,
        /// Compression parameter index.
        cpi: U16,
        /// Zero.
        reserved2: U16,
    }
}

impl fmt::Debug for AddSa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddSa").field("id", &self.id).field("reqid", &self.reqid).finish_non_exhaustive()
    }
}

impl AddSa {
    /// Returns cipher key and salt, or nothing if the length is a lie.
    pub fn enc_key(&self) -> Option<&[u8]> {
        self.enc_key.get(..usize::from(self.enc_key_octets))
    }

    /// Returns the selectors of both sides, source first. Errors: a count above [`MAX_TS`].
    pub fn selectors(&self) -> Result<(&[TrafficSelector], &[TrafficSelector]), BadValue> {
        let side = |ts: &'_ [TrafficSelector; MAX_TS], count: u8| -> Result<usize, BadValue> {
            let count = usize::from(count);
            if count <= ts.len() { Ok(count) } else { Err(BadValue::TsCount(count)) }
        };
        let (src, dst) = (side(&self.src_ts, self.src_ts_count)?, side(&self.dst_ts, self.dst_ts_count)?);
        Ok((self.src_ts.split_at(src).0, self.dst_ts.split_at(dst).0))
    }
}

/// What charon asks for, borrowed from the datagram.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the message types say it")]
pub enum Request<'a> {
    Hello(&'a Hello),
    GetSpi(&'a GetSpi),
    AddSa(&'a AddSa),
    UpdateSa(&'a UpdateSa),
    QuerySa(&'a SaRef),
    DelSa(&'a SaRef),
    FlushSas,
    AddPolicy(&'a Policy),
    QueryPolicy(&'a PolicyRef),
    DelPolicy(&'a Policy),
    FlushPolicies,
}

/// Why a datagram is no message of the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Shorter than its type asks for, or than its own length word.
    #[error("message of {got} octets, type {kind} needs {need}")]
    Short {
        /// The message's type, 0 if not even the header is there.
        kind: u16,
        /// Units: octets.
        got: usize,
        /// Units: octets.
        need: usize,
    },
    /// Not ours.
    #[error("magic {0:#010x} is not a plugin message")]
    Magic(u32),
    /// Another layout.
    #[error("plugin speaks version {0}, this bridge speaks {VERSION}")]
    Version(u16),
    /// Not a request.
    #[error("message type {0} is unknown")]
    Kind(u16),
}

/// Tells whether a datagram claims to come from the plugin; the bridge's socket serves other clients too.
pub fn is_plugin_message(datagram: &[u8]) -> bool {
    datagram.starts_with(&MAGIC.to_le_bytes())
}

/// Parses one request. Errors: [`Malformed`]; the header alone can still be had with [`header`].
pub fn parse(datagram: &[u8]) -> Result<(&Header, Request<'_>), Malformed> {
    let head = header(datagram)?;
    if head.version.get() != VERSION {
        return Err(Malformed::Version(head.version.get()));
    }
    let kind = head.kind.get();
    let claimed = usize::try_from(head.length.get()).unwrap_or(usize::MAX);
    let text =
        datagram.get(..claimed).ok_or(Malformed::Short { kind, got: datagram.len(), need: claimed })?;
    let request = match kind {
        1 => Request::Hello(view(kind, text)?),
        2 => Request::GetSpi(view(kind, text)?),
        3 => Request::AddSa(view(kind, text)?),
        4 => Request::UpdateSa(view(kind, text)?),
        5 => Request::QuerySa(view(kind, text)?),
        6 => Request::DelSa(view(kind, text)?),
        7 => Request::FlushSas,
        8 => Request::AddPolicy(view(kind, text)?),
        9 => Request::QueryPolicy(view(kind, text)?),
        10 => Request::DelPolicy(view(kind, text)?),
        11 => Request::FlushPolicies,
        _ => return Err(Malformed::Kind(kind)),
    };
    Ok((head, request))
}

/// Reads the header of a plugin message. Errors: too short for one, or another magic.
pub fn header(datagram: &[u8]) -> Result<&Header, Malformed> {
    let head: &Header = view(0, datagram)?;
    match head.magic.get() {
        MAGIC => Ok(head),
        other => Err(Malformed::Magic(other)),
    }
}

fn view<T: FromBytes + KnownLayout + Immutable + Unaligned>(kind: u16, text: &[u8]) -> Result<&T, Malformed> {
    T::ref_from_prefix(text).map(|(message, _longer_tail)| message).map_err(|_| Malformed::Short {
        kind,
        got: text.len(),
        need: size_of::<T>(),
    })
}
