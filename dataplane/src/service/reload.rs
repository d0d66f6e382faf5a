//! Reading the configuration again: the whole file is checked, then the difference is applied, or nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use shm_protocol::messages::control::EngineReply;

use crate::bell::Bell;
use crate::config::{Config, Difference, topology::is_vacant};
use crate::control::{Order, TunChange};
use crate::netdev::{self, Netdev, Netlink};
use crate::tables::topology::{Mac, Topology};

/// Holds the configuration in force and changes it.
pub struct Reloader {
    /// The file.
    pub file: PathBuf,
    /// What is in force.
    pub config: Config,
    /// What the workers route by.
    pub topology: Topology,
    /// The ports' Ethernet addresses.
    pub macs: Vec<Mac>,
    /// Where changes go to.
    pub orders: Arc<ArrayQueue<Order>>,
    /// Wakes the control thread.
    pub bell: Arc<Bell>,
}

impl Reloader {
    /// Reads the file again and applies what changed.
    pub fn reload(&mut self) -> EngineReply {
        let new = match Config::load(&self.file) {
            Ok(new) => new,
            Err(error) => return EngineReply::Failed { sentence: error.to_string() },
        };
        match self.config.difference(&new) {
            Difference::None => EngineReply::Reloaded { changed: Vec::new() },
            Difference::NeedsRestart(parts) => {
                EngineReply::NeedsRestart { keys: parts.iter().map(ToString::to_string).collect() }
            }
            Difference::Live => self.apply(new),
        }
    }

    fn apply(&mut self, new: Config) -> EngineReply {
        let topology = new.topology(&self.macs, Some(&self.topology));
        let tuns = match self.netdevs(&new, &topology) {
            Ok(tuns) => tuns,
            Err(error) => return EngineReply::Failed { sentence: error.to_string() },
        };
        let (done, finished) = sync_channel(1);
        if self.orders.push(Order { topology: topology.clone(), tuns, done }).is_err() {
            return EngineReply::Failed {
                sentence: "earlier reloads are not done yet; try again".to_owned(),
            };
        }
        self.bell.ring();
        let Ok(closed) = finished.recv_timeout(PATIENCE) else {
            return EngineReply::Failed {
                sentence: "the control thread does not answer; see the log".to_owned(),
            };
        };
        for netdev in closed {
            if let Err(error) = netdev.tap.forget() {
                tracing::warn!("{}: stays: {error}", netdev.link.name);
            }
        }
        let changed = changes(&self.config, &new);
        self.config = new;
        self.topology = topology;
        EngineReply::Reloaded { changed }
    }

    /// Brings the kernel's side up to date and says what becomes of each TUN.
    fn netdevs(&self, new: &Config, topology: &Topology) -> Result<Vec<TunChange>, netdev::Error> {
        if !new.engine.netdevs {
            return Ok(topology.interfaces.iter().map(|_| TunChange::Close).collect());
        }
        let mut netlink = Netlink::connect()?;
        let mut opened = self.open_new(&mut netlink, new, topology)?;
        let before = self.topology.interfaces.iter().map(Some).chain(std::iter::repeat(None));
        let changes = topology.interfaces.iter().zip(before).enumerate().map(|(at, (interface, before))| {
            let kept = before.is_some_and(|before| before.name == interface.name);
            match opened.get_mut(at).and_then(Option::take) {
                Some(netdev) => TunChange::Open(netdev),
                None if is_vacant(interface) || !kept => TunChange::Close,
                None => TunChange::Keep,
            }
        });
        let changes = changes.collect();
        netdev::change_settings(&mut netlink, &self.config, new)?;
        Ok(changes)
    }

    /// Opens the TUNs of interfaces that had none of that name at their place.
    fn open_new(
        &self,
        netlink: &mut Netlink,
        new: &Config,
        topology: &Topology,
    ) -> Result<Vec<Option<Netdev>>, netdev::Error> {
        let open = |(at, interface): (usize, &crate::tables::topology::Interface)| {
            let before = self.topology.interfaces.get(at).map(|before| before.name.as_str());
            let configured = new.interfaces.iter().find(|known| known.name.as_str() == interface.name);
            match configured {
                Some(configured) if before != Some(&interface.name) => {
                    netdev::open_tun(netlink, configured).map(Some)
                }
                _ => Ok(None),
            }
        };
        topology.interfaces.iter().enumerate().map(open).collect()
    }
}

/// Writes the outcome of a reload nobody waits for into the log.
pub(super) fn log(reply: &EngineReply) {
    match reply {
        EngineReply::Reloaded { changed } if changed.is_empty() => tracing::info!("reload: nothing changed"),
        EngineReply::Reloaded { changed } => tracing::info!("reload: {}", changed.join("; ")),
        EngineReply::NeedsRestart { keys } => {
            tracing::error!("reload: needs restart: {}; nothing was changed", keys.join(", "));
        }
        EngineReply::Failed { sentence } => tracing::error!("reload: {sentence}; nothing was changed"),
        EngineReply::Status(_)
        | EngineReply::Drops { .. }
        | EngineReply::Workers { .. }
        | EngineReply::Ports { .. } => {}
    }
}

/// Names what a reload changed, one sentence a part.
fn changes(old: &Config, new: &Config) -> Vec<String> {
    let addresses = |config: &Config| -> Vec<_> {
        config.ports.iter().map(|port| (port.name.clone(), port.addresses.clone())).collect()
    };
    let mut changed = Vec::new();
    let mut note = |differs: bool, what: &str, count: usize| {
        if differs {
            changed.push(format!("{what}: {count} in force"));
        }
    };
    note(old.interfaces != new.interfaces, "interfaces", new.interfaces.len());
    note(old.routes != new.routes, "routes", new.routes.len());
    note(old.neighbours != new.neighbours, "neighbours", new.neighbours.len());
    let count = new.ports.iter().map(|port| port.addresses.len()).sum();
    note(addresses(old) != addresses(new), "addresses of ports", count);
    if old.engine.unprotected != new.engine.unprotected {
        changed.push(format!("unprotected: {:?}", new.engine.unprotected).to_lowercase());
    }
    if old.engine.min_replay_window != new.engine.min_replay_window {
        changed.push(format!("min_replay_window: {} for new SAs", new.engine.min_replay_window.pkts()));
    }
    changed
}

const PATIENCE: Duration = Duration::from_secs(2);
