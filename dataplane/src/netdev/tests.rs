//! Devices in a network namespace of the test's own; without the right to make one the tests say so and pass.

use std::process::Command;

use nix::sched::{CloneFlags, unshare};

use super::*;
use crate::config::CpuList;

/// Runs `test` on a thread of its own in a fresh network namespace with a veth pair `va`-`vb`.
fn in_namespace(test: impl FnOnce(&mut Netlink) + Send + 'static) {
    let run = move || {
        if unshare(CloneFlags::CLONE_NEWNET).is_err() {
            eprintln!("skipped: no right to make a network namespace");
            return;
        }
        ip("link add va type veth peer name vb");
        ip("link set va up");
        ip("link set vb up");
        test(&mut Netlink::connect().unwrap());
    };
    std::thread::spawn(run).join().unwrap();
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The device as `ip` shows it, without counters of time.
fn shown(name: &str) -> String {
    let text = ip(&format!("-d address show dev {name}"));
    text.lines().filter(|line| !line.contains("fe80") && !line.contains("valid_lft")).collect()
}

#[test]
fn a_prepared_device_is_deaf_and_gets_everything_back() {
    in_namespace(|netlink| {
        ip("address add 192.0.2.1/24 dev va");
        ip("-6 address add 2001:db8::1/64 dev va nodad");
        ip("link set va alias uplink");
        let before = shown("va");
        let mac = netlink.link("va").unwrap().mac.unwrap();
        let prepared = Prepared::new(netlink, "va").unwrap();
        assert_eq!(prepared.mac(), mac);
        let during = netlink.link("va").unwrap();
        assert_ne!(during.mac, Some(mac));
        assert!(during.flags.contains(LinkFlags::Noarp | LinkFlags::Promisc | LinkFlags::Up));
        assert!(netlink.addresses(&during).unwrap().is_empty());
        assert!(!ip("-6 address show dev va").contains("inet6"));
        drop(prepared);
        assert_eq!(shown("va"), before);
    });
}

#[test]
fn a_run_after_a_kill_knows_the_first_address() {
    in_namespace(|netlink| {
        let before = shown("va");
        let first = Prepared::new(netlink, "va").unwrap();
        let mac = first.mac();
        std::mem::forget(first);
        let second = Prepared::new(netlink, "va").unwrap();
        assert_eq!(second.mac(), mac);
        drop(second);
        assert_eq!(shown("va"), before);
    });
}

#[test]
fn a_missing_device_and_a_loopback_are_refused_in_one_line() {
    in_namespace(|netlink| {
        let missing = Prepared::new(netlink, "nix").unwrap_err().to_string();
        assert_eq!(
            missing,
            "network device nix does not exist in this network namespace; name an existing one in iface="
        );
        let loopback = Prepared::new(netlink, "lo").unwrap_err().to_string();
        assert_eq!(loopback, "network device lo has no Ethernet address; a port needs an Ethernet device");
    });
}

#[test]
fn offloads_that_are_on_come_with_the_command_that_turns_them_off() {
    in_namespace(|netlink| {
        let prepared = Prepared::new(netlink, "va").unwrap();
        let remedy = prepared.offload_remedy().unwrap();
        assert!(remedy.starts_with("ethtool -K va tx off"), "{remedy}");
        if Command::new("ethtool")
            .args(remedy.split(' ').skip(1))
            .status()
            .is_ok_and(|status| status.success())
        {
            assert_eq!(prepared.offload_remedy(), None);
        }
    });
}

const TWO: &str = r#"
[engine]
workers = [0]
[[port]]
name = "wan"
device = "net_af_packet0,iface=va"
mtu = 1400
addresses = ["192.0.2.1/24", "2001:db8::1/64"]
[[interface]]
name = "ipsec1"
if_id = 1
addresses = ["10.255.0.1/30"]
[[neighbor]]
port = "wan"
ip = "192.0.2.2"
mac = "02:00:00:00:00:02"
[[route]]
to = "10.2.0.0/16"
dev = "ipsec1"
[[route]]
to = "10.3.0.0/16"
via = "192.0.2.2"
dev = "wan"
"#;

fn config(text: &str) -> Config {
    Config::parse(std::path::Path::new("t.toml"), text, &CpuList(vec![0])).unwrap()
}

#[test]
fn taps_and_tuns_carry_what_the_file_says_and_stay_without_carrier() {
    in_namespace(|netlink| {
        let config = config(TWO);
        let mac = [2, 0, 0, 0, 0, 7];
        let taps = open_taps(netlink, &config, &[mac]).unwrap();
        let tun = open_tun(netlink, &config.interfaces[0]).unwrap();
        give_routes(netlink, &config).unwrap();
        let wan = ip("address show dev wan");
        for part in ["mtu 1400", "02:00:00:00:00:07", "192.0.2.1/24", "2001:db8::1/64", "LOWER_UP"] {
            assert!(wan.contains(part), "{part} in {wan}");
        }
        let routes = ip("route show");
        assert!(
            routes.contains("10.2.0.0/16 dev ipsec1") && routes.contains("10.3.0.0/16 via 192.0.2.2 dev wan")
        );
        assert!(ip("neighbour show dev wan").contains("192.0.2.2 lladdr 02:00:00:00:00:02 PERMANENT"));
        drop((taps, tun));
        let wan = ip("address show dev wan");
        assert!(wan.contains("NO-CARRIER") && wan.contains("192.0.2.1/24"), "{wan}");
        open_taps(netlink, &config, &[mac]).unwrap();
    });
}

#[test]
fn a_reload_changes_only_what_differs() {
    in_namespace(|netlink| {
        let old = config(TWO);
        let _taps = open_taps(netlink, &old, &[[2, 0, 0, 0, 0, 7]]).unwrap();
        let _tun = open_tun(netlink, &old.interfaces[0]).unwrap();
        give_routes(netlink, &old).unwrap();
        let new =
            config(&TWO.replace("10.2.0.0/16", "10.4.0.0/16").replace("10.255.0.1/30", "10.255.0.2/30"));
        change_settings(netlink, &old, &new).unwrap();
        let routes = ip("route show");
        assert!(routes.contains("10.4.0.0/16 dev ipsec1") && !routes.contains("10.2.0.0/16"), "{routes}");
        let addresses = ip("address show dev ipsec1");
        assert!(addresses.contains("10.255.0.2/30") && !addresses.contains("10.255.0.1/30"), "{addresses}");
        assert!(routes.contains("10.3.0.0/16 via 192.0.2.2"));
    });
}

#[test]
fn neighbours_are_told_and_a_missing_one_is_asked_for() {
    in_namespace(|netlink| {
        let config = config(TWO);
        let taps = open_taps(netlink, &config, &[[2, 0, 0, 0, 0, 7]]).unwrap();
        give_routes(netlink, &Config { routes: vec![], ..config }).unwrap();
        let index = taps[0].link.index;
        let mut neighbours = Neighbours::follow().unwrap();
        let mut seen = Vec::new();
        while neighbours.read(|notice| seen.push(notice)).unwrap() {}
        let known = Known::Confirmed([2, 0, 0, 0, 0, 2]);
        assert!(seen.contains(&Notice { index, ip: "192.0.2.2".parse().unwrap(), known }), "{seen:?}");
        neighbours.solicit(index, "192.0.2.9".parse().unwrap()).unwrap();
        let mut frame = [0; 2048];
        let request = (0..100).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            let len = taps[0].tap.read(&mut frame).ok()?;
            (len >= 42 && frame[12..14] == [8, 6] && frame[38..42] == [192, 0, 2, 9]).then_some(len)
        });
        assert!(request.is_some(), "the kernel sent no ARP request");
    });
}
