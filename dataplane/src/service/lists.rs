//! The lists `espctl` asks for: drop reasons, workers, ports; in pages that fit a message.

use esp::DropReason;
use shm_protocol::codec;
use shm_protocol::messages::control::{Cursor, DropLine, EngineReply, PortLine, StageLine, WorkerLine};

use super::facts::Facts;
use crate::path::counters::Stage;

/// Makes the longest page from `cursor` on that fits a message. `make` gets the lines and the next cursor.
pub(super) fn page<T: Clone>(
    all: impl Iterator<Item = T>,
    cursor: Cursor,
    make: impl Fn(Vec<T>, Option<Cursor>) -> EngineReply,
) -> EngineReply {
    let from = usize::try_from(cursor.0).unwrap_or(usize::MAX);
    // One more than is shown tells whether there is a next page.
    let rest: Vec<T> = all.skip(from).take(MOST_LINES + 1).collect();
    let mut count = rest.len().min(MOST_LINES);
    loop {
        let next = (count < rest.len()).then(|| Cursor(u32::try_from(from + count).unwrap_or(u32::MAX)));
        let reply = make(rest.get(..count).unwrap_or_default().to_vec(), next);
        if count <= 1 || codec::encode(&reply).is_ok() {
            return reply;
        }
        count /= 2;
    }
}

/// Answers `drops`.
pub(super) fn drops<K>(facts: &Facts<K>, cursor: Cursor, all: bool) -> EngineReply {
    let lines = drop_lines(facts);
    let total = lines.iter().map(|line| line.packets).sum();
    let lines: Vec<DropLine> = lines.into_iter().filter(|line| all || line.packets > 0).collect();
    page(lines.into_iter(), cursor, |page, next| EngineReply::Drops { page, total, next })
}

/// Counts every reason.
pub(super) fn drop_lines<K>(facts: &Facts<K>) -> Vec<DropLine> {
    let line = |reason: &DropReason| {
        let by_worker: Vec<u64> =
            facts.workers.iter().map(|worker| facts.drops(worker, reason.index())).collect();
        DropLine {
            name: reason.name().to_owned(),
            packets: by_worker.iter().sum(),
            sentence: reason.sentence().to_owned(),
            rfc: reason.rfc().to_owned(),
            severity: reason.severity().name().to_owned(),
            xfrm_stat: reason.xfrm_stat().unwrap_or_default().to_owned(),
            by_worker,
        }
    };
    DropReason::ALL.iter().map(line).collect()
}

/// Answers `workers`.
pub(super) fn workers<K>(facts: &Facts<K>, cursor: Cursor) -> EngineReply {
    let ledger = facts.ledger();
    page(worker_lines(facts).into_iter(), cursor, |page, next| EngineReply::Workers { page, ledger, next })
}

/// Describes every worker.
pub(super) fn worker_lines<K>(facts: &Facts<K>) -> Vec<WorkerLine> {
    let line = |(at, worker): (usize, &super::facts::WorkerFacts)| {
        let (busy_ns, of_ns) = worker.pulse.busy_of_ns();
        let counters = worker.counters.counters();
        let stage = |stage: &Stage| {
            let count = counters.stage(*stage);
            StageLine {
                name: stage.name().to_owned(),
                calls: count.calls.get(),
                packets: count.packets.get(),
                cycles: count.cycles.get(),
            }
        };
        WorkerLine {
            worker: u16::try_from(at).unwrap_or(u16::MAX),
            cpu: worker.cpu.into(),
            busy_permille: permille(busy_ns, of_ns),
            stages: Stage::ALL.iter().map(stage).collect(),
            ledger: facts.worker_ledger(at),
        }
    };
    facts.workers.iter().enumerate().map(line).collect()
}

/// Answers `ports`.
pub(super) fn ports<K>(facts: &Facts<K>, cursor: Cursor) -> EngineReply {
    page(port_lines(facts).into_iter(), cursor, |page, next| EngineReply::Ports { page, next })
}

/// Describes every port; what its driver does not say is 0.
pub(super) fn port_lines<K>(facts: &Facts<K>) -> Vec<PortLine> {
    let line = |(at, port): (usize, &super::facts::PortFacts)| {
        let stats = port.port.stats().unwrap_or_default();
        PortLine {
            name: port.name.clone(),
            device: port.port.devargs().to_owned(),
            link_up: port.port.link().is_ok_and(|link| link.up),
            steering: port.port.steering().map(|how| how.to_string()).unwrap_or_default(),
            ledger: facts.port_ledger(at),
            received_octets: stats.rx_octets,
            sent_octets: stats.tx_octets,
            device_missed: stats.rx_missed_pkts + stats.rx_no_mbuf_pkts,
            device_errors: stats.rx_error_pkts + stats.tx_error_pkts,
        }
    };
    facts.ports.iter().enumerate().map(line).collect()
}

fn permille(part: u64, of: u64) -> u16 {
    let permille = u128::from(part) * 1000 / u128::from(of.max(1));
    u16::try_from(permille.min(1000)).unwrap_or(1000)
}

const MOST_LINES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at: u16) -> PortLine {
        PortLine {
            name: format!("port{at}-{}", "x".repeat(300)),
            device: String::new(),
            link_up: true,
            steering: String::new(),
            ledger: shm_protocol::messages::control::Ledger::default(),
            received_octets: 0,
            sent_octets: 0,
            device_missed: 0,
            device_errors: 0,
        }
    }

    #[test]
    fn a_list_longer_than_a_message_comes_whole_in_pages() {
        let all: Vec<PortLine> = (0..200).map(line).collect();
        let mut seen = Vec::new();
        let mut cursor = Some(Cursor::default());
        while let Some(at) = cursor {
            let reply = page(all.iter().cloned(), at, |page, next| EngineReply::Ports { page, next });
            assert!(codec::encode(&reply).is_ok());
            let EngineReply::Ports { page, next } = reply else { unreachable!() };
            assert!(!page.is_empty());
            seen.extend(page);
            cursor = next;
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn a_cursor_behind_the_end_gives_an_empty_last_page() {
        let reply = page([line(0)].into_iter(), Cursor(7), |page, next| EngineReply::Ports { page, next });
        assert_eq!(reply, EngineReply::Ports { page: vec![], next: None });
    }

    #[test]
    fn busy_is_never_more_than_all() {
        assert_eq!((permille(0, 0), permille(1, 2), permille(3, 2)), (0, 500, 1000));
    }
}
