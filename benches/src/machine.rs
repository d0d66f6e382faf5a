//! What a figure is worth nothing without: the machine, the commit and the day.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// Where and what was measured.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Model of the processor.
    pub cpu: String,
    /// `git describe` of the tree.
    pub commit: String,
    /// Time of the run, UTC.
    pub date: String,
    /// Processes that wanted a CPU in the last minute, before the run: somebody else's, if they are many.
    pub load: f64,
    kernel: String,
    cpus: usize,
}

impl Machine {
    /// Looks round; what cannot be found out is "unknown".
    #[must_use]
    pub fn current() -> Self {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
        let describe = ["-C", &tree.display().to_string(), "describe", "--always", "--dirty", "--tags"];
        Self {
            cpu: cpu_model(),
            commit: said("git", &describe),
            date: said("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]),
            load: load(),
            kernel: said("uname", &["-sr"]),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
        }
    }

    /// Returns the name of this run's result file.
    #[must_use]
    pub fn file_name(&self) -> String {
        let day: String = self.date.chars().filter(|c| !matches!(c, '-' | ':')).collect();
        format!("{day}-{}.json", self.commit)
    }

    /// Returns the head of a result file.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({"cpu": self.cpu, "cpus": self.cpus, "kernel": self.kernel, "dpdk": dpdk::version(), "load": self.load})
    }
}

/// The load average of a minute; NaN where there is none.
fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|minute| minute.parse().ok()).unwrap_or(f64::NAN)
}

fn cpu_model() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    let mut model = field("model name").unwrap_or_else(|| "unknown".to_owned());
    // A virtual machine may hide the name; family, model and clock tell more then.
    if let (Some(family), Some(number), Some(mhz)) = (field("cpu family"), field("model\t"), field("cpu MHz"))
    {
        model.push_str(&format!(", family {family} model {number}, {mhz} MHz"));
    }
    model
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    let text = String::from_utf8_lossy(&text.unwrap_or_default()).trim().to_owned();
    if text.is_empty() { "unknown".to_owned() } else { text }
}
