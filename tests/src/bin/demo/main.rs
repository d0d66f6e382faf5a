//! `make demo`: two hosts talk through ESP made by Espalier, keyed by an unmodified strongSwan.
//!
//! host A - gateway A (charon, plugin, ike-bridge, espalier) - gateway B (strongSwan's kernel-libipsec) - host B,
//! each in a network namespace. The tunnel is rekeyed under numbered traffic while captures run; the table at
//! the end says what became of every packet. Exit code 0: nothing lost, doubled or repeated.

mod stage;
mod verdict;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use espalier_tests::charon::Charon;
use espalier_tests::topology::Side;
use espalier_tests::traffic::{self, Flow};
use espalier_tests::{Result, World, binaries, wait};

use stage::Stage;
use verdict::Verdict;

/// Datagrams per second and direction; the promise is 5 000 at least.
const PPS: u32 = 6000;

/// CHILD_SA rekeyings, from A and B in turn.
const CHILD_REKEYS: u32 = 6;

/// Time between two rekeyings.
const PAUSE: Duration = Duration::from_millis(1200);

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some() {
        println!(
            "usage: demo\nShows two hosts that talk through an Espalier gateway; needs root. Try: make demo"
        );
        return ExitCode::from(if std::env::args().nth(1).is_some_and(|a| a == "--help") { 0 } else { 2 });
    }
    let clock = Clock(Instant::now());
    match demo(&clock) {
        Ok(verdict) => {
            println!("\n{verdict}");
            clock.say(&verdict.last_line());
            ExitCode::from(u8::from(!verdict.passed()))
        }
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Says what is being done, with the time since the start.
struct Clock(Instant);

impl Clock {
    fn say(&self, what: &str) {
        println!("[{:5.1} s] {what}", self.0.elapsed().as_secs_f64());
    }
}

fn demo(clock: &Clock) -> Result<Verdict> {
    binaries::require_all()?;
    let world = World::new("demo")?;
    let outcome = show(clock, &world);
    if outcome.is_err() {
        world.print_logs();
    }
    clock.say("removing namespaces and processes");
    outcome
}

fn show(clock: &Clock, world: &World) -> Result<Verdict> {
    clock
        .say("laying wires: host A - gateway A (Espalier) - gateway B (strongSwan kernel-libipsec) - host B");
    let mut stage = Stage::set_up(world)?;
    clock.say("starting ike-bridge, espalier and charon at gateway A, charon at gateway B");
    stage.start(world)?;
    let captures = stage.start_captures(world)?;
    clock.say("swanctl --initiate: negotiating the tunnel");
    stage.ike_a()?.initiate("net")?;
    clock.say("pinging from both sides");
    stage.ping_both_ways()?;
    for (words, reverse) in [("A to B", false), ("B to A", true)] {
        let (gbit, mtu) = stage.iperf(world, reverse)?;
        clock.say(&format!("iperf3 {words}, hosts at MTU {mtu}: {gbit:.2} Gbit/s of TCP"));
    }
    clock.say(&format!("numbered UDP, {PPS} datagrams a second each way, while the keys change"));
    let no_room_before = stage.socket_drops_b()?;
    let a_to_b = Flow::start(stage.sites.flow_v4(Side::A, 7001, PPS)?)?;
    let b_to_a = Flow::start(stage.sites.flow_v4(Side::B, 7001, PPS)?)?;
    let rekeyed = rekey_under_traffic(clock, &stage, [&a_to_b, &b_to_a]);
    let reports = <[_; 2]>::try_from(traffic::finish([a_to_b, b_to_a])?)
        .map_err(|_| anyhow!("two flows make two reports"))?;
    let rekeyed_ns = rekeyed?;
    let no_room = stage.socket_drops_b()?.saturating_sub(no_room_before);
    clock.say("espctl status");
    print!("{}", stage.gateway_a.espctl().run("status")?);
    stage.ping_both_ways()?;
    let ledger = stage.ledger()?;
    clock.say("reading the captures");
    Verdict::new(reports, rekeyed_ns, captures.finish()?, &ledger, no_room)
}

/// Rekeys the CHILD_SA from both sides in turn and the IKE_SA once in the middle.
///
/// Returns the times at which the CHILD_SA rekeyings began, in nanoseconds since 1970.
fn rekey_under_traffic(clock: &Clock, stage: &Stage, flows: [&Flow; 2]) -> Result<Vec<u64>> {
    let mut began_ns = Vec::new();
    std::thread::sleep(PAUSE);
    for number in 1..=CHILD_REKEYS {
        let (side, charon): (_, &Charon) =
            if number % 2 == 1 { ("A", stage.ike_a()?) } else { ("B", &stage.charon_b) };
        began_ns.push(now_ns()?);
        charon.rekey_child("net")?;
        clock.say(&format!("CHILD_SA rekeyed by gateway {side} ({number} of {CHILD_REKEYS})"));
        std::thread::sleep(PAUSE);
        if number == CHILD_REKEYS / 2 {
            stage.ike_a()?.rekey_ike("ab")?;
            clock.say("IKE_SA rekeyed by gateway A");
            std::thread::sleep(PAUSE);
        }
    }
    traffic::progress(flows, 1000, wait::STEP)?;
    Ok(began_ns)
}

fn now_ns() -> Result<u64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(u64::try_from(since.as_nanos())?)
}
