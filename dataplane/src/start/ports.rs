//! Ports at the start: kernel devices are silenced, DPDK's are probed and started.

use dpdk::{Port, RxQueue, TxQueue};

use super::Error;
use super::eal::Dpdk;
use crate::config::Config;
use crate::netdev::{Netlink, Prepared};
use crate::ports::dpdk::start as start_port;
use crate::tables::topology::Mac;

/// Started ports, in the configuration's order.
pub(super) struct Ports {
    pub(super) ports: Vec<Port>,
    pub(super) queues: Vec<(Vec<RxQueue>, Vec<TxQueue>)>,
    pub(super) macs: Vec<Mac>,
}

/// Silences the kernel devices behind ports.
pub(super) fn prepare(netlink: &mut Netlink, config: &Config) -> Result<Vec<Prepared>, Error> {
    let mut prepared = Vec::new();
    for port in &config.ports {
        let Some(device) = port.device.kernel_device() else { continue };
        let device = Prepared::new(netlink, device)?;
        if let Some(remedy) = device.offload_remedy() {
            tracing::warn!(
                "port {}: its device leaves checksums and segments unfinished, which the far host drops; \
                 turn that off, at both ends of a veth: {remedy}",
                port.name
            );
        }
        prepared.push(device);
    }
    Ok(prepared)
}

/// Probes and starts every port.
pub(super) fn start(config: &Config, dpdk: &Dpdk, prepared: &[Prepared]) -> Result<Ports, Error> {
    let mut started = Ports { ports: Vec::new(), queues: Vec::new(), macs: Vec::new() };
    let workers = config.engine.workers.len();
    for port in &config.ports {
        let wrong = |cause| Error::Port { name: port.name.as_str().into(), cause };
        let device = start_port(dpdk.eal, port.device.devargs(), port.mtu.octets(), workers, &dpdk.pool);
        let device = device.map_err(wrong)?;
        // The gateway goes on under the address its device had; the device itself has another one now.
        let own =
            port.device.kernel_device().and_then(|name| prepared.iter().find(|known| known.name() == name));
        let mac = match own {
            Some(prepared) => prepared.mac(),
            None => device.port.mac().map_err(wrong)?.0,
        };
        started.macs.push(mac);
        started.queues.push((device.rx, device.tx));
        started.ports.push(device.port);
    }
    Ok(started)
}
