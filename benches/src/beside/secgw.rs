//! ipsec-secgw between the same two devices as the engine: started, proved to seal, measured in windows.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::config::{self, Mode, Ports};
use super::telemetry::{Telemetry, counter};
use crate::engine::{WARM_UP, cpu_ns, with_measured_cpu};
use crate::hugepages::Hugepages;
use crate::program::{self, Program};
use crate::settings::Settings;
use crate::spread::Spread;
use crate::{Result, interrupt};

/// What its ports say it has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Packets taken from the source.
    pub received: u64,
    /// Packets given to the sink.
    pub sent: u64,
}

/// One look at it.
#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Instant,
    account: Account,
    /// For how long the worker had its CPU.
    ran: Duration,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// How it called its crypto device.
    pub mode: Mode,
    /// By the time the worker had its CPU. Units: nanoseconds a packet.
    pub cpu_ns: Spread,
    /// Those in the order they were taken; `None` where the worker hardly had its CPU.
    pub each_ns: Vec<Option<f64>>,
    /// The part of the windows in which the worker had its CPU.
    pub share: f64,
    /// What it did while the windows ran.
    pub account: Account,
}

/// A running ipsec-secgw.
#[derive(Debug)]
pub(crate) struct Secgw {
    mode: Mode,
    telemetry: Telemetry,
    windows: Vec<(Reading, Reading)>,
    // In this order: pages are given back when it has ended.
    program: Program,
    _pages: Hugepages,
}

impl Secgw {
    /// Starts it with a configuration and waits until so many packets were sent. Errors: what it said when it ended.
    pub(crate) fn start(
        settings: &Settings,
        path: &Path,
        mode: Mode,
        config: &str,
        ports: Ports<'_>,
        packets: u64,
    ) -> Result<Self> {
        let folder = settings.folder(&format!("secgw-{mode}"))?;
        let file = folder.join("secgw.cfg");
        std::fs::write(&file, config)?;
        let pages = Hugepages::take(MEMORY_MIB)?;
        let mut command = Command::new(path);
        command.args(config::arguments(PREFIX, settings.cpus.measured, ports, &file));
        // DPDK makes its runtime folder there, which goes with the scratch directory.
        command.env("RUNTIME_DIRECTORY", &folder);
        let log = folder.join("secgw.log");
        let mut program = with_measured_cpu(&settings.cpus, || Program::start(&mut command, log))?;
        let socket = folder.join("dpdk").join(PREFIX).join("dpdk_telemetry.v2");
        let telemetry = interrupt::until("ipsec-secgw's telemetry", PATIENCE, || {
            program.must_run()?;
            Ok(Telemetry::connect(&socket).ok())
        })?;
        let mut secgw = Self { mode, telemetry, windows: Vec::new(), program, _pages: pages };
        secgw.wait_for(packets)?;
        Ok(secgw)
    }

    fn wait_for(&mut self, packets: u64) -> Result<()> {
        let waited = interrupt::until("packets", PATIENCE, || {
            self.program.must_run()?;
            Ok((self.account()?.sent >= packets).then_some(()))
        });
        if let Err(error) = waited {
            bail!("{error}: ipsec-secgw drops them: {:?}", self.account()?);
        }
        Ok(())
    }

    /// Takes it off its CPU until its next window.
    pub(crate) fn pause(&self) -> Result<()> {
        self.program.pause()
    }

    /// Lets it run for one window.
    pub(crate) fn window(&mut self, length: Duration) -> Result<()> {
        self.program.resume()?;
        interrupt::sleep(WARM_UP)?;
        let before = self.look()?;
        interrupt::sleep(length)?;
        let after = self.look()?;
        self.program.pause()?;
        self.windows.push((before, after));
        Ok(())
    }

    /// Ends it, so that what it sent to a file is whole; returns what it did in all.
    pub(crate) fn end(mut self) -> Result<Account> {
        let account = self.account()?;
        self.program.stop()?;
        Ok(account)
    }

