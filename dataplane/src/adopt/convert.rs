//! From a record of the segment to an object of the packet path.

use std::sync::Arc;

use arrayvec::ArrayVec;
use esp::aead::{Algorithm, KeySchedule};
use esp::ecn::Ingress;
use esp::encap::{Df, Dscp, Outer, OuterConfig};
use esp::selector::{AddressRange, PortRange};
use esp::wire::Proto;
use esp::wire::udp::UdpPorts;
use esp::{IfId, Selector, Spi};
use shm_protocol::live::{Live, Part, RingRef};
use shm_protocol::policy::{Action as RecordAction, Policy as PolicyRecord, PolicyDirection};
use shm_protocol::sa::{AlgorithmId, CopyDscp, KeyOctets, Sa};
use shm_protocol::selector::SelectorRecord;

use super::build::BuildError;
use crate::tables::hop::HopCell;
use crate::tables::policy::{Action, Direction, Policy, Template};
use crate::tables::sa::{Common, InboundSa, OutboundSa, SELECTORS, Volume};

/// Returns the selector of a record; `None` only for one that mixes families, which a record cannot.
pub(super) fn selector(record: &SelectorRecord) -> Option<Selector> {
    Selector::new(
        AddressRange::new(record.src().lo(), record.src().hi())?,
        AddressRange::new(record.dst().lo(), record.dst().hi())?,
        Proto(record.proto),
        PortRange::new(record.sport.lo(), record.sport.hi())?,
        PortRange::new(record.dport.lo(), record.dport.hi())?,
    )
}

/// Returns the direction of a policy.
pub(super) const fn direction(direction: PolicyDirection) -> Direction {
    match direction {
        PolicyDirection::In => Direction::In,
        PolicyDirection::Out => Direction::Out,
        PolicyDirection::Fwd => Direction::Fwd,
    }
}

/// Returns a policy that has no SAs yet; `None` as for [`selector`].
pub(super) fn policy<K>(slot: u32, record: &PolicyRecord) -> Option<Policy<K>> {
    let action = match record.action {
        RecordAction::Pass => Action::Pass,
        RecordAction::Discard => Action::Discard,
        RecordAction::Protect(template) => {
            let spi = template.spi.map(|spi| Spi(spi.0));
            let template = Template { src: template.src, dst: template.dst, reqid: template.reqid, spi };
            Action::Protect(template.into(), Vec::new().into())
        }
    };
    let selector = selector(&record.selector)?.into();
    Some(Policy { slot, selector, priority: record.priority, order: record.order, action })
}

/// Returns the window an inbound SA is run with: larger than asked for is always safe for a receiver.
pub(super) fn window_pkts(sa: &Sa, min_replay_window: u32) -> u32 {
    sa.replay_window_pkts.max(min_replay_window)
}

fn algorithm(id: AlgorithmId) -> Algorithm {
    match id {
        AlgorithmId::AesGcm16(KeyOctets::K16) => Algorithm::Aes128Gcm16,
        AlgorithmId::AesGcm16(KeyOctets::K24) => Algorithm::Aes192Gcm16,
        AlgorithmId::AesGcm16(KeyOctets::K32) => Algorithm::Aes256Gcm16,
    }
}

fn common(sa: &Sa, live: &Arc<Live>) -> Result<Common, BuildError> {
    let none = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
    let volume = Volume {
        soft_octets: none(sa.limits.octets.soft()),
        hard_octets: none(sa.limits.octets.hard()),
        soft_packets: none(sa.limits.packets.soft()),
        hard_packets: none(sa.limits.packets.hard()),
    };
    // An empty list means any, so a selector that cannot be read must not just be left out.
    let selectors: Option<ArrayVec<_, SELECTORS>> = sa.selectors.iter().map(selector).collect();
    Ok(Common {
        slot: sa.slot.index(),
        uid: sa.uid.get(),
        spi: Spi(sa.spi.0),
        if_id: IfId(sa.if_id.0),
        src: sa.src,
        dst: sa.dst,
        reqid: sa.reqid,
        encap: udp_ports(sa),
        salt: sa.keying.salt().expose(),
        esn: sa.esn,
        selectors: selectors.ok_or(BuildError::Families)?.into(),
        hard_deadline_ns: none(sa.limits.deadline_ns.hard()),
        volume: (volume != Volume::UNLIMITED).then(|| volume.into()),
        live: Part::record(live, sa.slot),
    })
}

/// Builds an inbound SA. Errors: those of the key schedule.
pub(super) fn inbound<S: KeySchedule>(
    sa: &Sa,
    live: &Arc<Live>,
    ring: RingRef,
    schedule: &S,
    window_pkts: u32,
) -> Result<InboundSa<S::Key>, BuildError> {
    Ok(InboundSa {
        common: common(sa, live)?,
        key: schedule.expand(algorithm(sa.keying.algorithm()), sa.keying.key().expose())?,
        window_pkts,
        ring: Part::window(live, ring),
        copy_dscp: matches!(sa.headers.copy_dscp, CopyDscp::InOnly | CopyDscp::Yes),
        ecn: sa.headers.copy_ecn,
    })
}

/// Builds an outbound SA. Errors: those of the key schedule.
pub(super) fn outbound<S: KeySchedule>(
    sa: &Sa,
    live: &Arc<Live>,
    schedule: &S,
    hop: Arc<HopCell>,
) -> Result<OutboundSa<S::Key>, BuildError> {
    Ok(OutboundSa {
        common: common(sa, live)?,
        key: schedule.expand(algorithm(sa.keying.algorithm()), sa.keying.key().expose())?,
        outer: outer(sa).ok_or(BuildError::Families)?,
        tfc_pad: sa.tfc_pad,
        hop,
        order: sa.installed_ns,
    })
}

fn udp_ports(sa: &Sa) -> Option<UdpPorts> {
    sa.encap.map(|ports| UdpPorts { src: ports.sport, dst: ports.dport })
}

fn outer(sa: &Sa) -> Option<Outer> {
    Outer::new(OuterConfig {
        src: sa.src,
        dst: sa.dst,
        udp: udp_ports(sa),
        dscp: match sa.headers.copy_dscp {
            CopyDscp::OutOnly | CopyDscp::Yes => Dscp::Copy,
            CopyDscp::InOnly | CopyDscp::No => Dscp::Fixed(0),
        },
        ecn: if sa.headers.copy_ecn { Ingress::Copy } else { Ingress::NotEct },
        df: if sa.headers.copy_df { Df::Copy } else { Df::Clear },
        ttl: OUTER_TTL,
    })
}

/// Hop limit of the outer header, built anew (RFC 4301 section 5.1.2).
const OUTER_TTL: u8 = 64;
