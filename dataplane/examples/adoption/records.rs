//! Road-warriors: each with an outer address, an address inside, a pair of SAs and a policy for each direction.

use std::net::IpAddr;

use dataplane::ports::{InterfaceId, PortId};
use dataplane::tables::topology::{Device, Interface, Port, Prefix, Route, Topology};
use esp::wire::{FlowKey, Proto};
use shm_protocol::ids::{IfId, Owner, PolicySlot, SaUid, Slot, Spi};
use shm_protocol::policy::{Action, Policy, PolicyDirection, Template};
use shm_protocol::sa::{
    AlgorithmId, Direction, HeaderRules, Initial, KeyOctets, Keying, Limits, Mark, Mode, Sa, TfcPad,
};
use shm_protocol::sad::Transaction;
use shm_protocol::secret::{Salt, SecretKey};
use shm_protocol::selector::{AddressRange, PortRange, SelectorRecord};

/// What is behind the gateway.
#[derive(Clone, Copy)]
pub(crate) struct Site {
    pub(crate) pairs: u32,
    /// Whether each pair has an `if_id` of its own.
    pub(crate) own: bool,
}

/// One road-warrior.
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    number: u32,
    if_id: u32,
    /// Tells a rekeyed pair from the one before.
    age: u32,
    priority: u32,
}

const US: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const NET: u32 = 0x0a00_0000;
const PEERS: u32 = 0x6440_0000;

fn host(net: u32, number: u32) -> IpAddr {
    IpAddr::from((net + number).to_be_bytes())
}

impl Site {
    fn pair(self, number: u32) -> Pair {
        let if_id = if self.own { number + 1 } else { 1 };
        Pair { number, if_id, age: 0, priority: 100 }
    }

    pub(crate) fn all(self) -> impl Iterator<Item = Pair> {
        (0..self.pairs).map(move |number| self.pair(number))
    }

    /// A packet to a road-warrior, and where it is looked up.
    pub(crate) fn flow(self, number: u32) -> (esp::IfId, FlowKey) {
        let (src, dst) = ([172, 16, 0, 1].into(), host(NET, number));
        let flow = FlowKey { src, dst, proto: Proto::UDP, sport: 1, dport: 2, fragment: false };
        (esp::IfId(self.pair(number).if_id), flow)
    }

    pub(crate) fn topology(self) -> Topology {
        let address = Prefix { addr: US, len: 24 };
        let port = Port { name: "wan".into(), mac: [2, 0, 0, 0, 0, 1], mtu: 1500, addresses: vec![address] };
        let interface = Interface {
            name: "ipsec1".into(),
            if_id: esp::IfId(1),
            mtu: None,
            addresses: Vec::new(),
            spread: false,
            mss_clamp: None,
        };
        let to = |addr: u32, len| Prefix { addr: IpAddr::from(addr.to_be_bytes()), len };
        let out = Route { to: to(0, 0), via: Some([192, 0, 2, 2].into()), device: Device::Port(PortId(0)) };
        let inside = Route { to: to(NET, 8), via: None, device: Device::Interface(InterfaceId(0)) };
        Topology {
            ports: vec![port],
            interfaces: vec![interface],
            routes: vec![out, inside],
            min_replay_window: 1024,
            ..Topology::default()
        }
    }
}

impl Pair {
    fn ends(self, out: bool) -> (IpAddr, IpAddr) {
        let peer = host(PEERS, self.number);
        if out { (US, peer) } else { (peer, US) }
    }

    fn selector(self, out: bool) -> SelectorRecord {
        let any = AddressRange::prefix([0, 0, 0, 0].into(), 0);
        let inside = AddressRange::prefix(host(NET, self.number), 32);
        let (src, dst) = if out { (any, inside) } else { (inside, any) };
        let selector =
            src.zip(dst).map(|(src, dst)| SelectorRecord::new(src, dst, 0, PortRange::ANY, PortRange::ANY));
        selector.flatten().expect("two ranges of one family")
    }

