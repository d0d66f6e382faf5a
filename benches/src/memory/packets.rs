//! What hosts send: UDP in IPv4, 64 octets, one flow by one source port.

use std::ops::Range;

use anyhow::Context as _;
use esp::wire::{Proto, ipv4};

use crate::Result;

/// Station address of every port of a gateway.
pub const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Station address of everybody else.
pub const FAR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
/// Length of the IP packets.
pub const INNER_OCTETS: u16 = 64;
/// Flows from here on have ports that the first ones do not have.
pub const FIRST_PORT: u16 = 1024;

/// Returns the frame that the host 10.1.0.9 sends to the host behind tunnel `tunnel`.
///
/// # Errors
/// There is no such flow.
pub fn frame(flow: u16, tunnel: u8) -> Result<Vec<u8>> {
    let header = ipv4::Repr {
        src: [10, 1, 0, 9].into(),
        dst: [10, 2, tunnel, 9].into(),
        proto: Proto::UDP,
        tos: 0,
        ttl: 64,
        ident: 1,
        dont_fragment: false,
        total_octets: INNER_OCTETS,
    };
    let sport = FIRST_PORT.checked_add(flow).context("no such flow")?.to_be_bytes();
    let udp_octets = (INNER_OCTETS - IP_OCTETS).to_be_bytes();
    let mut frame = [&OWN_MAC[..], &FAR_MAC, &[8, 0], &header.emit()].concat();
    frame.extend([sport, [0, 9], udp_octets, [0, 0]].concat());
    frame.resize(ETHERNET_OCTETS + usize::from(INNER_OCTETS), 0x17);
    Ok(frame)
}

/// Makes a frame that was sent one that arrives: for the station, from the gateway that it was sent to.
pub fn turn_round(frame: &mut [u8]) {
    if let Some((to, _)) = frame.split_first_chunk_mut() {
        *to = OWN_MAC;
    }
    // The header's checksum does not tell the two from each other.
    if let Some((src, dst)) = frame.get_mut(ADDRESSES).and_then(|both| both.split_at_mut_checked(4)) {
        src.swap_with_slice(dst);
    }
}

/// Where source and destination of the outer IPv4 header stand in a frame.
const ADDRESSES: Range<usize> = ETHERNET_OCTETS + 12..ETHERNET_OCTETS + 20;
const ETHERNET_OCTETS: usize = 14;
const IP_OCTETS: u16 = 20;
