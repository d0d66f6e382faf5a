//! The SPD against a plain list, asked from the front.

use std::net::IpAddr;

use esp::Selector;
use esp::selector::{AddressRange, PortRange};
use esp::wire::Proto;
use proptest::prelude::*;

use super::*;

/// An address out of few, so that selectors meet packets and each other.
fn address(v6: bool) -> impl Strategy<Value = IpAddr> {
    prop_oneof![0..6_u32, 250..260_u32, any::<u32>().prop_map(|n| n & 0x3_0003)].prop_map(move |low| {
        if v6 {
            std::net::Ipv6Addr::from_bits((0x2001_0db8 << 96) | u128::from(low)).into()
        } else {
            IpAddr::from((0x0a00_0000 | low).to_be_bytes())
        }
    })
}

/// A host, a prefix, anything, or a range that is none of these.
fn range(v6: bool) -> impl Strategy<Value = AddressRange> {
    let width: u8 = if v6 { 128 } else { 32 };
    let near = prop_oneof![4 => Just(width), 2 => width - 20..=width, 1 => 0..=8_u8];
    prop_oneof![
        6 => (address(v6), near).prop_map(|(at, len)| AddressRange::prefix(at, len).unwrap()),
        1 => (address(v6), address(v6)).prop_map(|(one, other)| {
            AddressRange::new(one.min(other), one.max(other)).unwrap()
        }),
    ]
}

fn ports() -> impl Strategy<Value = PortRange> {
    prop_oneof![
        4 => Just(PortRange::ANY),
        2 => (0..4_u16).prop_map(PortRange::one),
        1 => (0..4_u16, 0..4_u16).prop_map(|(lo, more)| PortRange::new(lo, lo + more).unwrap()),
    ]
}

/// Any, UDP, ICMP (whose type and code stand where ports do), ESP.
fn proto() -> impl Strategy<Value = Proto> {
    prop_oneof![4 => Just(0), 2 => Just(17), 1 => Just(1), 1 => Just(50)].prop_map(Proto)
}

fn selector() -> impl Strategy<Value = Selector> {
    any::<bool>().prop_flat_map(|v6| {
        (range(v6), range(v6), proto(), ports(), ports())
            .prop_map(|(src, dst, proto, sport, dport)| Selector::new(src, dst, proto, sport, dport).unwrap())
    })
}

fn flow() -> impl Strategy<Value = FlowKey> {
    let upper = (proto(), 0..5_u16, 0..5_u16, proptest::bool::weighted(0.2));
    (any::<bool>().prop_flat_map(|v6| (address(v6), address(v6))), upper).prop_map(
        |((src, dst), (proto, sport, dport, fragment))| {
            let (sport, dport) = if fragment { (0, 0) } else { (sport, dport) };
            FlowKey { src, dst, proto, sport, dport, fragment }
        },
    )
}

fn policy(slot: u32, selector: Selector, priority: u32, order: u64) -> Arc<Policy<()>> {
    Arc::new(Policy { slot, selector: selector.into(), priority, order, action: Action::Pass })
}

type Plain = Vec<(IfId, Direction, Arc<Policy<()>>)>;

fn first<'a>(
    plain: &'a Plain,
    if_id: IfId,
    direction: Direction,
    flow: &FlowKey,
) -> Option<&'a Arc<Policy<()>>> {
    let of_set = plain.iter().filter(|(id, of, _)| (*id, *of) == (if_id, direction));
    let matching = of_set.map(|(.., policy)| policy).filter(|policy| policy.selector.matches(flow));
    matching.min_by_key(|policy| {
        let specificity = policy.selector.selector().specificity();
        (policy.priority, std::cmp::Reverse(specificity), policy.order, policy.slot)
    })
}

fn agree(spd: &Spd<()>, plain: &Plain, flows: &[FlowKey]) -> Result<(), TestCaseError> {
    prop_assert_eq!(spd.len(), plain.len());
    for if_id in [0, 1, 2, 3].map(IfId) {
        for direction in Direction::ALL {
            for flow in flows {
                let found = spd.lookup(if_id, direction, flow).map(|policy| policy.slot);
                let expected = first(plain, if_id, direction, flow).map(|policy| policy.slot);
                prop_assert_eq!(found, expected, "{} {:?} {:?}", if_id, direction, flow);
                let elsewhere = plain.iter().any(|(other, of, policy)| {
                    (*other != if_id && *of == direction) && policy.selector.matches(flow)
                });
                prop_assert_eq!(spd.expects_elsewhere(if_id, direction, flow), elsewhere);
            }
        }
    }
    let mut listed: Vec<_> = spd.iter().map(|(id, direction, policy)| (id, direction, policy.slot)).collect();
    let mut expected: Vec<_> = plain.iter().map(|(id, of, policy)| (*id, *of, policy.slot)).collect();
    listed.sort_unstable();
    expected.sort_unstable();
    prop_assert_eq!(listed, expected);
    Ok(())
}

