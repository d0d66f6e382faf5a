//! Burst AEAD behind the trait [`esp::aead::Aead`]: code of our own where the processor has VAES and AVX-512, IPSec_MB
//! where the build found it, RustCrypto everywhere.
//!
//! The control thread makes one [`Crypto`], expands every key with it and takes one [`Engine`] per worker from it.
//! Which backend runs and how it is called is chosen by measuring when [`Crypto::new`] runs, or by the configuration.
//! A [`Key`] belongs to the backend that expanded it, so any engine of the process may use it.
#![deny(unsafe_code)]

mod arena;
mod choice;
mod engine;
#[cfg(test)]
mod gcm_cases;
#[cfg(ipsec_mb)]
mod ipsec_mb;
mod key;
mod measure;
mod rustcrypto;
#[cfg(target_arch = "x86_64")]
mod vaes;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use esp::aead::{Algorithm, KeyError, KeySchedule};

use arena::Arena;
pub use arena::Memory;
pub use choice::{Backend, CallForm, Choice, Error, Method};
pub use engine::Engine;
pub use key::Key;
pub use measure::{Floor, measure_floor};

/// What one trial at start may take. Four methods are tried at three lengths.
const TRIAL: Duration = Duration::from_micros(500);

/// The process's AEAD: a chosen backend and call form, and the memory that holds the expanded keys.
pub struct Crypto {
    method: Method,
    schedule: Schedule,
    trials: Vec<Floor>,
    absent: Vec<Error>,
}

impl Crypto {
    /// Makes the AEAD for a choice of the configuration. Takes some milliseconds when there is something to measure.
    /// Errors: what keeps a backend asked for by name from running. `Auto` falls back to RustCrypto instead.
    pub fn new(choice: Choice) -> Result<Self, Error> {
        let candidates: &[Method] = match choice {
            Choice::Auto => &Method::ALL,
            Choice::Vaes => return Self::with_method(Method::Vaes),
            Choice::IpsecMb => &[Method::IpsecMbBurst, Method::IpsecMbDirect],
            Choice::RustCrypto => return Self::with_method(Method::RustCrypto),
        };
        let trial = measure::trial(candidates, TRIAL)?;
        Ok(Self { trials: trial.floors, absent: trial.absent, ..Self::with_method(trial.best)? })
    }

    /// Makes the AEAD with a backend and call form of the caller's choice, without measuring.
    /// Errors: what keeps the backend from running.
    pub fn with_method(method: Method) -> Result<Self, Error> {
        let schedule = Schedule::new(method.backend())?;
        Ok(Self { method, schedule, trials: Vec::new(), absent: Vec::new() })
    }

    /// Returns the backend and the call form in use.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// Returns how much memory holds expanded keys, and whether it is locked.
    #[must_use]
    pub fn memory(&self) -> Memory {
        match &self.schedule {
            #[cfg(target_arch = "x86_64")]
            Schedule::Vaes(_, arena) => arena.memory(),
            #[cfg(ipsec_mb)]
            Schedule::IpsecMb(_, arena) => arena.memory(),
            Schedule::RustCrypto(arena) => arena.memory(),
        }
    }

    /// Makes a worker's engine. Errors: what keeps the backend from running.
    pub fn engine(&self) -> Result<Engine, Error> {
        Engine::new(self.method)
    }

    /// Returns one line for the log: backend and call form in use, what each costs, and what is missing.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut line = format!("AEAD by {}", self.schedule.name());
        if self.method.backend() == Backend::IpsecMb {
            let _ = write!(line, ", {}", self.method.call_form());
        }
        let mut lengths_named = false;
        for method in Method::ALL {
            let ns: Vec<_> = self.trials.iter().filter(|floor| floor.method == method).collect();
            if let [first, ..] = ns.as_slice() {
                let lengths: Vec<_> = ns.iter().map(|floor| floor.text_octets.to_string()).collect();
                let costs: Vec<_> = ns.iter().map(|floor| format!("{:.0}", floor.min_ns)).collect();
                let unit = format!(" ns at {} octets", lengths.join("/"));
                let unit = if lengths_named { " ns" } else { unit.as_str() };
                lengths_named = true;
                let _ = write!(line, "; {} {}{unit}", first.method, costs.join("/"));
            }
        }
        for absent in &self.absent {
            let _ = write!(line, "; {absent}");
        }
        if let Some(errno) = self.memory().lock_refused_errno {
            let _ =
                write!(line, "; key memory could not be locked (error number {errno}, see RLIMIT_MEMLOCK)");
        }
        line
    }
}

