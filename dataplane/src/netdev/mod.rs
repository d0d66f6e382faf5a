//! The engine's face in Linux: a TAP per port, a TUN per `if_id` interface, and the kernel devices behind ports.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel's messages are an open set; what is unknown is passed over"
)]

use std::net::IpAddr;

use netlink_packet_route::link::LinkFlags;

pub use error::Error;
pub use ioctl::Kind;
pub use link::{Change, Link};
pub use neighbours::{Known, Neighbours, Notice};
pub use netlink::Netlink;
pub use prepare::Prepared;
pub use tap::Tap;

use crate::config::{Config, NetdevName};
use crate::tables::topology::{Mac, Prefix};

mod error;
mod ioctl;
mod link;
mod neighbours;
mod netlink;
pub(crate) mod prepare;
mod tap;

/// A device of ours that is up.
#[derive(Debug)]
pub struct Netdev {
    /// Packets in and out.
    pub tap: Tap,
    /// The kernel's view of it.
    pub link: Link,
}

/// Makes the TAP of every port, with the port's Ethernet address, MTU and addresses.
///
/// # Errors
/// [`Error`]; devices made before it stay.
pub fn open_taps(netlink: &mut Netlink, config: &Config, macs: &[Mac]) -> Result<Vec<Netdev>, Error> {
    let mut taps = Vec::with_capacity(config.ports.len());
    for (port, mac) in config.ports.iter().zip(macs) {
        let tap = Tap::open(port.name.as_str(), Kind::Tap)?;
        let link = netlink.link(port.name.as_str())?;
        if link.mac != Some(*mac) {
            netlink.set(&link, Change::Flags(LinkFlags::Up, false))?;
            netlink.set(&link, Change::Mac(*mac))?;
        }
        netlink.set(&link, Change::Mtu(port.mtu.octets()))?;
        netlink.set(&link, Change::Flags(LinkFlags::Up, true))?;
        give_addresses(netlink, &link, &port.addresses)?;
        taps.push(Netdev { tap, link });
    }
    Ok(taps)
}

/// Makes the TUN of an interface.
///
/// # Errors
/// [`Error`].
pub fn open_tun(netlink: &mut Netlink, interface: &crate::config::Interface) -> Result<Netdev, Error> {
    let tap = Tap::open(interface.name.as_str(), Kind::Tun)?;
    let link = netlink.link(interface.name.as_str())?;
    no_link_local(&interface.name);
    if let Some(mtu) = interface.mtu {
        netlink.set(&link, Change::Mtu(mtu.octets()))?;
    }
    netlink.set(&link, Change::Flags(LinkFlags::Up, true))?;
    give_addresses(netlink, &link, &interface.addresses)?;
    Ok(Netdev { tap, link })
}

/// A link-local address would have the kernel solicit routers inside the tunnel, which no policy lets through.
fn no_link_local(name: &NetdevName) {
    let path: std::path::PathBuf =
        ["/proc/sys/net/ipv6/conf", name.as_str(), "addr_gen_mode"].iter().collect();
    if path.exists() && std::fs::write(&path, "1").is_err() {
        tracing::debug!("{name}: keeps its IPv6 link-local address");
    }
}

/// Gives the kernel the file's routes and neighbours, so that the host's own packets take the same way.
///
/// # Errors
/// [`Error`], the first one.
pub fn give_routes(netlink: &mut Netlink, config: &Config) -> Result<(), Error> {
    settings(config).into_iter().try_for_each(|setting| setting.apply(netlink, true))
}

/// Brings the kernel from one configuration to another: what only `old` has goes, what only `new` has comes.
///
/// # Errors
/// [`Error`], the first one; the rest is not tried.
pub fn change_settings(netlink: &mut Netlink, old: &Config, new: &Config) -> Result<(), Error> {
    let (before, after) = (all_settings(old), all_settings(new));
    for gone in before.iter().filter(|setting| !after.contains(setting)) {
        match gone.apply(netlink, false) {
            Err(error) if !error.is_gone() => return Err(error),
            _ => {}
        }
    }
    after
        .iter()
        .filter(|setting| !before.contains(setting))
        .try_for_each(|setting| setting.apply(netlink, true))
}

/// One thing the file says and the kernel has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Setting {
    Address(NetdevName, Prefix),
    Neighbour(NetdevName, IpAddr, Mac),
    Route(NetdevName, Prefix, Option<IpAddr>),
}

impl Setting {
    fn apply(&self, netlink: &mut Netlink, on: bool) -> Result<(), Error> {
        let (Self::Address(name, _) | Self::Neighbour(name, ..) | Self::Route(name, ..)) = self;
        let link = netlink.link(name.as_str())?;
        match self {
            Self::Address(_, address) => netlink.set_address(&link, *address, on),
            Self::Neighbour(_, ip, mac) => netlink.set_neighbour(&link, *ip, *mac, on),
            Self::Route(_, to, via) => netlink.set_route(&link, *to, *via, on),
        }
    }
}

fn all_settings(config: &Config) -> Vec<Setting> {
    let ports = config.ports.iter().map(|port| (&port.name, &port.addresses));
    let interfaces = config.interfaces.iter().map(|interface| (&interface.name, &interface.addresses));
    let addresses = ports.chain(interfaces).flat_map(|(name, addresses)| {
        addresses.iter().map(|address| Setting::Address(name.clone(), *address))
    });
    addresses.chain(settings(config)).collect()
}

fn settings(config: &Config) -> Vec<Setting> {
    let neighbours = config.neighbours.iter();
    let neighbours = neighbours.map(|own| Setting::Neighbour(own.port.clone(), own.ip, own.mac));
    let routes = config.routes.iter().map(|route| Setting::Route(route.dev.clone(), route.to, route.via));
    neighbours.chain(routes).collect()
}

fn give_addresses(netlink: &mut Netlink, link: &Link, addresses: &[Prefix]) -> Result<(), Error> {
    addresses.iter().try_for_each(|address| netlink.set_address(link, *address, true))
}

#[cfg(test)]
mod tests;
