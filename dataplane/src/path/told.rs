//! What the control thread was told a moment ago: a stream of packets past a limit, or from a peer that has moved, says
//! so once and not with every packet.

use super::context::Context;
use super::shared::Notice;
use crate::ports::Ports;

/// Hints remembered at a time.
const PLACES: usize = 8;
/// After so long a hint is given again: it may have been lost on its way.
const PATIENCE_NS: u64 = 1_000_000_000;

/// The last hints and when they may be repeated.
#[derive(Debug)]
pub(super) struct Told {
    recent: [Option<(Notice, u64)>; PLACES],
    next: usize,
}

impl Told {
    pub(super) const fn new() -> Self {
        Self { recent: [None; PLACES], next: 0 }
    }

    fn knows(&self, notice: &Notice, now_ns: u64) -> bool {
        self.recent.iter().flatten().any(|(told, until_ns)| told == notice && now_ns < *until_ns)
    }

    fn remember(&mut self, notice: Notice, now_ns: u64) {
        if let Some(place) = self.recent.get_mut(self.next) {
            *place = Some((notice, now_ns.saturating_add(PATIENCE_NS)));
            self.next = (self.next + 1) % PLACES;
        }
    }
}

impl<P: Ports, K> Context<'_, P, K> {
    /// Tells the control thread, unless it was told the same a moment ago.
    #[cold]
    pub(super) fn notice_once(&mut self, notice: Notice) {
        if !self.told.knows(&notice, self.now_ns) && self.shared().notices.push(notice).is_ok() {
            self.told.remember(notice, self.now_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::shared::Limit;

    fn notice(uid: u64) -> Notice {
        Notice::Limit { slot: 1, uid, limit: Limit::HardOctets }
    }

    #[test]
    fn a_hint_is_known_for_a_second_or_until_eight_others_came() {
        let mut told = Told::new();
        told.remember(notice(1), 0);
        assert!(told.knows(&notice(1), PATIENCE_NS - 1));
        assert!(!told.knows(&notice(1), PATIENCE_NS));
        assert!(!told.knows(&notice(2), 0));
        (2..10).for_each(|uid| told.remember(notice(uid), 0));
        assert!(!told.knows(&notice(1), 0));
        assert!(told.knows(&notice(2), 0));
    }
}
