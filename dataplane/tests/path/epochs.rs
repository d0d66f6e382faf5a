//! Epochs: while the epoch of a flow's remote host stays, so does what the tables say of the flow, whatever changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use dataplane::tables::Tables;
use dataplane::tables::policy::{Action, Direction};
use dataplane::tables::sa::OutboundSa;
use dataplane::tables::topology::Device;
use esp::IfId;
use esp::wire::{FlowKey, Proto};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use shm_protocol::policy::PolicyDirection;

use crate::gateway::{Gateway, WAN};
use crate::plan::{Plan, route};
use crate::records::{Nets, Side, Tunnel};
use crate::wire::ip;

type Snapshot = Arc<Tables<crypto::Key>>;

/// What tunnels are about: hosts of the other side, more than one, its network, anything.
const NETS: [&[Nets]; 7] = [
    &[("10.1.0.0/16", "10.2.0.1/32")],
    &[("10.1.0.0/16", "10.2.0.2/32")],
    &[("10.1.0.9/32", "10.2.0.2/32"), ("2001:db8:1::/48", "2001:db8:2::1/128")],
    &[("10.1.0.0/16", "10.2.0.0/30")],
    &[("2001:db8:1::/48", "2001:db8:2::/48")],
    &[("0.0.0.0/0", "0.0.0.0/0")],
    &[],
];

#[derive(Clone, Debug)]
enum Change {
    PutPolicies(Pick),
    RemovePolicies(u32),
    PutSas(Pick),
    RemoveSas(u32),
    Route(bool),
}

/// A tunnel as records: which, of which `if_id`, about what, by which outer address.
#[derive(Clone, Copy, Debug)]
struct Pick {
    number: u32,
    if_id: u32,
    nets: usize,
    open: bool,
    reqid: u32,
    priority: u32,
}

impl Pick {
    fn tunnel(self) -> Tunnel {
        let nets = NETS[self.nets].to_vec();
        Tunnel {
            outer: if self.open { ("0.0.0.0", "0.0.0.0") } else { crate::records::OUTER4 },
            selectors: nets.clone(),
            nets,
            reqid: self.reqid,
            priority: self.priority,
            ..Tunnel::new(self.number, self.if_id)
        }
    }
}

fn pick() -> impl Strategy<Value = Pick> {
    (1..5_u32, 0..2_u32, 0..NETS.len(), proptest::bool::weighted(0.2), 0..3_u32, 0..2_u32).prop_map(
        |(number, if_id, nets, open, reqid, priority)| Pick { number, if_id, nets, open, reqid, priority },
    )
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => pick().prop_map(Change::PutPolicies),
        1 => (1..5_u32).prop_map(Change::RemovePolicies),
        6 => pick().prop_map(Change::PutSas),
        2 => (1..5_u32).prop_map(Change::RemoveSas),
        1 => any::<bool>().prop_map(Change::Route),
    ]
}

const DIRECTIONS: [PolicyDirection; 3] = [PolicyDirection::Out, PolicyDirection::In, PolicyDirection::Fwd];

fn apply(gateway: &mut Gateway, policies: &mut BTreeSet<u32>, sas: &mut BTreeSet<u32>, change: &Change) {
    match *change {
        Change::PutPolicies(pick) => {
            let new = pick.tunnel();
            gateway.commit(|changes| {
                for policy in new.policies(Side::A) {
                    changes.put_policy(&policy);
                    policies.insert(policy.slot.index());
                }
            });
        }
        Change::RemovePolicies(number) => {
            // A tunnel has its policies in sixteen slots.
            let of_number: Vec<_> = policies.range(number * 16..number * 16 + 16).copied().collect();
            gateway.commit(|changes| {
                for slot in of_number {
                    changes.remove_policy(shm_protocol::ids::PolicySlot::new(slot).unwrap());
                    policies.remove(&slot);
                }
            });
        }
        Change::PutSas(pick) => {
            // An SA has ends.
            let new = Pick { open: false, ..pick }.tunnel();
            gateway.commit(|changes| new.install_sas(Side::A, changes));
            sas.insert(pick.number);
        }
        Change::RemoveSas(number) => {
            if sas.remove(&number) {
                gateway.commit(|changes| Tunnel::new(number, 0).remove_sas(changes));
            }
        }
        Change::Route(by_wan) => {
            let device = if by_wan {
                Device::Port(dataplane::ports::PortId(WAN))
            } else {
                Device::Interface(dataplane::ports::InterfaceId(1))
            };
            let plan =
                Plan::new(Side::A).with(|topology| topology.routes.push(route("10.2.0.2/32", device, None)));
            gateway.adopter.set_topology(plan.topology);
            gateway.settle();
        }
    }
}

fn flows() -> Vec<FlowKey> {
    let flow = |src: &str, dst: &str| FlowKey {
        src: ip(src),
        dst: ip(dst),
        proto: Proto::UDP,
        sport: 1,
        dport: 2,
        fragment: false,
    };
    let out = ["10.2.0.1", "10.2.0.2", "10.2.0.3", "10.2.9.9"].map(|dst| flow("10.1.0.9", dst));
    let out6 = ["2001:db8:2::1", "2001:db8:2::2"].map(|dst| flow("2001:db8:1::9", dst));
    out.into_iter().chain(out6).collect()
}

