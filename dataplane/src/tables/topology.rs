//! What the configuration says about ports, interfaces, routes and neighbors: the input of every table.

use std::net::IpAddr;

use esp::IfId;

use crate::ports::{InterfaceId, PortId};

/// An Ethernet address, in transmission order.
pub type Mac = [u8; 6];

/// An address with a prefix length: an interface's own address, or a route's destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// Address; host bits may be set for an interface's own address.
    pub addr: IpAddr,
    /// Prefix length in bits, at most 32 or 128 by family.
    pub len: u8,
}

/// A `[[port]]` as the engine runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Name from the configuration; also the name of its TAP.
    pub name: String,
    /// Ethernet address the gateway uses on this port.
    pub mac: Mac,
    /// Largest IP packet in octets.
    pub mtu: u16,
    /// The gateway's own addresses on this port.
    pub addresses: Vec<Prefix>,
}

/// An `[[interface]]`: the XFRM-style virtual interface of one `if_id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name from the configuration; also the name of its TUN.
    pub name: String,
    /// The id that policies and SAs carry; never 0.
    pub if_id: IfId,
    /// Configured MTU in octets; `None` leaves it to the SA in use.
    pub mtu: Option<u16>,
    /// The gateway's own addresses on this interface.
    pub addresses: Vec<Prefix>,
    /// Lets every worker seal with the interface's outbound SAs instead of one owner.
    pub spread: bool,
    /// Largest TCP segment announced through the interface, in octets.
    pub mss_clamp: Option<u16>,
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// Out of a port, to a next hop or to a neighbor on the link.
    Port(PortId),
    /// Into the tunnel interface of an `if_id`.
    Interface(InterfaceId),
}

/// A static `[[route]]`, or the connected route of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination prefix, host bits clear.
    pub to: Prefix,
    /// Next hop; `None` for what is on the link or goes into an interface.
    pub via: Option<IpAddr>,
    /// Where it leads.
    pub device: Device,
}

/// A static `[[neighbor]]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// Port it is reached by.
    pub port: PortId,
    /// Its address.
    pub ip: IpAddr,
    /// Its Ethernet address.
    pub mac: Mac,
}

/// What happens to clear packets between ports that no policy names (`[engine] unprotected`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unprotected {
    /// They are dropped.
    #[default]
    Drop,
    /// They are forwarded like in a plain router.
    Forward,
}

/// Everything static the packet path is built from; order of `ports` and `interfaces` gives the ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// Ports by [`PortId`].
    pub ports: Vec<Port>,
    /// Interfaces by [`InterfaceId`].
    pub interfaces: Vec<Interface>,
    /// Static routes; connected ones are derived from the addresses.
    pub routes: Vec<Route>,
    /// Static neighbors.
    pub neighbors: Vec<Neighbor>,
    /// Clear-to-clear forwarding between ports.
    pub unprotected: Unprotected,
    /// Whether the kernel owns addresses and neighbors on a TAP and TUN for each port and interface.
    pub netdevs: bool,
    /// Smallest inbound window in packets; a peer that sprays over cores needs a large one.
    pub min_replay_window: u32,
}
