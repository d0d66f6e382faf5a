//! When workers are given new tables: at once where changes are few, now and then while somebody loads many.
//!
//! What the workers have is copied when it changes. A change among many touches a place that one before it has touched,
//! so the longer they are gathered the less is copied.

/// Shortest time between two snapshots while there are changes at hand, or many have just been taken up; also how long
/// nothing has come when a load is over.
const LEAST_INTERVAL_NS: u64 = 5_000_000;
/// Longest time between two, in a load that goes on and in a full scan, which comes to its policies last: less than the
/// bridge waits for workers before it tells an IKE daemon that an inbound SA is there.
const MOST_INTERVAL_NS: u64 = 80_000_000;
/// Changes between two snapshots from which they are many, for each of the shortest intervals.
const MANY: u64 = 64;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Pace {
    /// Changes taken up since the newest snapshot.
    gathered: u64,
    /// Whether there were many before it.
    many: bool,
    interval_ns: u64,
    next_ns: u64,
    /// When the load is over if nothing comes.
    over_ns: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { gathered: 0, many: false, interval_ns: LEAST_INTERVAL_NS, next_ns: 0, over_ns: 0 }
    }
}

impl Pace {
    /// Notes changes taken up.
    pub(super) fn gather(&mut self, changes: usize, now_ns: u64) {
        if changes > 0 {
            self.gathered = self.gathered.saturating_add(u64::try_from(changes).unwrap_or(u64::MAX));
            self.over_ns = now_ns.saturating_add(LEAST_INTERVAL_NS);
        }
    }

    /// Whether workers are to be given what there is; `more` says that changes are at hand.
    pub(super) const fn is_due(&self, now_ns: u64, more: bool) -> bool {
        let waits = more || self.many && now_ns < self.over_ns;
        !waits || now_ns >= self.next_ns
    }

    /// Notes that they were given it.
    pub(super) fn published(&mut self, now_ns: u64, scanning: bool) {
        let over = now_ns >= self.over_ns;
        self.many = !over && self.gathered >= MANY * (self.interval_ns / LEAST_INTERVAL_NS);
        self.gathered = 0;
        self.interval_ns = match (scanning, self.many) {
            (true, _) => MOST_INTERVAL_NS,
            (false, true) => (self.interval_ns * 2).min(MOST_INTERVAL_NS),
            (false, false) => LEAST_INTERVAL_NS,
        };
        self.next_ns = now_ns.saturating_add(self.interval_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Takes `changes` up every millisecond for so long; returns when snapshots were made.
    fn load(pace: &mut Pace, changes: usize, from_ms: u64, for_ms: u64) -> Vec<u64> {
        let mut made = Vec::new();
        for ms in from_ms..from_ms + for_ms {
            pace.gather(changes, ms * MS);
            if pace.is_due(ms * MS, false) {
                pace.published(ms * MS, false);
                made.push(ms);
            }
        }
        made
    }

    #[test]
    fn a_thousand_changes_a_second_are_each_given_at_once() {
        assert_eq!(load(&mut Pace::default(), 1, 1000, 50).len(), 50);
        assert_eq!(load(&mut Pace::default(), 10, 1000, 50).len(), 50);
    }

    #[test]
    fn a_load_is_given_ever_more_seldom_until_it_is_over() {
        let mut pace = Pace::default();
        assert_eq!(
            load(&mut pace, 256, 1000, 1000),
            [1000, 1010, 1030, 1070, 1150, 1230, 1310, 1390, 1470, 1550, 1630, 1710, 1790, 1870, 1950]
        );
        assert!(
            !pace.is_due(2003 * MS, false) && pace.is_due(2004 * MS, false),
            "5 ms after the last change"
        );
        pace.published(2004 * MS, false);
        assert_eq!(load(&mut pace, 1, 2010, 5).len(), 5);
    }

    #[test]
    fn a_load_that_becomes_a_trickle_is_one_no_more() {
        let mut pace = Pace::default();
        assert_eq!(load(&mut pace, 256, 1000, 151).last(), Some(&1150));
        let made = load(&mut pace, 1, 1151, 300);
        assert_eq!(made.first(), Some(&1230));
        assert_eq!(made.len(), 1451 - 1230);
    }

    #[test]
    fn what_is_at_hand_is_waited_for_but_not_for_ever() {
        let mut pace = Pace::default();
        pace.gather(256, 1000 * MS);
        assert!(pace.is_due(1000 * MS, true), "long since the snapshot before");
        pace.published(1000 * MS, true);
        pace.gather(256, 1001 * MS);
        assert!(!pace.is_due(1079 * MS, true) && pace.is_due(1080 * MS, true));
    }
}