    /// Ends it. Errors: it dropped packets, or sent none in a window.
    pub(crate) fn stop(mut self) -> Result<Measured> {
        self.program.resume()?;
        self.program.stop()?;
        measured(self.mode, &self.windows)
    }

    fn look(&self) -> Result<Reading> {
        let before = Instant::now();
        let account = self.account()?;
        let at = before + before.elapsed() / 2;
        let pid = self.program.pid();
        // Its main thread is its only worker.
        let task = PathBuf::from(format!("/proc/{pid}/task/{pid}"));
        let ran = Duration::from_nanos(program::had_cpu_ns(&task)?.0);
        Ok(Reading { at, account, ran })
    }

    fn account(&self) -> Result<Account> {
        // In this order: what is sent in between makes no packet seem lost.
        let port = |number, name| counter(&self.telemetry.ask(&format!("/ethdev/stats,{number}"))?, name);
        Ok(Account { received: port(0, "ipackets")?, sent: port(1, "opackets")? })
    }
}

fn measured(mode: Mode, windows: &[(Reading, Reading)]) -> Result<Measured> {
    let (mut each_ns, mut ran, mut time, mut account) = (Vec::new(), 0.0, 0.0, Account::default());
    for (from, to) in windows {
        let packets = to.account.sent.saturating_sub(from.account.sent);
        ensure!(packets > 0, "ipsec-secgw sent nothing for {} ms", (to.at - from.at).as_millis());
        let window = (to.at - from.at).as_secs_f64();
        let on_cpu = to.ran.saturating_sub(from.ran).as_secs_f64();
        each_ns.push(cpu_ns(packets, window, on_cpu));
        ran += on_cpu;
        time += window;
        // What it holds for a moment is little; what it has dropped is missing for good.
        let missing = to.account.received.saturating_sub(to.account.sent);
        ensure!(missing <= MOST_IN_HAND, "ipsec-secgw ({mode}) drops packets: {:?}", to.account);
        account.received += to.account.received.saturating_sub(from.account.received);
        account.sent += packets;
    }
    let spread = Spread::of(each_ns.iter().flatten().copied().collect());
    let cpu_ns = spread.context("in no window ipsec-secgw had its core for a third of the time")?;
    Ok(Measured { mode, cpu_ns, each_ns, share: ran / time, account })
}

/// Names its runtime folder, which lies in a folder of its own.
const PREFIX: &str = "secgw";
/// Its route tables alone take 320.
const MEMORY_MIB: u64 = 384;
/// Of a burst of 32 and what waits to be sent, many times over. Units: packets.
const MOST_IN_HAND: u64 = 1024;
const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn window(received: u64, sent: u64, ran_ms: u64) -> (Reading, Reading) {
        let at = Instant::now();
        let account = Account { received: 1032, sent: 1000 };
        let before = Reading { at, account, ran: Duration::from_secs(1) };
        let after = Reading {
            at: at + Duration::from_millis(100),
            account: Account { received: 1032 + received, sent: 1000 + sent },
            ran: before.ran + Duration::from_millis(ran_ms),
        };
        (before, after)
    }

    #[test]
    fn a_packet_costs_what_the_worker_had_of_its_cpu() {
        let both = |packets, ran_ms| window(packets, packets, ran_ms);
        let windows = [both(1_000_000, 100), both(500_000, 50), both(900, 1)];
        let measured = measured(Mode::Lookaside, &windows).unwrap();
        assert_eq!(measured.each_ns, [Some(100.0), Some(100.0), None]);
        assert_eq!(measured.account, Account { received: 1_500_900, sent: 1_500_900 });
    }

    #[test]
    fn windows_with_drops_or_without_a_packet_are_an_error() {
        let dropped = measured(Mode::CpuCrypto, &[window(10_000, 9_000, 100)]).unwrap_err().to_string();
        assert!(dropped.contains("(cpu-crypto) drops"), "{dropped}");
        assert!(measured(Mode::CpuCrypto, &[window(10_000, 9_968, 100)]).is_ok());
        assert!(measured(Mode::CpuCrypto, &[window(0, 0, 100)]).is_err());
    }
}
