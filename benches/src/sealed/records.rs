//! The peers of a row as records of the segment `sad`: an SA each, and its policies in every direction.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Context as _;
use esp::aead::Algorithm;
use shm_protocol::ids::{IfId, Owner, PolicySlot, SaUid, Slot, Spi};
use shm_protocol::policy::{Action, Policy, PolicyDirection, Template};
use shm_protocol::sa::{
    AlgorithmId, Direction, HeaderRules, Initial, KeyOctets, Keying, Limit, Limits, Mark, Mode, Sa, TfcPad,
};
use shm_protocol::secret::{Salt, SecretKey};
use shm_protocol::selector::{AddressRange, PortRange, SelectorRecord};

use crate::Result;
use crate::peers::{OURS, OWN, Peers};
use crate::rows;
use crate::traffic::Random;

/// The interface of all tunnels.
pub const IF_ID: u32 = 1;
/// Replay window of inbound SAs.
pub const WINDOW_PKTS: u32 = 1024;
/// Numbers begin shortly before their high half changes, so that both halves are in use. RFC: 4303 section 2.2.1.
pub const FIRST_SEQ: u64 = (1 << 32) - 65_536;

/// Cipher key and salt of an SA.
#[derive(Clone, Copy)]
pub struct Secret {
    algorithm: Algorithm,
    /// As long as any.
    octets: [u8; 32],
    /// First part of every nonce.
    pub salt: [u8; 4],
}

impl Secret {
    /// Returns the transform.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the cipher key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.octets.get(..self.algorithm.key_octets()).unwrap_or_default()
    }
}

/// The SAs and policies of a row.
pub struct Records {
    peers: Peers,
    direction: rows::Direction,
    secrets: Vec<Secret>,
}

impl Records {
    /// Makes them with AES-128 and keys that follow from `seed`.
    #[must_use]
    pub fn new(peers: Peers, direction: rows::Direction, seed: u64) -> Self {
        Self::with(Algorithm::Aes128Gcm16, peers, direction, seed)
    }

    /// Makes them with another transform.
    #[must_use]
    pub fn with(algorithm: Algorithm, peers: Peers, direction: rows::Direction, seed: u64) -> Self {
        let mut random = Random(seed);
        let mut secret = || {
            let mut octets = [0; 32];
            for part in octets.as_chunks_mut::<8>().0 {
                *part = random.next_u64().to_be_bytes();
            }
            let [a, b, c, d, ..] = random.next_u64().to_be_bytes();
            Secret { algorithm, octets, salt: [a, b, c, d] }
        };
        Self { peers, direction, secrets: (0..peers.count).map(|_| secret()).collect() }
    }

    /// Returns whose they are.
    #[must_use]
    pub fn peers(&self) -> Peers {
        self.peers
    }

    /// Returns the keys, by peer.
    #[must_use]
    pub fn secrets(&self) -> &[Secret] {
        &self.secrets
    }

    /// Returns the SPI of a peer's SA.
    ///
    /// # Errors
    /// There is no slot for so many.
    pub fn spi(peer: u32) -> Result<Spi> {
        let slot = Slot::new(peer).context("a slot")?;
        Spi::allocated(slot, SPI_HIGH).context("an SPI")
    }

    /// Returns the SA of a peer, which ends at `deadline_ns` of CLOCK_BOOTTIME.
    ///
    /// # Errors
    /// There is no slot for so many.
    pub fn sa(&self, peer: u32, deadline_ns: u64) -> Result<Sa> {
        let secret = self.secrets.get(peer as usize).context("a key")?;
        let (key, salt) = (SecretKey::new(secret.key()).context("a key")?, Salt::new(secret.salt));
        let key_octets = match secret.algorithm {
            Algorithm::Aes128Gcm16 => KeyOctets::K16,
            Algorithm::Aes192Gcm16 => KeyOctets::K24,
            Algorithm::Aes256Gcm16 => KeyOctets::K32,
        };
        let outer: Ipv4Addr = self.peers.outer(peer);
        let (direction, src, dst) = match self.direction {
            rows::Direction::Outbound => (Direction::Out, OWN, outer),
            rows::Direction::Inbound => (Direction::In, outer, OWN),
        };
        Ok(Sa {
            slot: Slot::new(peer).context("a slot")?,
            direction,
            owner: Owner(1),
            uid: SaUid::new(u64::from(peer) + 1).context("a uid")?,
            spi: Self::spi(peer)?,
            foreign: false,
            if_id: IfId(IF_ID),
            src: src.into(),
            dst: dst.into(),
            reqid: self.peers.reqid(peer),
            mode: Mode::Tunnel,
            keying: Keying::new(AlgorithmId::AesGcm16(key_octets), key, salt).context("a key")?,
            esn: true,
            replay_window_pkts: WINDOW_PKTS,
            encap: None,
            selectors: Default::default(),
            limits: Limits { deadline_ns: Limit::new(0, deadline_ns), ..Limits::default() },
            initial: Initial { oseq: FIRST_SEQ, iseq_top: FIRST_SEQ },
            headers: HeaderRules::default(),
            tfc_pad: TfcPad::Off,
            mark: Mark::default(),
            set_mark: Mark::default(),
            cpu: None,
            installed_ns: 1,
        })
    }

    /// Returns the policies of a peer.
    ///
    /// # Errors
    /// There is no slot for so many.
    pub fn policies(&self, peer: u32) -> Result<[Policy; 3]> {
        let range = |(address, bits): (Ipv4Addr, u8)| {
            AddressRange::prefix(IpAddr::from(address), bits).context("a network")
        };
        let (ours, theirs) = (range(OURS)?, range(self.peers.network(peer))?);
        let outer = self.peers.outer(peer);
        let policy = |place: u32, direction, src, dst, from: Ipv4Addr, to: Ipv4Addr| {
            let selector = SelectorRecord::new(src, dst, 0, PortRange::ANY, PortRange::ANY);
            let (src, dst, reqid) = (from.into(), to.into(), self.peers.reqid(peer));
            Ok::<_, anyhow::Error>(Policy {
                slot: PolicySlot::new(3 * peer + place).context("a slot")?,
                owner: Owner(1),
                direction,
                if_id: IfId(IF_ID),
                selector: selector.context("a selector")?,
                priority: 100,
                action: Action::Protect(Template { src, dst, reqid, mode: Mode::Tunnel, spi: None }),
                order: u64::from(peer) + 1,
                users: 1,
                mark: Mark::default(),
            })
        };
        Ok([
            policy(0, PolicyDirection::Out, ours, theirs, OWN, outer)?,
            policy(1, PolicyDirection::In, theirs, ours, outer, OWN)?,
            policy(2, PolicyDirection::Fwd, theirs, ours, outer, OWN)?,
        ])
    }
}

const SPI_HIGH: u16 = 0x5a5;
