//! The kernel device behind `net_af_packet` or `net_af_xdp`, made deaf while the engine speaks for it.
//!
//! The TAP of the port takes the device's Ethernet address; the device gets another one, no addresses, no ARP, no
//! IPv6, and promiscuous mode, so that the kernel meets each packet once at most, from the TAP. What was there before
//! stands in the device's alias from the first change to the last undone one: a kill at any point loses nothing,
//! and the next run never takes the substitute address for the real one.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use netlink_packet_route::link::LinkFlags;

use super::error::Error;
use super::ioctl::{self, Offload};
use super::link::{Change, Link};
use super::netlink::Netlink;
use crate::tables::topology::{Mac, Prefix};

/// A prepared device; dropping it gives back what was changed.
#[derive(Debug)]
pub struct Prepared {
    name: Box<str>,
    before: Before,
}

impl Prepared {
    /// Prepares a device, or takes over from a run that was killed.
    ///
    /// # Errors
    /// [`Error`]; nothing stays changed then.
    pub fn new(netlink: &mut Netlink, name: &str) -> Result<Self, Error> {
        let link = netlink.link(name)?;
        let before = match Before::from_alias(&link.alias) {
            Some(before) => before,
            None => Before::of(netlink, &link)?,
        };
        let alias = before.to_alias();
        if alias.len() >= MAX_ALIAS_OCTETS {
            return Err(Error::TooManyAddresses { name: name.into() });
        }
        netlink.set(&link, Change::Alias(&alias))?;
        let prepared = Self { name: name.into(), before };
        prepared.change(netlink, &link)?;
        Ok(prepared)
    }

    /// Returns the device's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the Ethernet address the device had, which its TAP takes.
    #[must_use]
    pub fn mac(&self) -> Mac {
        self.before.mac
    }

    /// Returns a command that turns off the offloads which are on, `None` if none is.
    #[must_use]
    pub fn offload_remedy(&self) -> Option<String> {
        let on: Vec<Offload> =
            Offload::ALL.into_iter().filter(|kind| ioctl::offload(&self.name, *kind)).collect();
        let words: String = on.iter().map(|kind| format!(" {} off", kind.name())).collect();
        (!on.is_empty()).then(|| format!("ethtool -K {}{words}", self.name))
    }

    fn change(&self, netlink: &mut Netlink, link: &Link) -> Result<(), Error> {
        for address in netlink.addresses(link)? {
            netlink.set_address(link, address, false)?;
        }
        set_ipv6_off(&self.name, true);
        netlink.set(link, Change::Flags(LinkFlags::Noarp, true))?;
        set_mac(netlink, link, substitute(self.before.mac))?;
        netlink.set(link, Change::Flags(LinkFlags::Promisc | LinkFlags::Up, true))
    }

    fn undo(&self, netlink: &mut Netlink) -> Result<(), Error> {
        let before = &self.before;
        let link = netlink.link(&self.name)?;
        netlink.set(&link, Change::Flags(LinkFlags::Promisc, before.promisc))?;
        set_mac(netlink, &link, before.mac)?;
        netlink.set(&link, Change::Flags(LinkFlags::Noarp, before.noarp))?;
        set_ipv6_off(&self.name, before.ipv6_off);
        for address in &before.addresses {
            netlink.set_address(&link, *address, true)?;
        }
        netlink.set(&link, Change::Flags(LinkFlags::Up, before.up))?;
        netlink.set(&link, Change::Alias(&before.alias))
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        let undone =
            Netlink::connect().map_err(Error::Netlink).and_then(|mut netlink| self.undo(&mut netlink));
        match undone {
            Err(error) if !error.is_gone() => tracing::warn!("{} is left changed: {error}", self.name),
            _ => {}
        }
    }
}

/// What a device was like.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Before {
    mac: Mac,
    up: bool,
    noarp: bool,
    promisc: bool,
    ipv6_off: bool,
    addresses: Vec<Prefix>,
    alias: Box<str>,
}

impl Before {
    fn of(netlink: &mut Netlink, link: &Link) -> Result<Self, Error> {
        let mac = link.mac.filter(|_| !link.flags.contains(LinkFlags::Loopback));
        Ok(Self {
            mac: mac.ok_or_else(|| Error::NotEthernet { name: link.name.clone() })?,
            up: link.flags.contains(LinkFlags::Up),
            noarp: link.flags.contains(LinkFlags::Noarp),
            promisc: link.flags.contains(LinkFlags::Promisc),
            ipv6_off: ipv6_off(&link.name),
            addresses: netlink.addresses(link)?,
            alias: link.alias.clone(),
        })
    }

