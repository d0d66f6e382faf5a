//! From devargs to a running port: probe, limits, configuration, start.

use std::ffi::{CStr, CString};
use std::sync::{Arc, Mutex, PoisonError};

use dpdk_sys::{dpdk_shim_limits, dpdk_shim_port_config, rte_device};

use crate::eal::Eal;
use crate::error::Error;
use crate::log::reasoned;
use crate::mempool::Mempool;
use crate::port::control::Port;
use crate::port::queue::{RxQueue, TxQueue};

/// A probed device that is not started yet; closed when dropped.
#[derive(Debug)]
pub struct Device {
    claim: Claim,
    limits: Limits,
}

/// What a device can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most receive queues.
    pub rx_queues: u16,
    /// Most transmit queues.
    pub tx_queues: u16,
    /// Smallest MTU, in octets.
    pub min_mtu_octets: u16,
    /// Largest MTU, in octets.
    pub max_mtu_octets: u16,
    /// The NUMA node of the device, if it has one.
    pub numa_socket: Option<i32>,
    /// The kernel device under the port, if its driver names one (af_packet, af_xdp, tap).
    pub if_index: Option<u32>,
    /// The driver, such as `net_af_packet`.
    pub driver: Box<str>,
}

/// How a port is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// Receive queues.
    pub rx_queues: u16,
    /// Transmit queues.
    pub tx_queues: u16,
    /// Descriptors of a receive queue, adjusted to the device's limits.
    pub rx_descriptors: u16,
    /// Descriptors of a transmit queue, adjusted to the device's limits.
    pub tx_descriptors: u16,
    /// MTU, in octets.
    pub mtu_octets: u16,
    /// Whether frames for other MAC addresses are received, where the device can choose.
    pub promiscuous: bool,
}

impl Default for PortConfig {
    fn default() -> Self {
        Self {
            rx_queues: 1,
            tx_queues: 1,
            rx_descriptors: 1024,
            tx_descriptors: 1024,
            mtu_octets: 1500,
            promiscuous: false,
        }
    }
}

/// A running port and its queues, in order.
#[derive(Debug)]
pub struct Started {
    /// Control and counters.
    pub port: Port,
    /// Receive queues.
    pub rx: Vec<RxQueue>,
    /// Transmit queues.
    pub tx: Vec<TxQueue>,
}

impl Device {
    /// Probes `devargs`, such as `net_af_packet0,iface=veth-wan` or `0000:3b:00.0`, or takes the device the EAL probed at start.
    /// Errors: `Probe` with the driver's reason, `NoPort`, `Busy`, `Nul`.
    pub fn probe(_eal: Eal, devargs: &str) -> Result<Self, Error> {
        let device = || Box::<str>::from(devargs);
        let c_devargs = CString::new(devargs).map_err(|_| Error::Nul { text: device() })?;
        let name = port_name(devargs);
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut probed = false;
        if port_by_name(&name).is_none() {
            // SAFETY: DPDK is up; the string lives through the call, which copies it.
            reasoned(|| unsafe { dpdk_sys::rte_dev_probe(c_devargs.as_ptr()) })
                .map_err(|reason| Error::Probe { device: device(), reason })?;
            probed = true;
        }
        let Some(port) = port_by_name(&name) else { return Err(Error::NoPort { device: device() }) };
        if open.contains(&port) {
            return Err(Error::Busy { device: device() });
        }
        open.push(port);
        drop(open);
        let mut claim = Claim { port, devargs: device(), remove: None };
        let (limits, raw) = claim.limits()?;
        claim.remove = (probed && !raw.is_null()).then_some(raw);
        Ok(Self { claim, limits })
    }

    /// Returns what the device can do.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Configures and starts the device. Received packets come from `pool`.
    /// Errors: `Queues`, `Mtu` beyond the limits; `Port` with the driver's reason.
    pub fn start(self, config: &PortConfig, pool: &Mempool) -> Result<Started, Error> {
        self.check(config)?;
        let Self { claim, limits } = self;
        let port = claim.port;
        let raw = dpdk_shim_port_config {
            rx_queues: config.rx_queues,
            tx_queues: config.tx_queues,
            rx_descriptors: config.rx_descriptors,
            tx_descriptors: config.tx_descriptors,
            mtu_octets: config.mtu_octets,
        };
        // SAFETY: `claim` is the only owner of the port, which is not started; `raw` lives through the call and the pool
        // for good.
        claim.call("configuration", || unsafe {
            dpdk_sys::dpdk_shim_port_configure(port, &raw, pool.as_ptr())
        })?;
        // SAFETY: as above. A driver without an MTU of its own takes any frame that fits its buffers.
        claim.call("setting the MTU", || unsafe {
            supported(dpdk_sys::rte_eth_dev_set_mtu(port, config.mtu_octets))
        })?;
        // SAFETY: as above; the port is configured.
        claim.call("start", || unsafe { dpdk_sys::rte_eth_dev_start(port) })?;
        if config.promiscuous {
            // SAFETY: as above. A driver that cannot choose receives every frame.
            claim.call("promiscuous mode", || unsafe {
                supported(dpdk_sys::rte_eth_promiscuous_enable(port))
            })?;
        }
        let claim = Arc::new(claim);
        let rx = (0..config.rx_queues).map(|queue| RxQueue::new(Arc::clone(&claim), queue)).collect();
        let tx = (0..config.tx_queues).map(|queue| TxQueue::new(Arc::clone(&claim), queue)).collect();
        Ok(Started { port: Port::new(claim, limits), rx, tx })
    }

