//! Traffic selectors: which packets an SA or a policy is about. RFC: 4301 section 4.4.1.1.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::{Family, FlowKey, Proto};

mod compact;

pub use compact::Compact;

/// An inclusive range of addresses of one family.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressRange {
    family: Family,
    lo: Bits,
    hi: Bits,
}

/// An address as a number, in two words: a gateway holds six ranges for each pair of SAs, and a number of 128 bits would
/// be aligned to twice as much.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Bits([u64; 2]);

impl Bits {
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "the two halves of a number")]
    const fn new(number: u128) -> Self {
        Self([(number >> 64) as u64, number as u64])
    }

    #[inline]
    const fn get(self) -> u128 {
        let [high, low] = self.0;
        (high as u128) << 64 | low as u128
    }
}

impl AddressRange {
    /// Returns the range; `None` when the families differ or `lo` is above `hi`.
    #[must_use]
    pub fn new(lo: IpAddr, hi: IpAddr) -> Option<Self> {
        let family = Family::of(&lo);
        let (first, last) = (bits(&lo), bits(&hi));
        let range = Self { family, lo: Bits::new(first), hi: Bits::new(last) };
        (family == Family::of(&hi) && first <= last).then_some(range)
    }

    /// Returns the range of a prefix, whatever the host bits of `addr` are; `None` when it is longer than an address.
    #[must_use]
    pub fn prefix(addr: IpAddr, prefix_bits: u8) -> Option<Self> {
        let family = Family::of(&addr);
        let host_bits = width(family).checked_sub(u32::from(prefix_bits))?;
        let host = u128::MAX.checked_shr(128 - host_bits).unwrap_or(0);
        Some(Self { family, lo: Bits::new(bits(&addr) & !host), hi: Bits::new(bits(&addr) | host) })
    }

    /// Returns every address of a family.
    #[must_use]
    pub const fn any(family: Family) -> Self {
        Self { family, lo: Bits::new(0), hi: Bits::new(u128::MAX >> (128 - width(family))) }
    }

    /// Returns the family.
    #[must_use]
    pub const fn family(&self) -> Family {
        self.family
    }

    /// Returns the first address.
    #[must_use]
    pub fn lo(&self) -> IpAddr {
        address(self.family, self.lo.get())
    }

    /// Returns the last address.
    #[must_use]
    pub fn hi(&self) -> IpAddr {
        address(self.family, self.hi.get())
    }

    /// Tells whether an address is in the range.
    #[must_use]
    #[inline]
    pub fn contains(&self, addr: &IpAddr) -> bool {
        let at = bits(addr);
        self.family == Family::of(addr) && self.lo.get() <= at && at <= self.hi.get()
    }

    /// Returns how many leading bits a prefix of this size would have; larger is more specific. Units: bits.
    #[must_use]
    pub const fn specificity_bits(&self) -> u32 {
        let host_bits = 128 - (self.hi.get() - self.lo.get()).leading_zeros();
        width(self.family) - host_bits
    }
}

impl fmt::Debug for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.lo(), self.hi())
    }
}

/// An inclusive range of ports; of ICMP types or codes where the protocol has those instead.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortRange {
    lo: u16,
    hi: u16,
}

impl PortRange {
    /// Every port, and also packets that show none.
    pub const ANY: Self = Self { lo: 0, hi: u16::MAX };

    /// Returns the range; `None` when `lo` is above `hi`.
    #[must_use]
    pub const fn new(lo: u16, hi: u16) -> Option<Self> {
        if lo <= hi { Some(Self { lo, hi }) } else { None }
    }

    /// Returns the range of one port.
    #[must_use]
    pub const fn one(port: u16) -> Self {
        Self { lo: port, hi: port }
    }

    /// Returns the first port.
    #[must_use]
    pub const fn lo(self) -> u16 {
        self.lo
    }

    /// Returns the last port.
    #[must_use]
    pub const fn hi(self) -> u16 {
        self.hi
    }

    /// Tells whether the range asks for no port at all.
    #[must_use]
    #[inline]
    pub const fn is_any(self) -> bool {
        self.lo == 0 && self.hi == u16::MAX
    }

    #[inline]
    const fn contains(self, port: u16) -> bool {
        self.lo <= port && port <= self.hi
    }
}

