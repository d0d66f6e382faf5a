//! The two numbers that name an SA's packets and its tunnel.

use core::fmt;

/// Security parameters index: names an inbound SA of the receiver.
/// Byte order: host. RFC: 4303 section 2.1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Spi(pub u32);

impl Spi {
    /// The largest value that is reserved and never allocated.
    pub const RESERVED_MAX: u32 = 255;

    /// Returns the number.
    #[must_use]
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Tells whether the value is one that no SA may have on the wire.
    #[must_use]
    #[inline]
    pub const fn is_reserved(self) -> bool {
        //= rfc4303#2.1
        self.0 <= Self::RESERVED_MAX
    }
}

impl fmt::Display for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:08x}", self.0)
    }
}

impl fmt::Debug for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spi({self})")
    }
}

/// The id that ties SAs and policies to a virtual interface, as XFRM's `if_id`; 0 is the policy-based VPN.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IfId(pub u32);

impl IfId {
    /// The id of policy-based tunnels, which have no interface.
    pub const POLICY_BASED: Self = Self(0);

    /// Returns the number.
    #[must_use]
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Tells whether traffic reaches this id through policies alone.
    #[must_use]
    #[inline]
    pub const fn is_policy_based(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for IfId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x} ({})", self.0, self.0)
    }
}

impl fmt::Debug for IfId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IfId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_if_id_is_shown_in_both_bases() {
        assert_eq!(IfId(42).to_string(), "0x2a (42)");
    }

    #[test]
    fn an_spi_is_shown_with_all_its_digits() {
        assert_eq!(Spi(0xc0de).to_string(), "0x0000c0de");
    }

    #[test]
    fn spis_to_255_are_reserved() {
        assert!(Spi(0).is_reserved() && Spi(255).is_reserved() && !Spi(256).is_reserved());
    }
}
