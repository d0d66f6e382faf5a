//! Addresses, selectors and marks inside the plugin's messages, and the checks that turn them into std types.

use super::wire;
use std::net::IpAddr;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

wire! {
    /// An address with a port.
    #[derive(Copy, Debug, PartialEq, Eq)]
    struct Host {
        /// 4, 6, or 0 for no address.
        family: U16,
        /// Host order after reading; 4500 also where UDP encapsulation is off.
        port: U16,
        /// Network order, IPv4 in the first four octets.
        address: [u8; 16],
    }

    /// An IKEv2 traffic selector.
    #[derive(Copy, Debug, PartialEq, Eq)]
    struct TrafficSelector {
        /// First address, network order, IPv4 in the first four octets.
        from: [u8; 16],
        /// Last address.
        to: [u8; 16],
        /// First port; ICMP: type << 8 | code.
        from_port: U16,
        /// Last port; below the first for OPAQUE.
        to_port: U16,
        /// 4, 6, or 0 for a kind that has no address.
        family: U16,
        /// 0 for any.
        proto: u8,
        /// Zero.
        reserved: u8,
    }

    /// A packet mark; mask 0 means none.
    #[derive(Copy, Debug, PartialEq, Eq)]
    struct Mark {
        /// The bits.
        value: U32,
        /// Which bits count.
        mask: U32,
    }

    /// One kind of lifetime. 0 means no limit.
    #[derive(Copy, Debug, PartialEq, Eq)]
    struct Limit {
        /// Hard limit.
        life: U64,
        /// Soft limit, already randomised.
        rekey: U64,
        /// What the randomisation could have taken off.
        jitter: U64,
    }

    /// Names an SA.
    #[derive(Copy, Debug, PartialEq, Eq)]
    struct SaId {
        /// Source.
        src: Host,
        /// Destination.
        dst: Host,
        /// Host order after reading.
        spi: U32,
        /// The tunnel, 0 for policy-based.
        if_id: U32,
        /// Mark of the look-up.
        mark: Mark,
        /// 50 ESP, 51 AH, 0 when charon gives back an SPI it never got.
        proto: u8,
        /// Zero.
        reserved: [u8; 7],
    }

    /// Names a policy.
    #[derive(Copy, Debug, PartialEq, Eq)]
    struct PolicyId {
        /// 0 in, 1 out, 2 forward.
        dir: u8,
        /// 1 if a security label was given.
        label_present: u8,
        /// 1 if the interface's name did not fit and is left out.
        interface_truncated: u8,
        /// Zero.
        reserved: u8,
        /// The tunnel, 0 for policy-based.
        if_id: U32,
        /// Mark of the look-up.
        mark: Mark,
        /// Restricts the policy to an interface; see [`text`].
        interface: [u8; 16],
        /// Source side.
        src_ts: TrafficSelector,
        /// Destination side.
        dst_ts: TrafficSelector,
    }
}

/// A field of a message that means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadValue {
    /// Neither IPv4 nor IPv6.
    #[error("address family {0} is neither 4 nor 6")]
    Family(u16),
    /// The first address lies above the last.
    #[error("selector runs from {0} down to {1}")]
    Range(IpAddr, IpAddr),
    /// More selectors than the message has room for.
    #[error("{0} traffic selectors on one side")]
    TsCount(usize),
}

/// Ports of a selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// From the first to the last, both included. For ICMP type << 8 | code.
    Range(u16, u16),
    /// Only packets whose ports cannot be seen (RFC 4301 section 4.4.1.1).
    Opaque,
}

/// A checked traffic selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub from: IpAddr,
    /// Last address, of the same family and not below the first.
    pub to: IpAddr,
    /// 0 for any.
    pub proto: u8,
    /// Which ports.
    pub ports: Ports,
}

impl Host {
    /// Wraps an address for the wire.
    pub fn new(address: IpAddr, port: u16) -> Self {
        let (family, address) = octets(address);
        Host { family: U16::new(family), port: U16::new(port), address }
    }

    /// Returns the address. Errors: a family that is neither 4 nor 6, as of no address at all.
    pub fn ip(&self) -> Result<IpAddr, BadValue> {
        address(self.family.get(), self.address)
    }
}

impl TrafficSelector {
    /// Wraps a checked selector for the wire.
    pub fn new(range: &Range) -> Self {
        let (family, from) = octets(range.from);
        let (_, to) = octets(range.to);
        let (from_port, to_port) = match range.ports {
            Ports::Range(first, last) => (first, last),
            Ports::Opaque => (u16::MAX, 0),
        };
        TrafficSelector {
            from,
            to,
            from_port: U16::new(from_port),
            to_port: U16::new(to_port),
            family: U16::new(family),
            proto: range.proto,
            reserved: 0,
        }
    }

    /// Checks family and order. Errors: [`BadValue`].
    pub fn range(&self) -> Result<Range, BadValue> {
        let family = self.family.get();
        let (from, to) = (address(family, self.from)?, address(family, self.to)?);
        if from > to {
            return Err(BadValue::Range(from, to));
        }
        let ports = match (self.from_port.get(), self.to_port.get()) {
            (first, last) if first <= last => Ports::Range(first, last),
            _ => Ports::Opaque,
        };
        Ok(Range { from, to, proto: self.proto, ports })
    }
}

/// Reads a NUL-padded name; what is no UTF-8 is replaced.
pub fn text(field: &[u8]) -> std::borrow::Cow<'_, str> {
    let name = field.split(|&octet| octet == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name)
}

fn address(family: u16, octets: [u8; 16]) -> Result<IpAddr, BadValue> {
    let [a, b, c, d, ..] = octets;
    match family {
        4 => Ok(IpAddr::from([a, b, c, d])),
        6 => Ok(IpAddr::from(octets)),
        other => Err(BadValue::Family(other)),
    }
}

fn octets(address: IpAddr) -> (u16, [u8; 16]) {
    match address {
        IpAddr::V4(v4) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&v4.octets());
            (4, octets)
        }
        IpAddr::V6(v6) => (6, v6.octets()),
    }
}
