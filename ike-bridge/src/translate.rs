//! From what charon says to records that cannot hold a wrong value; what cannot be honoured is refused.

use std::net::IpAddr;

use shm_protocol::ids::{IfId, Owner, SaUid, Slot, Spi};
use shm_protocol::messages::plugin::{self, ANY_CPU, AddSa, PolicyId, Ports, TrafficSelector};
use shm_protocol::policy::{Action, PolicyDirection, Template};
use shm_protocol::sa::{
    AlgorithmId, CopyDscp, Direction, EncapPorts, HeaderRules, Initial, KeyOctets, Keying, Limit, Limits,
    MAX_SELECTORS, MAX_WINDOW_PKTS, Mark, Mode, Sa, Selectors, TfcPad,
};
use shm_protocol::secret::{Salt, SecretKey};
use shm_protocol::selector::{AddressRange, Family, PortRange, SelectorRecord};

use crate::policies::{Key, User};
use crate::priority::{self, Class};
use crate::refusal::Refusal;

/// What a new SA gets from the bridge.
#[derive(Clone, Copy, Debug)]
pub struct Given {
    /// Its record.
    pub slot: Slot,
    /// Its identity.
    pub uid: SaUid,
    /// Who asked for it.
    pub owner: Owner,
    /// CLOCK_BOOTTIME.
    pub now_ns: u64,
}

/// Builds the record of an SA that charon adds.
///
/// Errors: what cannot be honoured, in a sentence for charon's log.
pub fn sa(message: &AddSa, given: &Given) -> Result<Sa, Refusal> {
    refuse_unsupported(message)?;
    let (src, dst) = (message.id.src.ip()?, message.id.dst.ip()?);
    if Family::of(src) != Family::of(dst) {
        return Err(Refusal::Families(src, dst));
    }
    let direction = if message.inbound == 0 { Direction::Out } else { Direction::In };
    let window = message.replay_window_pkts.get();
    let replay_window_pkts = match direction {
        Direction::In if window > MAX_WINDOW_PKTS => return Err(Refusal::Window { pkts: window }),
        Direction::In => window,
        Direction::Out => 0,
    };
    let ports = EncapPorts { sport: message.id.src.port.get(), dport: message.id.dst.port.get() };
    Ok(Sa {
        slot: given.slot,
        direction,
        owner: given.owner,
        uid: given.uid,
        spi: Spi(message.id.spi.get()),
        foreign: false,
        if_id: IfId(message.id.if_id.get()),
        src,
        dst,
        reqid: message.reqid.get(),
        mode: Mode::Tunnel,
        keying: keying(message.enc_key().unwrap_or_default())?,
        esn: message.esn != 0,
        replay_window_pkts,
        encap: (message.encap != 0).then_some(ports),
        selectors: selectors(message)?,
        limits: Limits {
            deadline_ns: deadline(&message.time, given.now_ns),
            octets: Limit::new(message.octets.rekey.get(), message.octets.life.get()),
            packets: Limit::new(message.packets.rekey.get(), message.packets.life.get()),
        },
        initial: Initial::default(),
        headers: header_rules(message)?,
        tfc_pad: padding(message.tfc.get())?,
        mark: mark(message.id.mark),
        set_mark: mark(message.set_mark),
        cpu: Some(message.cpu.get()).filter(|&cpu| cpu != ANY_CPU),
        installed_ns: given.now_ns,
    })
}

fn refuse_unsupported(message: &AddSa) -> Result<(), Refusal> {
    if message.id.proto != ESP {
        return Err(Refusal::Protocol(message.id.proto));
    }
    let id = message.enc_alg.get();
    if id != ENCR_AES_GCM_16 {
        return Err(Refusal::Encryption { id });
    }
    let octets = usize::from(message.enc_key_octets.get());
    if !matches!(octets, 20 | 28 | 36) {
        return Err(Refusal::KeyLength { octets });
    }
    if message.int_key_octets.get() != 0 || !matches!(message.int_alg.get(), 0 | AUTH_UNDEFINED) {
        return Err(Refusal::Integrity { id: message.int_alg.get() });
    }
    if message.mode != MODE_TUNNEL {
        return Err(Refusal::Mode(message.mode));
    }
    if message.ipcomp.get() != 0 || message.cpi.get() != 0 {
        return Err(Refusal::Compression);
    }
    match message.hw_offload {
        0 | 2 => {}
        1 => return Err(Refusal::HardwareOffload),
        other => return Err(Refusal::Unknown { field: "hw_offload", value: other.into() }),
    }
    if message.label_present != 0 { Err(Refusal::Label) } else { Ok(()) }
}

