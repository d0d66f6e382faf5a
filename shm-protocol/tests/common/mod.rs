//! What the tests of the segments share: a runtime directory in memory and records that prove themselves.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use shm_protocol::ids::{IfId, Owner, PolicySlot, SaUid, Slot, Spi};
use shm_protocol::place::RuntimeDir;
use shm_protocol::policy::{Action, Policy, PolicyDirection, Template};
use shm_protocol::sa::{
    AlgorithmId, CopyDscp, Direction, EncapPorts, HeaderRules, Initial, KeyOctets, Keying, Limit, Limits,
    Mark, Mode, Sa, TfcPad,
};
use shm_protocol::secret::{Salt, SecretKey};
use shm_protocol::selector::{AddressRange, Family, PortRange, SelectorRecord};

/// Long enough for a noisy machine, short enough for a test.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Returns a runtime directory that goes away with the test.
pub(crate) fn runtime() -> (tempfile::TempDir, RuntimeDir) {
    let temp = tempfile::Builder::new().prefix("shm-protocol-").tempdir_in("/dev/shm").unwrap();
    let dir = RuntimeDir::open(temp.path()).unwrap();
    (temp, dir)
}

/// Spreads a number over 64 bits, so that records of two numbers differ in every field.
pub(crate) fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn low(number: u64) -> u32 {
    u32::try_from(number & 0xffff_ffff).unwrap()
}

fn port(number: u64) -> u16 {
    u16::try_from(number & 0xffff).unwrap()
}

fn address(family: Family, seed: u64) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from_bits(low(seed)).into(),
        Family::V6 => Ipv6Addr::from_bits(u128::from(mix(seed)) << 64 | u128::from(seed)).into(),
    }
}

fn range(family: Family, seed: u64) -> AddressRange {
    let (a, b) = (address(family, mix(seed)), address(family, mix(seed + 1)));
    AddressRange::new(a.min(b), a.max(b)).unwrap()
}

fn ports(seed: u64) -> PortRange {
    let (a, b) = (port(seed), port(seed >> 16));
    PortRange::new(a.min(b), a.max(b)).unwrap()
}

pub(crate) fn selector(seed: u64) -> SelectorRecord {
    let family = if seed.is_multiple_of(2) { Family::V4 } else { Family::V6 };
    let proto = u8::try_from(mix(seed) & 0xff).unwrap();
    SelectorRecord::new(
        range(family, seed),
        range(family, mix(seed)),
        proto,
        ports(mix(seed + 2)),
        ports(mix(seed + 3)),
    )
    .unwrap()
}

/// Returns an SA all of whose fields follow from its slot and `seed`.
pub(crate) fn sa(slot: u32, seed: u64) -> Sa {
    let slot = Slot::new(slot).unwrap();
    let at = |n: u64| mix(seed.wrapping_mul(64).wrapping_add(n));
    let direction = if at(0) % 2 == 0 { Direction::In } else { Direction::Out };
    let high = u16::try_from(at(1) % 4095 + 1).unwrap();
    let outer = if at(2) % 2 == 0 { Family::V4 } else { Family::V6 };
    let octets = [KeyOctets::K16, KeyOctets::K24, KeyOctets::K32][usize::try_from(at(3) % 3).unwrap()];
    let esn = at(5) % 2 == 0;
    let number = |n: u64| if esn { n } else { n & 0xffff_ffff };
    Sa {
        slot,
        direction,
        owner: Owner(at(6)),
        uid: SaUid::new(at(7) | 1).unwrap(),
        spi: Spi::allocated(slot, high).unwrap(),
        foreign: at(8) % 4 == 0,
        if_id: IfId(low(at(9))),
        src: address(outer, at(10)),
        dst: address(outer, at(11)),
        reqid: low(at(12)),
        mode: Mode::Tunnel,
        keying: keying(octets, at(13)),
        esn,
        replay_window_pkts: low(at(14) % ((1 << 20) + 1)),
        encap: (at(15) % 2 == 0).then(|| EncapPorts { sport: port(at(16)), dport: port(at(17)) }),
        selectors: (0..at(18) % 5).map(|n| selector(at(19 + n))).collect(),
        limits: Limits {
            deadline_ns: Limit::new(at(30), at(31)),
            octets: Limit::new(at(32), 0),
            packets: Limit::new(0, at(33)),
        },
        initial: Initial { oseq: number(at(34)), iseq_top: number(at(35)) },
        headers: HeaderRules {
            copy_df: at(36) % 2 == 0,
            copy_ecn: at(37) % 2 == 0,
            copy_dscp: [CopyDscp::OutOnly, CopyDscp::InOnly, CopyDscp::Yes, CopyDscp::No]
                [usize::try_from(at(38) % 4).unwrap()],
        },
        tfc_pad: [TfcPad::Off, TfcPad::Octets(port(at(39)) | 1), TfcPad::Mtu]
            [usize::try_from(at(40) % 3).unwrap()],
        mark: Mark { value: low(at(41)), mask: low(at(42)) },
        set_mark: Mark { value: low(at(43)), mask: low(at(44)) },
        cpu: (at(45) % 2 == 0).then_some(low(at(46)) >> 1),
        installed_ns: seed,
    }
}

pub(crate) fn keying(octets: KeyOctets, seed: u64) -> Keying {
    let key: Vec<u8> = (0..4).flat_map(|n| mix(seed ^ n).to_le_bytes()).take(octets.get()).collect();
    let salt = low(mix(seed ^ 9)).to_le_bytes();
    Keying::new(AlgorithmId::AesGcm16(octets), SecretKey::new(&key).unwrap(), Salt::new(salt)).unwrap()
}

/// Returns a policy all of whose fields follow from its slot and `seed`.
pub(crate) fn policy(slot: u32, seed: u64) -> Policy {
    let at = |n: u64| mix(seed.wrapping_mul(64).wrapping_add(n));
    let outer = if at(0) % 2 == 0 { Family::V4 } else { Family::V6 };
    let template = Template {
        src: address(outer, at(1)),
        dst: address(outer, at(2)),
        reqid: low(at(3)),
        mode: Mode::Tunnel,
        spi: (at(4) % 2 == 0).then(|| Spi(low(at(5)))),
    };
    Policy {
        slot: PolicySlot::new(slot).unwrap(),
        owner: Owner(at(6)),
        direction: [PolicyDirection::In, PolicyDirection::Out, PolicyDirection::Fwd]
            [usize::try_from(at(7) % 3).unwrap()],
        if_id: IfId(low(at(8))),
        selector: selector(at(9)),
        priority: low(at(10)),
        action: [Action::Protect(template), Action::Pass, Action::Discard]
            [usize::try_from(at(11) % 3).unwrap()],
        order: seed,
        users: low(at(12)),
        mark: Mark { value: low(at(13)), mask: low(at(14)) },
    }
}

/// Tells whether every field of `sa` belongs to the same write.
pub(crate) fn is_whole(found: &Sa) -> bool {
    *found == sa(found.slot.index(), found.installed_ns)
}
