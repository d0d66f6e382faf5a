//! An SA record: what a slot of `sad` says, as octets and back.

use super::{BadField, field, selector};
use crate::ids::{Generation, IfId, Owner, SaUid, Slot, Spi};
use crate::layout::SaImage;
use crate::sa::{
    AlgorithmId, CopyDscp, Direction, EncapPorts, HeaderRules, Initial, KeyOctets, Keying, Larval, Limit,
    Limits, MAX_WINDOW_PKTS, Mark, Mode, Occupant, Sa, Selectors, SlotContents, SpiHistory, TfcPad,
};
use crate::secret::{Salt, SecretKey};
use crate::selector::{Family, octets};

pub(crate) const EMPTY: u8 = 0;
const LARVAL: u8 = 1;
pub(crate) const INSTALLED: u8 = 2;

const ESN: u32 = 1;
const ENCAP: u32 = 1 << 1;
const COPY_DF: u32 = 1 << 2;
const COPY_ECN: u32 = 1 << 3;
const FOREIGN: u32 = 1 << 4;
const FLAGS_KNOWN: u32 = ESN | ENCAP | COPY_DF | COPY_ECN | FOREIGN;

const AES_GCM_16: u8 = 1;
const NO_CPU: u32 = u32::MAX;
const TFC_MTU: u32 = u32::MAX;

/// Writes the octets of a slot into a zeroed image, so that no other copy of a key arises.
pub(crate) fn encode(occupant: &Occupant, history: &SpiHistory, generation: Generation, image: &mut SaImage) {
    image.freed_ns = history.freed_ns;
    image.last_high = history.last_high;
    image.generation = generation.0;
    match occupant {
        Occupant::Empty => image.state = EMPTY,
        Occupant::Larval(larval) => encode_larval(larval, image),
        Occupant::Sa(sa) => encode_sa(sa, image),
    }
}

fn encode_larval(larval: &Larval, image: &mut SaImage) {
    image.state = LARVAL;
    image.direction = Direction::In as u8;
    image.owner = larval.owner.0;
    image.spi = larval.spi.0;
    image.reqid = larval.reqid;
    image.hard_deadline_ns = larval.until_ns;
    image.family = Family::of(larval.dst) as u8;
    image.dst = octets(larval.dst);
}

fn encode_sa(sa: &Sa, image: &mut SaImage) {
    image.state = INSTALLED;
    image.direction = sa.direction as u8;
    image.mode = sa.mode as u8;
    image.family = Family::of(sa.src) as u8;
    image.copy_dscp = sa.headers.copy_dscp as u8;
    let flag = |set, bit| if set { bit } else { 0 };
    image.flags = flag(sa.esn, ESN)
        | flag(sa.encap.is_some(), ENCAP)
        | flag(sa.headers.copy_df, COPY_DF)
        | flag(sa.headers.copy_ecn, COPY_ECN)
        | flag(sa.foreign, FOREIGN);
    image.spi = sa.spi.0;
    image.if_id = sa.if_id.0;
    image.reqid = sa.reqid;
    image.owner = sa.owner.0;
    image.uid = sa.uid.get();
    image.replay_window_pkts = sa.replay_window_pkts;
    if let Some(EncapPorts { sport, dport }) = sa.encap {
        (image.encap_sport, image.encap_dport) = (sport, dport);
    }
    image.src = octets(sa.src);
    // The family octet is the source's; a destination of the other family does not decode, so it is refused.
    image.dst = octets(sa.dst);
    encode_keying(&sa.keying, image);
    image.tfc_pad = match sa.tfc_pad {
        TfcPad::Off => 0,
        TfcPad::Octets(octets) => octets.into(),
        TfcPad::Mtu => TFC_MTU,
    };
    (image.mark_value, image.mark_mask) = (sa.mark.value, sa.mark.mask);
    (image.set_mark_value, image.set_mark_mask) = (sa.set_mark.value, sa.set_mark.mask);
    image.cpu = sa.cpu.unwrap_or(NO_CPU);
    encode_numbers(sa, image);
    let places = std::iter::once(&mut image.selector).chain(&mut image.more_selectors);
    for (place, selector) in places.zip(&*sa.selectors) {
        *place = selector::encode(selector);
        image.selector_count += 1;
    }
}

