//! The packet ledger: received + host-made = sent + punted + drops by reason, per port and in sum.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::espctl::Espctl;
use crate::{Result, wait};

/// What came in at one place (or at all of them) and what became of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// Packets taken in from the wire.
    pub received: u64,
    /// Packets taken from the host, or made by the engine itself.
    pub host_made: u64,
    /// Packets sent on the wire.
    pub sent: u64,
    /// Packets handed to the host.
    pub punted: u64,
    /// Packets dropped, all reasons.
    pub drops: u64,
}

/// The accounts of one gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The sum.
    pub total: Account,
    /// By port.
    pub ports: BTreeMap<String, Account>,
    /// By worker.
    pub workers: Vec<Account>,
    /// Dropped packets by reason; reasons without a packet are left out.
    pub drops: BTreeMap<String, u64>,
}

impl Account {
    /// Returns what came in less what is accounted for; 0 if the account holds.
    pub fn difference(&self) -> i128 {
        i128::from(self.received) + i128::from(self.host_made)
            - i128::from(self.sent)
            - i128::from(self.punted)
            - i128::from(self.drops)
    }

    fn parse(json: &Value) -> Result<Self> {
        let field = |name: &str| {
            json.get(name).and_then(Value::as_u64).with_context(|| format!("no {name} in {json}"))
        };
        Ok(Self {
            received: field("received")?,
            host_made: field("host_made")?,
            sent: field("sent")?,
            punted: field("punted")?,
            drops: field("drops")?,
        })
    }
}

impl Ledger {
    /// Reads `espctl drops --json` and `espctl workers --json` once.
    pub fn read(espctl: &Espctl) -> Result<Self> {
        Self::parse(&espctl.json("drops")?, &espctl.json("workers")?)
    }

    /// Reads the ledger when nothing is under way in the engine any more.
    ///
    /// A running engine always holds a few packets: two equal readings in a row that add up are taken.
    /// Without such a pair within the deadline the last reading is returned as it is.
    pub fn settled(espctl: &Espctl) -> Result<Self> {
        let mut last = Self::read(espctl)?;
        let _ = wait::until_true("a quiet ledger", Duration::from_secs(8), || {
            std::thread::sleep(Duration::from_millis(250));
            let Ok(now) = Self::read(espctl) else { return false };
            let quiet = now == last && now.check().is_ok();
            last = now;
            quiet
        });
        Ok(last)
    }

    /// Checks the sum, every port, and the drops by reason against their sum.
    ///
    /// Errors: names the first account that does not add up, with its figures.
    pub fn check(&self) -> Result<()> {
        let ports = self.ports.iter().map(|(name, account)| (name.as_str(), account));
        for (name, account) in std::iter::once(("all ports", &self.total)).chain(ports) {
            if account.difference() != 0 {
                bail!(
                    "ledger of {name} is off by {}: {account:?}, drops {:?}",
                    account.difference(),
                    self.drops
                );
            }
        }
        let by_reason: u64 = self.drops.values().sum();
        if by_reason != self.total.drops {
            bail!(
                "{} drops by reason against {} in the ledger: {:?}",
                by_reason,
                self.total.drops,
                self.drops
            );
        }
        if self.ports.is_empty() {
            bail!("the ledger names no port");
        }
        Ok(())
    }

    /// Returns how many packets were dropped for a reason.
    pub fn dropped(&self, reason: &str) -> u64 {
        self.drops.get(reason).copied().unwrap_or(0)
    }

    fn parse(drops: &Value, workers: &Value) -> Result<Self> {
        let list = |value: &'_ Value, key: &str| -> Result<Vec<Value>> {
            Ok(value
                .get(key)
                .and_then(Value::as_array)
                .with_context(|| format!("no {key} in {value}"))?
                .clone())
        };
        let mut ledger = Self {
            total: Account::parse(workers.get("ledger").context("espctl workers --json has no ledger")?)?,
            ..Self::default()
        };
        for port in list(workers, "ports")? {
            let name = port.get("name").and_then(Value::as_str).context("a port without name")?;
            ledger.ports.insert(name.to_owned(), Account::parse(&port["ledger"])?);
        }
        for worker in list(workers, "workers")? {
            ledger.workers.push(Account::parse(&worker["ledger"])?);
        }
        for line in list(drops, "drops")? {
            let name = line.get("name").and_then(Value::as_str).context("a drop reason without name")?;
            let packets =
                line.get("packets").and_then(Value::as_u64).context("a drop reason without count")?;
            if packets > 0 {
                ledger.drops.insert(name.to_owned(), packets);
            }
        }
        Ok(ledger)
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Account { received, host_made, sent, punted, drops } = self.total;
        write!(
            f,
            "received {received} + host-made {host_made} = sent {sent} + punted {punted} + dropped {drops}, off by {}",
            self.total.difference()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn account(received: u64, drops: u64) -> Value {
        json!({"received": received, "host_made": 2, "engine_made": 1, "sent": 5, "punted": 1, "drops": drops})
    }

    #[test]
    fn a_packet_without_a_fate_is_noticed_at_its_port() {
        let drops = json!({"drops": [{"name": "replay", "packets": 3}, {"name": "martian", "packets": 0}]});
        let workers = |received: u64| {
            json!({"ledger": account(7, 3), "workers": [],
                   "ports": [{"name": "wan", "ledger": account(received, 3)}]})
        };
        let ledger = Ledger::parse(&drops, &workers(7)).unwrap();
        ledger.check().unwrap();
        assert_eq!((ledger.dropped("replay"), ledger.dropped("martian")), (3, 0));
        let error = Ledger::parse(&drops, &workers(8)).unwrap().check().unwrap_err();
        assert!(error.to_string().contains("wan is off by 1"), "{error}");
    }
}
