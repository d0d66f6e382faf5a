//! Messages between charon's kernel-espalier plugin and the bridge: one fixed little-endian struct a datagram.
//!
//! The same layout in C is `ike-bridge/charon-plugin/espalier_msg.h`. A longer tail is ignored, a shorter
//! message refused. A datagram is copied into an aligned-for-nothing struct by reference, so a parsed
//! [`Request`] borrows the receive buffer: whoever owns that buffer wipes it, [`AddSa`] carries keys.

mod answer;
mod layout;
mod request;
mod value;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub use answer::{Acquire, Event, Expire, Mapping, Reply, Status};
pub use request::{AddSa, GetSpi, Hello, Policy, PolicyRef, SaRef, UpdateSa};
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
