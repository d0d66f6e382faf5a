//! Token buckets: how much of each kind of extraordinary packet may be made or punted.

use super::host::PuntClass;

/// A bucket of tokens, filled by time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    tokens: u64,
    burst: u64,
    per_second: u64,
    filled_ns: u64,
}

const NS_PER_S: u64 = 1_000_000_000;

impl Bucket {
    pub(super) const fn new(per_second: u64, burst: u64) -> Self {
        Self { tokens: burst, burst, per_second, filled_ns: 0 }
    }

    /// Takes a token; false when there is none.
    pub(super) fn take(&mut self, now_ns: u64) -> bool {
        if self.tokens == 0 {
            self.fill(now_ns);
        }
        match self.tokens.checked_sub(1) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }

    fn fill(&mut self, now_ns: u64) {
        let elapsed_ns = now_ns.saturating_sub(self.filled_ns).min(NS_PER_S);
        let fresh = elapsed_ns * self.per_second / NS_PER_S;
        if fresh > 0 {
            self.tokens = fresh.min(self.burst);
            self.filled_ns = now_ns;
        }
    }
}

/// One worker's buckets.
#[derive(Debug)]
pub(super) struct Limiter {
    neighbor: Bucket,
    ike: Bucket,
    control: Bucket,
    local: Bucket,
    /// ICMP errors. RFC: 1812 section 4.3.2.8, 4443 section 2.4 (f).
    pub(super) icmp: Bucket,
    /// Questions for a neighbor.
    pub(super) asks: Bucket,
    /// Questions for an SA.
    pub(super) acquires: Bucket,
}

impl Limiter {
    pub(super) const fn new() -> Self {
        Self {
            neighbor: Bucket::new(2_000, 500),
            ike: Bucket::new(20_000, 2_000),
            control: Bucket::new(20_000, 2_000),
            local: Bucket::new(200_000, 10_000),
            icmp: Bucket::new(1_000, 100),
            asks: Bucket::new(1_000, 100),
            acquires: Bucket::new(1_000, 100),
        }
    }

    /// Takes a token for a packet to the host.
    pub(super) fn punt(&mut self, class: PuntClass, now_ns: u64) -> bool {
        let bucket = match class {
            PuntClass::Neighbor => &mut self.neighbor,
            PuntClass::Ike => &mut self.ike,
            PuntClass::Control => &mut self.control,
            PuntClass::Local => &mut self.local,
        };
        bucket.take(now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::new(10, 3);
        let start = 5 * NS_PER_S;
        assert_eq!((0..10).filter(|_| bucket.take(start)).count(), 6, "the burst, and one refill up to it");
        assert!(!bucket.take(start + NS_PER_S / 20));
        assert!(bucket.take(start + NS_PER_S / 10));
        assert!(!bucket.take(start + NS_PER_S / 10));
    }

    #[test]
    fn a_flood_of_one_class_leaves_the_others_their_tokens() {
        let mut limiter = Limiter::new();
        while limiter.punt(PuntClass::Local, 0) {}
        assert!(limiter.punt(PuntClass::Ike, 0));
        assert!(limiter.punt(PuntClass::Neighbor, 0));
    }
}
