//! The network most tests run in: host A - gateway A - wire - gateway B - host B, in four namespaces.
//!
//! ```text
//! host A 10.1.0.2 -- 10.1.0.1 gateway A 192.0.2.1 == wire == 192.0.2.2 gateway B 10.2.0.1 -- 10.2.0.2 host B
//!        fd00:1::2   fd00:1::1          2001:db8::1          2001:db8::2          fd00:2::1   fd00:2::2
//! ```
//!
//! The kernel devices behind an Espalier gateway are `veth-wan` and `veth-lan`; its TAPs are `wan` and `lan`.
//! A gateway on the kernel calls its devices `wan` and `lan` themselves.

use std::net::{IpAddr, SocketAddr};

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use crate::gateway_toml::{GatewayToml, Port};
use crate::netns::veth;
use crate::traffic::FlowSpec;
use crate::{Netns, Result, World};

/// Which side of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The left one.
    A,
    /// The right one.
    B,
}

/// What stands at a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    /// An Espalier gateway: its ports need the device names to themselves.
    Espalier,
    /// A gateway on the kernel's own network stack.
    Kernel,
}

/// The four namespaces.
#[derive(Debug, Clone)]
pub struct Sites {
    /// Host A.
    pub host_a: Netns,
    /// Gateway A.
    pub gw_a: Netns,
    /// Gateway B.
    pub gw_b: Netns,
    /// Host B.
    pub host_b: Netns,
}

impl Side {
    /// Returns 1 for A and 2 for B, the digit that tells their addresses apart.
    pub fn digit(self) -> u32 {
        match self {
            Self::A => 1,
            Self::B => 2,
        }
    }

    /// Returns the outer IPv4 address of the gateway.
    pub fn outer_v4(self) -> String {
        format!("192.0.2.{}", self.digit())
    }

    /// Returns the outer IPv6 address of the gateway.
    pub fn outer_v6(self) -> String {
        format!("2001:db8::{}", self.digit())
    }

    /// Returns the network of the site. The last argument of each pair is the prefix length.
    pub fn lan_v4(self) -> String {
        format!("10.{}.0.0/24", self.digit())
    }

    /// Returns the IPv6 network of the site.
    pub fn lan_v6(self) -> String {
        format!("fd00:{}::/64", self.digit())
    }

    /// Returns the host's IPv4 address.
    pub fn host_v4(self) -> String {
        format!("10.{}.0.2", self.digit())
    }

    /// Returns the host's IPv6 address.
    pub fn host_v6(self) -> String {
        format!("fd00:{}::2", self.digit())
    }

    /// Returns the IKE identity of the gateway.
    pub fn identity(self) -> &'static str {
        match self {
            Self::A => "a.test",
            Self::B => "b.test",
        }
    }

    /// Returns the other side.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl Stack {
    fn device<'a>(self, behind_espalier: &'a str, of_kernel: &'a str) -> &'a str {
        match self {
            Self::Espalier => behind_espalier,
            Self::Kernel => of_kernel,
        }
    }
}

impl Sites {
    /// Makes the namespaces, the wires and the hosts' addresses and routes.
    pub fn new(world: &World, a: Stack, b: Stack) -> Result<Self> {
        let sites = Self {
            host_a: world.netns("ha")?,
            gw_a: world.netns("ga")?,
            gw_b: world.netns("gb")?,
            host_b: world.netns("hb")?,
        };
        veth(&sites.host_a, "eth0", &sites.gw_a, a.device("veth-lan", "lan"))?;
        veth(&sites.gw_a, a.device("veth-wan", "wan"), &sites.gw_b, b.device("veth-wan", "wan"))?;
        veth(&sites.gw_b, b.device("veth-lan", "lan"), &sites.host_b, "eth0")?;
        for (host, side) in [(&sites.host_a, Side::A), (&sites.host_b, Side::B)] {
            host.ip(&format!("addr add {}/24 dev eth0", side.host_v4()))?;
            host.ip(&format!("addr add {}/64 dev eth0", side.host_v6()))?;
            host.ip(&format!("route add default via 10.{}.0.1", side.digit()))?;
            host.ip(&format!("route add default via fd00:{}::1", side.digit()))?;
        }
        for (gateway, side, stack) in [(&sites.gw_a, Side::A, a), (&sites.gw_b, Side::B, b)] {
            if stack == Stack::Kernel {
                gateway.forward()?;
                for port in ["wan", "lan"] {
                    for address in gateway_addresses(side, port) {
                        gateway.ip(&format!("addr add {address} dev {port}"))?;
                    }
                }
            }
        }
        Ok(sites)
    }

