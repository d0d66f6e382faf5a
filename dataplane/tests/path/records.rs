//! Tunnels between gateway A and gateway B as records of the segment, on either side, and as a foreign peer has them.

use std::net::IpAddr;

use shm_protocol::ids::{IfId, Owner, PolicySlot, SaUid, Slot, Spi};
use shm_protocol::policy::{Action, Policy, PolicyDirection, Template};
use shm_protocol::sa::{
    AlgorithmId, Direction, EncapPorts, HeaderRules, Initial, KeyOctets, Keying, Limits, Mark, Mode, Sa,
    TfcPad,
};
use shm_protocol::sad::Transaction;
use shm_protocol::secret::{Salt, SecretKey};
use shm_protocol::selector::{AddressRange, PortRange, SelectorRecord};

use crate::peer::PeerSa;
use crate::wire::ip;

/// Which end of the tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    A,
    B,
}

impl Side {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }
}

/// Traffic between a network behind A and one behind B.
pub(crate) type Nets = (&'static str, &'static str);

pub(crate) const NETS4: Nets = ("10.1.0.0/16", "10.2.0.0/16");
pub(crate) const NETS6: Nets = ("2001:db8:1::/48", "2001:db8:2::/48");
pub(crate) const ANY4: Nets = ("0.0.0.0/0", "0.0.0.0/0");
pub(crate) const ANY6: Nets = ("::/0", "::/0");

/// A pair of SAs, one each way, and the policies that ask for them.
#[derive(Clone)]
pub(crate) struct Tunnel {
    /// Tells slots, SPIs, keys and reqids apart; below 100.
    pub(crate) number: u32,
    /// `if_id` of what A receives and what A sends; B has the same.
    pub(crate) if_in: u32,
    pub(crate) if_out: u32,
    /// Outer addresses of A and B.
    pub(crate) outer: (&'static str, &'static str),
    pub(crate) key: KeyOctets,
    pub(crate) esn: bool,
    /// UDP ports of A and B.
    pub(crate) encap: Option<(u16, u16)>,
    /// What the policies are about.
    pub(crate) nets: Vec<Nets>,
    /// What the SAs may carry; empty is anything.
    pub(crate) selectors: Vec<Nets>,
    pub(crate) reqid: u32,
    pub(crate) priority: u32,
    pub(crate) window: u32,
    pub(crate) limits: Limits,
    pub(crate) initial: Initial,
    pub(crate) headers: HeaderRules,
    pub(crate) tfc_pad: TfcPad,
    pub(crate) installed_ns: u64,
}

pub(crate) const OUTER4: (&str, &str) = ("192.0.2.1", "192.0.2.2");
pub(crate) const OUTER6: (&str, &str) = ("2001:db8:f::1", "2001:db8:f::2");

impl Tunnel {
    /// A route-based tunnel of `if_id` for both families.
    pub(crate) fn new(number: u32, if_id: u32) -> Self {
        Self {
            number,
            if_in: if_id,
            if_out: if_id,
            outer: OUTER4,
            key: KeyOctets::K16,
            esn: true,
            encap: None,
            nets: vec![NETS4, NETS6],
            selectors: Vec::new(),
            reqid: number,
            priority: 100,
            window: 64,
            limits: Limits::default(),
            initial: Initial::default(),
            headers: HeaderRules::default(),
            tfc_pad: TfcPad::Off,
            installed_ns: u64::from(number),
        }
    }

    fn ends(&self, from: Side) -> (IpAddr, IpAddr) {
        let (a, b) = (ip(self.outer.0), ip(self.outer.1));
        if from == Side::A { (a, b) } else { (b, a) }
    }

    /// Slot of the SA from `from`, the same at both ends.
    pub(crate) fn slot(&self, from: Side) -> Slot {
        Slot::new(self.number * 2 + u32::try_from(from.index()).unwrap()).unwrap()
    }

    fn key_octets(&self, from: Side) -> Vec<u8> {
        let seed = u8::try_from(self.number * 2).unwrap() + u8::try_from(from.index()).unwrap();
        (0..32_u8).map(|at| at.wrapping_mul(29) ^ seed).take(self.key.get()).collect()
    }

    fn salt(&self, from: Side) -> [u8; 4] {
        [0xa5, 0x5a, u8::try_from(self.number).unwrap(), u8::try_from(from.index()).unwrap()]
    }

    pub(crate) fn spi(&self, from: Side) -> Spi {
        Spi::allocated(self.slot(from), 0x700 + u16::try_from(self.number).unwrap()).unwrap()
    }