fn encode_keying(keying: &Keying, image: &mut SaImage) {
    let AlgorithmId::AesGcm16(octets) = keying.algorithm();
    image.algorithm = AES_GCM_16;
    image.key_octets = octets as u8;
    for (place, octet) in image.key.iter_mut().zip(keying.key().expose()) {
        *place = *octet;
    }
    image.salt = keying.salt().expose();
}

fn encode_numbers(sa: &Sa, image: &mut SaImage) {
    let soft = |limit: Limit| limit.soft().unwrap_or(0);
    let hard = |limit: Limit| limit.hard().unwrap_or(0);
    image.installed_ns = sa.installed_ns;
    image.soft_deadline_ns = soft(sa.limits.deadline_ns);
    image.hard_deadline_ns = hard(sa.limits.deadline_ns);
    image.soft_octets = soft(sa.limits.octets);
    image.hard_octets = hard(sa.limits.octets);
    image.soft_packets = soft(sa.limits.packets);
    image.hard_packets = hard(sa.limits.packets);
    image.initial_oseq = sa.initial.oseq;
    image.initial_iseq_top = sa.initial.iseq_top;
}

/// Reads a slot.
pub(crate) fn decode(slot: Slot, image: &SaImage) -> Result<SlotContents, BadField> {
    let occupant = match image.state {
        EMPTY => Occupant::Empty,
        LARVAL => Occupant::Larval(decode_larval(slot, image)?),
        INSTALLED => Occupant::Sa(Box::new(decode_sa(slot, image)?)),
        other => return Err(BadField { field: "state", value: other.into() }),
    };
    Ok(SlotContents { slot, occupant, history: history(image), generation: Generation(image.generation) })
}

/// Tells whether a slot reads as this occupant.
pub(crate) fn reads_as(slot: Slot, image: &SaImage, occupant: &Occupant) -> Result<bool, BadField> {
    match occupant {
        Occupant::Sa(sa) if image.state == INSTALLED => Ok(decode_sa(slot, image)? == **sa),
        Occupant::Sa(_) | Occupant::Larval(_) | Occupant::Empty => {
            Ok(decode(slot, image)?.occupant == *occupant)
        }
    }
}

/// Reads what a slot remembers; possible whatever else is wrong with it.
pub(crate) fn history(image: &SaImage) -> SpiHistory {
    SpiHistory { freed_ns: image.freed_ns, last_high: image.last_high.map(|high| high & 0xfff) }
}

fn own_spi(slot: Slot, spi: u32) -> Result<Spi, BadField> {
    let spi = Spi(spi);
    field("spi", spi.0, (Slot::of(spi) == slot && spi.high() != 0).then_some(spi))
}

fn decode_larval(slot: Slot, image: &SaImage) -> Result<Larval, BadField> {
    let family = selector::family("family", image.family)?;
    Ok(Larval {
        slot,
        owner: Owner(image.owner),
        spi: own_spi(slot, image.spi)?,
        until_ns: image.hard_deadline_ns,
        reqid: image.reqid,
        dst: selector::address("dst", family, image.dst)?,
    })
}

