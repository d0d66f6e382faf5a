//! `src PREFIX dst PREFIX proto …`: a selector as a policy or `sel` has it.

use shm_protocol::selector::{AddressRange, Family, PortRange, SelectorRecord};

use crate::words::{Prefix, Words, Wrong};

/// The words of a selector read so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Selector {
    src: Option<Prefix>,
    dst: Option<Prefix>,
    proto: u8,
    sport: Option<PortRange>,
    dport: Option<PortRange>,
    /// Where the last word stood, for complaints about the whole.
    any: bool,
}

impl Selector {
    /// Reads the next word if it is one of a selector. Returns false when it is not.
    pub(super) fn read(&mut self, words: &mut Words<'_>) -> Result<bool, Wrong> {
        match words.peek() {
            Some("src") => {
                words.next("src")?;
                self.src = Some(words.prefix("an address or prefix")?);
                self.check_families(words)?;
            }
            Some("dst") => {
                words.next("dst")?;
                self.dst = Some(words.prefix("an address or prefix")?);
                self.check_families(words)?;
            }
            Some("dev") => return Err(words.wrong_here("no dev: use if_id")),
            Some("proto") => {
                words.next("proto")?;
                self.proto = protocol(words)?;
            }
            Some(side @ ("sport" | "dport")) => {
                if !matches!(self.proto, TCP | UDP | SCTP | DCCP) {
                    return Err(words.wrong_here("proto tcp, udp, sctp or dccp before a port"));
                }
                words.next(side)?;
                // As in XFRM port 0 is any.
                let port: u16 = words.number("a port")?;
                self.put_port(side, Some(port).filter(|&port| port != 0));
            }
            Some(side @ ("type" | "code")) => {
                if !matches!(self.proto, ICMP | ICMPV6) {
                    return Err(words.wrong_here("proto icmp or ipv6-icmp before a type or code"));
                }
                words.next(side)?;
                let value: u8 = words.number("a number up to 255")?;
                self.put_port(side, Some(value.into()));
            }
            Some("key") => return Err(words.wrong_here("no key: GRE keys are not supported")),
            Some(_) | None => return Ok(false),
        }
        self.any = true;
        Ok(true)
    }

    /// Returns true when a word was read.
    pub(super) fn is_given(&self) -> bool {
        self.any
    }

    /// Returns the selector; without an address it is one of `family`.
    pub(super) fn record(&self, family: Family) -> Option<SelectorRecord> {
        let given = self.src.or(self.dst).map_or(family, |prefix| Family::of(prefix.address));
        let side = |prefix: Option<Prefix>| prefix.map_or(AddressRange::any(given), |prefix| prefix.range);
        let ports = |ports: Option<PortRange>| ports.unwrap_or(PortRange::ANY);
        SelectorRecord::new(side(self.src), side(self.dst), self.proto, ports(self.sport), ports(self.dport))
    }

    fn put_port(&mut self, side: &str, port: Option<u16>) {
        let range = port.and_then(|port| PortRange::new(port, port));
        match side {
            "sport" | "type" => self.sport = range,
            _ => self.dport = range,
        }
    }

    fn check_families(&self, words: &Words<'_>) -> Result<(), Wrong> {
        match (self.src, self.dst) {
            (Some(src), Some(dst)) if src.address.is_ipv4() != dst.address.is_ipv4() => {
                Err(words.wrong_before("an address of the other one's family"))
            }
            _ => Ok(()),
        }
    }
}

/// Reads an IP protocol by name or number.
fn protocol(words: &mut Words<'_>) -> Result<u8, Wrong> {
    let expected = "an IP protocol such as tcp, udp, icmp, ipv6-icmp, any or a number";
    let word = words.peek().unwrap_or_default();
    match NAMES.iter().find(|(name, _)| *name == word) {
        Some(&(_, number)) => {
            words.next(expected)?;
            Ok(number)
        }
        None => words.number(expected),
    }
}

/// Returns the name of an IP protocol as `ip` prints it, or its number.
pub(crate) fn protocol_name(number: u8) -> String {
    let named = NAMES.iter().find(|&&(name, other)| other == number && name != "any");
    named.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const DCCP: u8 = 33;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
const NAMES: &[(&str, u8)] = &[
    ("any", 0),
    ("icmp", ICMP),
    ("igmp", 2),
    ("ipencap", 4),
    ("tcp", TCP),
    ("udp", UDP),
    ("dccp", DCCP),
    ("ipv6", 41),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ipv6-icmp", ICMPV6),
    ("icmpv6", ICMPV6),
    ("ospf", 89),
    ("vrrp", 112),
    ("sctp", SCTP),
    ("udplite", 136),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn record(line: &str) -> Result<SelectorRecord, Wrong> {
        let words = crate::words::split(line);
        let mut words = Words::new(&words);
        let mut selector = Selector::default();
        while selector.read(&mut words)? {}
        words.end("nothing")?;
        Ok(selector.record(Family::V4).unwrap())
    }

    #[test]
    fn a_side_left_out_is_any_of_the_other_sides_family() {
        let record = record("dst 2001:db8::/32").unwrap();
        assert_eq!(record.src(), AddressRange::any(Family::V6));
        assert_eq!(record.dst().prefix_bits(), Some(32));
    }

    #[test]
    fn ports_need_a_protocol_that_has_them() {
        let record = |line| self::record(line);
        assert_eq!(record("proto tcp dport 443").unwrap().dport, PortRange::new(443, 443).unwrap());
        assert_eq!(record("proto 17 sport 0").unwrap().sport, PortRange::ANY);
        assert!(record("sport 5").unwrap_err().to_string().contains("proto tcp"));
        assert!(record("proto tcp type 8").unwrap_err().to_string().contains("proto icmp"));
    }

    #[test]
    fn icmp_type_and_code_stand_in_the_ports() {
        let record = record("proto icmp type 8 code 0").unwrap();
        assert_eq!((record.sport.lo(), record.dport.hi()), (8, 0));
    }

    #[test]
    fn two_families_do_not_meet() {
        assert!(record("src 10.0.0.0/8 dst ::/0").unwrap_err().to_string().starts_with("word 4"));
    }
}