/// Splits AES-GCM keying material into key and salt.
///
/// Errors: the length is none of AES-GCM's.
pub fn keying(material: &[u8]) -> Result<Keying, Refusal> {
    let refused = || Refusal::KeyLength { octets: material.len() };
    let (key, salt) = material.split_last_chunk::<SALT_OCTETS>().ok_or_else(refused)?;
    let octets = KeyOctets::new(key.len()).ok_or_else(refused)?;
    let key = SecretKey::new(key).ok_or_else(refused)?;
    Keying::new(AlgorithmId::AesGcm16(octets), key, Salt::new(*salt)).ok_or_else(refused)
}

fn selectors(message: &AddSa) -> Result<Selectors, Refusal> {
    let (src, dst) = message.selectors()?;
    let mut all = Vec::new();
    for (src, dst) in src.iter().flat_map(|src| dst.iter().map(move |dst| (src, dst))) {
        if src.family == dst.family {
            all.push(selector(src, dst)?);
        }
    }
    if message.ts_truncated != 0 || all.len() <= MAX_SELECTORS {
        // A list cut short would refuse what the peer may send: the policies decide alone then.
        let kept = if message.ts_truncated != 0 { Vec::new() } else { all };
        return Ok(kept.into_iter().collect());
    }
    Ok([Family::V4, Family::V6].into_iter().filter_map(|family| hull(&all, family)).collect())
}

/// Returns the selector that holds all of one family, for an SA with more than a record has room for.
fn hull(all: &[SelectorRecord], family: Family) -> Option<SelectorRecord> {
    let of_family = || all.iter().filter(|selector| selector.family() == family);
    let lo = |side: fn(&SelectorRecord) -> AddressRange| of_family().map(|s| side(s).lo()).min();
    let hi = |side: fn(&SelectorRecord) -> AddressRange| of_family().map(|s| side(s).hi()).max();
    let src = AddressRange::new(lo(SelectorRecord::src)?, hi(SelectorRecord::src)?)?;
    let dst = AddressRange::new(lo(SelectorRecord::dst)?, hi(SelectorRecord::dst)?)?;
    SelectorRecord::new(src, dst, 0, PortRange::ANY, PortRange::ANY)
}

/// Joins both sides of a traffic selector, as kernel-netlink does: the narrower protocol counts.
fn selector(src: &TrafficSelector, dst: &TrafficSelector) -> Result<SelectorRecord, Refusal> {
    let (src, dst) = (src.range()?, dst.range()?);
    let mismatch = Refusal::Families(src.from, dst.from);
    let proto = src.proto.max(dst.proto);
    let range = |side: &plugin::Range| match side.ports {
        Ports::Range(lo, hi) => PortRange::new(lo, hi).ok_or(Refusal::OpaquePorts),
        Ports::Opaque => Err(Refusal::OpaquePorts),
    };
    let (mut sport, mut dport) = (range(&src)?, range(&dst)?);
    if matches!(proto, ICMP | ICMPV6) {
        (sport, dport) = icmp_ports(sport, dport);
    }
    let addresses = |side: &plugin::Range| AddressRange::new(side.from, side.to);
    let (Some(src), Some(dst)) = (addresses(&src), addresses(&dst)) else { return Err(mismatch) };
    SelectorRecord::new(src, dst, proto, sport, dport).ok_or(mismatch)
}

/// charon puts type << 8 | code into the ports of either side; XFRM and our records keep the type in the
/// source port and the code in the destination port.
fn icmp_ports(src: PortRange, dst: PortRange) -> (PortRange, PortRange) {
    let given = if src.is_any() { dst } else { src };
    if given.is_any() {
        return (PortRange::ANY, PortRange::ANY);
    }
    let kind = PortRange::new(given.lo() >> 8, given.hi() >> 8).unwrap_or(PortRange::ANY);
    let (code_lo, code_hi) = (given.lo() & 0xff, given.hi() & 0xff);
    let one_type = kind.lo() == kind.hi();
    let code = PortRange::new(code_lo, code_hi).filter(|_| one_type && (code_lo, code_hi) != (0, 0xff));
    (kind, code.unwrap_or(PortRange::ANY))
}

fn deadline(seconds: &plugin::Limit, now_ns: u64) -> Limit {
    let at = |seconds: u64| match seconds {
        0 => 0,
        seconds => now_ns.saturating_add(seconds.saturating_mul(1_000_000_000)),
    };
    Limit::new(at(seconds.rekey.get()), at(seconds.life.get()))
}

