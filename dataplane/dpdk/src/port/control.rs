//! A running port: its address, mode, link and counters.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use dpdk_sys::{dpdk_shim_link, dpdk_shim_stats, dpdk_shim_steering};

use crate::error::Error;
use crate::port::device::{Claim, Limits};
use crate::port::steering::Steering;

/// Control and counters of a running port. The port stops when this and all its queues are dropped.
#[derive(Clone, Debug)]
pub struct Port(Arc<Control>);

#[derive(Debug)]
struct Control {
    claim: Arc<Claim>,
    limits: Limits,
    /// Drivers do not expect two control calls on one port at a time.
    one: Mutex<()>,
}

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The counters of a port, as its driver keeps them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Packets received.
    pub rx_pkts: u64,
    /// Packets sent.
    pub tx_pkts: u64,
    /// Octets received.
    pub rx_octets: u64,
    /// Octets sent.
    pub tx_octets: u64,
    /// Packets the device dropped because no descriptor was free.
    pub rx_missed_pkts: u64,
    /// Packets received with an error.
    pub rx_error_pkts: u64,
    /// Packets that failed to be sent.
    pub tx_error_pkts: u64,
    /// Packets dropped because the pool was dry.
    pub rx_no_mbuf_pkts: u64,
}

/// The link of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether it is up.
    pub up: bool,
    /// Its speed in Mbit/s, if the driver knows it.
    pub speed_mbps: Option<u32>,
    /// Whether it is full duplex.
    pub full_duplex: bool,
}

impl Port {
    pub(crate) fn new(claim: Arc<Claim>, limits: Limits) -> Self {
        Self(Arc::new(Control { claim, limits, one: Mutex::new(()) }))
    }

    /// Returns the number DPDK gave the port.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.0.claim.port
    }

    /// Returns the devargs the port was made from.
    #[must_use]
    pub fn devargs(&self) -> &str {
        &self.0.claim.devargs
    }

    /// Returns what the device can do.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Returns the port's Ethernet address. Errors: `Port`.
    pub fn mac(&self) -> Result<MacAddress, Error> {
        let mut mac = [0; 6];
        // SAFETY: the port is claimed; six octets are writable.
        self.call("reading the MAC address", |port| unsafe {
            dpdk_sys::dpdk_shim_port_mac(port, mac.as_mut_ptr())
        })?;
        Ok(MacAddress(mac))
    }

    /// Gives the port another Ethernet address. Errors: `Port`, for instance if the driver cannot.
    pub fn set_mac(&self, mac: MacAddress) -> Result<(), Error> {
        // SAFETY: the port is claimed; six octets are readable.
        self.call("setting the MAC address", |port| unsafe {
            dpdk_sys::dpdk_shim_port_set_mac(port, mac.0.as_ptr())
        })
    }

    /// Returns the port's MTU. Units: octets. Errors: `Port`.
    pub fn mtu_octets(&self) -> Result<u16, Error> {
        let mut mtu = 0;
        // SAFETY: the port is claimed; `mtu` is writable.
        self.call("reading the MTU", |port| unsafe { dpdk_sys::rte_eth_dev_get_mtu(port, &mut mtu) })?;
        Ok(mtu)
    }

    /// Changes the MTU of the running port. Units: octets. Errors: `Port`, for instance if the driver cannot.
    pub fn set_mtu_octets(&self, mtu: u16) -> Result<(), Error> {
        // SAFETY: the port is claimed.
        self.call("setting the MTU", |port| unsafe { dpdk_sys::rte_eth_dev_set_mtu(port, mtu) })
    }

    /// Switches promiscuous mode. Errors: `Port`, for instance if the driver cannot.
    pub fn set_promiscuous(&self, on: bool) -> Result<(), Error> {
        // SAFETY: the port is claimed.
        self.call("promiscuous mode", |port| unsafe {
            if on {
                dpdk_sys::rte_eth_promiscuous_enable(port)
            } else {
                dpdk_sys::rte_eth_promiscuous_disable(port)
            }
        })
    }

    /// Returns how packets are divided over the receive queues. Errors: `Port`.
    pub fn steering(&self) -> Result<Steering, Error> {
        let mut raw = dpdk_shim_steering { rx_queues: 0, ip: 0, udp: 0, esp: 0 };
        // SAFETY: the port is claimed; `raw` is writable.
        self.call("reading the hash function", |port| unsafe {
            dpdk_sys::dpdk_shim_port_steering(port, &mut raw)
        })?;
        let (queues, ip, udp, esp) = (raw.rx_queues, raw.ip != 0, raw.udp != 0, raw.esp != 0);
        Ok(match (queues, ip || udp || esp) {
            (0 | 1, _) => Steering::OneQueue,
            (_, true) => Steering::Rss { queues, ip, udp, esp },
            (_, false) => Steering::Own { queues },
        })
    }

    /// Returns the state of the link, without waiting. Errors: `Port`.
    pub fn link(&self) -> Result<Link, Error> {
        let mut raw = dpdk_shim_link { speed_mbps: 0, up: 0, full_duplex: 0 };
        // SAFETY: the port is claimed; `raw` is writable.
        self.call("reading the link", |port| unsafe { dpdk_sys::dpdk_shim_port_link(port, &mut raw) })?;
        Ok(Link {
            up: raw.up != 0,
            speed_mbps: (raw.speed_mbps != u32::MAX && raw.speed_mbps != 0).then_some(raw.speed_mbps),
            full_duplex: raw.full_duplex != 0,
        })
    }

    /// Returns the counters since the start. Errors: `Port`.
    pub fn stats(&self) -> Result<PortStats, Error> {
        let mut raw = dpdk_shim_stats {
            rx_pkts: 0,
            tx_pkts: 0,
            rx_octets: 0,
            tx_octets: 0,
            rx_missed_pkts: 0,
            rx_error_pkts: 0,
            tx_error_pkts: 0,
            rx_no_mbuf_pkts: 0,
        };
        // SAFETY: the port is claimed; `raw` is writable.
        self.call("reading the counters", |port| unsafe { dpdk_sys::dpdk_shim_port_stats(port, &mut raw) })?;
        Ok(PortStats {
            rx_pkts: raw.rx_pkts,
            tx_pkts: raw.tx_pkts,
            rx_octets: raw.rx_octets,
            tx_octets: raw.tx_octets,
            rx_missed_pkts: raw.rx_missed_pkts,
            rx_error_pkts: raw.rx_error_pkts,
            tx_error_pkts: raw.tx_error_pkts,
            rx_no_mbuf_pkts: raw.rx_no_mbuf_pkts,
        })
    }

    fn call(&self, operation: &'static str, call: impl FnOnce(u16) -> i32) -> Result<(), Error> {
        let _one = self.0.one.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.claim.call(operation, || call(self.0.claim.port))
    }
}
