//! Packets too long for the tunnel: told, fragmented or cut at the source, never dropped in silence.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and the world then prints its logs")]

use espalier_tests::pair::{self, Outer, Pair};
use espalier_tests::topology::{self, Side};
use espalier_tests::{Netns, Process, wait};

fn pair(test: &str, outer: Outer) -> Pair {
    let toml = |side: Side| {
        topology::espalier_toml(side)
            .interface("ipsec1", 1)
            .route(&side.other().lan_v4(), "ipsec1")
            .route(&side.other().lan_v6(), "ipsec1")
    };
    let connection =
        |side: Side| pair::connection("ab", side, outer).child(pair::both_families("net", side).if_id("1"));
    let (a, b) = (connection(Side::A), connection(Side::B));
    let pair = Pair::start(test, [toml(Side::A), toml(Side::B)], [&[a], &[b]]).unwrap();
    pair.a.ike().unwrap().initiate("net").unwrap();
    pair.sites.host_a.ping(&Side::B.host_v4(), 1).unwrap();
    pair
}

/// Pings once with so many octets of payload; `discovery` is ping's `-M`.
fn ping(host: &Netns, target: &str, payload: u32, discovery: &str) -> (bool, String) {
    let size = payload.to_string();
    let output = host
        .command("ping", &["-n", "-c", "2", "-i", "0.3", "-W", "2", "-M", discovery, "-s", &size, target])
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

/// Reads the figure of "mtu = N" or "mtu=N" from what ping said.
fn told_mtu(said: &str) -> Option<u32> {
    let (_, rest) = said.split_once("mtu")?;
    rest.trim_start_matches([' ', '=', ':']).split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn tcp_passes(pair: &Pair, address: &str) {
    let mut command = pair.sites.host_b.command("iperf3", &["-s", "-1", "--forceflush"]);
    let mut server = Process::spawn(&pair.world, "iperf3", &mut command).unwrap();
    wait::until("the iperf3 server", wait::STEP, || {
        server.must_run()?;
        Ok(server.said().contains("listening").then_some(()))
    })
    .unwrap();
    let report = pair.sites.host_a.run("iperf3", &["-c", address, "-n", "20M", "-J"]).unwrap();
    assert!(report.contains("sum_received"), "{report}");
    server.wait(wait::STEP).unwrap();
    std::fs::remove_file(server.log()).unwrap();
}

/// `largest` is the inner packet that just fits an outer MTU of 1500.
fn the_limit_is(test: &str, outer: Outer, largest: u32) {
    let mut pair = pair(test, outer);
    let (a, v4, v6) = (pair.sites.host_a.clone(), Side::B.host_v4(), Side::B.host_v6());
    for (target, header) in [(&v4, 28), (&v6, 48)] {
        let (passed, said) = ping(&a, target, largest - header, "do");
        assert!(passed, "{largest} octets pass: {said}");
        let (_, said) = ping(&a, target, largest - header + 4, "do");
        assert_eq!(told_mtu(&said), Some(largest), "{said}");
    }
    // Without DF the gateway makes fragments; an IPv6 host does it itself once it was told.
    a.ip("route flush cache").unwrap();
    let (passed, said) = ping(&a, &v4, 1472, "dont");
    assert!(passed, "{said}");
    let (passed, said) = ping(&a, &v6, 3000, "want");
    assert!(passed, "{said}");
    tcp_passes(&pair, &v4);
    tcp_passes(&pair, &v6);
    pair.check().unwrap();
}

#[test]
fn over_ipv4_the_largest_inner_packet_is_what_the_headers_leave() {
    // 1500 - 20 outer, 16 SPI to IV, 16 ICV leave 1448, a multiple of 4 with the 2-octet trailer: 1446.
    the_limit_is("oversized-v4", Outer::V4, 1446);
}

#[test]
fn over_ipv6_the_largest_inner_packet_is_twenty_octets_shorter() {
    the_limit_is("oversized-v6", Outer::V6, 1426);
}