fn header_rules(message: &AddSa) -> Result<HeaderRules, Refusal> {
    let copy_dscp = match message.copy_dscp {
        0 => CopyDscp::OutOnly,
        1 => CopyDscp::InOnly,
        2 => CopyDscp::Yes,
        3 => CopyDscp::No,
        other => return Err(Refusal::Unknown { field: "copy_dscp", value: other.into() }),
    };
    Ok(HeaderRules { copy_df: message.copy_df != 0, copy_ecn: message.copy_ecn != 0, copy_dscp })
}

fn padding(tfc: u32) -> Result<TfcPad, Refusal> {
    match tfc {
        0 => Ok(TfcPad::Off),
        u32::MAX => Ok(TfcPad::Mtu),
        octets => u16::try_from(octets).map(TfcPad::Octets).map_err(|_| Refusal::Padding { octets }),
    }
}

/// Turns a mark into a record's; a mark without mask is none.
pub fn mark(mark: plugin::Mark) -> Mark {
    match mark.mask.get() {
        0 => Mark::default(),
        mask => Mark { value: mark.value.get() & mask, mask },
    }
}

/// Builds the key of a policy that charon names.
///
/// Errors: what cannot be honoured.
pub fn policy_key(id: &PolicyId) -> Result<Key, Refusal> {
    if id.label_present != 0 {
        return Err(Refusal::Label);
    }
    if id.interface_truncated != 0 || !plugin::text(&id.interface).is_empty() {
        return Err(Refusal::Interface);
    }
    let direction = match id.dir {
        0 => PolicyDirection::In,
        1 => PolicyDirection::Out,
        2 => PolicyDirection::Fwd,
        other => return Err(Refusal::Unknown { field: "policy direction", value: other.into() }),
    };
    let selector = selector(&id.src_ts, &id.dst_ts)?;
    Ok(Key { selector, direction, if_id: IfId(id.if_id.get()), mark: mark(id.mark) })
}

/// Builds the user that a policy gets.
///
/// Errors: what cannot be honoured.
pub fn policy_user(message: &plugin::Policy, key: &Key, owner: Owner) -> Result<User, Refusal> {
    let class = match message.prio {
        0 => Class::Pass,
        1 => Class::Default,
        2 => Class::Routed,
        3 => Class::Fallback,
        other => return Err(Refusal::Unknown { field: "policy priority", value: other.into() }),
    };
    let action = match message.kind {
        1 => Action::Protect(template(message)?),
        2 => Action::Pass,
        3 => Action::Discard,
        other => return Err(Refusal::Unknown { field: "policy type", value: other.into() }),
    };
    let selector = &key.selector;
    let prefix_bits = [selector.src(), selector.dst()]
        .map(|range| priority::prefix_bits(range.lo(), range.hi()))
        .iter()
        .sum();
    let port_bits = [selector.sport, selector.dport]
        .map(|range| priority::port_bits(range.lo(), range.hi()))
        .iter()
        .sum();
    let auto_priority = priority::of(class, prefix_bits, selector.proto != 0, port_bits, false);
    let priority = match message.manual_prio.get() {
        0 => auto_priority,
        manual => manual,
    };
    Ok(User { owner, priority, auto_priority, action, spi: message.esp_spi.get() })
}

fn template(message: &plugin::Policy) -> Result<Template, Refusal> {
    if message.ah_use != 0 {
        return Err(Refusal::Protocol(AH));
    }
    if message.ipcomp.get() != 0 || message.cpi.get() != 0 {
        return Err(Refusal::Compression);
    }
    if message.mode != MODE_TUNNEL {
        return Err(Refusal::Mode(message.mode));
    }
    let (src, dst): (IpAddr, IpAddr) = (message.src.ip()?, message.dst.ip()?);
    if Family::of(src) != Family::of(dst) {
        return Err(Refusal::Families(src, dst));
    }
    Ok(Template { src, dst, reqid: message.reqid.get(), mode: Mode::Tunnel, spi: None })
}

const ESP: u8 = 50;
const AH: u8 = 51;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const ENCR_AES_GCM_16: u16 = 20;
const AUTH_UNDEFINED: u16 = 1024;
const MODE_TUNNEL: u8 = 2;
const SALT_OCTETS: usize = 4;

#[cfg(test)]
#[path = "translate_tests.rs"]
mod tests;
