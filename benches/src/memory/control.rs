//! The control side of a gateway in memory: segments in a directory of its own on tmpfs, their writer, the adopter.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use dataplane::adopt::Adopter;
use dataplane::publish::{self, Subscriber};
use dataplane::tables::Tables;
use dataplane::tables::topology::Topology;
use esp::aead::KeySchedule;
use shm_protocol::live::Live;
use shm_protocol::place::RuntimeDir;
use shm_protocol::policy::Policy;
use shm_protocol::sa::Sa;
use shm_protocol::sad::{SadWriter, Transaction};

use crate::{Result, load};

/// See the module's text.
pub struct Control<S: KeySchedule> {
    /// Removed when the gateway goes.
    dir: tempfile::TempDir,
    /// What the bridge has.
    pub writer: SadWriter,
    /// What the engine's control thread has.
    pub adopter: Adopter<S>,
    now_ns: u64,
}

/// A worker's end of the tables.
pub type Reads<S> = Subscriber<Tables<<S as KeySchedule>::Key>>;

impl<S: KeySchedule> Control<S> {
    /// Makes a gateway without SAs and policies, for at most `capacity` SAs, that `workers` workers read.
    ///
    /// # Errors
    /// The segments cannot be made.
    pub fn new(
        schedule: Arc<S>,
        topology: &Topology,
        capacity: u32,
        workers: usize,
    ) -> Result<(Self, Vec<Reads<S>>)> {
        let temp = tempfile::Builder::new().prefix("espalier-path-").tempdir_in(TMPFS)?;
        let dir = RuntimeDir::open(temp.path())?;
        let live = Arc::new(Live::attach_or_create(&dir)?);
        let mut writer = SadWriter::open(&dir, capacity, DEADLINE)?;
        let mut instance = Transaction::new();
        instance.set_instance(live.instance());
        writer.commit(&instance, DEADLINE)?;
        let (publisher, tables) = publish::channel(Tables::new(topology.clone()), workers);
        let adopter = Adopter::new(dir, live, schedule, topology.clone(), publisher);
        Ok((Self { dir: temp, writer, adopter, now_ns: 1 << 30 }, tables))
    }

    /// Adds records, in generations as large as `espctl -batch` makes them, and lets the engine take them up; `poll` polls
    /// every worker.
    ///
    /// # Errors
    /// The segment cannot be written, or the engine did not take the records up.
    pub fn install(&mut self, sas: &[Sa], policies: &[Policy], poll: impl FnMut(u64)) -> Result<()> {
        let had = self.count();
        for some in sas.chunks(CHANGES) {
            let mut changes = Transaction::new();
            for sa in some {
                changes.put_sa(sa);
            }
            self.writer.commit(&changes, DEADLINE)?;
        }
        for some in policies.chunks(CHANGES) {
            let mut changes = Transaction::new();
            for policy in some {
                changes.put_policy(policy);
            }
            self.writer.commit(&changes, DEADLINE)?;
        }
        self.settle(poll)?;
        let has = self.count();
        ensure!(has == (had.0 + sas.len(), had.1 + policies.len()), "not every record was taken up: {has:?}");
        Ok(())
    }

    /// Steps until every worker uses what was written.
    fn settle(&mut self, mut poll: impl FnMut(u64)) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while !load::is_settled(self.dir())? {
            ensure!(Instant::now() < end, "waited {} s for the adopter", PATIENCE.as_secs());
            for _ in 0..STEPS {
                self.now_ns += STEP_NS;
                self.adopter.step(self.now_ns);
                poll(self.now_ns);
            }
        }
        Ok(())
    }

    /// Returns how many SAs and policies the workers use.
    fn count(&self) -> (usize, usize) {
        let tables = self.adopter.snapshot();
        (tables.inbound.len() + tables.outbound.len(), tables.spd.len())
    }

    /// Returns where the segments are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the time of the last step. Units: nanoseconds.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }
}

/// The segments refuse any other kind of file system.
const TMPFS: &str = "/dev/shm";
/// What a writer waits for another one at most.
pub const DEADLINE: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(120);
/// Changes of one generation.
const CHANGES: usize = 256;
/// Steps between two looks at the segments from outside.
const STEPS: usize = 16;
const STEP_NS: u64 = 100_000_000;
