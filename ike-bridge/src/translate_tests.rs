use shm_protocol::messages::plugin::{Host, MAX_TS, Range};
use zerocopy::FromZeros;

use super::*;

fn ts(from: &str, to: &str, proto: u8, ports: Ports) -> TrafficSelector {
    TrafficSelector::new(&Range { from: from.parse().unwrap(), to: to.parse().unwrap(), proto, ports })
}

fn any_ports() -> Ports {
    Ports::Range(0, u16::MAX)
}

fn message() -> AddSa {
    let mut message = AddSa::new_zeroed();
    (message.id.src, message.id.dst) =
        (Host::new([192, 0, 2, 1].into(), 4500), Host::new([192, 0, 2, 2].into(), 4501));
    (message.id.proto, message.mode, message.cpu) = (50, 2, ANY_CPU.into());
    (message.enc_alg, message.enc_key_octets) = (20.into(), 20.into());
    let mut sides = [TrafficSelector::new_zeroed(); MAX_TS];
    sides[0] = ts("10.0.0.0", "10.255.255.255", 0, any_ports());
    (message.src_ts, message.dst_ts) = (sides, sides);
    (message.src_ts_count, message.dst_ts_count) = (1, 1);
    message
}

fn translated(message: &AddSa) -> Result<Sa, Refusal> {
    let given = Given { slot: Slot::of(Spi(0)), uid: SaUid::new(1).unwrap(), owner: Owner(1), now_ns: 1_000 };
    sa(message, &given)
}

#[test]
fn ports_of_the_addresses_count_only_under_encapsulation() {
    let mut message = message();
    assert_eq!(translated(&message).unwrap().encap, None);
    message.encap = 1;
    assert_eq!(translated(&message).unwrap().encap, Some(EncapPorts { sport: 4500, dport: 4501 }));
}

#[test]
fn lifetimes_become_deadlines_and_zero_is_none() {
    let mut message = message();
    message.time.life = 2.into();
    let limits = translated(&message).unwrap().limits;
    assert_eq!((limits.deadline_ns.soft(), limits.deadline_ns.hard()), (None, Some(2_000_001_000)));
    assert_eq!(limits.octets, Limit::default());
}

#[test]
fn a_window_means_something_inbound_only() {
    let mut message = message();
    message.replay_window_pkts = 64.into();
    assert_eq!(translated(&message).unwrap().replay_window_pkts, 0);
    message.inbound = 1;
    assert_eq!(translated(&message).unwrap().replay_window_pkts, 64);
    message.replay_window_pkts = u32::MAX.into();
    assert!(matches!(translated(&message), Err(Refusal::Window { .. })));
}

#[test]
fn padding_marks_and_cpus_keep_their_meaning() {
    let mut message = message();
    (message.tfc, message.cpu) = (u32::MAX.into(), 3.into());
    (message.id.mark.value, message.id.mark.mask) = (0xff.into(), 0x0f.into());
    message.set_mark.value = 9.into();
    let sa = translated(&message).unwrap();
    assert_eq!((sa.tfc_pad, sa.cpu), (TfcPad::Mtu, Some(3)));
    assert_eq!(sa.mark, Mark { value: 0x0f, mask: 0x0f });
    assert_eq!(sa.set_mark, Mark::default(), "a mark without mask is none");
    message.tfc = 70_000.into();
    assert!(matches!(translated(&message), Err(Refusal::Padding { octets: 70_000 })));
}

#[test]
fn more_selectors_than_fit_become_the_one_that_holds_them_all() {
    let mut message = message();
    for (at, net) in [(0, 1), (1, 5), (2, 3)] {
        let (lo, hi) = (format!("10.{net}.0.0"), format!("10.{net}.255.255"));
        message.src_ts[at] = ts(&lo, &hi, 6, any_ports());
        message.dst_ts[at] = ts(&lo, &hi, 6, any_ports());
    }
    (message.src_ts_count, message.dst_ts_count) = (3, 3);
    let sa = translated(&message).unwrap();
    assert_eq!(sa.selectors.len(), 1);
    assert_eq!(sa.selectors[0].src().lo().to_string(), "10.1.0.0");
    assert_eq!(sa.selectors[0].dst().hi().to_string(), "10.5.255.255");
    message.ts_truncated = 1;
    assert!(translated(&message).unwrap().selectors.is_empty(), "the policies decide alone");
}

#[test]
fn selectors_of_two_families_are_not_crossed() {
    let mut message = message();
    message.src_ts[1] = ts("2001:db8::", "2001:db8::ffff", 0, any_ports());
    message.dst_ts[1] = message.src_ts[1];
    (message.src_ts_count, message.dst_ts_count) = (2, 2);
    assert_eq!(translated(&message).unwrap().selectors.len(), 2);
}

#[test]
fn opaque_ports_and_outer_addresses_of_two_families_are_refused() {
    let mut message = message();
    message.src_ts[0] = ts("10.0.0.0", "10.0.0.1", 17, Ports::Opaque);
    assert!(matches!(translated(&message), Err(Refusal::OpaquePorts)));
    let mut message = self::message();
    message.id.dst = Host::new("2001:db8::1".parse().unwrap(), 0);
    assert!(matches!(translated(&message), Err(Refusal::Families(..))));
}

#[test]
fn icmp_type_and_code_move_into_the_two_ports() {
    let echo = PortRange::new(0x0800, 0x08ff).unwrap();
    let (kind, code) = icmp_ports(echo, PortRange::ANY);
    assert_eq!((kind, code), (PortRange::new(8, 8).unwrap(), PortRange::ANY));
    let unreachable = PortRange::new(0x0304, 0x0304).unwrap();
    let (kind, code) = icmp_ports(PortRange::ANY, unreachable);
    assert_eq!((kind.lo(), code), (3, PortRange::new(4, 4).unwrap()));
    assert_eq!(icmp_ports(PortRange::ANY, PortRange::ANY), (PortRange::ANY, PortRange::ANY));
}

#[test]
fn a_policy_without_template_passes_or_drops() {
    let mut policy = plugin::Policy::new_zeroed();
    policy.id.src_ts = ts("10.0.0.0", "10.0.0.255", 0, any_ports());
    policy.id.dst_ts = policy.id.src_ts;
    policy.id.dir = 1;
    let key = policy_key(&policy.id).unwrap();
    assert_eq!(key.direction, PolicyDirection::Out);
    (policy.kind, policy.prio) = (3, 3);
    let user = policy_user(&policy, &key, Owner(1)).unwrap();
    assert_eq!((user.action, user.priority), (Action::Discard, 600_000 - 48 * 512 - 1));
    (policy.kind, policy.prio) = (2, 0);
    policy.manual_prio = 77.into();
    let user = policy_user(&policy, &key, Owner(1)).unwrap();
    assert_eq!((user.action, user.priority), (Action::Pass, 77));
    policy.id.interface[0] = b'e';
    assert!(matches!(policy_key(&policy.id), Err(Refusal::Interface)));
}
