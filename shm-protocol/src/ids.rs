//! Integers that mean something: slots, SPIs, interface ids, owners, generations and instance ids.
//! All are in host byte order; none can hold a value its record may not hold.

use std::cell::RefCell;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Number of slots both segments are laid out for; `capacity` admits fewer.
pub const SA_SLOTS: u32 = 1 << 20;
/// Number of policy slots the `sad` segment is laid out for.
pub const POLICY_SLOTS: u32 = 1 << 21;

/// Index of an SA's record in both segments: the low 20 bits of an SPI of our own allocation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(u32);

impl Slot {
    /// Returns the slot, or `None` above the layout's last slot.
    pub const fn new(index: u32) -> Option<Self> {
        if index < SA_SLOTS { Some(Self(index)) } else { None }
    }

    /// Returns the slot that `spi` names if it is of our own allocation.
    pub const fn of(spi: Spi) -> Self {
        Self(spi.0 & (SA_SLOTS - 1))
    }

    /// Returns the index.
    pub const fn index(self) -> u32 {
        self.0
    }
}

/// Index of a policy's record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PolicySlot(u32);

impl PolicySlot {
    /// Returns the slot, or `None` above the layout's last policy slot.
    pub const fn new(index: u32) -> Option<Self> {
        if index < POLICY_SLOTS { Some(Self(index)) } else { None }
    }

    /// Returns the index.
    pub const fn index(self) -> u32 {
        self.0
    }
}

/// A Security Parameters Index, host order. RFC: 4303 section 2.1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Spi(pub u32);

impl Spi {
    /// Builds the SPI of our own allocation for `slot`; `None` unless `high` is 1 to 4095.
    pub const fn allocated(slot: Slot, high: u16) -> Option<Self> {
        if high == 0 || high > 0xfff { None } else { Some(Self(((high as u32) << 20) | slot.0)) }
    }

    /// Returns the high 12 bits, the part that differs between two lives of a slot.
    pub const fn high(self) -> u16 {
        // 12 bits always fit.
        #[allow(clippy::cast_possible_truncation, reason = "a 32-bit number shifted by 20 has 12 bits")]
        {
            (self.0 >> 20) as u16
        }
    }
}

impl fmt::Display for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:08x}", self.0)
    }
}

/// XFRM's interface id: names the tunnel; 0 is the policy-based VPN.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct IfId(pub u32);

impl fmt::Display for IfId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x} ({})", self.0, self.0)
    }
}

/// The IKE daemon (or tool) an SA or policy belongs to; sweeps touch one owner's entries only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Owner(pub u64);

/// Random identity of one SA, never 0; it ties a slot of `sad` to the counters in `live`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct SaUid(std::num::NonZeroU64);

impl SaUid {
    /// Returns the identity, or `None` for 0.
    pub const fn new(value: u64) -> Option<Self> {
        match std::num::NonZeroU64::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// Draws a random identity.
    /// Errors: [`crate::Error::Random`] when the system gives no randomness.
    pub fn random() -> Result<Self, crate::Error> {
        loop {
            if let Some(uid) = Self::new(drawn_u64()?) {
                return Ok(uid);
            }
        }
    }

    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

/// Number of a transaction in `sad`; grows by one each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Generation(pub u64);

/// Random 128-bit identity of one `live` segment; 0 in `sad` means "runs on none yet".
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct InstanceId(pub [u64; 2]);

impl InstanceId {
    /// The id of no segment.
    pub const NONE: Self = Self([0, 0]);

    /// Draws a random id.
    /// Errors: [`crate::Error::Random`] when the system gives no randomness.
    pub fn random() -> Result<Self, crate::Error> {
        Ok(Self([random_u64()?, random_u64()? | 1]))
    }

    /// Tells whether this is the id of no segment.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.0[0], self.0[1])
    }
}

/// The kernel's boot id; a segment of another boot is empty.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BootId(pub [u64; 2]);

/// Returns a random number of those drawn together: a call of the system for each takes longer than all else about it.
fn drawn_u64() -> Result<u64, crate::Error> {
    thread_local! {
        static DRAWN: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    }
    DRAWN.with_borrow_mut(|drawn| {
        if drawn.is_empty() {
            let mut octets = [[0; size_of::<u64>()]; DRAWN_TOGETHER];
            getrandom::fill(octets.as_flattened_mut()).map_err(|_| crate::Error::Random)?;
            drawn.extend(octets.map(u64::from_ne_bytes));
        }
        drawn.pop().ok_or(crate::Error::Random)
    })
}

const DRAWN_TOGETHER: usize = 32;

fn random_u64() -> Result<u64, crate::Error> {
    getrandom::u64().map_err(|_| crate::Error::Random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_spi_of_our_own_is_never_below_256() {
        let slot = Slot::new(0).unwrap();
        assert_eq!(Spi::allocated(slot, 0), None);
        assert_eq!(Spi::allocated(slot, 0x1000), None);
        assert_eq!(Spi::allocated(slot, 1), Some(Spi(1 << 20)));
    }

    #[test]
    fn an_spi_gives_back_its_slot_and_high_part() {
        let slot = Slot::new(0xabcde).unwrap();
        let spi = Spi::allocated(slot, 0xfed).unwrap();
        assert_eq!((Slot::of(spi), spi.high()), (slot, 0xfed));
    }

    #[test]
    fn an_interface_id_is_shown_in_both_bases() {
        assert_eq!(IfId(42).to_string(), "0x2a (42)");
    }
}
