//! The file's shape as serde reads it: every key known, every value with its place in the text, nothing judged yet.

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use toml::Spanned;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) engine: Engine,
    #[serde(default)]
    pub(super) crypto: Crypto,
    #[serde(default)]
    pub(super) metrics: Metrics,
    #[serde(default)]
    pub(super) port: Vec<Port>,
    #[serde(default)]
    pub(super) interface: Vec<Interface>,
    #[serde(default)]
    pub(super) neighbor: Vec<Neighbor>,
    #[serde(default)]
    pub(super) route: Vec<Route>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Engine {
    pub(super) runtime_dir: Option<Spanned<String>>,
    pub(super) workers: Spanned<Vec<Spanned<i64>>>,
    #[serde(default)]
    pub(super) hugepages: bool,
    #[serde(default = "yes")]
    pub(super) netdevs: bool,
    pub(super) idle: Option<Spanned<String>>,
    pub(super) unprotected: Option<Spanned<String>>,
    pub(super) min_replay_window: Option<Spanned<i64>>,
    pub(super) buffers: Option<Spanned<i64>>,
    pub(super) flows: Option<Spanned<i64>>,
    #[serde(default)]
    pub(super) spray_inbound: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Crypto {
    pub(super) backend: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metrics {
    pub(super) listen: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Port {
    pub(super) name: Spanned<String>,
    pub(super) device: Spanned<String>,
    pub(super) mtu: Option<Spanned<i64>>,
    #[serde(default)]
    pub(super) addresses: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Interface {
    pub(super) name: Spanned<String>,
    pub(super) if_id: Spanned<IfIdText>,
    pub(super) mtu: Option<Spanned<i64>>,
    #[serde(default)]
    pub(super) addresses: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) spread: bool,
    pub(super) mss_clamp: Option<Spanned<i64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Neighbor {
    pub(super) port: Spanned<String>,
    pub(super) ip: Spanned<String>,
    pub(super) mac: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    pub(super) to: Spanned<String>,
    pub(super) via: Option<Spanned<String>>,
    pub(super) dev: Spanned<String>,
}

/// An `if_id` as written: a number, or text in decimal or hex.
#[derive(Debug)]
pub(super) struct IfIdText(pub(super) Box<str>);

impl<'de> Deserialize<'de> for IfIdText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IfIdVisitor)
    }
}

struct IfIdVisitor;

impl Visitor<'_> for IfIdVisitor {
    type Value = IfIdText;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a number or a text as \"0x1\"")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<IfIdText, E> {
        Ok(IfIdText(value.to_string().into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<IfIdText, E> {
        Ok(IfIdText(value.to_string().into()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<IfIdText, E> {
        Ok(IfIdText(value.into()))
    }
}

fn yes() -> bool {
    true
}
