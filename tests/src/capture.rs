//! Captures on an interface by tcpdump, with its own drops counted.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::Signal;

use crate::pcap::{self, Frame};
use crate::{Netns, Process, Result, World, wait};

/// Which frames of an interface are captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// What arrives at the interface. An af_packet port bypasses the taps on transmit, so this is
    /// what to capture at both ends of a wire.
    In,
    /// What leaves it.
    Out,
    /// Both.
    Both,
}

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    path: PathBuf,
}

/// How often the file of a capture is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How long a block of the kernel's ring may wait for more frames: tcpdump asks for a second.
const KEPT_BACK: Duration = Duration::from_secs(1);

/// A finished capture.
#[derive(Debug)]
pub struct Captured {
    /// The frames in their order.
    pub frames: Vec<Frame>,
    /// Packets that the capture itself lost.
    pub capture_drops: u64,
    /// The file.
    pub path: PathBuf,
}

/// Captures whole frames.
pub const WHOLE: u32 = 65_535;

impl Capture {
    /// Starts a capture and returns when it listens.
    ///
    /// `snap_octets` bounds what is kept of each frame.
    pub fn start(
        world: &World,
        netns: &Netns,
        device: &str,
        direction: Direction,
        snap_octets: u32,
    ) -> Result<Self> {
        let word = match direction {
            Direction::In => "in",
            Direction::Out => "out",
            Direction::Both => "inout",
        };
        let role = netns.name().rsplit('-').next().unwrap_or("ns");
        let label = format!("capture-{role}-{device}-{word}");
        let path = unused(world.logs(), &label);
        let label = path.file_stem().map_or(label, |stem| stem.to_string_lossy().into_owned());
        let snap = snap_octets.to_string();
        let file = path.display().to_string();
        // 64 MiB of ring: a stalled machine must not cost a frame. As root, since the directory is private.
        let mut command = netns.command(
            "tcpdump",
            &[
                "-n",
                "-p",
                "-i",
                device,
                "-Q",
                word,
                "-s",
                &snap,
                "-B",
                "65536",
                "-Z",
                "root",
                "-U",
                "--time-stamp-precision=nano",
                "-w",
                &file,
            ],
        );
        let mut process = Process::spawn(world, &label, &mut command)?;
        wait::until("tcpdump to listen", wait::STEP, || {
            process.must_run()?;
            Ok(process.said().contains("listening on").then_some(()))
        })?;
        Ok(Self { process, path })
    }

    /// Ends the capture once its file stopped growing for longer than the kernel may keep a frame back, and reads it.
    pub fn finish(mut self) -> Result<Captured> {
        let (mut size, mut quiet) = (0, 0);
        for _ in 0..100 {
            std::thread::sleep(LOOK);
            let now = std::fs::metadata(&self.path).map_or(0, |meta| meta.len());
            quiet = if now == size { quiet + 1 } else { 0 };
            if LOOK * quiet > KEPT_BACK {
                break;
            }
            size = now;
        }
        self.process.signal(Signal::SIGINT)?;
        // On a busy machine the kernel takes its time to take the ring back.
        self.process.wait(wait::LONG)?;
        let said = self.process.said();
        let capture_drops = drops(&said).with_context(|| format!("tcpdump said: {said}"))?;
        Ok(Captured { frames: pcap::read(&self.path)?, capture_drops, path: self.path })
    }
}

/// Reads "N packets dropped by kernel" and "... by interface".
fn drops(said: &str) -> Option<u64> {
    let count = |ending: &str| {
        let line = said.lines().rev().find(|line| line.contains(ending))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(count("dropped by kernel")? + count("dropped by interface").unwrap_or(0))
}

fn unused(directory: &Path, label: &str) -> PathBuf {
    (0_u32..)
        .map(|n| directory.join(if n == 0 { format!("{label}.pcap") } else { format!("{label}-{n}.pcap") }))
        .find(|path| !path.exists())
        .unwrap_or_else(|| directory.join(label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drops_of_the_capture_are_read_from_what_tcpdump_says() {
        let said = "10 packets captured\n12 packets received by filter\n2 packets dropped by kernel\n";
        assert_eq!(drops(said), Some(2));
        assert_eq!(drops("nothing"), None);
    }
}