impl fmt::Debug for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.lo, self.hi)
    }
}

/// What packets a policy or an SA is about, in the direction the packets go.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Selector {
    family: Family,
    src: (Bits, Bits),
    dst: (Bits, Bits),
    upper: Upper,
}

/// What a selector says of a packet beyond its addresses.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Upper {
    proto: Option<Proto>,
    sport: PortRange,
    dport: PortRange,
}

impl Upper {
    #[inline]
    fn matches(&self, flow: &FlowKey) -> bool {
        self.proto.is_none_or(|proto| proto == flow.proto) && self.fits_ports(flow)
    }

    #[inline]
    const fn fits_ports(&self, flow: &FlowKey) -> bool {
        //= rfc4301#7.3
        if flow.fragment {
            return self.sport.is_any() && self.dport.is_any();
        }
        self.sport.contains(flow.sport) && self.dport.contains(flow.dport)
    }
}

impl Selector {
    /// Returns the selector; `None` when source and destination are of different families.
    /// Protocol 0 means any. RFC: 4301 section 4.4.1.1.
    #[must_use]
    pub fn new(
        src: AddressRange,
        dst: AddressRange,
        proto: Proto,
        sport: PortRange,
        dport: PortRange,
    ) -> Option<Self> {
        let proto = (proto.get() != 0).then_some(proto);
        let (family, ends) = (src.family, |range: AddressRange| (range.lo, range.hi));
        let (src, dst) = (family == dst.family).then_some((ends(src), ends(dst)))?;
        Some(Self { family, src, dst, upper: Upper { proto, sport, dport } })
    }

    /// Returns the selector of every packet of a family.
    #[must_use]
    pub const fn any(family: Family) -> Self {
        let AddressRange { lo, hi, .. } = AddressRange::any(family);
        Self {
            family,
            src: (lo, hi),
            dst: (lo, hi),
            upper: Upper { proto: None, sport: PortRange::ANY, dport: PortRange::ANY },
        }
    }

    /// Returns the selector of every packet between two ranges; `None` when their families differ.
    #[must_use]
    pub fn between(src: AddressRange, dst: AddressRange) -> Option<Self> {
        Self::new(src, dst, Proto(0), PortRange::ANY, PortRange::ANY)
    }

    /// Tells whether a packet is one that the selector is about.
    #[must_use]
    #[inline]
    pub fn matches(&self, flow: &FlowKey) -> bool {
        self.src().contains(&flow.src) && self.dst().contains(&flow.dst) && self.upper.matches(flow)
    }

    /// Returns the source range.
    #[must_use]
    #[inline]
    pub const fn src(&self) -> AddressRange {
        AddressRange { family: self.family, lo: self.src.0, hi: self.src.1 }
    }

    /// Returns the destination range.
    #[must_use]
    #[inline]
    pub const fn dst(&self) -> AddressRange {
        AddressRange { family: self.family, lo: self.dst.0, hi: self.dst.1 }
    }

    /// Returns the protocol; `None` means any.
    #[must_use]
    pub const fn proto(&self) -> Option<Proto> {
        self.upper.proto
    }

    /// Returns the source ports, or ICMP types.
    #[must_use]
    pub const fn sport(&self) -> PortRange {
        self.upper.sport
    }

    /// Returns the destination ports, or ICMP codes.
    #[must_use]
    pub const fn dport(&self) -> PortRange {
        self.upper.dport
    }

    /// Returns a rank by which the narrower of two overlapping selectors of equal priority goes first; larger is narrower.
    #[must_use]
    pub const fn specificity(&self) -> u32 {
        let addresses = 4 * (self.src().specificity_bits() + self.dst().specificity_bits());
        let ports = !self.upper.sport.is_any() as u32 + !self.upper.dport.is_any() as u32;
        addresses + ports + self.upper.proto.is_some() as u32
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selector")
            .field("src", &self.src())
            .field("dst", &self.dst())
            .field("proto", &self.upper.proto)
            .field("sport", &self.upper.sport)
            .field("dport", &self.upper.dport)
            .finish()
    }
}

#[inline]
fn bits(addr: &IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u128::from(addr.to_bits()),
        IpAddr::V6(addr) => addr.to_bits(),
    }
}

