//! SAs and policies between the gateways of the tests.

use std::net::IpAddr;

use shm_protocol::ids::{IfId, Owner, PolicySlot, SaUid, Slot, Spi};
use shm_protocol::policy::{Action, Policy, PolicyDirection, Template};
use shm_protocol::sa::{
    AlgorithmId, Direction, HeaderRules, Initial, KeyOctets, Keying, Limits, Mark, Mode, Sa, TfcPad,
};
use shm_protocol::sad::Transaction;
use shm_protocol::secret::{Salt, SecretKey};
use shm_protocol::selector::{AddressRange, PortRange, SelectorRecord};

/// Who sends what to whom, by the numbers of the gateways, and in which tunnel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) from: u8,
    pub(crate) to: u8,
    pub(crate) if_id: u32,
    /// The family outside.
    pub(crate) v6: bool,
}

/// From gateway 1 to gateway 2, both know the tunnel as 1, IPv4 outside.
pub(crate) const THERE: Way = Way { from: 1, to: 2, if_id: 1, v6: false };
pub(crate) const BACK: Way = Way { from: 2, to: 1, if_id: 1, v6: false };

impl Way {
    fn outer(self) -> (IpAddr, IpAddr) {
        let of = |n: u8| if self.v6 { format!("2001:db8:9::{n}") } else { format!("192.0.2.{n}") };
        (super::ip(&of(self.from)), super::ip(&of(self.to)))
    }

    pub(crate) fn in_tunnel(self, if_id: u32) -> Self {
        Self { if_id, ..self }
    }

    /// An SA as either end has it; slot, SPI, key and uid are told by `slot`.
    pub(crate) fn sa(self, direction: Direction, slot: u32) -> Sa {
        let (src, dst) = self.outer();
        let at = Slot::new(slot).unwrap();
        Sa {
            slot: at,
            direction,
            owner: Owner(1),
            uid: SaUid::new(1000 + u64::from(slot)).unwrap(),
            spi: Spi::allocated(at, 0x5a5).unwrap(),
            foreign: false,
            if_id: IfId(self.if_id),
            src,
            dst,
            reqid: 1,
            mode: Mode::Tunnel,
            keying: keying(KeyOctets::K16, u8::try_from(slot).unwrap()),
            esn: true,
            replay_window_pkts: 128,
            encap: None,
            selectors: Default::default(),
            limits: Limits::default(),
            initial: Initial::default(),
            headers: HeaderRules::default(),
            tfc_pad: TfcPad::Off,
            mark: Mark::default(),
            set_mark: Mark::default(),
            cpu: None,
            installed_ns: 1000 + u64::from(slot),
        }
    }

    pub(crate) fn sends(self, slot: u32) -> Sa {
        self.sa(Direction::Out, slot)
    }

    pub(crate) fn receives(self, slot: u32) -> Sa {
        self.sa(Direction::In, slot)
    }

    /// A policy whose template is this way.
    pub(crate) fn policy(self, slot: u32, direction: PolicyDirection, selector: SelectorRecord) -> Policy {
        let (src, dst) = self.outer();
        Policy {
            slot: PolicySlot::new(slot).unwrap(),
            owner: Owner(1),
            direction,
            if_id: IfId(self.if_id),
            selector,
            priority: 100,
            action: Action::Protect(Template { src, dst, reqid: 1, mode: Mode::Tunnel, spi: None }),
            order: 1,
            users: 1,
            mark: Mark::default(),
        }
    }

    /// Everything of both families may be sent this way; policy slots `slot` and the next.
    pub(crate) fn policies_out(self, slot: u32, records: &mut Transaction) {
        for (index, selector) in (slot..).zip(everything()) {
            records.put_policy(&self.policy(index, PolicyDirection::Out, selector));
        }
    }

    /// Everything of both families may come this way; policy slots `slot` and the next three.
    pub(crate) fn policies_in(self, slot: u32, records: &mut Transaction) {
        for (index, direction) in (slot..).step_by(2).zip([PolicyDirection::In, PolicyDirection::Fwd]) {
            for (index, selector) in (index..).zip(everything()) {
                records.put_policy(&self.policy(index, direction, selector));
            }
        }
    }
}

/// Key and salt of which every octet is `octet`.
pub(crate) fn keying(octets: KeyOctets, octet: u8) -> Keying {
    let key = SecretKey::new(&vec![octet; octets.get()]).unwrap();
    Keying::new(AlgorithmId::AesGcm16(octets), key, Salt::new([octet; 4])).unwrap()
}

pub(crate) fn selector(src: (&str, &str), dst: (&str, &str)) -> SelectorRecord {
    let range = |(lo, hi): (&str, &str)| AddressRange::new(super::ip(lo), super::ip(hi)).unwrap();
    SelectorRecord::new(range(src), range(dst), 0, PortRange::ANY, PortRange::ANY).unwrap()
}

fn everything() -> [SelectorRecord; 2] {
    let (v4, v6) = (("0.0.0.0", "255.255.255.255"), ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
    [selector(v4, v4), selector(v6, v6)]
}
