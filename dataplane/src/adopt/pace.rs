//! When workers are given new tables: at once where changes are few, now and then while somebody loads many.
//!
//! What the workers have is copied when it changes. A change among many touches a place that one before it has touched,
//! so the longer they are gathered the less is copied.

/// Shortest time between two snapshots while there are changes at hand, or many have just been taken up; also how long
/// nothing has come when a load is over.
const LEAST_INTERVAL_NS: u64 = 5_000_000;
/// Longest time between two as long as an IKE daemon may have made one of the changes, and in a full scan, which comes to
/// its policies last: less than the bridge waits for workers before it tells the daemon that an inbound SA is there.
const MOST_INTERVAL_NS: u64 = 80_000_000;
/// Longest time between two while only an operator loads: nobody waits for one line of many.
const LOAD_INTERVAL_NS: u64 = 640_000_000;
/// How long nothing has come when such a load is over: who writes it may have lost its CPU.
const LOAD_OVER_NS: u64 = 20_000_000;
/// Changes between two snapshots from which they are many, for each of the shortest intervals.
const MANY: u64 = 64;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Pace {
    /// Changes taken up since the newest snapshot.
    gathered: u64,
    /// Whether there were many before it.
    many: bool,
    /// Whether all of them since it came in batches of an operator, as far as the bridge has said.
    load: bool,
    interval_ns: u64,
    /// When it was made.
    published_ns: u64,
    /// When something was last taken up.
    gathered_ns: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            gathered: 0,
            many: false,
            load: true,
            interval_ns: LEAST_INTERVAL_NS,
            published_ns: 0,
            gathered_ns: 0,
        }
    }
}

impl Pace {
    /// Notes changes taken up.
    pub(super) fn gather(&mut self, changes: usize, now_ns: u64) {
        if changes > 0 {
            self.gathered = self.gathered.saturating_add(u64::try_from(changes).unwrap_or(u64::MAX));
            self.gathered_ns = now_ns;
        }
    }

    /// Notes that one of the changes that are taken up now, or are about to be, is no line of a load.
    pub(super) const fn hurry(&mut self) {
        self.load = false;
    }

    const fn is_over(&self, now_ns: u64) -> bool {
        let after_ns = if self.load { LOAD_OVER_NS } else { LEAST_INTERVAL_NS };
        now_ns >= self.gathered_ns.saturating_add(after_ns)
    }

    /// Longest time between two snapshots now.
    const fn most_ns(&self) -> u64 {
        if self.load { LOAD_INTERVAL_NS } else { MOST_INTERVAL_NS }
    }

    /// Whether workers are to be given what there is; `more` says that changes are at hand.
    pub(super) fn is_due(&self, now_ns: u64, more: bool) -> bool {
        let waits = more || self.many && !self.is_over(now_ns);
        !waits || now_ns >= self.published_ns.saturating_add(self.interval_ns.min(self.most_ns()))
    }

    /// Notes that they were given it.
    pub(super) fn published(&mut self, now_ns: u64, scanning: bool) {
        let most_ns = self.most_ns();
        let enough = MANY * (self.interval_ns.min(most_ns) / LEAST_INTERVAL_NS);
        self.many = !self.is_over(now_ns) && self.gathered >= enough;
        self.gathered = 0;
        self.interval_ns = match (scanning, self.many) {
            (true, _) => MOST_INTERVAL_NS,
            (false, true) => (self.interval_ns * 2).min(most_ns),
            (false, false) => LEAST_INTERVAL_NS,
        };
        self.load = true;
        self.published_ns = now_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Takes `changes` up every millisecond for so long, of an operator if `load`; returns when snapshots were made.
    fn take(pace: &mut Pace, load: bool, changes: usize, from_ms: u64, for_ms: u64) -> Vec<u64> {
        let mut made = Vec::new();
        for ms in from_ms..from_ms + for_ms {
            pace.gather(changes, ms * MS);
            if !load {
                pace.hurry();
            }
            if pace.is_due(ms * MS, false) {
                pace.published(ms * MS, false);
                made.push(ms);
            }
        }
        made
    }

    #[test]
    fn a_thousand_changes_a_second_are_each_given_at_once() {
        assert_eq!(take(&mut Pace::default(), false, 1, 1000, 50).len(), 50);
        assert_eq!(take(&mut Pace::default(), false, 10, 1000, 50).len(), 50);
    }

    #[test]
    fn a_load_is_given_ever_more_seldom_until_it_is_over() {
        let mut pace = Pace::default();
        assert_eq!(
            take(&mut pace, false, 256, 1000, 1000),
            [1000, 1010, 1030, 1070, 1150, 1230, 1310, 1390, 1470, 1550, 1630, 1710, 1790, 1870, 1950]
        );
        assert!(
            !pace.is_due(2003 * MS, false) && pace.is_due(2004 * MS, false),
            "5 ms after the last change"
        );
        pace.published(2004 * MS, false);
        assert_eq!(take(&mut pace, false, 1, 2010, 5).len(), 5);
    }

    #[test]
    fn a_load_of_an_operator_is_given_more_seldom_still_until_somebody_else_changes_something() {
        let mut pace = Pace::default();
        let made = [1000, 1010, 1030, 1070, 1150, 1310, 1630, 2270, 2910];
        assert_eq!(take(&mut pace, true, 256, 1000, 2000), made);
        pace.gather(1, 3000 * MS);
        assert!(!pace.is_due(3000 * MS, true), "640 ms after 2910");
        pace.hurry();
        assert!(pace.is_due(3000 * MS, true), "80 ms after 2910");
        pace.published(3000 * MS, false);
        assert_eq!(take(&mut pace, true, 256, 3001, 300), [3080, 3240], "it goes on from 80 ms");
        assert!(!pace.is_due(3319 * MS, false) && pace.is_due(3320 * MS, false), "20 ms after the last");
    }

    #[test]
    fn a_load_that_becomes_a_trickle_is_one_no_more() {
        let mut pace = Pace::default();
        assert_eq!(take(&mut pace, false, 256, 1000, 151).last(), Some(&1150));
        let made = take(&mut pace, false, 1, 1151, 300);
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
