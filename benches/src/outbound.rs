//! Outbound rows: the installed programs between `net_pcap` and `net_null`, beside AEAD and I/O alone in the same rounds.

use anyhow::Context as _;

use crate::engine::{Running, with_measured_cpu};
use crate::floor::Windows;
use crate::gateway::Gateway;
use crate::load::{self, Loaded};
use crate::peers::Peers;
use crate::report::{Figures, ratios};
use crate::rows::Row;
use crate::settings::Settings;
use crate::spread::Spread;
use crate::toml::{Keys, Setup};
use crate::{Result, inbound, io, sample, traffic};

/// Measures a row at every length. The keys are loaded once: bridge and numbers go on from length to length.
///
/// # Errors
/// Those of the parts.
pub fn measure(settings: &Settings, row: Row) -> Result<Vec<Figures>> {
    let peers = Peers { count: row.sas() };
    let order = traffic::order(peers);
    let packets = u32::try_from(order.len())?;
    let (scratch, pcap) = (settings.folder(row.name())?, settings.scratch.join("given.pcap"));
    let source = format!("net_pcap0,rx_pcap={},infinite_rx=1", pcap.display());
    // The source keeps every packet of the file in a buffer.
    let buffers = (packets > MANY).then_some(packets + MANY);
    let setup =
        Setup { cpu: settings.cpus.measured, source: &source, sink: "net_null0,no-rx=1", peers, buffers };
    let mut running: Option<(Gateway, String, Loaded)> = None;
    let mut all = Vec::new();
    for octets in settings.sizes.iter().copied() {
        traffic::write(&pcap, octets, peers, &order)?;
        let (gateway, crypto, loaded) = match &mut running {
            None => running.insert(start(settings, &setup, &scratch, row)?),
            Some(before) => {
                say(row, octets, "the engine starts again");
                with_measured_cpu(&settings.cpus, || before.0.start_engine(|dir| setup.render(dir)))?;
                load::settle(&before.0)?;
                before
            }
        };
        let figures = rounds(settings, row, octets, gateway, &io::Job::new(settings, &pcap, packets)?)?;
        let opened = if row == Row::Out1 && settings.sample {
            say(row, octets, "a sample for scapy");
            sample::check(&settings.folder("sample")?, &settings.cpus, &pcap)?;
            Some(sample::PACKETS)
        } else {
            None
        };
        let in_memory = (row == Row::Out1).then(|| inbound::residence(settings, row, octets));
        let residence = in_memory.transpose()?;
        all.push(Figures { opened, loaded: Some(*loaded), residence, crypto: crypto.clone(), ..figures });
    }
    Ok(all)
}

/// Starts bridge and engine and loads the keys; returns the gateway, what it says of its AEAD, and what the keys took.
pub(crate) fn start(
    settings: &Settings,
    setup: &Setup<'_>,
    scratch: &std::path::Path,
    row: Row,
) -> Result<(Gateway, String, Loaded)> {
    // Two SAs each; twice as many policies are admitted.
    let capacity = setup.peers.count.saturating_mul(2);
    let start = || Gateway::start(scratch, capacity, |dir| setup.render(dir));
    let gateway = with_measured_cpu(&settings.cpus, start)?;
    let crypto = gateway.json("status")?["crypto"].as_str().unwrap_or_default().to_owned();
    eprintln!("{row}: {} pairs of SAs by espctl -batch", setup.peers.count);
    let loaded = Loaded::load(&gateway, &Keys::random(setup.peers, row.algorithm())?)?;
    Ok((gateway, crypto, loaded))
}

/// Measures AEAD, I/O and the whole engine in turns, so that a spell in which the machine is slow meets all three.
fn rounds(
    settings: &Settings,
    row: Row,
    octets: u16,
    gateway: &mut Gateway,
    io: &io::Job,
) -> Result<Figures> {
    let mut engine = Running::over(gateway)?;
    let mut io_alone = io::Alone::start(io)?;
    let (mut aead, mut io) = (Windows::new(octets, row.direction()), Vec::new());
    for round in 1..=settings.rounds {
        say(row, octets, &format!("round {round} of {}: AEAD, I/O, engine", settings.rounds));
        aead.take(row.algorithm(), settings.cpus.measured)?;
        io.push(io_alone.window()?);
        engine.window(settings.window)?;
    }
    drop(io_alone);
    let engine = engine.stop()?;
    let (aead, each_aead) = aead.fastest()?;
    let ratio = ratios(&engine.each_ns, &each_aead, &io)?;
    let io = Spread::of(io).context("no window of the I/O alone")?;
    Ok(Figures::new(row, octets, engine, aead, io, ratio))
}

fn say(row: Row, octets: u16, what: &str) {
    eprintln!("{row}, {octets} octets: {what}");
}

/// What fits beside the descriptors in the buffers that the engine makes by itself.
const MANY: u32 = 32_768;