const fn width(family: Family) -> u32 {
    match family {
        Family::V4 => 32,
        Family::V6 => 128,
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a range of IPv4 was made from 32-bit addresses")]
fn address(family: Family, bits: u128) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from_bits(bits as u32).into(),
        Family::V6 => Ipv6Addr::from_bits(bits).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(prefix: &str) -> AddressRange {
        let (addr, bits) = prefix.split_once('/').unwrap();
        AddressRange::prefix(addr.parse().unwrap(), bits.parse().unwrap()).unwrap()
    }

    fn flow(src: &str, dst: &str) -> FlowKey {
        let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
        FlowKey { src, dst, proto: Proto::UDP, sport: 1000, dport: 53, fragment: false }
    }

    #[test]
    fn a_prefix_holds_its_first_and_last_address_only() {
        let range = range("10.1.2.3/16");
        assert_eq!(format!("{range:?}"), "10.1.0.0-10.1.255.255");
        for (addr, inside) in
            [("10.1.0.0", true), ("10.1.255.255", true), ("10.0.255.255", false), ("10.2.0.0", false)]
        {
            assert_eq!(range.contains(&addr.parse().unwrap()), inside, "{addr}");
        }
        assert!(!range.contains(&"::a01:1".parse().unwrap()));
    }

    #[test]
    fn prefixes_of_every_length_are_made() {
        for bits in 0..=32 {
            assert_eq!(
                AddressRange::prefix([10, 1, 2, 3].into(), bits).unwrap().specificity_bits(),
                u32::from(bits)
            );
        }
        for bits in 0..=128 {
            let range = AddressRange::prefix("2001:db8::1".parse().unwrap(), bits).unwrap();
            assert_eq!(range.specificity_bits(), u32::from(bits));
        }
        assert_eq!(AddressRange::prefix([10, 1, 2, 3].into(), 33), None);
        assert_eq!(range("0.0.0.0/0"), AddressRange::any(Family::V4));
        assert_eq!(range("::/0"), AddressRange::any(Family::V6));
    }

    #[test]
    fn ranges_that_mix_families_or_run_backwards_are_refused() {
        let (four, six): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), "::1".parse().unwrap());
        assert_eq!(AddressRange::new(four, six), None);
        assert_eq!(AddressRange::new([10, 0, 0, 2].into(), four), None);
        assert_eq!(Selector::between(AddressRange::any(Family::V4), AddressRange::any(Family::V6)), None);
        assert_eq!(PortRange::new(2, 1), None);
    }

    #[test]
    fn every_field_is_compared() {
        let sel = |sport, dport| {
            Selector::new(range("10.1.0.0/16"), range("10.2.0.0/16"), Proto::UDP, sport, dport)
        };
        let sel = sel(PortRange::ANY, PortRange::one(53)).unwrap();
        let good = flow("10.1.0.1", "10.2.0.1");
        assert!(sel.matches(&good));
        assert!(!sel.matches(&flow("10.3.0.1", "10.2.0.1")));
        assert!(!sel.matches(&flow("10.1.0.1", "10.3.0.1")));
        assert!(!sel.matches(&FlowKey { proto: Proto::TCP, ..good }));
        assert!(!sel.matches(&FlowKey { dport: 54, ..good }));
    }

    #[test]
    fn a_later_fragment_fits_only_where_no_port_is_asked_for() {
        let later = FlowKey { sport: 0, dport: 0, fragment: true, ..flow("10.1.0.1", "10.2.0.1") };
        assert!(Selector::any(Family::V4).matches(&later));
        let ports = Selector::new(
            range("0.0.0.0/0"),
            range("0.0.0.0/0"),
            Proto::UDP,
            PortRange::ANY,
            PortRange::new(0, 1000).unwrap(),
        );
        assert!(!ports.unwrap().matches(&later));
    }

    #[test]
    fn the_narrower_selector_ranks_higher() {
        let wide = Selector::any(Family::V4);
        let narrow = Selector::between(range("0.0.0.0/0"), range("10.2.0.0/16")).unwrap();
        let port = Selector::new(narrow.src(), narrow.dst(), Proto::UDP, PortRange::ANY, PortRange::one(53))
            .unwrap();
        assert!(wide.specificity() < narrow.specificity() && narrow.specificity() < port.specificity());
    }
}