    fn sa(self, out: bool) -> Sa {
        let (src, dst) = self.ends(out);
        let index = self.number * 2 + u32::from(out);
        let slot = Slot::new(index).expect("no more pairs than slots");
        let key = SecretKey::new(&[index.to_le_bytes(); 4].concat()).expect("16 octets");
        let keying = Keying::new(AlgorithmId::AesGcm16(KeyOctets::K16), key, Salt::new([7; 4]));
        let high = u16::try_from(1 + self.age % 4000).unwrap_or(1);
        Sa {
            slot,
            direction: if out { Direction::Out } else { Direction::In },
            owner: Owner(1),
            uid: SaUid::new(u64::from(self.age) << 32 | u64::from(index + 1)).expect("not 0"),
            spi: Spi::allocated(slot, high).expect("a high part of 12 bits"),
            foreign: false,
            if_id: IfId(self.if_id),
            src,
            dst,
            reqid: self.number + 1,
            mode: Mode::Tunnel,
            keying: keying.expect("a key of the algorithm's length"),
            esn: true,
            replay_window_pkts: 128,
            encap: None,
            selectors: [self.selector(out)].into_iter().collect(),
            limits: Limits::default(),
            initial: Initial::default(),
            headers: HeaderRules::default(),
            tfc_pad: TfcPad::Off,
            mark: Mark::default(),
            set_mark: Mark::default(),
            cpu: None,
            installed_ns: u64::from(self.age),
        }
    }

    fn policy(self, direction: PolicyDirection) -> Policy {
        let out = direction == PolicyDirection::Out;
        let (src, dst) = self.ends(out);
        let reqid = self.number + 1;
        Policy {
            slot: PolicySlot::new(self.number * 3 + direction as u32 - 1).expect("no more pairs than slots"),
            owner: Owner(1),
            direction,
            if_id: IfId(self.if_id),
            selector: self.selector(out),
            priority: self.priority,
            action: Action::Protect(Template { src, dst, reqid, mode: Mode::Tunnel, spi: None }),
            order: u64::from(self.number),
            users: 1,
            mark: Mark::default(),
        }
    }

    pub(crate) fn install(self, changes: &mut Transaction) {
        changes.put_sa(&self.sa(false)).put_sa(&self.sa(true));
        for direction in [PolicyDirection::In, PolicyDirection::Out, PolicyDirection::Fwd] {
            changes.put_policy(&self.policy(direction));
        }
    }
}

/// What is changed at a time.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// One outbound policy.
    Policy,
    /// An SA that stays, under other terms.
    Update,
    /// Both SAs of a pair, for others in their slots.
    Replace,
    /// A road-warrior leaves, with all it had.
    Leave,
    /// It comes back.
    Come,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [Self::Policy, Self::Update, Self::Replace, Self::Leave, Self::Come];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Policy => "a policy changes",
            Self::Update => "an outbound SA is updated",
            Self::Replace => "two SAs are replaced",
            Self::Leave => "two SAs and three policies leave",
            Self::Come => "two SAs and three policies come",
        }
    }

    /// Makes the change with this number; each is about another pair.
    pub(crate) fn change(self, site: Site, number: u32, changes: &mut Transaction) {
        let pair = site.pair(number.wrapping_mul(7919) % site.pairs);
        let younger = Pair { age: 1, ..pair };
        match self {
            Self::Policy => {
                let changed = Pair { priority: 90, ..pair };
                changes.put_policy(&changed.policy(PolicyDirection::Out));
            }
            Self::Update => {
                let updated = Sa { replay_window_pkts: 64, ..pair.sa(true) };
                changes.put_sa(&updated);
            }
            Self::Replace => {
                changes.put_sa(&younger.sa(false)).put_sa(&younger.sa(true));
            }
            Self::Leave => {
                let [inbound, outbound] = [false, true].map(|out| pair.sa(out).slot);
                changes.remove_sa(inbound, 1).remove_sa(outbound, 1);
                for direction in [PolicyDirection::In, PolicyDirection::Out, PolicyDirection::Fwd] {
                    changes.remove_policy(pair.policy(direction).slot);
                }
            }
            Self::Come => Pair { age: 2, ..pair }.install(changes),
        }
    }
}