fn decode_sa(slot: Slot, image: &SaImage) -> Result<Sa, BadField> {
    field("flags", image.flags, (image.flags & !FLAGS_KNOWN == 0).then_some(()))?;
    let flag = |bit| image.flags & bit != 0;
    let family = selector::family("family", image.family)?;
    let direction = match image.direction {
        1 => Some(Direction::In),
        2 => Some(Direction::Out),
        _ => None,
    };
    let direction = field("direction", image.direction, direction)?;
    let spi = match (direction, flag(FOREIGN)) {
        (Direction::In, false) => own_spi(slot, image.spi)?,
        (Direction::In, true) | (Direction::Out, _) => {
            // RFC 4303 section 2.1: 0 to 255 never travel.
            field("spi", image.spi, (image.spi > 255).then_some(Spi(image.spi)))?
        }
    };
    let window = image.replay_window_pkts;
    Ok(Sa {
        slot,
        direction,
        owner: Owner(image.owner),
        uid: field("uid", image.uid, SaUid::new(image.uid))?,
        spi,
        foreign: flag(FOREIGN),
        if_id: IfId(image.if_id),
        src: selector::address("src", family, image.src)?,
        dst: selector::address("dst", family, image.dst)?,
        reqid: image.reqid,
        mode: mode("mode", image.mode)?,
        keying: keying(image)?,
        esn: flag(ESN),
        replay_window_pkts: field(
            "replay_window_pkts",
            window,
            (window <= MAX_WINDOW_PKTS).then_some(window),
        )?,
        encap: flag(ENCAP).then_some(EncapPorts { sport: image.encap_sport, dport: image.encap_dport }),
        selectors: selectors(image)?,
        limits: limits(image),
        initial: initial(image, flag(ESN))?,
        headers: headers(image)?,
        tfc_pad: tfc_pad(image.tfc_pad)?,
        mark: Mark { value: image.mark_value, mask: image.mark_mask },
        set_mark: Mark { value: image.set_mark_value, mask: image.set_mark_mask },
        cpu: (image.cpu != NO_CPU).then_some(image.cpu),
        installed_ns: image.installed_ns,
    })
}

/// Reads a mode octet.
pub(super) fn mode(name: &'static str, octet: u8) -> Result<Mode, BadField> {
    field(name, octet, (octet == Mode::Tunnel as u8).then_some(Mode::Tunnel))
}

fn keying(image: &SaImage) -> Result<Keying, BadField> {
    field("algorithm", image.algorithm, (image.algorithm == AES_GCM_16).then_some(()))?;
    let length = usize::from(image.key_octets);
    let octets = field("key_octets", image.key_octets, KeyOctets::new(length))?;
    let (key, rest) = image.key.split_at_checked(length).unwrap_or((&[], &[]));
    // Only the place is named, never an octet of a key.
    field("key", 0u64, rest.iter().all(|octet| *octet == 0).then_some(()))?;
    let key = field("key", 0u64, SecretKey::new(key))?;
    field("key", 0u64, Keying::new(AlgorithmId::AesGcm16(octets), key, Salt::new(image.salt)))
}

fn selectors(image: &SaImage) -> Result<Selectors, BadField> {
    let count = usize::from(image.selector_count);
    let most = image.more_selectors.len() + 1;
    field("selector_count", image.selector_count, (count <= most).then_some(()))?;
    std::iter::once(&image.selector).chain(&image.more_selectors).take(count).map(selector::decode).collect()
}

fn limits(image: &SaImage) -> Limits {
    Limits {
        deadline_ns: Limit::new(image.soft_deadline_ns, image.hard_deadline_ns),
        octets: Limit::new(image.soft_octets, image.hard_octets),
        packets: Limit::new(image.soft_packets, image.hard_packets),
    }
}

fn initial(image: &SaImage, esn: bool) -> Result<Initial, BadField> {
    let last = if esn { u64::MAX } else { u32::MAX.into() };
    let number = |name, value| field(name, value, (value <= last).then_some(value));
    Ok(Initial {
        oseq: number("initial_oseq", image.initial_oseq)?,
        iseq_top: number("initial_iseq_top", image.initial_iseq_top)?,
    })
}

fn headers(image: &SaImage) -> Result<HeaderRules, BadField> {
    let copy_dscp = match image.copy_dscp {
        0 => Some(CopyDscp::OutOnly),
        1 => Some(CopyDscp::InOnly),
        2 => Some(CopyDscp::Yes),
        3 => Some(CopyDscp::No),
        _ => None,
    };
    Ok(HeaderRules {
        copy_df: image.flags & COPY_DF != 0,
        copy_ecn: image.flags & COPY_ECN != 0,
        copy_dscp: field("copy_dscp", image.copy_dscp, copy_dscp)?,
    })
}

fn tfc_pad(value: u32) -> Result<TfcPad, BadField> {
    match value {
        0 => Ok(TfcPad::Off),
        TFC_MTU => Ok(TfcPad::Mtu),
        octets => field("tfc_pad", octets, u16::try_from(octets).ok().map(TfcPad::Octets)),
    }
}
