//! What this process holds, as the kernel counts it.

use crate::Result;

/// Units: KiB.
pub(crate) struct Memory {
    own: i64,
    shared: i64,
}

impl Memory {
    pub(crate) fn now() -> Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_whitespace().nth(1));
            value.ok_or("a kernel that does not count memory")?.parse::<i64>().map_err(Into::into)
        };
        let field = |name| -> Result<i64> { field(name) };
        Ok(Self { own: field("RssAnon:")?, shared: field("RssShmem:")? })
    }

    pub(crate) fn print_since(&self, before: &Self, pairs: u32) {
        let each = |now: i64, before: i64| (now - before) * 1024 / i64::from(pairs);
        println!(
            "octets a pair: {} of the engine's own, {} of the segments",
            each(self.own, before.own),
            each(self.shared, before.shared)
        );
    }
}
