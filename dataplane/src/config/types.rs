//! Values of the configuration as types that cannot hold a wrong one; each knows how to parse itself.

use std::fmt;
use std::net::IpAddr;

use super::error::Problem;
use crate::tables::topology::{Mac, Prefix};

/// A name the kernel takes for a network device.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetdevName(Box<str>);

impl NetdevName {
    /// Parses a name.
    ///
    /// # Errors
    /// [`Problem::Name`] unless it is 1 to 15 harmless characters.
    pub fn parse(value: &str) -> Result<Self, Problem> {
        let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let fits = (1..=MAX_NAME_OCTETS).contains(&value.len()) && value.chars().all(harmless);
        if fits && value != "." && value != ".." && !value.starts_with('-') {
            return Ok(Self(value.into()));
        }
        Err(Problem::Name { value: value.into() })
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NetdevName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a port is to DPDK: devargs of a virtual device or a PCI address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// A virtual device: `net_af_packet0,iface=veth0`.
    Virtual(Box<str>),
    /// A PCI device: `0000:3b:00.0`, arguments may follow.
    Pci(Box<str>),
}

impl Device {
    /// Parses devargs or a PCI address.
    ///
    /// # Errors
    /// [`Problem::Device`] if it is neither.
    pub fn parse(value: &str) -> Result<Self, Problem> {
        let name = value.split(',').next().unwrap_or("");
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let clean = value.chars().all(|c| c.is_ascii_graphic());
        if clean && is_pci(name) {
            return Ok(Self::Pci(value.into()));
        }
        let driver = name.starts_with("net_") || name.starts_with("eth_");
        if clean && driver && name.len() > "net_".len() && name.chars().all(word) {
            return Ok(Self::Virtual(value.into()));
        }
        Err(Problem::Device { value: value.into() })
    }

    /// Returns the devargs as DPDK takes them.
    #[must_use]
    pub fn devargs(&self) -> &str {
        match self {
            Self::Virtual(args) | Self::Pci(args) => args,
        }
    }

    /// Returns the name DPDK knows the device by: the part before the first comma.
    #[must_use]
    pub fn name(&self) -> &str {
        self.devargs().split(',').next().unwrap_or("")
    }

    /// Returns the kernel device behind `net_af_packet` or `net_af_xdp`, which has to be prepared.
    #[must_use]
    pub fn kernel_device(&self) -> Option<&str> {
        let kernel = self.name().starts_with("net_af_packet") || self.name().starts_with("net_af_xdp");
        self.devargs().split(',').filter(|_| kernel).find_map(|arg| arg.strip_prefix("iface="))
    }
}

/// The largest IP packet of a port or interface.
/// Units: octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mtu(u16);

impl Mtu {
    /// The MTU of Ethernet.
    pub const ETHERNET: Self = Self(1500);

    /// Takes a value between 576 and 9000.
    ///
    /// # Errors
    /// [`Problem::Range`] outside.
    pub fn new(value: i64) -> Result<Self, Problem> {
        bounded(value, MIN_MTU, MAX_MTU, "octets").map(Self)
    }

    /// Returns the octets.
    #[must_use]
    pub fn octets(self) -> u16 {
        self.0
    }
}

/// A TCP segment size to clamp to.
/// Units: octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSize(u16);

impl SegmentSize {
    /// Takes a value between 536 and 8960.
    ///
    /// # Errors
    /// [`Problem::Range`] outside.
    pub fn new(value: i64) -> Result<Self, Problem> {
        bounded(value, 536, 8960, "octets").map(Self)
    }

    /// Returns the octets.
    #[must_use]
    pub fn octets(self) -> u16 {
        self.0
    }
}

/// How many packet buffers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers(u32);

impl Buffers {
    /// Takes a value between 2^14 and 2^22.
    ///
    /// # Errors
    /// [`Problem::Range`] outside.
    pub fn new(value: i64) -> Result<Self, Problem> {
        bounded(value, 1 << 14, 1 << 22, "buffers").map(Self)
    }

    /// Returns the number.
    #[must_use]
    pub fn count(self) -> u32 {
        self.0
    }
}

/// How many flows a worker remembers the ways of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flows(u32);

impl Flows {
    /// The number where the file says nothing.
    pub const DEFAULT: Self = Self(1 << 18);

    /// Takes a value between 2^15 and 2^24.
    ///
    /// # Errors
    /// [`Problem::Range`] outside.
    pub fn new(value: i64) -> Result<Self, Problem> {
        bounded(value, 1 << 15, 1 << 24, "flows").map(Self)
    }

