//! Addresses and selectors inside messages: the octets of each in one piece, for a piece takes a codec as long as a
//! number does, and a batch has thousands of addresses.

use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::selector::{AddressRange, PortRange, SelectorRecord};

/// A value in one piece of octets.
trait Packed: Sized {
    /// Whose octets were expected.
    const WHAT: &str;

    /// Reads the value; `None` when the octets are not those of one.
    fn unpack(octets: &[u8]) -> Option<Self>;
}

impl Packed for IpAddr {
    const WHAT: &str = "an address of 4 or 16 octets";

    fn unpack(octets: &[u8]) -> Option<Self> {
        let v4 = <[u8; 4]>::try_from(octets).map(Self::from);
        v4.or_else(|_| <[u8; 16]>::try_from(octets).map(Self::from)).ok()
    }
}

/// Protocol and ports in network order, then the first and the last address of source and destination.
impl Packed for SelectorRecord {
    const WHAT: &str = "a selector of 25 or 73 octets, its ranges upright and of one family";

    fn unpack(octets: &[u8]) -> Option<Self> {
        let (upper, addresses) = octets.split_first_chunk::<UPPER_OCTETS>()?;
        let [proto, a, b, c, d, e, f, g, h] = *upper;
        let port = |high, low| u16::from_be_bytes([high, low]);
        let (sport, dport) =
            (PortRange::new(port(a, b), port(c, d))?, PortRange::new(port(e, f), port(g, h))?);
        let (src, dst) = addresses.split_at(addresses.len() / 2);
        Self::new(range(src)?, range(dst)?, proto, sport, dport)
    }
}

fn range(octets: &[u8]) -> Option<AddressRange> {
    let (lo, hi) = octets.split_at(octets.len() / 2);
    AddressRange::new(IpAddr::unpack(lo)?, IpAddr::unpack(hi)?)
}

/// Calls `then` with the octets of an address, as many as its family has.
fn with_octets<T>(address: IpAddr, then: impl FnOnce(&[u8]) -> T) -> T {
    match address {
        IpAddr::V4(address) => then(&address.octets()),
        IpAddr::V6(address) => then(&address.octets()),
    }
}

/// For `#[serde(with)]`: an address.
pub(crate) mod address {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(address: &IpAddr, serializer: S) -> Result<S::Ok, S::Error> {
        with_octets(*address, |octets| serializer.serialize_bytes(octets))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpAddr, D::Error> {
        deserializer.deserialize_bytes(Unpack(PhantomData))
    }
}

/// For `#[serde(with)]`: a struct of octets and little-endian numbers, as it stands.
pub(crate) mod image {
    use super::*;

    pub(crate) fn serialize<T, S>(image: &T, serializer: S) -> Result<S::Ok, S::Error>
    where
        T: IntoBytes + Immutable,
        S: Serializer,
    {
        serializer.serialize_bytes(image.as_bytes())
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromBytes,
        D: Deserializer<'de>,
    {
        deserializer.deserialize_bytes(Unpack(PhantomData::<Image<T>>)).map(|Image(image)| image)
    }
}

struct Image<T>(T);

impl<T: FromBytes> Packed for Image<T> {
    const WHAT: &str = "as many octets as the numbers of a change have";

    fn unpack(octets: &[u8]) -> Option<Self> {
        T::read_from_bytes(octets).map(Self).ok()
    }
}

impl Serialize for SelectorRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut packed = [0; LONGEST_OCTETS];
        let mut length = 0;
        let mut put = |octets: &[u8]| {
            if let Some(place) = packed.get_mut(length..length + octets.len()) {
                place.copy_from_slice(octets);
            }
            length += octets.len();
        };
        put(&[self.proto]);
        for ports in [self.sport, self.dport] {
            put(&ports.lo().to_be_bytes());
            put(&ports.hi().to_be_bytes());
        }
        for range in [self.src(), self.dst()] {
            with_octets(range.lo(), &mut put);
            with_octets(range.hi(), &mut put);
        }
        serializer.serialize_bytes(packed.get(..length).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for SelectorRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(Unpack(PhantomData))
    }
}

struct Unpack<T>(PhantomData<T>);

impl<T: Packed> Visitor<'_> for Unpack<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::WHAT)
    }

    fn visit_bytes<E: Error>(self, octets: &[u8]) -> Result<T, E> {
        T::unpack(octets).ok_or_else(|| E::invalid_length(octets.len(), &self))
    }
}

const UPPER_OCTETS: usize = 9;
const LONGEST_OCTETS: usize = UPPER_OCTETS + 4 * 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_that_are_no_address_or_selector_are_refused() {
        assert_eq!(IpAddr::unpack(&[192, 0, 2, 1]), Some(IpAddr::from([192, 0, 2, 1])));
        for length in (0..100).filter(|length| ![4, 16].contains(length)) {
            assert_eq!(IpAddr::unpack(&vec![0; length]), None, "{length}");
        }
        for length in 0..100 {
            let is_one = SelectorRecord::unpack(&vec![0; length]).is_some();
            assert_eq!(is_one, [25, 73].contains(&length), "{length}");
        }
        let mut upside_down = [0; 25];
        upside_down[9] = 1;
        assert_eq!(SelectorRecord::unpack(&upside_down), None);
        upside_down[13] = 1;
        assert!(SelectorRecord::unpack(&upside_down).is_some());
        upside_down[1] = 1;
        assert_eq!(SelectorRecord::unpack(&upside_down), None, "ports");
    }
}