    fn to_alias(&self) -> String {
        let flags = [(self.up, 'u'), (self.noarp, 'n'), (self.promisc, 'p'), (self.ipv6_off, '6')];
        let flags: String = flags.into_iter().filter_map(|(on, letter)| on.then_some(letter)).collect();
        let addresses: Vec<String> =
            self.addresses.iter().map(|prefix| format!("{}/{}", prefix.addr, prefix.len)).collect();
        format!("{MARK} {} [{flags}] {};{}", Colons(self.mac), addresses.join(","), self.alias)
    }

    fn from_alias(alias: &str) -> Option<Self> {
        let (ours, alias) = alias.strip_prefix(MARK)?.trim_start().split_once(';')?;
        let mut words = ours.split(' ');
        let mac = crate::config::types::mac(words.next()?).ok()?;
        let flags = words.next()?.strip_prefix('[')?.strip_suffix(']')?;
        let listed = words.next()?.split(',').filter(|word| !word.is_empty());
        let address = |word: &str| {
            let (addr, len) = word.split_once('/')?;
            Some(Prefix { addr: addr.parse::<IpAddr>().ok()?, len: len.parse().ok()? })
        };
        Some(Self {
            mac,
            up: flags.contains('u'),
            noarp: flags.contains('n'),
            promisc: flags.contains('p'),
            ipv6_off: flags.contains('6'),
            addresses: listed.map(address).collect::<Option<Vec<_>>>()?,
            alias: alias.into(),
        })
    }
}

/// Shows an Ethernet address as `02:00:00:00:00:01`.
pub(crate) struct Colons(pub(crate) Mac);

impl fmt::Display for Colons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Derives a locally administered unicast address that differs from `mac`.
fn substitute(mac: Mac) -> Mac {
    let mut other = mac;
    other[0] = (mac[0] | 0x02) & 0xfe;
    other[1] ^= 0xe5;
    other
}

/// Some drivers change their address only while they are down.
fn set_mac(netlink: &mut Netlink, link: &Link, mac: Mac) -> Result<(), Error> {
    match netlink.set(link, Change::Mac(mac)) {
        Err(Error::Refused { cause, .. }) if cause.raw_os_error() == Some(libc::EBUSY) => {}
        other => return other,
    }
    netlink.set(link, Change::Flags(LinkFlags::Up, false))?;
    netlink.set(link, Change::Mac(mac))?;
    netlink.set(link, Change::Flags(LinkFlags::Up, true))
}

fn ipv6_path(name: &str) -> PathBuf {
    ["/proc/sys/net/ipv6/conf", name, "disable_ipv6"].iter().collect()
}

/// A kernel without IPv6 has it off.
fn ipv6_off(name: &str) -> bool {
    std::fs::read_to_string(ipv6_path(name)).map_or(true, |value| value.trim() == "1")
}

/// Turns IPv6 off on a device: no addresses, no autoconfiguration, no answers.
fn set_ipv6_off(name: &str, off: bool) {
    if ipv6_off(name) == off {
        return;
    }
    if let Err(cause) = std::fs::write(ipv6_path(name), if off { "1" } else { "0" }) {
        tracing::warn!("{name}: IPv6 cannot be switched {}: {cause}", if off { "off" } else { "on" });
    }
}

const MARK: &str = "espalier keeps for it:";
/// `IFALIASZ`.
const MAX_ALIAS_OCTETS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn before() -> Before {
        Before {
            mac: [2, 0, 0, 0, 0, 0xfe],
            up: true,
            noarp: false,
            promisc: false,
            ipv6_off: false,
            addresses: vec![
                Prefix { addr: "192.0.2.1".parse().unwrap(), len: 24 },
                Prefix { addr: "2001:db8::1".parse().unwrap(), len: 64 },
            ],
            alias: "uplink; rack 3".into(),
        }
    }

    #[test]
    fn what_a_device_was_like_is_read_back_from_its_alias() {
        let before = before();
        assert_eq!(Before::from_alias(&before.to_alias()), Some(before.clone()));
        let bare = Before { addresses: vec![], alias: "".into(), ..before };
        assert_eq!(Before::from_alias(&bare.to_alias()), Some(bare));
    }

    #[test]
    fn an_administrators_own_alias_is_not_taken_for_ours() {
        assert_eq!(Before::from_alias("uplink"), None);
        assert_eq!(Before::from_alias(""), None);
        assert_eq!(Before::from_alias("espalier keeps for it: nonsense"), None);
    }

    #[test]
    fn the_substitute_address_is_local_unicast_and_different() {
        for mac in [[0, 1, 2, 3, 4, 5], [2, 0, 0, 0, 0, 1], [0xfe, 0xff, 0, 0, 0, 0]] {
            let other = substitute(mac);
            assert_ne!(other, mac);
            assert_eq!(other[0] & 3, 2);
        }
    }
}
