//! What a bridge writes while road-warriors come and go: one change after the other, each about one of them.

use anyhow::Context as _;
use shm_protocol::ids::{SaUid, Slot, Spi};
use shm_protocol::policy::Policy;
use shm_protocol::sa::Sa;
use shm_protocol::sad::Transaction;

use crate::Result;
use crate::sealed::records::Records;

/// What happens to a road-warrior, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Its outbound policy gets another priority.
    Policy,
    /// Its SA is replaced by another, with another SPI and key state.
    Rekey,
    /// Its SA and its three policies go.
    Leave,
    /// It is back, with a new SA.
    Come,
}

const KINDS: [Kind; 4] = [Kind::Policy, Kind::Rekey, Kind::Leave, Kind::Come];

/// Returns the change with this number; after each four all is as before, but for the identity of an SA.
///
/// # Errors
/// There is no slot for so many road-warriors.
pub fn change(records: &Records, number: u32, deadline_ns: u64) -> Result<Transaction> {
    let (turn, kind) = (number / 4, KINDS.get(number as usize % 4).context("a kind")?);
    // A prime, so that all have their turn, and neighbours do not follow each other.
    let peer = turn.wrapping_mul(STRIDE) % records.peers().count;
    let slot = Slot::new(peer).context("a slot")?;
    let [out, inbound, fwd] = records.policies(peer)?;
    let mut changes = Transaction::new();
    match kind {
        Kind::Policy => {
            changes.put_policy(&Policy { priority: out.priority - 10, ..out });
        }
        Kind::Rekey => {
            changes.put_sa(&younger(records, peer, number, deadline_ns)?);
        }
        Kind::Leave => {
            changes.remove_sa(slot, 1);
            for policy in [out, inbound, fwd] {
                changes.remove_policy(policy.slot);
            }
        }
        Kind::Come => {
            changes.put_sa(&younger(records, peer, number, deadline_ns)?);
            for policy in [out, inbound, fwd] {
                changes.put_policy(&policy);
            }
        }
    }
    Ok(changes)
}

/// Returns the SA of a road-warrior with an identity that no other change gives it.
fn younger(records: &Records, peer: u32, number: u32, deadline_ns: u64) -> Result<Sa> {
    let slot = Slot::new(peer).context("a slot")?;
    let high = u16::try_from(1 + number % 0xffe)?;
    let uid = SaUid::new(u64::from(number + 1) << 32 | u64::from(peer)).context("a uid")?;
    Ok(Sa { uid, spi: Spi::allocated(slot, high).context("an SPI")?, ..records.sa(peer, deadline_ns)? })
}

const STRIDE: u32 = 7919;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::Peers;
    use crate::rows::Direction;
    use shm_protocol::live::Live;
    use shm_protocol::place::RuntimeDir;
    use shm_protocol::sa::Occupant;
    use shm_protocol::sad::SadWriter;
    use std::time::Duration;

    #[test]
    fn a_road_warrior_is_rekeyed_leaves_and_comes_back() {
        let temp = tempfile::Builder::new().tempdir_in("/dev/shm").unwrap();
        let dir = RuntimeDir::open(temp.path()).unwrap();
        let _live = Live::attach_or_create(&dir).unwrap();
        let mut writer = SadWriter::open(&dir, 100, Duration::from_secs(5)).unwrap();
        let records = Records::new(Peers { count: 3 }, Direction::Outbound, 7);
        let (mut uids, mut policies) = (Vec::new(), Vec::new());
        let peer = STRIDE % 3;
        for number in 3..8 {
            writer.commit(&change(&records, number, 1 << 40).unwrap(), Duration::from_secs(5)).unwrap();
            let slot = Slot::new(if number == 3 { 0 } else { peer }).unwrap();
            uids.push(match writer.reader().sa(slot).unwrap().occupant {
                Occupant::Sa(sa) => Some(sa.uid.get() >> 32),
                Occupant::Empty | Occupant::Larval(_) => None,
            });
            let slots =
                [0, 1, 2].map(|place| shm_protocol::ids::PolicySlot::new(3 * slot.index() + place).unwrap());
            policies
                .push(slots.map(|slot| writer.reader().policy(slot).unwrap().map(|policy| policy.priority)));
        }
        assert_eq!(uids, [Some(4), None, Some(6), None, Some(8)]);
        let (none, all) = ([None; 3], [Some(100); 3]);
        assert_eq!(policies, [all, [Some(90), None, None], [Some(90), None, None], none, all]);
    }
}
