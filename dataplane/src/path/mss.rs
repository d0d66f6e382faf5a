//! MSS clamp: a TCP connection through a tunnel interface announces no longer segments than the interface is configured
//! for. RFC: 9293 section 3.7.1; the checksum follows RFC 1624.

use esp::wire::checksum;
use esp::wire::ip::Ip;

const FLAGS_AT: usize = 13;
const SYN: u8 = 0x02;
const CHECKSUM_AT: usize = 16;
/// Length of a header without options. Units: octets.
const HEADER_OCTETS: usize = 20;
const END: u8 = 0;
const NOTHING: u8 = 1;
const MAXIMUM_SEGMENT: u8 = 2;

/// Lowers what the SYN of a TCP packet announces to what `most` says, which is asked only for a SYN. Whatever is no
/// whole SYN stays as it is. `packet` starts at the IP header. Units of `most`: octets.
pub(super) fn clamp(packet: &mut [u8], most: impl FnOnce() -> Option<u16>) {
    let Some(at) = start(packet) else { return };
    let Some(segment) = packet.get_mut(at..) else { return };
    if segment.get(FLAGS_AT).is_none_or(|flags| flags & SYN == 0) {
        return;
    }
    if let (Some(option), Some(most)) = (announced(segment), most()) {
        lower(segment, option, most);
    }
}

/// Where the TCP header starts; `None` in a later fragment.
fn start(packet: &[u8]) -> Option<usize> {
    match Ip::parse(packet).ok()? {
        Ip::V4(ip) => (ip.fragment_offset() == 0).then_some(ip.header_octets()),
        Ip::V6(ip) => {
            let upper = ip.upper().ok()?;
            upper.fragment.is_none_or(|fragment| fragment.offset == 0).then_some(upper.headers_octets)
        }
    }
}

/// Where the value of the option stands.
fn announced(segment: &[u8]) -> Option<usize> {
    let header_octets = usize::from(segment.get(FLAGS_AT - 1)? >> 4) * 4;
    let options = segment.get(..header_octets)?;
    let mut at = HEADER_OCTETS;
    loop {
        match options.get(at..)? {
            [NOTHING, ..] => at += 1,
            [MAXIMUM_SEGMENT, 4, _, _, ..] => return Some(at + 2),
            [END | MAXIMUM_SEGMENT, ..] | [] | [_, 0 | 1, ..] => return None,
            [_, octets, ..] => at += usize::from(*octets),
            [_] => return None,
        }
    }
}

fn lower(segment: &mut [u8], at: usize, most: u16) {
    let Some(value) = segment.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) else { return };
    let announced = u16::from_be_bytes(*value);
    if announced <= most {
        return;
    }
    *value = most.to_be_bytes();
    // Where the value stands across two words of the sum, its octets count as if they were exchanged.
    let (old, new) =
        if at.is_multiple_of(2) { (announced, most) } else { (announced.swap_bytes(), most.swap_bytes()) };
    if let Some(sum) = segment.get_mut(CHECKSUM_AT..).and_then(|rest| rest.first_chunk_mut::<2>()) {
        *sum = checksum::update(u16::from_be_bytes(*sum), old, new).to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use esp::wire::ipv4::Repr;
    use esp::wire::{Proto, checksum};

    /// A SYN with these options and a right checksum.
    fn syn(options: &[u8]) -> Vec<u8> {
        let header_octets = 20 + options.len();
        let mut segment = vec![0x12, 0x34, 0, 80, 1, 2, 3, 4, 0, 0, 0, 0, 0, SYN, 0xff, 0, 0, 0, 0, 0];
        segment[12] = u8::try_from(header_octets / 4 * 16).unwrap();
        segment.extend(options);
        let sum = checksum_of(&segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        let header = Repr {
            src: [10, 1, 0, 9].into(),
            dst: [10, 2, 0, 9].into(),
            proto: Proto::TCP,
            tos: 0,
            ttl: 64,
            ident: 1,
            dont_fragment: true,
            total_octets: u16::try_from(20 + segment.len()).unwrap(),
        };
        [&header.emit(), &segment[..]].concat()
    }

    fn checksum_of(segment: &[u8]) -> u16 {
        let (src, dst) = ([10, 1, 0, 9].into(), [10, 2, 0, 9].into());
        let octets = u32::try_from(segment.len()).unwrap();
        !checksum::fold(checksum::sum(segment, checksum::pseudo_header(&src, &dst, Proto::TCP, octets)))
    }

    #[test]
    fn an_announcement_is_lowered_wherever_it_stands_and_the_checksum_stays_right() {
        for options in
            [&[2, 4, 5, 180, 1, 3, 3, 7][..], &[1, 3, 3, 7, 2, 4, 5, 180], &[1, 2, 4, 5, 180, 0, 0, 0]]
        {
            let mut packet = syn(options);
            let at = 40 + options.windows(2).position(|pair| pair == [2, 4]).unwrap() + 2;
            clamp(&mut packet, || Some(1300));
            assert_eq!(packet[at..at + 2], 1300_u16.to_be_bytes());
            assert_eq!(checksum_of(&packet[20..]), 0);
        }
    }

    #[test]
    fn what_announces_less_is_cut_short_or_is_no_syn_stays_as_it_is() {
        let mut acknowledged = syn(&[2, 4, 5, 180]);
        acknowledged[33] = 0x10;
        let mut later = syn(&[2, 4, 5, 180]);
        later[7] = 1;
        let endless = syn(&[8, 0, 2, 4, 5, 180, 0, 0]);
        let short = syn(&[0, 0, 2, 4]);
        for packet in [syn(&[2, 4, 1, 0]), syn(&[]), acknowledged, later, endless, short] {
            let mut clamped = packet.clone();
            clamp(&mut clamped, || Some(1300));
            assert_eq!(clamped, packet);
        }
    }

    #[test]
    fn only_for_a_syn_the_limit_is_looked_up() {
        let mut packet = syn(&[2, 4, 5, 180]);
        packet[33] = 0x10;
        clamp(&mut packet, || panic!("no SYN"));
    }
}
