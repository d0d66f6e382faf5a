//! Records for unit tests.

use std::net::IpAddr;

use shm_protocol::ids::{IfId, Owner, SaUid, Slot, Spi};
use shm_protocol::sa::{
    AlgorithmId, Direction, HeaderRules, Initial, KeyOctets, Keying, Limits, Mark, Mode, Sa, TfcPad,
};
use shm_protocol::secret::{Salt, SecretKey};

/// Returns an SA between 192.0.2.1 and 192.0.2.2 (reversed inbound) in `slot`, its key filled with the slot.
pub(crate) fn sa(direction: Direction, slot: u32) -> Sa {
    let ip = |s: &str| s.parse::<IpAddr>().unwrap();
    let (src, dst) = match direction {
        Direction::Out => (ip("192.0.2.1"), ip("192.0.2.2")),
        Direction::In => (ip("192.0.2.2"), ip("192.0.2.1")),
    };
    let slot = Slot::new(slot).unwrap();
    let fill = slot.index().to_le_bytes()[0];
    let key = SecretKey::new(&[fill; 16]).unwrap();
    Sa {
        slot,
        direction,
        owner: Owner(7 << 32),
        uid: SaUid::new(u64::from(slot.index()) + 1).unwrap(),
        spi: Spi::allocated(slot, 5).unwrap(),
        foreign: false,
        if_id: IfId(0),
        src,
        dst,
        reqid: 1,
        mode: Mode::Tunnel,
        keying: Keying::new(AlgorithmId::AesGcm16(KeyOctets::K16), key, Salt::new([fill; 4])).unwrap(),
        esn: false,
        replay_window_pkts: 32,
        encap: None,
        selectors: shm_protocol::sa::Selectors::default(),
        limits: Limits::default(),
        initial: Initial::default(),
        headers: HeaderRules::default(),
        tfc_pad: TfcPad::Off,
        mark: Mark::default(),
        set_mark: Mark::default(),
        cpu: None,
        installed_ns: 0,
    }
}
