//! Ports on DPDK: devices are started with as many queues as the workers can use, and each queue gets one owner.

use dpdk::{Device, Eal, Error, Mbuf, Mempool, PortConfig, RxQueue, Started, TxQueue};

use super::{Buffer, Burst, PortId, Ports};

impl Buffer for Mbuf {
    #[inline]
    fn data(&self) -> &[u8] {
        Self::data(self)
    }

    #[inline]
    fn data_mut(&mut self) -> &mut [u8] {
        Self::data_mut(self)
    }

    #[inline]
    fn prepend(&mut self, octets: usize) -> bool {
        Self::prepend(self, octets).is_some()
    }

    #[inline]
    fn append(&mut self, octets: usize) -> bool {
        Self::append(self, octets).is_some()
    }

    #[inline]
    fn adj(&mut self, octets: usize) {
        let octets = octets.min(self.len());
        let _ = Self::adj(self, octets);
    }

    #[inline]
    fn trim(&mut self, octets: usize) {
        let octets = octets.min(self.len());
        let _ = Self::trim(self, octets);
    }

    #[inline]
    fn grow(&mut self, front: usize, back: usize) -> bool {
        Self::grow(self, front, back)
    }

    #[inline]
    fn narrow(&mut self, front: usize, octets: usize) {
        Self::narrow(self, front, octets);
    }
}

/// The queues of one worker.
#[derive(Debug)]
pub struct DpdkPorts {
    ports: Vec<Queues>,
    pool: Mempool,
    workers: usize,
}

/// The queues of one worker at one port.
#[derive(Debug, Default)]
struct Queues {
    rx: Vec<RxQueue>,
    /// The queue the next poll begins with, so that a full one does not starve the others.
    next: usize,
    tx: Option<TxQueue>,
}

impl Ports for DpdkPorts {
    type Buf = Mbuf;

    #[inline]
    fn rx(&mut self, port: PortId, burst: &mut Burst<Mbuf>) -> u64 {
        let Some(queues) = self.ports.get_mut(usize::from(port.0)) else { return 0 };
        let mut refused = 0;
        let count = queues.rx.len();
        for turn in 0..count {
            let at = (queues.next + turn) % count;
            if let Some(queue) = queues.rx.get_mut(at) {
                refused += u64::from(queue.rx_burst(burst).refused_pkts);
            }
            if burst.is_full() {
                queues.next = (at + 1) % count;
                break;
            }
        }
        refused
    }

    #[inline]
    fn tx(&mut self, port: PortId, burst: &mut Burst<Mbuf>) {
        let queues = self.ports.get_mut(usize::from(port.0));
        if let Some(queue) = queues.and_then(|queues| queues.tx.as_mut()) {
            queue.tx_burst(burst);
        }
    }

    #[inline]
    fn alloc(&mut self) -> Option<Mbuf> {
        self.pool.alloc()
    }

    #[inline]
    fn owns_tx(&self, port: PortId) -> bool {
        self.ports.get(usize::from(port.0)).is_some_and(|queues| queues.tx.is_some())
    }

    fn tx_owner(&self, port: PortId) -> usize {
        owner(usize::from(port.0), 0, self.workers)
    }
}

/// Probes a device and starts it with queues for `workers` workers.
///
/// # Errors
/// Those of the probe and the start, with the driver's reason.
pub fn start(
    eal: Eal,
    devargs: &str,
    mtu_octets: u16,
    workers: usize,
    pool: &Mempool,
) -> Result<Started, Error> {
    let device = Device::probe(eal, devargs)?;
    let workers = u16::try_from(workers).unwrap_or(u16::MAX);
    let limits = device.limits();
    let all_rx = QUEUES_BY_DEVARGS.contains(&&*limits.driver);
    let rx_queues = if all_rx { limits.rx_queues } else { limits.rx_queues.min(workers) };
    let tx_queues = limits.tx_queues.min(workers);
    // A prepared kernel device has another address than the gateway, and multicast (neighbor discovery, routing
    // daemons) has to come in on any device.
    let config = PortConfig { rx_queues, tx_queues, mtu_octets, promiscuous: true, ..PortConfig::default() };
    device.start(&config, pool)
}

/// Gives every queue of `ports` to one of `workers` workers; returns the workers' shares in order.
#[must_use]
pub fn share_out(ports: Vec<(Vec<RxQueue>, Vec<TxQueue>)>, workers: usize, pool: Mempool) -> Vec<DpdkPorts> {
    let mut shares: Vec<DpdkPorts> =
        (0..workers).map(|_| DpdkPorts { ports: Vec::new(), pool, workers }).collect();
    for (port, (rx, tx)) in ports.into_iter().enumerate() {
        for share in &mut shares {
            share.ports.push(Queues::default());
        }
        for (queue, rx) in rx.into_iter().enumerate() {
            let at = owner(port, queue, workers);
            if let Some(queues) = shares.get_mut(at).and_then(|share| share.ports.last_mut()) {
                queues.rx.push(rx);
            }
        }
        for (queue, tx) in tx.into_iter().enumerate() {
            let at = owner(port, queue, workers);
            if let Some(queues) = shares.get_mut(at).and_then(|share| share.ports.last_mut()) {
                queues.tx = Some(tx);
            }
        }
    }
    shares
}

/// Returns the worker that owns a queue: ports with one queue each are spread over the workers.
#[must_use]
pub fn owner(port: usize, queue: usize, workers: usize) -> usize {
    (port + queue) % workers.max(1)
}

/// Drivers whose devargs make the queues: traffic goes to each of them, so each is polled.
const QUEUES_BY_DEVARGS: [&str; 4] = ["net_af_packet", "net_af_xdp", "net_pcap", "net_ring"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_queues_of_two_ports_go_to_two_workers() {
        assert_ne!(owner(0, 0, 2), owner(1, 0, 2));
        assert_eq!(owner(5, 3, 1), 0);
    }

    #[test]
    fn as_many_queues_as_workers_give_each_worker_one() {
        for port in 0..3 {
            let mut owners: Vec<usize> = (0..4).map(|queue| owner(port, queue, 4)).collect();
            owners.sort_unstable();
            assert_eq!(owners, [0, 1, 2, 3]);
        }
    }
}
