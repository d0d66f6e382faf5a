//! What a re-read configuration changes, and what of it only a new start can do.

use std::fmt;

use super::Config;

/// A part of the configuration that is fixed while the engine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// `[engine] runtime_dir`.
    RuntimeDir,
    /// `[engine] workers`.
    Workers,
    /// `[engine] hugepages`.
    Hugepages,
    /// `[engine] buffers`.
    Buffers,
    /// `[engine] flows`.
    Flows,
    /// `[engine] spray_inbound`.
    SprayInbound,
    /// `[engine] netdevs`.
    Netdevs,
    /// `[engine] idle`.
    Idle,
    /// `[crypto] backend`.
    Backend,
    /// `[metrics] listen`.
    Metrics,
    /// `[[port]]` name, device or MTU.
    Ports,
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RuntimeDir => "engine.runtime_dir",
            Self::Workers => "engine.workers",
            Self::Hugepages => "engine.hugepages",
            Self::Buffers => "engine.buffers",
            Self::Flows => "engine.flows",
            Self::SprayInbound => "engine.spray_inbound",
            Self::Netdevs => "engine.netdevs",
            Self::Idle => "engine.idle",
            Self::Backend => "crypto.backend",
            Self::Metrics => "metrics.listen",
            Self::Ports => "port",
        })
    }
}

/// The outcome of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Nothing changed.
    None,
    /// Everything that changed can be applied while packets flow.
    Live,
    /// These parts changed and need a restart; nothing is applied.
    NeedsRestart(Vec<Restart>),
}

impl Difference {
    pub(super) fn between(old: &Config, new: &Config) -> Self {
        if old == new {
            return Self::None;
        }
        let ports = |config: &Config| -> Vec<_> {
            let fixed = |port: &super::Port| (port.name.clone(), port.device.clone(), port.mtu);
            config.ports.iter().map(fixed).collect()
        };
        let (a, b) = (&old.engine, &new.engine);
        let parts = [
            (Restart::RuntimeDir, a.runtime_dir != b.runtime_dir),
            (Restart::Workers, a.workers != b.workers),
            (Restart::Hugepages, a.hugepages != b.hugepages),
            (Restart::Buffers, a.buffers != b.buffers),
            (Restart::Flows, a.flows != b.flows),
            (Restart::SprayInbound, a.spray_inbound != b.spray_inbound),
            (Restart::Netdevs, a.netdevs != b.netdevs),
            (Restart::Idle, a.idle != b.idle),
            (Restart::Backend, old.backend != new.backend),
            (Restart::Metrics, old.metrics != new.metrics),
            (Restart::Ports, ports(old) != ports(new)),
        ];
        let changed: Vec<Restart> =
            parts.into_iter().filter_map(|(part, changed)| changed.then_some(part)).collect();
        if changed.is_empty() { Self::Live } else { Self::NeedsRestart(changed) }
    }
}
