//! What charon asks the bridge for: one struct a kind of request.

use super::value::{BadValue, Host, Limit, Mark, PolicyId, SaId, TrafficSelector};
use super::{Header, KEY_OCTETS, MAX_TS, wire};
use std::fmt;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

wire! {
    /// First request on every connection; tells a new charon process from a new connection of the old one.
    #[derive(Copy, Debug)]
    struct Hello {
        /// Starts the message.
        header: Header,
        /// charon's process id as it sees it.
        pid: U32,
        /// Deletes that could not be delivered before and follow at once.
        pending_deletes: U32,
        /// Field 22 of `/proc/self/stat`. Units: clock ticks since boot.
        start_ticks: U64,
        /// `charon-systemd`, `charon`, ...; see [`text`].
        daemon: [u8; 32],
        /// The daemon's strongSwan version; see [`text`].
        strongswan: [u8; 32],
        /// The plugin's version; see [`text`].
        plugin: [u8; 16],
    }

    /// Asks for an inbound SPI.
    #[derive(Copy, Debug)]
    struct GetSpi {
        /// Starts the message.
        header: Header,
        /// The peer.
        src: Host,
        /// The gateway.
        dst: Host,
        /// 50 for ESP.
        proto: u8,
        /// Zero.
        reserved: [u8; 7],
    }

    /// Adds one SA; carries its keys, so it has no derived `Debug`.
    struct AddSa {
        /// Starts the message.
        header: Header,
        /// Which SA.
        id: SaId,
        /// Units: seconds.
        time: Limit,
        /// Units: octets.
        octets: Limit,
        /// Units: packets.
        packets: Limit,
        /// Joins the SA to policies.
        reqid: U32,
        /// 0 turns the check off; means nothing outbound.
        replay_window_pkts: U32,
        /// Padding against traffic analysis; `u32::MAX` pads to the MTU. Units: octets.
        tfc: U32,
        /// Put on the packet after processing.
        set_mark: Mark,
        /// [`ANY_CPU`], or the CPU of a per-CPU SA.
        cpu: U32,
        /// The acquire this SA answers, 0 for none.
        acquire_seq: U32,
        /// IKEv2 encryption transform.
        enc_alg: U16,
        /// IKEv2 integrity transform; 1024 or 0 for AEAD.
        int_alg: U16,
        /// True length of the cipher key with its salt; above [`KEY_OCTETS`] no key was sent.
        enc_key_octets: U16,
        /// True length of the integrity key; above [`KEY_OCTETS`] no key was sent.
        int_key_octets: U16,
        /// Compression transform, 0 for none.
        ipcomp: U16,
        /// Compression parameter index.
        cpi: U16,
        /// 1 transport, 2 tunnel, 3 BEET.
        mode: u8,
        /// 1 asks for UDP encapsulation with the ports of the addresses.
        encap: u8,
        /// 0 no, 1 yes, 2 auto.
        hw_offload: u8,
        /// 1 if a security label was given.
        label_present: u8,
        /// 1 for 64-bit sequence numbers.
        esn: u8,
        /// 1 copies DF to the outer header.
        copy_df: u8,
        /// 1 copies ECN to and from the outer header.
        copy_ecn: u8,
        /// 0 out only, 1 in only, 2 both ways, 3 never.
        copy_dscp: u8,
        /// 1 if this side began the exchange.
        initiator: u8,
        /// 1 for an inbound SA.
        inbound: u8,
        /// 1 if the SPI was reserved with [`GetSpi`].
        update: u8,
        /// Entries used in `src_ts`.
        src_ts_count: u8,
        /// Entries used in `dst_ts`.
        dst_ts_count: u8,
        /// 1 if a side had more than [`MAX_TS`] selectors.
        ts_truncated: u8,
        /// 1 if the interface's name did not fit and is left out.
        interface_truncated: u8,
        /// Zero.
        reserved: [u8; 9],
        /// Restricts the policy to an interface; see [`text`].
        interface: [u8; 16],
        /// Cipher key, then its salt.
        enc_key: [u8; KEY_OCTETS],
        /// Integrity key.
        int_key: [u8; KEY_OCTETS],
        /// Source side; the first `src_ts_count` count.
        src_ts: [TrafficSelector; MAX_TS],
        /// Destination side; the first `dst_ts_count` count.
        dst_ts: [TrafficSelector; MAX_TS],
        /// Zero.
        spare: [u8; 16],
    }

    /// Moves an SA to other addresses or ports.
    #[derive(Copy, Debug)]
    struct UpdateSa {
        /// Starts the message.
        header: Header,
        /// The SA under its old addresses.
        id: SaId,
        /// New source.
        new_src: Host,
        /// New destination.
        new_dst: Host,
        /// 0 leaves it as it is.
        new_reqid: U32,
        /// Compression parameter index.
        cpi: U16,
        /// 1 if UDP encapsulation is on now.
        encap: u8,
        /// 1 if it shall be on.
        new_encap: u8,
    }

    /// Names one SA, to query or to delete.
    #[derive(Copy, Debug)]
    struct SaRef {
        /// Starts the message.
        header: Header,
        /// Which SA.
        id: SaId,
        /// Compression parameter index.
        cpi: U16,
        /// Zero.
        reserved: [u8; 6],
    }

    /// Names one policy, to query.
    #[derive(Copy, Debug)]
    struct PolicyRef {
        /// Starts the message.
        header: Header,
        /// Which policy.
        id: PolicyId,
    }

    /// One policy with its template, to add or to delete.
    #[derive(Copy, Debug)]
    struct Policy {
        /// Starts the message.
        header: Header,
        /// Which policy.
        id: PolicyId,
        /// 1 IPsec, 2 pass, 3 drop.
        kind: u8,
        /// 0 pass, 1 default, 2 routed (trap), 3 fallback.
        prio: u8,
        /// Mode of the SA.
        mode: u8,
        /// 1 if the template asks for ESP.
        esp_use: u8,
        /// 0 computes the priority from `prio` and the selectors.
        manual_prio: U32,
        /// Source of the SA.
        src: Host,
        /// Destination of the SA.
        dst: Host,
        /// Joins the policy to SAs.
        reqid: U32,
        /// Policies of this direction on the SA.
        policy_count: U32,
        /// 0 for any; host order.
        esp_spi: U32,
        /// Host order.
        ah_spi: U32,
        /// 1 if the template asks for AH.
        ah_use: u8,
        /// Zero.
        reserved: u8,
        /// Compression transform, 0 for none.
        ipcomp: U16,
        /// Compression parameter index.
        cpi: U16,
        /// Zero.
        reserved2: U16,
    }
}

impl fmt::Debug for AddSa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddSa").field("id", &self.id).field("reqid", &self.reqid).finish_non_exhaustive()
    }
}

impl AddSa {
    /// Returns cipher key and salt, or nothing if the length is a lie.
    pub fn enc_key(&self) -> Option<&[u8]> {
        self.enc_key.get(..usize::from(self.enc_key_octets))
    }

    /// Returns the selectors of both sides, source first. Errors: a count above [`MAX_TS`].
    pub fn selectors(&self) -> Result<(&[TrafficSelector], &[TrafficSelector]), BadValue> {
        let side = |ts: &'_ [TrafficSelector; MAX_TS], count: u8| -> Result<usize, BadValue> {
            let count = usize::from(count);
            if count <= ts.len() { Ok(count) } else { Err(BadValue::TsCount(count)) }
        };
        let (src, dst) = (side(&self.src_ts, self.src_ts_count)?, side(&self.dst_ts, self.dst_ts_count)?);
        Ok((self.src_ts.split_at(src).0, self.dst_ts.split_at(dst).0))
    }
}
