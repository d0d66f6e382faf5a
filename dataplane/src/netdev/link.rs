//! What is asked of and changed on a kernel device: Ethernet address, flags, MTU, alias, addresses, routes.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::error::Error;
use super::netlink::Netlink;
use crate::tables::topology::{Mac, Prefix};

/// A kernel device as it was when asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Name.
    pub name: Box<str>,
    /// The kernel's number.
    pub index: u32,
    /// Ethernet address; `None` for a TUN.
    pub mac: Option<Mac>,
    /// `IFF_` flags.
    pub flags: LinkFlags,
    /// What an administrator wrote at the device.
    pub alias: Box<str>,
}

/// A change of a device.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// Its Ethernet address.
    Mac(Mac),
    /// Its MTU in octets.
    Mtu(u16),
    /// Its alias.
    Alias(&'a str),
    /// These flags on or off.
    Flags(LinkFlags, bool),
}

impl Netlink {
    /// Finds a device by name.
    ///
    /// # Errors
    /// [`Error::NoSuchDevice`].
    pub fn link(&mut self, name: &str) -> Result<Link, Error> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let found =
            self.get(RouteNetlinkMessage::GetLink(message)).map_err(|cause| match cause.raw_os_error() {
                Some(libc::ENODEV) => Error::NoSuchDevice { name: name.into() },
                _ => Error::Refused { name: name.into(), what: "looking it up", cause },
            })?;
        let link = found.into_iter().find_map(|message| match message {
            RouteNetlinkMessage::NewLink(link) => Some(Link::from_message(name, &link)),
            _ => None,
        });
        link.ok_or_else(|| Error::NoSuchDevice { name: name.into() })
    }

    /// Changes a device.
    ///
    /// # Errors
    /// [`Error::Refused`] with the change's name.
    pub fn set(&mut self, link: &Link, change: Change<'_>) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        message.header.index = link.index;
        let what = match change {
            Change::Mac(mac) => {
                message.attributes.push(LinkAttribute::Address(mac.to_vec()));
                "setting the Ethernet address"
            }
            Change::Mtu(octets) => {
                message.attributes.push(LinkAttribute::Mtu(octets.into()));
                "setting the MTU"
            }
            Change::Alias(alias) => {
                message.attributes.push(LinkAttribute::IfAlias(alias.to_owned()));
                "setting the alias"
            }
            Change::Flags(flags, on) => {
                message.header.flags = if on { flags } else { LinkFlags::empty() };
                message.header.change_mask = flags;
                "setting flags"
            }
        };
        let done = self.change(RouteNetlinkMessage::SetLink(message), 0);
        done.map_err(|cause| Error::Refused { name: link.name.clone(), what, cause })
    }

    /// Returns a device's addresses, IPv6 link-local ones left out: those come by themselves.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn addresses(&mut self, link: &Link) -> Result<Vec<Prefix>, Error> {
        let all = self.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        let own = all.into_iter().filter_map(|message| match message {
            RouteNetlinkMessage::NewAddress(address) if address.header.index == link.index => Some(address),
            _ => None,
        });
        Ok(own.filter_map(|address| prefix(&address)).collect())
    }

    /// Gives a device an address, or takes one away; what is so already is no error.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn set_address(&mut self, link: &Link, address: Prefix, on: bool) -> Result<(), Error> {
        let mut message = AddressMessage::default();
        message.header.family = family(address.addr);
        message.header.prefix_len = address.len;
        message.header.index = link.index;
        if address.addr.is_ipv6() {
            // The address is used at once: IKE would otherwise fail for a second after each start.
            message.header.flags = AddressHeaderFlags::Nodad;
        }
        message.attributes.push(AddressAttribute::Local(address.addr));
        message.attributes.push(AddressAttribute::Address(address.addr));
        let (done, what) = if on {
            let message = RouteNetlinkMessage::NewAddress(message);
            (self.change(message, NLM_F_CREATE | NLM_F_REPLACE), "adding an address")
        } else {
            (self.change(RouteNetlinkMessage::DelAddress(message), 0), "removing an address")
        };
        settle(done, link, what)
    }

    /// Adds or removes a route of ours; routes of others for the same destination stay as they are.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn set_route(&mut self, link: &Link, to: Prefix, via: Option<IpAddr>, on: bool) -> Result<(), Error> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(to.addr);
        message.header.destination_prefix_length = to.len;
        message.header.table = netlink_packet_route::route::RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Other(ROUTE_PROTOCOL);
        message.header.kind = RouteType::Unicast;
        message.header.scope = if via.is_some() { RouteScope::Universe } else { RouteScope::Link };
        if to.len > 0 {
            message.attributes.push(RouteAttribute::Destination(to.addr.into()));
        }
        message.attributes.push(RouteAttribute::Oif(link.index));
        message.attributes.push(RouteAttribute::Priority(ROUTE_METRIC));
        message.attributes.extend(via.map(|via| RouteAttribute::Gateway(via.into())));
        let (done, what) = if on {
            (self.change(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL), "adding a route")
        } else {
            (self.change(RouteNetlinkMessage::DelRoute(message), 0), "removing a route")
        };
        settle(done, link, what)
    }

    /// Adds or removes a permanent neighbour.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn set_neighbour(&mut self, link: &Link, ip: IpAddr, mac: Mac, on: bool) -> Result<(), Error> {
        let mut message = NeighbourMessage::default();
        message.header.family = family(ip);
        message.header.ifindex = link.index;
        message.header.state = NeighbourState::Permanent;
        message.attributes.push(NeighbourAttribute::Destination(ip.into()));
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
        let (done, what) = if on {
            let message = RouteNetlinkMessage::NewNeighbour(message);
            (self.change(message, NLM_F_CREATE | NLM_F_REPLACE), "adding a neighbour")
        } else {
            (self.change(RouteNetlinkMessage::DelNeighbour(message), 0), "removing a neighbour")
        };
        settle(done, link, what)
    }
}

impl Link {
    fn from_message(name: &str, message: &LinkMessage) -> Self {
        let mut link = Self {
            name: name.into(),
            index: message.header.index,
            mac: None,
            flags: message.header.flags,
            alias: "".into(),
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::Address(mac) => link.mac = mac.as_slice().try_into().ok(),
                LinkAttribute::IfAlias(alias) => link.alias = alias.as_str().into(),
                _ => {}
            }
        }
        link
    }
}

/// Returns the netlink family of an address.
pub(super) fn family(addr: IpAddr) -> AddressFamily {
    if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// What is there already or gone already is as asked for.
fn settle(done: io::Result<()>, link: &Link, what: &'static str) -> Result<(), Error> {
    let fine = [libc::EEXIST, libc::ESRCH, libc::EADDRNOTAVAIL, libc::ENOENT];
    match done {
        Err(cause) if !cause.raw_os_error().is_some_and(|code| fine.contains(&code)) => {
            Err(Error::Refused { name: link.name.clone(), what, cause })
        }
        _ => Ok(()),
    }
}

fn prefix(address: &AddressMessage) -> Option<Prefix> {
    let local = address.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(addr) => Some(*addr),
        _ => None,
    });
    let other = address.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(addr) => Some(*addr),
        _ => None,
    });
    let addr = local.or(other)?;
    let link_local = matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local());
    (!link_local).then_some(Prefix { addr, len: address.header.prefix_len })
}

/// A `rtm_protocol` no routing daemon uses, so that our routes can be told from others.
const ROUTE_PROTOCOL: u8 = 0xe5;
/// Behind every route an administrator sets without a metric.
const ROUTE_METRIC: u32 = 1024;