    /// Returns the number.
    #[must_use]
    pub fn count(self) -> u32 {
        self.0
    }
}

/// A replay window.
/// Units: packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowPkts(u32);

impl WindowPkts {
    /// The window where the file says nothing.
    pub const DEFAULT: Self = Self(1024);

    /// Takes a value between 32 and 2^20.
    ///
    /// # Errors
    /// [`Problem::Range`] outside.
    pub fn new(value: i64) -> Result<Self, Problem> {
        bounded(value, 32, 1 << 20, "packets").map(Self)
    }

    /// Returns the packets.
    #[must_use]
    pub fn pkts(self) -> u32 {
        self.0
    }
}

/// Parses an address with its prefix length; host bits may be set.
///
/// # Errors
/// [`Problem::Prefix`] if it is none.
pub fn prefix(value: &str, example: &'static str) -> Result<Prefix, Problem> {
    let wrong = || Problem::Prefix { value: value.into(), example };
    let (addr, len) = value.split_once('/').ok_or_else(wrong)?;
    let addr: IpAddr = addr.parse().map_err(|_| wrong())?;
    let len: u8 = len.parse().map_err(|_| wrong())?;
    if len > if addr.is_ipv4() { 32 } else { 128 } {
        return Err(wrong());
    }
    Ok(Prefix { addr, len })
}

/// Clears the bits of an address behind its prefix length.
#[must_use]
pub fn network(prefix: Prefix) -> Prefix {
    let addr = match prefix.addr {
        IpAddr::V4(addr) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.len)).unwrap_or(0);
            IpAddr::V4((addr.to_bits() & mask).into())
        }
        IpAddr::V6(addr) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.len)).unwrap_or(0);
            IpAddr::V6((addr.to_bits() & mask).into())
        }
    };
    Prefix { addr, len: prefix.len }
}

/// Parses an address that one station can have.
///
/// # Errors
/// [`Problem::Address`] if it is none.
pub fn unicast(value: &str) -> Result<IpAddr, Problem> {
    let addr: Option<IpAddr> = value.parse().ok();
    addr.filter(|addr| is_unicast(*addr)).ok_or_else(|| Problem::Address { value: value.into() })
}

/// Whether one station can have the address.
#[must_use]
pub fn is_unicast(addr: IpAddr) -> bool {
    let broadcast = matches!(addr, IpAddr::V4(addr) if addr.is_broadcast());
    !(addr.is_unspecified() || addr.is_multicast() || addr.is_loopback() || broadcast)
}

/// Parses an Ethernet address of one station.
///
/// # Errors
/// [`Problem::Mac`] if it is none.
pub fn mac(value: &str) -> Result<Mac, Problem> {
    let wrong = || Problem::Mac { value: value.into() };
    let mut mac: Mac = [0; 6];
    let mut parts = value.split(':');
    for octet in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2).ok_or_else(wrong)?;
        *octet = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
    }
    if parts.next().is_some() || mac[0] & 1 == 1 || mac == [0; 6] {
        return Err(wrong());
    }
    Ok(mac)
}

fn bounded<T: TryFrom<i64>>(value: i64, min: i64, max: i64, unit: &'static str) -> Result<T, Problem> {
    let wrong = Problem::Range { value, min, max, unit };
    if !(min..=max).contains(&value) {
        return Err(wrong);
    }
    T::try_from(value).map_err(|_| wrong)
}

/// Whether `name` is `[dddd:]bb:dd.f`.
fn is_pci(name: &str) -> bool {
    let hex = |part: &str, digits: usize| part.len() == digits && part.chars().all(|c| c.is_ascii_hexdigit());
    let Some((bus, function)) = name.rsplit_once('.') else { return false };
    let parts: Vec<&str> = bus.split(':').collect();
    let address = match parts.as_slice() {
        [domain, bus, slot] => hex(domain, 4) && hex(bus, 2) && hex(slot, 2),
        [bus, slot] => hex(bus, 2) && hex(slot, 2),
        _ => false,
    };
    address && matches!(function.as_bytes(), [b'0'..=b'7'])
}

/// IFNAMSIZ without the closing zero.
const MAX_NAME_OCTETS: usize = 15;
/// What every IPv4 host takes (RFC 791).
const MIN_MTU: i64 = 576;
/// The usual jumbo frame.
const MAX_MTU: i64 = 9000;