    fn check(&self, config: &PortConfig) -> Result<(), Error> {
        let device = || self.claim.devargs.clone();
        for (direction, asked, max) in
            [("rx", config.rx_queues, self.limits.rx_queues), ("tx", config.tx_queues, self.limits.tx_queues)]
        {
            if asked > max {
                return Err(Error::Queues { device: device(), direction, asked, max });
            }
        }
        let (asked, min, max) = (config.mtu_octets, self.limits.min_mtu_octets, self.limits.max_mtu_octets);
        if !(min..=max).contains(&asked) {
            return Err(Error::Mtu { device: device(), asked, min, max });
        }
        Ok(())
    }
}

/// Numbers of the ports this process has claimed.
static OPEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());

/// The right to a port. The last of its owners (control, queues) stops and closes it.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) port: u16,
    pub(crate) devargs: Box<str>,
    /// The device to unplug at the end, if it was plugged by this claim.
    remove: Option<*mut rte_device>,
}

// SAFETY: `remove` is used once, by `drop`; DPDK keeps the device until then.
unsafe impl Send for Claim {}
// SAFETY: as above; everything else is immutable.
unsafe impl Sync for Claim {}

impl Claim {
    /// Runs a call on the port that returns 0 or more on success.
    pub(crate) fn call(&self, operation: &'static str, call: impl FnOnce() -> i32) -> Result<(), Error> {
        reasoned(call).map(|_| ()).map_err(|reason| Error::Port {
            device: self.devargs.clone(),
            operation,
            reason,
        })
    }

    fn limits(&self) -> Result<(Limits, *mut rte_device), Error> {
        let mut raw = dpdk_shim_limits {
            max_rx_queues: 0,
            max_tx_queues: 0,
            min_mtu_octets: 0,
            max_mtu_octets: 0,
            numa_socket: -1,
            if_index: 0,
            driver: [0; 32],
            device: std::ptr::null_mut(),
        };
        // SAFETY: the port is claimed; `raw` is writable.
        self.call("reading the limits", || unsafe { dpdk_sys::dpdk_shim_port_limits(self.port, &mut raw) })?;
        // SAFETY: the shim terminates the name within the array.
        let driver = unsafe { CStr::from_ptr(raw.driver.as_ptr()) };
        let limits = Limits {
            rx_queues: raw.max_rx_queues,
            tx_queues: raw.max_tx_queues,
            min_mtu_octets: raw.min_mtu_octets,
            max_mtu_octets: raw.max_mtu_octets,
            numa_socket: (raw.numa_socket >= 0).then_some(raw.numa_socket),
            if_index: (raw.if_index != 0).then_some(raw.if_index),
            driver: driver.to_string_lossy().into(),
        };
        Ok((limits, raw.device))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        // What fails here leaves the device to the end of the process; there is nobody to tell but the log.
        // SAFETY: this is the last owner, so no queue is polled; stop and close accept a port in any state.
        let _ = reasoned(|| unsafe {
            dpdk_sys::rte_eth_dev_stop(self.port);
            dpdk_sys::rte_eth_dev_close(self.port)
        });
        if let Some(device) = self.remove {
            // SAFETY: this claim plugged the device and nobody else unplugs it.
            let _ = reasoned(|| unsafe { dpdk_sys::rte_dev_remove(device) });
        }
        open.retain(|port| *port != self.port);
    }
}

/// Returns the name DPDK gives the port of `devargs`: that of the device, a PCI address with its domain.
fn port_name(devargs: &str) -> String {
    let name = devargs.split(',').next().unwrap_or_default();
    let name = name.strip_prefix("pci:").or_else(|| name.strip_prefix("vdev:")).unwrap_or(name);
    let short_pci = name.len() == 7
        && name.bytes().enumerate().all(|(at, octet)| match at {
            2 => octet == b':',
            5 => octet == b'.',
            _ => octet.is_ascii_hexdigit(),
        });
    if short_pci { format!("0000:{name}") } else { name.to_owned() }
}

fn port_by_name(name: &str) -> Option<u16> {
    let name = CString::new(name).ok()?;
    let mut port = 0;
    // SAFETY: the string lives through the call and `port` is writable.
    let rc = unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &mut port) };
    (rc == 0).then_some(port)
}

/// Takes an operation the driver does not have for done.
fn supported(returned: i32) -> i32 {
    if returned == -ENOTSUP { 0 } else { returned }
}

const ENOTSUP: i32 = nix::errno::Errno::ENOTSUP as i32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_named_after_its_device() {
        assert_eq!(port_name("net_af_packet0,iface=veth-wan"), "net_af_packet0");
        assert_eq!(port_name("vdev:net_null1,no-rx=1"), "net_null1");
        assert_eq!(port_name("3b:00.0"), "0000:3b:00.0");
        assert_eq!(port_name("0000:3b:00.0,arg=1"), "0000:3b:00.0");
    }
}
