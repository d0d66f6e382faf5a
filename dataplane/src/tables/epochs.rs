//! What changed between two snapshots, so that a worker may keep what it found for a flow.
//!
//! The answer the SPD gives for a flow, and the outbound SAs it may use, change with policies and SAs. Most of those are
//! about one remote host: they touch the epoch of the hosts that share its hash, anything else the epoch of all. An
//! inbound SA counts by the policies that admit what it carries.

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::Arc;

use super::hash::{SEEDS, bits, fold};

/// Epochs kept for hosts: with a thousand changes a second few flows share one with a host that changed since their last packet.
const BUCKETS: usize = 4096;

/// A remote host, as its hash: the destination of what leaves, the source of what arrives. Aligned to four octets, since
/// some stand beside a word of four for each policy and SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(Rust, packed(4))]
pub struct Host(NonZeroU64);

impl Host {
    /// Returns the host with this address.
    #[must_use]
    #[inline]
    pub fn of(address: IpAddr) -> Self {
        Self::of_bits(bits(address))
    }

    /// Returns the host whose address is this number.
    #[inline]
    fn of_bits(address: u128) -> Self {
        let [one, two, ..] = SEEDS;
        Self(NonZeroU64::MIN | fold(address, one, two))
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "the high bits shifted down")]
    const fn bucket(self) -> usize {
        ({ self.0 }.get() >> 32) as usize % BUCKETS
    }
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Epochs {
    /// Counts the changes; no two happen at one time, so that no epoch ever returns.
    clock: u64,
    /// When something changed that is not confined to one host.
    all: u64,
    /// When something changed that is, by the host's hash.
    hosts: Arc<[u64; BUCKETS]>,
}

impl Default for Epochs {
    fn default() -> Self {
        Self { clock: 0, all: 0, hosts: Arc::new([0; BUCKETS]) }
    }
}

impl Epochs {
    /// Returns a number that is another after every change that may concern flows with this remote host, and then never
    /// what it was before: the destination of a flow for what is asked of direction out, its source for in and fwd.
    #[must_use]
    #[inline]
    pub fn of(&self, remote: IpAddr) -> u64 {
        self.of_host(Host::of(remote))
    }

    #[inline]
    fn of_host(&self, remote: Host) -> u64 {
        let host = self.hosts.get(remote.bucket()).copied();
        self.all.max(host.unwrap_or(0))
    }

    /// Returns what [`Self::of`] would say of both ends of a flow: a packet that is forwarded is asked about by its source
    /// for where it comes from, and by its destination for where it goes. The ends are addresses as numbers.
    #[must_use]
    #[inline]
    pub fn between(&self, src: u128, dst: u128) -> u64 {
        self.of_host(Host::of_bits(src)).max(self.of_host(Host::of_bits(dst)))
    }

    /// Notes a change that concerns flows with this host only.
    pub fn touch(&mut self, host: Host) {
        self.clock += 1;
        if let Some(epoch) = Arc::make_mut(&mut self.hosts).get_mut(host.bucket()) {
            *epoch = self.clock;
        }
    }

    /// Notes a change that may concern any flow.
    pub const fn touch_all(&mut self) {
        self.clock += 1;
        self.all = self.clock;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_one_host_leaves_the_others_alone_and_a_change_of_all_does_not() {
        let hosts: Vec<IpAddr> = (0..200).map(|n| IpAddr::from([10, 0, n, 1])).collect();
        let mut epochs = Epochs::default();
        let before = epochs.clone();
        epochs.touch(Host::of(hosts[7]));
        let touched = |host: &&IpAddr| epochs.of(**host) != before.of(**host);
        assert!(touched(&&hosts[7]));
        assert!(hosts.iter().filter(touched).count() < 4, "4096 buckets for 200 hosts");
        let between = epochs.clone();
        epochs.touch_all();
        assert!(hosts.iter().all(|host| epochs.of(*host) > between.of(*host)));
    }

    #[test]
    fn an_epoch_never_returns() {
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), "2001:db8::1".parse().unwrap());
        let mut epochs = Epochs::default();
        let mut last = [epochs.of(one), epochs.of(other)];
        for round in 0..100 {
            match round % 3 {
                0 => epochs.touch(Host::of(one)),
                1 => epochs.touch(Host::of(other)),
                _ => epochs.touch_all(),
            }
            let now = [epochs.of(one), epochs.of(other)];
            let changed = [now[0] > last[0], now[1] > last[1]];
            assert_eq!(changed, [round % 3 != 1, round % 3 != 0]);
            last = now;
        }
    }
}