/// How keys of one backend are expanded, and where they live.
enum Schedule {
    #[cfg(target_arch = "x86_64")]
    Vaes(vaes::Cpu, Arc<Arena<vaes::Schedule>>),
    #[cfg(ipsec_mb)]
    IpsecMb(&'static ipsec_mb::Calls, Arc<Arena<ipsec_mb::Schedule>>),
    RustCrypto(Arc<Arena<rustcrypto::Schedule>>),
}

impl Schedule {
    fn new(backend: Backend) -> Result<Self, Error> {
        match backend {
            #[cfg(target_arch = "x86_64")]
            Backend::Vaes => Ok(Self::Vaes(vaes::Cpu::detect()?, Arena::new())),
            #[cfg(not(target_arch = "x86_64"))]
            Backend::Vaes => Err(Error::Feature { name: "VAES" }),
            #[cfg(ipsec_mb)]
            Backend::IpsecMb => Ok(Self::IpsecMb(ipsec_mb::Calls::current()?, Arena::new())),
            #[cfg(not(ipsec_mb))]
            Backend::IpsecMb => Err(Error::NotBuilt),
            Backend::RustCrypto => Ok(Self::RustCrypto(Arena::new())),
        }
    }

    fn name(&self) -> String {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Vaes(..) => Backend::Vaes.to_string(),
            #[cfg(ipsec_mb)]
            Self::IpsecMb(..) => format!("{} {}", Backend::IpsecMb, ipsec_mb::version()),
            Self::RustCrypto(_) => Backend::RustCrypto.to_string(),
        }
    }
}

impl KeySchedule for Crypto {
    type Key = Key;

    fn expand(&self, algorithm: Algorithm, key: &[u8]) -> Result<Key, KeyError> {
        match &self.schedule {
            #[cfg(target_arch = "x86_64")]
            Schedule::Vaes(cpu, arena) => Key::for_vaes(*cpu, arena, algorithm, key),
            #[cfg(ipsec_mb)]
            Schedule::IpsecMb(calls, arena) => Key::for_ipsec_mb(calls, arena, algorithm, key),
            Schedule::RustCrypto(arena) => Key::for_rustcrypto(arena, algorithm, key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_by_name_gets_its_backend_and_says_so() {
        let crypto = Crypto::new(Choice::RustCrypto).unwrap();
        assert_eq!(crypto.method(), Method::RustCrypto);
        assert!(crypto.describe().starts_with("AEAD by RustCrypto"));
        match Crypto::new(Choice::Vaes) {
            Ok(crypto) => {
                assert_eq!(crypto.method(), Method::Vaes);
                assert_eq!(crypto.describe().split(';').next(), Some("AEAD by VAES"));
            }
            Err(error) => assert!(
                matches!(error, Error::Feature { .. })
                    && Method::built().all(|method| method != Method::Vaes)
            ),
        }
        match Crypto::new(Choice::IpsecMb) {
            Ok(crypto) => {
                assert_eq!(crypto.method().backend(), Backend::IpsecMb);
                assert!(crypto.describe().starts_with("AEAD by IPSec_MB 1."), "{}", crypto.describe());
            }
            Err(error) => assert_eq!((error, cfg!(ipsec_mb)), (Error::NotBuilt, false)),
        }
    }

    #[test]
    fn the_automatic_choice_runs_and_describes_itself_in_one_line() {
        let crypto = Crypto::new(Choice::Auto).unwrap();
        assert!(crypto.engine().is_ok());
        let line = crypto.describe();
        assert!(line.contains("at 64/512/1408 octets") && !line.contains('\n'), "{line}");
        assert_eq!(line.contains("without IPSec_MB"), !cfg!(ipsec_mb), "{line}");
        let vaes = Method::built().any(|method| method == Method::Vaes);
        assert_eq!(line.contains("VAES, burst calls"), vaes, "{line}");
        assert_eq!(line.contains("so the VAES code does not run"), !vaes, "{line}");
    }

    #[test]
    fn memory_is_counted_while_keys_live() {
        let crypto = Crypto::with_method(Method::RustCrypto).unwrap();
        let key = crypto.expand(Algorithm::Aes256Gcm16, &[1; 32]).unwrap();
        assert_eq!(crypto.memory().keys, 1);
        drop(key);
        assert_eq!(crypto.memory().keys, 0);
    }

    /// Keys are shared by workers, engines move to their thread.
    #[test]
    fn keys_are_shared_and_engines_are_sent() {
        fn shared<T: Send + Sync>() {}
        fn sent<T: Send>() {}
        shared::<Key>();
        shared::<Crypto>();
        sent::<Engine>();
    }
}
