//! How long packets stay in the engine while it is offered half of what it can do: stamped where they are received, read
//! where they are sent.

use serde_json::{Value, json};

/// Offers packets at an even rate and keeps what each took. Times are ticks of the time stamp counter.
#[derive(Clone, Debug)]
pub struct Residence {
    ticks_per_packet: f64,
    begun: u64,
    taken: u64,
    /// Packets of each beginning that are not kept: caches and branches are cold.
    warming: u64,
    /// By where its buffer begins: that place, and when the packet came. Buffers lie 2048 octets apart at least.
    stamps: Vec<(usize, u64)>,
    kept: Vec<u32>,
    /// Packets whose stamp was another's.
    lost: u64,
}

impl Residence {
    /// Offers a packet every so many ticks; keeps at most `samples`.
    #[must_use]
    pub fn new(ticks_per_packet: f64, samples: usize) -> Self {
        let (stamps, kept) = (vec![(0, 0); STAMPS], Vec::with_capacity(samples));
        Self { ticks_per_packet, begun: 0, taken: 0, warming: WARMING, stamps, kept, lost: 0 }
    }

    /// Begins to offer packets at `now`.
    pub fn begin(&mut self, now: u64) {
        self.begun = now;
        self.taken = 0;
        self.warming = WARMING;
    }

    /// Returns how many of `count` packets are due at `now`, and takes them as offered.
    #[inline]
    pub fn due(&mut self, now: u64, count: usize) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates; never negative"
        )]
        let due = (now.saturating_sub(self.begun) as f64 / self.ticks_per_packet) as u64;
        let count = usize::try_from(due.saturating_sub(self.taken)).unwrap_or(usize::MAX).min(count);
        self.taken += count as u64;
        count
    }

    /// Stamps the packets in these buffers.
    #[inline]
    pub fn arrived(&mut self, now: u64, buffers: impl Iterator<Item = usize>) {
        for buffer in buffers {
            self.stamps[place(buffer)] = (buffer, now);
        }
    }

    /// Takes the time of the packets in these buffers.
    #[inline]
    pub fn left(&mut self, now: u64, buffers: impl Iterator<Item = usize>) {
        for buffer in buffers {
            let (stamped, came) = self.stamps[place(buffer)];
            if stamped != buffer {
                self.lost += 1;
            } else if self.warming > 0 {
                self.warming -= 1;
            } else if self.kept.len() < self.kept.capacity() {
                self.kept.push(u32::try_from(now.saturating_sub(came)).unwrap_or(u32::MAX));
            }
        }
    }

    /// Whether it has kept as many as it may.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.kept.len() == self.kept.capacity()
    }

    /// Returns what was found; `None` without a packet, or when stamps were mixed up. `ghz` are ticks a nanosecond.
    #[must_use]
    pub fn quantiles(mut self, ghz: f64) -> Option<Quantiles> {
        if self.lost > 0 || self.kept.is_empty() {
            return None;
        }
        self.kept.sort_unstable();
        let ns = |part: f64| f64::from(self.kept[rank(self.kept.len(), part)]) / ghz;
        let offered_mpps = ghz * 1e3 / self.ticks_per_packet;
        let packets = self.kept.len() as u64;
        Some(Quantiles { packets, offered_mpps, ns: [ns(0.5), ns(0.99), ns(0.999)], max_ns: ns(1.0) })
    }
}

fn place(buffer: usize) -> usize {
    buffer / 1024 % STAMPS
}

/// Returns the position of the smallest value that at least this part of `count` values does not exceed.
fn rank(count: usize, part: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and count")]
    let nth = (count as f64 * part).ceil() as usize;
    nth.clamp(1, count) - 1
}

/// How long packets stayed, at half of the rate that was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantiles {
    /// Packets that were looked at.
    pub packets: u64,
    /// The rate they were offered at. Units: millions a second.
    pub offered_mpps: f64,
    /// Half, 99 % and 99.9 % of the packets stayed no longer. Units: nanoseconds.
    pub ns: [f64; 3],
    /// None stayed longer. Units: nanoseconds.
    pub max_ns: f64,
}

impl Quantiles {
    /// Returns the figures for a result file.
    #[must_use]
    pub fn json(&self) -> Value {
        let [p50, p99, p999] = self.ns;
        json!({"packets": self.packets, "offered_mpps": self.offered_mpps, "p50_ns": p50, "p99_ns": p99,
               "p999_ns": p999, "max_ns": self.max_ns})
    }

    /// Reads what [`Self::json`] has made.
    #[must_use]
    pub fn from_json(value: &Value) -> Option<Self> {
        let figure = |name: &str| value.get(name)?.as_f64();
        Some(Self {
            packets: value.get("packets")?.as_u64()?,
            offered_mpps: figure("offered_mpps")?,
            ns: [figure("p50_ns")?, figure("p99_ns")?, figure("p999_ns")?],
            max_ns: figure("max_ns")?,
        })
    }
}

const WARMING: u64 = 4096;
/// Places for the buffers of a pool that spans 128 MiB.
const STAMPS: usize = 1 << 17;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_due_at_an_even_rate_and_catch_up_after_a_pause() {
        let mut residence = Residence::new(100.0, 10);
        residence.begin(1000);
        assert_eq!(residence.due(1099, 64), 0);
        assert_eq!(residence.due(1100, 64), 1);
        assert_eq!(residence.due(1199, 64), 0);
        assert_eq!(residence.due(11_000, 64), 64);
        assert_eq!(residence.due(11_000, 64), 35);
    }

    #[test]
    fn quantiles_are_those_of_the_packets_after_the_warm_up() {
        let mut residence = Residence::new(100.0, 1000);
        for packet in 0..WARMING + 1000 {
            let buffer = 4096 * (usize::try_from(packet).unwrap() % 64);
            residence.arrived(0, [buffer].into_iter());
            residence
                .left(if packet < WARMING { 1 << 30 } else { packet - WARMING + 1 }, [buffer].into_iter());
        }
        assert!(residence.is_full());
        let quantiles = residence.quantiles(1.0).unwrap();
        assert_eq!((quantiles.ns, quantiles.max_ns), ([500.0, 990.0, 999.0], 1000.0));
        assert_eq!(Quantiles::from_json(&quantiles.json()), Some(quantiles));
    }

    #[test]
    fn a_stamp_of_another_buffer_spoils_the_result() {
        let mut residence = Residence::new(100.0, 10);
        residence.arrived(0, [1024].into_iter());
        residence.left(1, [1024 + 1024 * STAMPS].into_iter());
        assert_eq!(residence.quantiles(1.0), None);
    }
}