    /// Returns the host of a side.
    pub fn host(&self, side: Side) -> &Netns {
        match side {
            Side::A => &self.host_a,
            Side::B => &self.host_b,
        }
    }

    /// Pings once from each host to the other, so that every neighbour on the way is known.
    ///
    /// A gateway holds one packet for an unknown neighbour; the first few of a flow would be lost to that.
    pub fn acquaint(&self) -> Result<()> {
        self.host_a.ping(&Side::B.host_v4(), 1)?;
        self.host_b.ping(&Side::A.host_v4(), 1).map(drop)
    }

    /// Returns a flow of numbered datagrams from the host of `from` to the other one over IPv4.
    pub fn flow_v4(&self, from: Side, port: u16, pps: u32) -> Result<FlowSpec> {
        self.flow(from, &from.host_v4(), &from.other().host_v4(), port, pps)
    }

    /// Returns a flow of numbered datagrams from the host of `from` to the other one over IPv6.
    pub fn flow_v6(&self, from: Side, port: u16, pps: u32) -> Result<FlowSpec> {
        self.flow(from, &from.host_v6(), &from.other().host_v6(), port, pps)
    }

    fn flow(&self, from: Side, src: &str, dst: &str, port: u16, pps: u32) -> Result<FlowSpec> {
        let label = match from {
            Side::A => format!("A to B ({dst} port {port})"),
            Side::B => format!("B to A ({dst} port {port})"),
        };
        let dst: IpAddr = dst.parse()?;
        Ok(FlowSpec {
            label,
            from: self.host(from).clone(),
            src: src.parse()?,
            to: self.host(from.other()).clone(),
            dst: SocketAddr::new(dst, port),
            pps,
            payload_octets: 200,
        })
    }
}

/// Returns the addresses of a gateway's port `wan` or `lan`.
pub fn gateway_addresses(side: Side, port: &str) -> [String; 2] {
    if port == "wan" {
        [format!("{}/24", side.outer_v4()), format!("{}/64", side.outer_v6())]
    } else {
        [format!("10.{}.0.1/24", side.digit()), format!("fd00:{}::1/64", side.digit())]
    }
}

/// Returns the configuration of an Espalier gateway with its two ports, without tunnels.
///
/// A default route leads to the other gateway, so that what no tunnel takes would leave in clear.
pub fn espalier_toml(side: Side) -> GatewayToml {
    let mut toml = GatewayToml { workers: vec![worker_cpu(side)], ..GatewayToml::default() };
    for (number, name) in [(0, "wan"), (1, "lan")] {
        let addresses = gateway_addresses(side, name);
        toml = toml.port(Port::on_veth(number, name, &addresses.each_ref().map(String::as_str)));
    }
    toml.route_via("0.0.0.0/0", &side.other().outer_v4(), "wan").route_via(
        "::/0",
        &side.other().outer_v6(),
        "wan",
    )
}

/// Returns the CPU of the worker of a gateway: the last one open to this process for A, the first for B.
pub fn worker_cpu(side: Side) -> u32 {
    let open = open_cpus();
    let chosen = match side {
        Side::A => open.last(),
        Side::B => open.first(),
    };
    chosen.copied().unwrap_or(0)
}

/// Returns the CPUs this process may run on.
pub fn open_cpus() -> Vec<u32> {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap_or_else(|_| CpuSet::new());
    (0..CpuSet::count())
        .filter(|cpu| set.is_set(*cpu).unwrap_or(false))
        .filter_map(|cpu| u32::try_from(cpu).ok())
        .collect()
}
