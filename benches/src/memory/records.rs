//! A gateway, 192.0.2.1, with up to 64 tunnels, at either end of what they carry.
//!
//! Tunnel `n` leads to gateway 192.0.2.(2 + n) and has what goes to 10.2.`n`.0/24, from 10.1.0.0/16. The gateway that receives has
//! it from there. All are of one `if_id`, as those of many road warriors are.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Context as _;
use dataplane::ports::{InterfaceId, PortId};
use dataplane::tables::topology::{Device, Interface, Neighbor, Port, Prefix, Route, Topology};
use shm_protocol::ids::{IfId, Owner, PolicySlot, SaUid, Slot, Spi};
use shm_protocol::policy::{Action, Policy, PolicyDirection, Template};
use shm_protocol::sa::{
    AlgorithmId, Direction, HeaderRules, Initial, KeyOctets, Keying, Limits, Mark, Mode, Sa, TfcPad,
};
use shm_protocol::secret::{Salt, SecretKey};
use shm_protocol::selector::{AddressRange, PortRange, SelectorRecord};

use super::packets::{FAR_MAC, OWN_MAC};
use crate::Result;

/// Port to the hosts.
pub const LAN: usize = 0;
/// Port to the other gateways.
pub const WAN: usize = 1;
/// Id of the one tunnel interface.
pub const IF_ID: u32 = 1;
/// Tunnels at most.
pub const TUNNELS: u8 = 64;
/// SAs that a segment takes.
pub const CAPACITY: u32 = 128;

/// Which end of the tunnels a gateway is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It sends by all of them.
    Sends,
    /// It receives by all of them.
    Receives,
}

fn near() -> IpAddr {
    Ipv4Addr::new(192, 0, 2, 1).into()
}

fn far(tunnel: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, 2 + tunnel).into()
}

/// Returns the configuration of a gateway. With `spread`, all workers seal for each SA.
#[must_use]
pub fn topology(side: Side, spread: bool) -> Topology {
    let net = |second: u8, last: u8, len: u8| Prefix { addr: Ipv4Addr::new(10, second, 0, last).into(), len };
    let (lan, other) = match side {
        Side::Sends => (net(1, 1, 16), net(2, 0, 16)),
        Side::Receives => (net(2, 1, 16), net(1, 0, 16)),
    };
    let port = |name: &str, address: Prefix| Port {
        name: name.into(),
        mac: OWN_MAC,
        mtu: 1500,
        addresses: vec![address],
    };
    let neighbor = |port: usize, ip: IpAddr| Neighbor { port: port_id(port), ip, mac: FAR_MAC };
    let hosts = (0..TUNNELS).map(|tunnel| neighbor(LAN, Ipv4Addr::new(10, 2, tunnel, 9).into()));
    let peers = (0..TUNNELS).map(|tunnel| neighbor(WAN, far(tunnel)));
    Topology {
        ports: vec![port("lan", lan), port("wan", Prefix { addr: near(), len: 24 })],
        interfaces: vec![Interface {
            name: "ipsec1".into(),
            if_id: esp::IfId(IF_ID),
            mtu: None,
            addresses: Vec::new(),
            spread,
            mss_clamp: None,
        }],
        routes: vec![Route { to: other, via: None, device: Device::Interface(InterfaceId(0)) }],
        neighbors: peers.chain(hosts).collect(),
        ..Topology::default()
    }
}

/// Returns [`LAN`] or [`WAN`] as the path names it.
#[must_use]
pub fn port_id(port: usize) -> PortId {
    PortId(u16::from(port == WAN))
}

/// Returns the SAs and policies of the first `tunnels` tunnels as one end has them.
///
/// # Errors
/// There are not so many tunnels.
pub fn all(side: Side, tunnels: u8) -> Result<(Vec<Sa>, Vec<Policy>)> {
    let sas = (0..tunnels).map(|tunnel| sa(side, tunnel)).collect::<Result<_>>()?;
    Ok((sas, (0..tunnels).map(|tunnel| policy(side, tunnel)).collect::<Result<_>>()?))
}

/// Returns the SA of a tunnel as one end has it.
///
/// # Errors
/// There is no such tunnel.
pub fn sa(side: Side, tunnel: u8) -> Result<Sa> {
    let slot = Slot::new(u32::from(tunnel) + 1).context("no such slot")?;
    let key = SecretKey::new(&[0x5a; 16]).context("no such key")?;
    let keying = Keying::new(AlgorithmId::AesGcm16(KeyOctets::K16), key, Salt::new([1, 2, 3, 4]));
    let (direction, src, dst) = match side {
        Side::Sends => (Direction::Out, near(), far(tunnel)),
        Side::Receives => (Direction::In, far(tunnel), near()),
    };
    Ok(Sa {
        slot,
        direction,
        owner: Owner(1),
        uid: SaUid::new(1000 + u64::from(tunnel)).context("no such uid")?,
        spi: Spi::allocated(slot, 0x5a5).context("no such SPI")?,
        foreign: false,
        if_id: IfId(IF_ID),
        src,
        dst,
        reqid: u32::from(tunnel) + 1,
        mode: Mode::Tunnel,
        keying: keying.context("a key of another length")?,
        esn: true,
        replay_window_pkts: 128,
        encap: None,
        selectors: Default::default(),
        limits: Limits::default(),
        initial: Initial::default(),
        headers: HeaderRules::default(),
        tfc_pad: TfcPad::Off,
        mark: Mark::default(),
        set_mark: Mark::default(),
        cpu: None,
        installed_ns: 1,
    })
}

/// Returns the policy of a tunnel as one end has it.
///
/// # Errors
/// There is no such tunnel.
pub fn policy(side: Side, tunnel: u8) -> Result<Policy> {
    policy_for(side, tunnel, tunnel.into(), [10, 2, tunnel])
}

/// Returns the policy at `slot` that protects what goes to a network of 256 addresses by a tunnel.
///
/// # Errors
/// There is no such tunnel or slot.
pub fn policy_for(side: Side, tunnel: u8, slot: u32, to: [u8; 3]) -> Result<Policy> {
    let range = |lo: [u8; 4], hi: [u8; 4]| AddressRange::new(lo.into(), hi.into()).context("no range");
    let [a, b, c] = to;
    let (src, dst) = (range([10, 1, 0, 0], [10, 1, 255, 255])?, range([a, b, c, 0], [a, b, c, 255])?);
    let selector = SelectorRecord::new(src, dst, 0, PortRange::ANY, PortRange::ANY);
    let (direction, from, to) = match side {
        Side::Sends => (PolicyDirection::Out, near(), far(tunnel)),
        Side::Receives => (PolicyDirection::Fwd, far(tunnel), near()),
    };
    let reqid = u32::from(tunnel) + 1;
    let template = Template { src: from, dst: to, reqid, mode: Mode::Tunnel, spi: None };
    Ok(Policy {
        slot: PolicySlot::new(slot).context("no such slot")?,
        owner: Owner(1),
        direction,
        if_id: IfId(IF_ID),
        selector: selector.context("no such selector")?,
        priority: 100,
        action: Action::Protect(template),
        order: u64::from(slot) + 1,
        users: 1,
        mark: Mark::default(),
    })
}
