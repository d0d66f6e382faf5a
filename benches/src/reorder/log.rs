//! The wire between several workers and a peer: numbers in the order their bursts were handed to transmit queues.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dataplane::ports::Buffer as _;

use crate::memory::line::Watch;
use crate::memory::ports::Frame;

/// One worker's part: each number it sent, under the ticket of its burst. All workers draw tickets from one counter.
#[derive(Debug)]
pub struct Log {
    tickets: Arc<AtomicU64>,
    sent: Vec<(u64, u32)>,
    /// Frames that had no number where it belongs, or for which there was no room.
    lost: u64,
}

/// Makes logs for so many workers, each with room for `packets`.
#[must_use]
pub fn logs(workers: usize, packets: usize) -> Vec<Log> {
    let tickets = Arc::new(AtomicU64::new(0));
    let log = |_| Log { tickets: Arc::clone(&tickets), sent: Vec::with_capacity(packets), lost: 0 };
    (0..workers).map(log).collect()
}

impl Watch for Log {
    #[inline]
    fn sent(&mut self, burst: &[Frame]) {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        for frame in burst {
            match seq_of(frame.data()).filter(|_| self.sent.len() < self.sent.capacity()) {
                Some(seq) => self.sent.push((ticket, seq)),
                None => self.lost += 1,
            }
        }
    }
}

/// Returns the low half of the sequence number of a frame with ESP in IPv4 without options. RFC: 4303 section 2.
#[inline]
fn seq_of(frame: &[u8]) -> Option<u32> {
    frame.get(SEQ_AT..)?.first_chunk().map(|seq| u32::from_be_bytes(*seq))
}

/// Ethernet header, IPv4 header, SPI. Units: octets.
const SEQ_AT: usize = 14 + 20 + 4;

/// Takes what all workers sent since the last time, in the order of their tickets.
///
/// # Errors
/// Not every packet was logged.
pub fn take<'a>(logs: impl IntoIterator<Item = &'a mut Log>) -> crate::Result<Vec<u32>> {
    let mut all = Vec::new();
    for log in logs {
        anyhow::ensure!(log.lost == 0, "{} packets were not logged: shorten the window", log.lost);
        all.append(&mut log.sent);
    }
    // Stable: within a burst the order stays.
    all.sort_by_key(|(ticket, _)| *ticket);
    Ok(all.into_iter().map(|(_, seq)| seq).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn burst(seqs: &[u32]) -> Vec<Frame> {
        let frame =
            |seq: &u32| Frame::of(&[&[0; SEQ_AT][..], &seq.to_be_bytes(), &[0; 80]].concat()).unwrap();
        seqs.iter().map(frame).collect()
    }

    #[test]
    fn bursts_are_merged_in_the_order_they_were_sent() {
        let mut logs = logs(2, 6);
        logs[1].sent(&burst(&[3, 4]));
        logs[0].sent(&burst(&[1, 2]));
        logs[1].sent(&burst(&[5]));
        assert_eq!(take(&mut logs).unwrap(), [3, 4, 1, 2, 5]);
        assert!(take(&mut logs).unwrap().is_empty());
    }

    #[test]
    fn a_packet_that_is_not_logged_spoils_the_result() {
        let mut logs = logs(1, 1);
        logs[0].sent(&burst(&[1, 2]));
        assert!(take(&mut logs).is_err());
    }
}