fn back(flow: &FlowKey) -> FlowKey {
    FlowKey { src: flow.dst, dst: flow.src, ..*flow }
}

/// Everything the tables say of a flow in one direction: policy, template, SAs that may carry it (as objects, in the
/// order of choice), route.
fn said(tables: &Tables<crypto::Key>, if_id: IfId, direction: Direction, flow: &FlowKey) -> String {
    let policy = tables.spd.lookup(if_id, direction, flow).map(|policy| {
        let (template, sas) = match &policy.action {
            Action::Protect(wanted, sas) => (Some(wanted.template()), &sas[..]),
            Action::Pass | Action::Discard => (None, &[][..]),
        };
        let out: Vec<_> = sas.iter().filter(|sa| sa.common.holds(flow)).map(Arc::as_ptr).collect();
        let inbound = tables.inbound.iter().filter(|sa| sa.common.if_id == if_id && policy.admits(sa));
        let inbound: Vec<_> = inbound.filter(|sa| sa.common.holds(flow)).map(Arc::as_ptr).collect();
        (policy.slot, policy.selector.selector(), policy.priority, template, out, inbound)
    });
    format!("{policy:?} {:?}", tables.derived.fib.lookup(flow.dst))
}

/// What the tables say of a flow and of its answer, if its epoch is the same in both snapshots, is the same.
fn compare(one: &Snapshot, other: &Snapshot) -> Result<usize, TestCaseError> {
    let mut same = 0;
    for flow in flows() {
        let remote = flow.dst;
        if one.epochs.of(remote) != other.epochs.of(remote) {
            continue;
        }
        same += 1;
        for if_id in [IfId(0), IfId(1)] {
            for direction in Direction::ALL {
                let flow = if direction == Direction::Out { flow } else { back(&flow) };
                let (before, after) =
                    (said(one, if_id, direction, &flow), said(other, if_id, direction, &flow));
                prop_assert_eq!(before, after, "{} {:?} {:?}", if_id, direction, flow);
            }
        }
    }
    Ok(same)
}

/// Each policy that asks for protection on the way out lists the SAs that can serve it, newest first, and no others.
fn complete(tables: &Snapshot) -> Result<(), TestCaseError> {
    for (if_id, direction, policy) in tables.spd.iter() {
        let Action::Protect(wanted, sas) = &policy.action else { continue };
        let serves = |sa: &&Arc<_>| {
            let sa: &OutboundSa<crypto::Key> = sa;
            let common = &sa.common;
            common.if_id == if_id && wanted.fits(common) && common.meets(&policy.selector.selector())
        };
        let out = direction == Direction::Out;
        let mut expected: Vec<_> = tables.outbound.iter().filter(|sa| out && serves(sa)).collect();
        expected.sort_by_key(|sa| std::cmp::Reverse((sa.order, sa.common.slot)));
        prop_assert!(sas.iter().map(Arc::as_ptr).eq(expected.into_iter().map(Arc::as_ptr)), "{:?}", policy);
    }
    Ok(())
}

#[test]
fn what_the_tables_say_of_a_flow_changes_with_its_epoch_only() {
    let same = std::cell::Cell::new(0);
    let config = Config { cases: 96, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let sequences = proptest::collection::vec(change(), 1..40);
    let outcome = runner.run(&sequences, |changes| {
        let mut gateway = Plan::new(Side::A).start(&[]);
        let (mut policies, mut sas) = (BTreeSet::new(), BTreeSet::new());
        let mut snapshots = vec![gateway.adopter.snapshot()];
        for change in &changes {
            apply(&mut gateway, &mut policies, &mut sas, change);
            snapshots.push(gateway.adopter.snapshot());
        }
        for (at, one) in snapshots.iter().enumerate() {
            complete(one)?;
            for other in &snapshots[at + 1..] {
                same.set(same.get() + compare(one, other)?);
            }
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(same.get() > 100, "nothing was compared");
}

#[test]
fn a_change_confined_to_one_host_leaves_the_epochs_of_others() {
    let wide = Pick { number: 1, if_id: 1, nets: 3, open: false, reqid: 1, priority: 1 };
    let [one, other] =
        [0, 1].map(|nets| Pick { number: 2 + nets as u32, nets, priority: 0, ..wide }.tunnel());
    let mut gateway = Plan::new(Side::A).start(&[&wide.tunnel(), &one]);
    let mut epochs = [0; 2];
    let mut touched = |gateway: &Gateway| {
        let tables = gateway.adopter.snapshot();
        let now = ["10.2.0.1", "10.2.0.2"].map(|host| tables.epochs.of(ip(host)));
        let touched = [now[0] != epochs[0], now[1] != epochs[1]];
        epochs = now;
        touched
    };
    touched(&gateway);
    gateway.commit(|changes| other.install(Side::A, changes));
    assert_eq!(touched(&gateway), [false, true], "SAs and policies of the other");
    gateway.commit(|changes| one.remove_sas(changes));
    assert_eq!(touched(&gateway), [true, false], "SAs of the one, though the wide policy asks for its reqid");
    gateway.commit(|changes| {
        for direction in DIRECTIONS {
            changes.remove_policy(other.policy(Side::A, direction, 0).slot);
        }
    });
    assert_eq!(touched(&gateway), [false, true]);
    gateway.commit(|changes| wide.tunnel().remove_sas(changes));
    assert_eq!(touched(&gateway), [true, true], "what serves any host");
}
