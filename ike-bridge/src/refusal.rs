//! Why a request is refused: each reason is one sentence with its remedy, for charon's log or the operator.

use std::net::IpAddr;

use nix::errno::Errno;
use shm_protocol::ids::Spi;
use shm_protocol::messages::plugin::BadValue;

/// Why nothing was changed. No sentence is longer than a plugin reply holds, none names key material.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The protocol is not ESP.
    #[error("protocol {0} is not supported: use ESP (esp_proposals, not ah_proposals)")]
    Protocol(u8),
    /// The encryption transform is unknown.
    #[error("{} ({id}) is not supported: propose AES-GCM with a 16-octet ICV, e.g. esp_proposals = aes256gcm16", transform_name(*.id))]
    Encryption {
        /// IKEv2 transform id.
        id: u16,
    },
    /// The key does not fit the transform.
    #[error(
        "AES-GCM-16 (20) with {octets} octets of key and salt: 20, 28 or 36 are possible; propose aes128gcm16, aes192gcm16 or aes256gcm16"
    )]
    KeyLength {
        /// Key and salt.
        octets: usize,
    },
    /// An AEAD and an integrity transform at once.
    #[error("integrity transform {id} beside AES-GCM: remove it from esp_proposals")]
    Integrity {
        /// IKEv2 transform id.
        id: u16,
    },
    /// Not tunnel mode.
    #[error("mode {} is not supported: use mode = tunnel", mode_name(*.0))]
    Mode(u8),
    /// Compression was asked for.
    #[error("IPComp is not supported: set ipcomp = no")]
    Compression,
    /// The NIC was asked to do the work.
    #[error("hw_offload = yes is not supported: set hw_offload = no or auto")]
    HardwareOffload,
    /// A security label was given.
    #[error("security labels are not supported: remove label from the child's configuration")]
    Label,
    /// The policy shall hold on one interface.
    #[error("policies bound to an interface are not supported: remove interface, use if_id_in and if_id_out")]
    Interface,
    /// The ports cannot be told.
    #[error(
        "a selector with OPAQUE ports is not supported: use a port, a range or none in local_ts and remote_ts"
    )]
    OpaquePorts,
    /// An enumerated field has no such value.
    #[error("{field} {value} is unknown: bridge and plugin are of different releases")]
    Unknown {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u32,
    },
    /// An address or selector is malformed.
    #[error(transparent)]
    Value(#[from] BadValue),
    /// Outer addresses of two families, or selectors of two families.
    #[error("{0} and {1} are of different families")]
    Families(IpAddr, IpAddr),
    /// A padding length beyond any packet.
    #[error("TFC padding to {octets} octets is impossible: at most 65535")]
    Padding {
        /// What was asked for.
        octets: u32,
    },
    /// The window is beyond any we keep.
    #[error("a replay window of {pkts} packets is impossible: at most {}", shm_protocol::sa::MAX_WINDOW_PKTS)]
    Window {
        /// What was asked for.
        pkts: u32,
    },
    /// More selectors than a manual state has.
    #[error(
        "Invalid argument: {count} selectors in one state: at most {} fit",
        shm_protocol::sa::MAX_SELECTORS
    )]
    Selectors {
        /// How many were given.
        count: usize,
    },
    /// There is such an SA.
    #[error("File exists: an SA with SPI {spi} to {dst} is installed already")]
    Exists {
        /// Its SPI.
        spi: Spi,
        /// Its destination.
        dst: IpAddr,
    },
    /// There is such a policy.
    #[error("File exists: this policy is installed already")]
    PolicyExists,
    /// There is no such SA.
    #[error("No such process: no SA with SPI {spi} to {dst}")]
    NoSa {
        /// Its SPI.
        spi: Spi,
        /// Its destination.
        dst: IpAddr,
    },
    /// There is no such policy.
    #[error("No such file or directory: there is no such policy")]
    NoPolicy,
    /// The SPI means something else.
    #[error("Invalid argument: SPI {0} cannot name an SA")]
    Spi(Spi),
    /// An update would change what an update may not.
    #[error("Invalid argument: an update cannot change the {0}: delete the SA and add it anew")]
    Frozen(&'static str),
    /// A limit counted from first use.
    #[error(
        "Invalid argument: limit time-use-soft and time-use-hard are not supported: use time-soft and time-hard"
    )]
    UseLimits,
    /// The key is missing.
    #[error("Invalid argument: aead with a key is missing")]
    NoKey,
    /// Algorithm of `aead` unknown.
    #[error("Function not implemented: only aead 'rfc4106(gcm(aes))' with a 128-bit ICV is supported")]
    Algorithm,
    /// The batch names one record twice in a way that cannot be one generation.
    #[error(
        "Device or resource busy: the batch changes this record twice; put the second change into another batch"
    )]
    Twice,
    /// No slot.
    #[error(transparent)]
    Slots(#[from] crate::spi::Refused),
    /// No policy record.
    #[error(transparent)]
    Policies(#[from] crate::policies::Refused),
    /// The segment.
    #[error(transparent)]
    Segment(#[from] shm_protocol::Error),
    /// No randomness.
    #[error("the system gives no random numbers")]
    Random,
    /// The client has not said who it is.
    #[error("the first message must be a hello")]
    NoHello,
}

impl Refusal {
    /// Returns the errno that users of `ip xfrm` know.
    pub fn errno(&self) -> i32 {
        let errno = match self {
            Self::Exists { .. } | Self::PolicyExists => Errno::EEXIST,
            Self::NoSa { .. } => Errno::ESRCH,
            Self::NoPolicy => Errno::ENOENT,
            Self::Slots(crate::spi::Refused::Taken { .. }) => Errno::EEXIST,
            Self::Slots(crate::spi::Refused::Full { .. }) | Self::Policies(_) => Errno::ENOBUFS,
            Self::Algorithm | Self::Encryption { .. } => Errno::ENOSYS,
            Self::Protocol(_) | Self::Mode(_) => Errno::EPROTONOSUPPORT,
            Self::Twice => Errno::EBUSY,
            Self::NoHello => Errno::EPERM,
            Self::Random | Self::Segment(_) => Errno::EIO,
            Self::KeyLength { .. }
            | Self::Integrity { .. }
            | Self::Compression
            | Self::HardwareOffload
            | Self::Label
            | Self::Interface
            | Self::OpaquePorts
            | Self::Unknown { .. }
            | Self::Value(_)
            | Self::Families(..)
            | Self::Padding { .. }
            | Self::Window { .. }
            | Self::Selectors { .. }
            | Self::Spi(_)
            | Self::Frozen(_)
            | Self::UseLimits
            | Self::NoKey => Errno::EINVAL,
        };
        errno as i32
    }
}

fn transform_name(id: u16) -> &'static str {
    match id {
        2 => "ENCR_DES",
        3 => "ENCR_3DES",
        11 => "ENCR_NULL",
        12 => "ENCR_AES_CBC",
        13 => "ENCR_AES_CTR",
        14 => "ENCR_AES_CCM_8",
        15 => "ENCR_AES_CCM_12",
        16 => "ENCR_AES_CCM_16",
        18 => "ENCR_AES_GCM_8",
        19 => "ENCR_AES_GCM_12",
        20 => "ENCR_AES_GCM_16",
        21 => "ENCR_NULL_AUTH_AES_GMAC",
        23 => "ENCR_CAMELLIA_CBC",
        28 => "ENCR_CHACHA20_POLY1305",
        _ => "the encryption transform",
    }
}

fn mode_name(mode: u8) -> &'static str {
    match mode {
        1 => "transport",
        3 => "beet",
        4 => "pass",
        5 => "drop",
        _ => "of the SA",
    }
}

#[cfg(test)]
mod tests {
    use shm_protocol::messages::plugin::DETAIL_OCTETS;

    use super::*;

    #[test]
    fn every_sentence_for_charon_fits_a_reply() {
        for refusal in [
            Refusal::Encryption { id: 28 },
            Refusal::KeyLength { octets: 36 },
            Refusal::Interface,
            Refusal::OpaquePorts,
            Refusal::Label,
            Refusal::Unknown { field: "policy direction", value: u32::MAX },
            Refusal::Exists {
                spi: Spi(u32::MAX),
                dst: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap(),
            },
        ] {
            let sentence = refusal.to_string();
            assert!(sentence.len() <= DETAIL_OCTETS, "{} octets: {sentence}", sentence.len());
        }
    }

    #[test]
    fn an_unknown_algorithm_is_named_with_the_remedy() {
        let sentence = Refusal::Encryption { id: 12 }.to_string();
        assert!(sentence.contains("ENCR_AES_CBC (12)") && sentence.contains("aes256gcm16"), "{sentence}");
    }
}