    /// The SA that carries what `from` sends, as `at` has it.
    pub(crate) fn sa(&self, at: Side, from: Side) -> Sa {
        let (src, dst) = self.ends(from);
        let direction = if at == from { Direction::Out } else { Direction::In };
        let algorithm = AlgorithmId::AesGcm16(self.key);
        let key = SecretKey::new(&self.key_octets(from)).unwrap();
        let uid = 0x1000 + u64::from(self.number) * 16 + 2 * at.index() as u64 + from.index() as u64;
        // What A sends is the outbound id at A and the inbound id at B.
        let if_id = if direction == Direction::Out { self.if_out } else { self.if_in };
        Sa {
            slot: self.slot(from),
            direction,
            owner: Owner(1),
            uid: SaUid::new(uid).unwrap(),
            spi: self.spi(from),
            foreign: false,
            if_id: IfId(if_id),
            src,
            dst,
            reqid: self.reqid,
            mode: Mode::Tunnel,
            keying: Keying::new(algorithm, key, Salt::new(self.salt(from))).unwrap(),
            esn: self.esn,
            replay_window_pkts: self.window,
            encap: self.encap.map(|(a, b)| match from {
                Side::A => EncapPorts { sport: a, dport: b },
                Side::B => EncapPorts { sport: b, dport: a },
            }),
            selectors: self.selectors.iter().map(|nets| selector(*nets, from)).collect(),
            limits: self.limits,
            initial: self.initial,
            headers: self.headers,
            tfc_pad: self.tfc_pad,
            mark: Mark::default(),
            set_mark: Mark::default(),
            cpu: None,
            installed_ns: self.installed_ns,
        }
    }

    /// The policy of `direction` at `at` for the network pair at this place.
    pub(crate) fn policy(&self, at: Side, direction: PolicyDirection, place: usize) -> Policy {
        let from = if direction == PolicyDirection::Out { at } else { at.other() };
        let (src, dst) = self.ends(from);
        let kind = match direction {
            PolicyDirection::Out => 0,
            PolicyDirection::In => 1,
            PolicyDirection::Fwd => 2,
        };
        let slot = self.number * 16 + u32::try_from(place).unwrap() * 3 + kind;
        let if_id = if direction == PolicyDirection::Out { self.if_out } else { self.if_in };
        Policy {
            slot: PolicySlot::new(slot).unwrap(),
            owner: Owner(1),
            direction,
            if_id: IfId(if_id),
            selector: selector(self.nets[place], from),
            priority: self.priority,
            action: Action::Protect(Template { src, dst, reqid: self.reqid, mode: Mode::Tunnel, spi: None }),
            order: u64::from(slot),
            users: 1,
            mark: Mark::default(),
        }
    }

    pub(crate) fn policies(&self, at: Side) -> Vec<Policy> {
        let directions = [PolicyDirection::Out, PolicyDirection::In, PolicyDirection::Fwd];
        let places = 0..self.nets.len();
        places.flat_map(|place| directions.map(|direction| self.policy(at, direction, place))).collect()
    }

    /// Installs both SAs and all policies at `at`.
    pub(crate) fn install(&self, at: Side, changes: &mut Transaction) {
        self.install_sas(at, changes);
        for policy in self.policies(at) {
            changes.put_policy(&policy);
        }
    }

    pub(crate) fn install_sas(&self, at: Side, changes: &mut Transaction) {
        changes.put_sa(&self.sa(at, at.other())).put_sa(&self.sa(at, at));
    }

    pub(crate) fn remove_sas(&self, changes: &mut Transaction) {
        changes.remove_sa(self.slot(Side::A), 1).remove_sa(self.slot(Side::B), 1);
    }

    /// The SA that carries what `from` sends, as a foreign peer has it.
    pub(crate) fn peer(&self, from: Side) -> PeerSa {
        let (src, dst) = self.ends(from);
        PeerSa {
            spi: self.spi(from).0,
            key: self.key_octets(from),
            salt: self.salt(from),
            esn: self.esn,
            src: src.to_string(),
            dst: dst.to_string(),
            ports: self.encap.map(|(a, b)| if from == Side::A { (a, b) } else { (b, a) }),
        }
    }
}

/// What goes from `from` between two networks.
pub(crate) fn selector(nets: Nets, from: Side) -> SelectorRecord {
    let (src, dst) = if from == Side::A { nets } else { (nets.1, nets.0) };
    SelectorRecord::new(range(src), range(dst), 0, PortRange::ANY, PortRange::ANY).unwrap()
}

fn range(net: &str) -> AddressRange {
    let (address, bits) = net.split_once('/').unwrap();
    AddressRange::prefix(ip(address), bits.parse().unwrap()).unwrap()
}

/// A policy for what goes from `src` to `dst` without a tunnel.
pub(crate) fn plain_policy(
    slot: u32,
    direction: PolicyDirection,
    if_id: u32,
    nets: Nets,
    action: Action,
) -> Policy {
    Policy {
        slot: PolicySlot::new(1000 + slot).unwrap(),
        owner: Owner(1),
        direction,
        if_id: IfId(if_id),
        selector: selector(nets, Side::A),
        priority: 50,
        action,
        order: u64::from(slot),
        users: 1,
        mark: Mark::default(),
    }
}
