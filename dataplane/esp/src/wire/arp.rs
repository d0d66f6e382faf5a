//! ARP for IPv4 over Ethernet. RFC: 826.

use core::net::Ipv4Addr;

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::eth::{EtherType, Mac};
use crate::DropReason;

/// Length of a message. Units: octets, without the Ethernet header.
pub const MESSAGE_OCTETS: usize = 28;

/// What a message wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Who has the target address?
    Request,
    /// The sender has its address.
    Reply,
}

/// A message about IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// What the message wants.
    pub op: Op,
    /// The sender's station address.
    pub sender_mac: Mac,
    /// The sender's address; unspecified in a probe.
    pub sender_ip: Ipv4Addr,
    /// The target's station address; without meaning in a request.
    pub target_mac: Mac,
    /// The target's address.
    pub target_ip: Ipv4Addr,
}

/// The message as it is on the wire.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Message {
    hardware: U16,
    protocol: U16,
    hardware_octets: u8,
    protocol_octets: u8,
    op: U16,
    sender_mac: Mac,
    sender_ip: U32,
    target_mac: Mac,
    target_ip: U32,
}

const _: () = assert!(size_of::<Message>() == MESSAGE_OCTETS);

const ETHERNET: u16 = 1;

impl Arp {
    /// Reads a message. Errors: `MalformedArp` when it is cut short, or about another kind of network.
    pub fn parse(payload: &[u8]) -> Result<Self, DropReason> {
        let (message, _) = Message::ref_from_prefix(payload).map_err(|_| DropReason::MalformedArp)?;
        let kind = (message.hardware.get(), message.protocol.get());
        let lengths = (message.hardware_octets, message.protocol_octets);
        if kind != (ETHERNET, EtherType::IPV4.0) || lengths != (6, 4) {
            return Err(DropReason::MalformedArp);
        }
        let op = match message.op.get() {
            1 => Op::Request,
            2 => Op::Reply,
            _ => return Err(DropReason::MalformedArp),
        };
        Ok(Self {
            op,
            sender_mac: message.sender_mac,
            sender_ip: Ipv4Addr::from_bits(message.sender_ip.get()),
            target_mac: message.target_mac,
            target_ip: Ipv4Addr::from_bits(message.target_ip.get()),
        })
    }

    /// Returns the message as octets.
    #[must_use]
    pub fn emit(&self) -> [u8; MESSAGE_OCTETS] {
        let op = match self.op {
            Op::Request => 1,
            Op::Reply => 2,
        };
        zerocopy::transmute!(Message {
            hardware: U16::new(ETHERNET),
            protocol: U16::new(EtherType::IPV4.0),
            hardware_octets: 6,
            protocol_octets: 4,
            op: U16::new(op),
            sender_mac: self.sender_mac,
            sender_ip: U32::new(self.sender_ip.to_bits()),
            target_mac: self.target_mac,
            target_ip: U32::new(self.target_ip.to_bits()),
        })
    }

    /// Returns a question for the station that has `target`.
    #[must_use]
    pub fn request(mac: Mac, ip: Ipv4Addr, target: Ipv4Addr) -> Self {
        Self {
            op: Op::Request,
            sender_mac: mac,
            sender_ip: ip,
            target_mac: Mac::default(),
            target_ip: target,
        }
    }

    /// Returns the answer of the station `mac`, which has the target address of this request.
    #[must_use]
    pub const fn reply(&self, mac: Mac) -> Self {
        Self {
            op: Op::Reply,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 2]);

    #[test]
    fn a_request_and_its_reply_survive_the_wire() {
        let request = Arp::request(A, Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
        assert_eq!(Arp::parse(&request.emit()), Ok(request));
        let reply = request.reply(B);
        assert_eq!(Arp::parse(&reply.emit()), Ok(reply));
        assert_eq!((reply.sender_ip, reply.target_mac), (Ipv4Addr::new(192, 0, 2, 2), A));
    }

    #[test]
    fn another_hardware_or_operation_is_malformed() {
        let octets = Arp::request(A, Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED).emit();
        for at in [0, 2, 4, 5, 6] {
            let mut octets = octets;
            octets[at] ^= 0x40;
            assert_eq!(Arp::parse(&octets), Err(DropReason::MalformedArp));
        }
    }

    proptest! {
        #[test]
        fn any_octets_parse_or_are_refused(octets in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Arp::parse(&octets);
        }
    }
}
