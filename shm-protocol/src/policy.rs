//! A security policy as the bridge writes it and the engine adopts it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::ids::{IfId, Owner, PolicySlot, Spi};
use crate::messages::packed::address;
use crate::sa::{Mark, Mode};
use crate::selector::SelectorRecord;

/// Which packets a policy is asked about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum PolicyDirection {
    /// Decrypted, for the host.
    In = 1,
    /// To be encrypted.
    Out = 2,
    /// Decrypted, to be forwarded.
    Fwd = 3,
}

/// Which SA a policy asks for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Template {
    /// Outer source.
    #[serde(with = "address")]
    pub src: IpAddr,
    /// Outer destination, of the source's family.
    #[serde(with = "address")]
    pub dst: IpAddr,
    /// The SA's reqid; 0 is any.
    pub reqid: u32,
    /// Encapsulation mode.
    pub mode: Mode,
    /// One SA only, by its SPI.
    pub spi: Option<Spi>,
}

/// What happens to a packet that a policy holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Action {
    /// It needs an SA that fits the template.
    Protect(Template),
    /// It goes on in clear.
    Pass,
    /// It is dropped.
    Discard,
}

/// A security policy.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Policy {
    /// Record it stands in.
    pub slot: PolicySlot,
    /// Who installed it.
    pub owner: Owner,
    /// Which packets it is asked about.
    pub direction: PolicyDirection,
    /// Tunnel it belongs to; 0 is the policy-based VPN.
    pub if_id: IfId,
    /// Packets it holds.
    pub selector: SelectorRecord,
    /// Lower wins, as in XFRM.
    pub priority: u32,
    /// What happens to them.
    pub action: Action,
    /// Order of installation; among equals the older wins.
    pub order: u64,
    /// How many users share it.
    pub users: u32,
    /// Mark it is looked up by.
    pub mark: Mark,
}
