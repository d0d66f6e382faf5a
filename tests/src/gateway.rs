//! One Espalier gateway: bridge, engine and, where a test negotiates, charon.

use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::sys::signal::Signal;

use crate::charon::{Charon, Kernel};
use crate::espctl::Espctl;
use crate::gateway_toml::GatewayToml;
use crate::swanctl::Connection;
use crate::{Netns, Process, Result, World, binaries, wait};

/// The processes of one gateway.
#[derive(Debug)]
pub struct Gateway {
    label: String,
    /// The namespace all of them run in.
    pub netns: Netns,
    /// Configuration of the engine; [`Self::write_config`] puts it into its file.
    pub toml: GatewayToml,
    /// Extra arguments of the bridge.
    pub bridge_arguments: Vec<String>,
    runtime_dir: PathBuf,
    config: PathBuf,
    bridge: Option<Process>,
    engine: Option<Process>,
    /// The IKE daemon, once [`Self::start_charon`] made it.
    pub charon: Option<Charon>,
}

impl Gateway {
    /// Makes the directories and writes the configuration; nothing is started.
    pub fn new(world: &World, netns: &Netns, label: &str, toml: GatewayToml) -> Result<Self> {
        let gateway = Self {
            label: label.to_owned(),
            netns: netns.clone(),
            toml,
            bridge_arguments: Vec::new(),
            runtime_dir: world.run_dir(label)?,
            config: world.logs().join(format!("{label}.toml")),
            bridge: None,
            engine: None,
            charon: None,
        };
        gateway.write_config()?;
        Ok(gateway)
    }

    /// Writes the engine's configuration file.
    pub fn write_config(&self) -> Result<()> {
        std::fs::write(&self.config, self.toml.render(&self.runtime_dir))
            .with_context(|| self.config.display().to_string())
    }

    /// Returns the directory of the segments and sockets.
    pub fn runtime_dir(&self) -> &Path {
        &self.runtime_dir
    }

    /// Returns the engine's configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Returns the operator's command for this gateway.
    pub fn espctl(&self) -> Espctl {
        Espctl::new(&self.netns, &self.runtime_dir)
    }

    /// Starts bridge and engine and waits until both answer.
    pub fn start(&mut self, world: &World) -> Result<()> {
        self.start_bridge(world)?;
        self.start_engine(world)
    }

    /// Starts the bridge and waits for its socket.
    pub fn start_bridge(&mut self, world: &World) -> Result<()> {
        let program = binaries::program("ike-bridge")?.display().to_string();
        let directory = self.runtime_dir.display().to_string();
        let mut words = vec!["--runtime-dir", directory.as_str()];
        words.extend(self.bridge_arguments.iter().map(String::as_str));
        let mut command = self.netns.command(&program, &words);
        // One that a killed bridge left would be taken for the new one's.
        let _ = std::fs::remove_file(self.runtime_dir.join("bridge.sock"));
        let mut process = Process::spawn(world, &format!("{}-bridge", self.label), &mut command)?;
        let socket = self.runtime_dir.join("bridge.sock");
        wait::until(&format!("{}: the bridge's socket", self.label), wait::STEP, || {
            process.must_run()?;
            Ok(socket.exists().then_some(()))
        })?;
        self.bridge = Some(process);
        Ok(())
    }

    /// Starts the engine and waits until it answers.
    pub fn start_engine(&mut self, world: &World) -> Result<()> {
        let program = binaries::program("espalier")?.display().to_string();
        let config = self.config.display().to_string();
        let mut command = self.netns.command(&program, &["--config", config.as_str()]);
        // DPDK keeps files of its own there, which a killed engine leaves.
        command.env("RUNTIME_DIRECTORY", &self.runtime_dir);
        let mut process = Process::spawn(world, &format!("{}-engine", self.label), &mut command)?;
        let espctl = self.espctl();
        wait::until(&format!("{}: the engine to answer", self.label), wait::STEP, || {
            process.must_run()?;
            Ok(espctl.run("status").is_ok().then_some(()))
        })?;
        self.engine = Some(process);
        Ok(())
    }

    /// Makes charon with these connections, starts it and loads them.
    pub fn start_charon(&mut self, world: &World, connections: &[Connection]) -> Result<()> {
        let kernel = Kernel::Espalier(self.runtime_dir.join("bridge.sock"));
        let mut charon = Charon::new(world, &self.netns, &format!("{}-ike", self.label), kernel)?;
        charon.configure(connections)?;
        charon.start(world)?;
        self.charon = Some(charon);
        Ok(())
    }

    /// Returns the IKE daemon.
    ///
    /// Errors: [`Self::start_charon`] was not called.
    pub fn ike(&self) -> Result<&Charon> {
        self.charon.as_ref().with_context(|| format!("{} has no charon", self.label))
    }

    /// Kills the engine where it stands.
    pub fn kill_engine(&mut self) -> Result<()> {
        self.engine.take().map_or(Ok(()), Process::kill9)
    }

    /// Kills the bridge where it stands.
    pub fn kill_bridge(&mut self) -> Result<()> {
        self.bridge.take().map_or(Ok(()), Process::kill9)
    }

    /// Ends the engine politely.
    pub fn stop_engine(&mut self) -> Result<()> {
        self.engine.take().map_or(Ok(()), |process| process.stop().map(drop))
    }

    /// Ends the bridge politely.
    pub fn stop_bridge(&mut self) -> Result<()> {
        self.bridge.take().map_or(Ok(()), |process| process.stop().map(drop))
    }

    /// Sends the engine a signal.
    pub fn signal_engine(&self, signal: Signal) -> Result<()> {
        self.engine.as_ref().context("the engine does not run")?.signal(signal)
    }

    /// Returns what the engine has said since its first start.
    pub fn engine_said(&self) -> String {
        self.engine.as_ref().map(Process::said).unwrap_or_default()
    }

    /// Fails if one of the processes has ended.
    pub fn must_run(&mut self) -> Result<()> {
        for process in [&mut self.bridge, &mut self.engine].into_iter().flatten() {
            process.must_run()?;
        }
        Ok(())
    }
}