/// What a change does: to put a policy, or to take one out.
#[derive(Clone, Debug)]
enum Change {
    Put(u32, Direction, Selector, u32, u64),
    Take(proptest::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    // Most in one place, so that there are many; the others keep few.
    let if_id = prop_oneof![5 => Just(1_u32), 1 => 0..3_u32];
    let direction =
        prop_oneof![5 => Just(Direction::Out), 1 => Just(Direction::In), 1 => Just(Direction::Fwd)];
    let put = (if_id, direction, selector(), 0..4_u32, 0..3_u64)
        .prop_map(|(if_id, of, selector, priority, order)| Change::Put(if_id, of, selector, priority, order));
    prop_oneof![3 => put, 1 => any::<proptest::sample::Index>().prop_map(Change::Take)]
}

fn apply(spd: &mut Spd<()>, plain: &mut Plain, slot: u32, change: Change) {
    match change {
        Change::Put(if_id, direction, selector, priority, order) => {
            let policy = policy(slot, selector, priority, order);
            spd.insert(IfId(if_id), direction, Arc::clone(&policy));
            plain.push((IfId(if_id), direction, policy));
        }
        Change::Take(_) if plain.is_empty() => {}
        Change::Take(at) => {
            let (if_id, direction, policy) = plain.remove(at.index(plain.len()));
            spd.remove(if_id, direction, &policy);
        }
    }
}

proptest! {
    #[test]
    fn a_look_up_finds_what_the_plain_list_finds(
        changes in proptest::collection::vec(change(), 0..120),
        flows in proptest::collection::vec(flow(), 24),
    ) {
        let (mut spd, mut plain) = (Spd::default(), Plain::new());
        let half = u32::try_from(changes.len() / 2).unwrap();
        let mut before = (spd.clone(), plain.clone());
        for (slot, change) in (0..).zip(changes) {
            if slot == half {
                before = (spd.clone(), plain.clone());
            }
            apply(&mut spd, &mut plain, slot, change);
        }
        agree(&spd, &plain, &flows)?;
        agree(&before.0, &before.1, &flows)?;
        // All the way back to nothing.
        while let Some((if_id, direction, policy)) = plain.pop() {
            spd.remove(if_id, direction, &policy);
            if plain.len() % 16 == 5 {
                agree(&spd, &plain, &flows)?;
            }
        }
        prop_assert!(spd.is_empty() && spd.by_if_id.is_empty());
    }
}

fn host(number: u32) -> Selector {
    let remote = IpAddr::from((0x0a00_0000 | number).to_be_bytes());
    Selector::between(AddressRange::any(esp::wire::Family::V4), AddressRange::prefix(remote, 32).unwrap())
        .unwrap()
}

fn to(number: u32) -> FlowKey {
    let dst = IpAddr::from((0x0a00_0000 | number).to_be_bytes());
    FlowKey { src: [192, 0, 2, 1].into(), dst, proto: Proto::UDP, sport: 1, dport: 2, fragment: false }
}

#[test]
fn each_of_100_000_hosts_behind_one_if_id_has_its_own_policy() {
    let mut spd = Spd::default();
    for slot in 0..100_000 {
        spd.insert(IfId(1), Direction::Out, policy(slot, host(slot), 100, 0));
    }
    for number in 0..100_000 {
        let found = spd.lookup(IfId(1), Direction::Out, &to(number));
        assert_eq!(found.map(|policy| policy.slot), Some(number));
    }
    assert!(spd.lookup(IfId(1), Direction::Out, &to(100_000)).is_none());
    let Set::Many(groups) = &spd.sets(IfId(1)).unwrap().out else { panic!("few") };
    assert_eq!(groups.shapes(), 1);
}

#[test]
fn each_of_100_000_if_ids_has_its_own_policy() {
    let mut spd = Spd::default();
    for number in 1..=100_000 {
        spd.insert(IfId(number), Direction::Out, policy(number, host(7), 100, 0));
    }
    for number in 1..=100_000 {
        let found = spd.lookup(IfId(number), Direction::Out, &to(7));
        assert_eq!(found.map(|policy| policy.slot), Some(number));
    }
    assert!(spd.lookup(IfId(100_001), Direction::Out, &to(7)).is_none());
}

#[test]
fn a_copy_answers_as_before_while_the_original_changes() {
    let mut spd = Spd::default();
    for slot in 0..1000 {
        spd.insert(IfId(1), Direction::Out, policy(slot, host(slot), 100, 0));
    }
    let before = spd.clone();
    spd.remove(IfId(1), Direction::Out, &policy(5, host(5), 100, 0));
    spd.insert(IfId(1), Direction::Out, policy(2000, host(6), 1, 0));
    let slots = |spd: &Spd<()>| {
        [5, 6].map(|number| spd.lookup(IfId(1), Direction::Out, &to(number)).map(|policy| policy.slot))
    };
    assert_eq!(slots(&before), [Some(5), Some(6)]);
    assert_eq!(slots(&spd), [None, Some(2000)]);
}
