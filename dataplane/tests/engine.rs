//! The engine as a process: it answers, reloads, stops, and refuses what is wrong in one line with the right code.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use esp::DropReason;
use nix::sys::signal::Signal;
use running::{Place, Running, fails, run};
use shm_protocol::messages::control::{Cursor, EngineReply, EngineRequest, Ledger, TunnelState};

mod running;

const PORT: &str = "[[port]]\nname = \"a\"\ndevice = \"net_null0,no-rx=1\"\naddresses = [\"192.0.2.1/24\"]\n";
const TUNNEL: &str = "[[interface]]\nname = \"ipsec1\"\nif_id = 1\n";

fn place() -> Place {
    let place = Place::new();
    place.write("netdevs = false", &format!("{PORT}{TUNNEL}"));
    place
}

#[test]
fn a_running_engine_answers_every_list() {
    let place = place();
    let engine = Running::start(&place);
    let EngineReply::Status(status) = engine.ask(&EngineRequest::Status { cursor: Cursor(0) }) else {
        panic!()
    };
    assert_eq!((status.sas, status.policies, status.bridge_connected), (0, 0, false));
    assert!(status.trouble.contains("ike-bridge is not connected"), "{}", status.trouble);
    assert!(status.crypto.starts_with("AEAD by "));
    let [tunnel] = &status.tunnels[..] else { panic!("{:?}", status.tunnels) };
    assert_eq!((tunnel.name.as_str(), tunnel.if_id.0, tunnel.state), ("ipsec1", 1, TunnelState::Down));
    let EngineReply::Drops { page, total, .. } =
        engine.ask(&EngineRequest::Drops { cursor: Cursor(0), all: true })
    else {
        panic!()
    };
    assert_eq!((total, page[0].name.as_str()), (0, DropReason::ALL[0].name()));
    let EngineReply::Workers { page, ledger, next } =
        engine.ask(&EngineRequest::Workers { cursor: Cursor(0) })
    else {
        panic!()
    };
    assert_eq!((page.len(), ledger, next), (1, Ledger::default(), None));
    let EngineReply::Ports { page, .. } = engine.ask(&EngineRequest::Ports { cursor: Cursor(0) }) else {
        panic!()
    };
    assert_eq!((page[0].name.as_str(), page[0].device.as_str()), ("a", "net_null0,no-rx=1"));
    assert_eq!(engine.stop(Signal::SIGTERM).code(), Some(0));
}

#[test]
fn a_reload_checks_everything_and_applies_the_difference_or_nothing() {
    let place = place();
    let engine = Running::start(&place);
    let reload = || engine.ask(&EngineRequest::Reload);
    assert_eq!(reload(), EngineReply::Reloaded { changed: vec![] });
    let route = "[[route]]\nto = \"10.2.0.0/16\"\ndev = \"ipsec2\"\n";
    let second = "[[interface]]\nname = \"ipsec2\"\nif_id = \"0x2\"\n";
    place.write("netdevs = false", &format!("{PORT}{TUNNEL}{second}{route}"));
    let changed = vec!["interfaces: 2 in force".to_owned(), "routes: 1 in force".to_owned()];
    assert_eq!(reload(), EngineReply::Reloaded { changed });
    place.write("netdevs = false\nhugepages = true", PORT);
    assert_eq!(reload(), EngineReply::NeedsRestart { keys: vec!["engine.hugepages".to_owned()] });
    place.write("netdevs = false\nunknown = 1", PORT);
    let EngineReply::Failed { sentence } = reload() else { panic!() };
    assert!(sentence.contains("gw.toml:5: engine.unknown: unknown field"), "{sentence}");
    let EngineReply::Status(status) = engine.ask(&EngineRequest::Status { cursor: Cursor(0) }) else {
        panic!()
    };
    assert_eq!(status.tunnels.len(), 2, "a failed reload changes nothing");
    place.write("netdevs = false", &format!("{PORT}{second}"));
    engine.signal(Signal::SIGHUP);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let EngineReply::Status(status) = engine.ask(&EngineRequest::Status { cursor: Cursor(0) }) else {
        panic!()
    };
    let names: Vec<&str> = status.tunnels.iter().map(|tunnel| tunnel.name.as_str()).collect();
    assert_eq!(names, ["ipsec2"], "SIGHUP reloads too");
    assert_eq!(engine.stop(Signal::SIGINT).code(), Some(0));
}

#[test]
fn a_second_engine_on_the_same_directory_is_refused_and_the_first_goes_on() {
    let place = place();
    let engine = Running::start(&place);
    let (code, line) = fails(&place.file());
    assert_eq!(code, 1);
    assert!(line.contains("another espalier (process ") && line.contains("already serves"), "{line}");
    engine.ask(&EngineRequest::Workers { cursor: Cursor(0) });
}

#[test]
fn a_killed_engine_starts_again() {
    let place = place();
    let engine = Running::start(&place);
    engine.stop(Signal::SIGKILL);
    Running::start(&place).kill_and_go_on();
    assert_eq!(Running::start(&place).stop(Signal::SIGTERM).code(), Some(0));
}

#[test]
fn a_wrong_configuration_is_code_2_and_a_missing_device_code_1() {
    let place = place();
    place.write("netdevs = false\nnetdev = false", PORT);
    let (code, line) = fails(&place.file());
    assert_eq!(code, 2);
    assert!(line.contains("gw.toml:5: engine.netdev: unknown field `netdev`"), "{line}");
    place.write("netdevs = false", &PORT.replace("net_null0,no-rx=1", "net_af_packet0,iface=nix0"));
    let (code, line) = fails(&place.file());
    assert_eq!(code, 1);
    assert!(line.contains("network device nix0 does not exist"), "{line}");
    place.write("netdevs = false", &PORT.replace("net_null0,no-rx=1", "net_nonsense0"));
    let (code, line) = fails(&place.file());
    assert_eq!(code, 1);
    assert!(line.contains("port a: device net_nonsense0 does not probe"), "{line}");
}

#[test]
fn a_foreign_file_in_the_place_of_the_segment_is_left_alone() {
    let place = place();
    std::fs::create_dir(place.dir()).unwrap();
    let live = place.dir().join("live");
    std::fs::write(&live, [0x55; 8192]).unwrap();
    let (code, line) = fails(&place.file());
    assert_eq!(code, 1);
    assert!(line.contains("live is not an Espalier segment"), "{line}");
    assert_eq!(std::fs::read(&live).unwrap(), [0x55; 8192]);
}

#[test]
fn the_command_line_is_checked() {
    let place = place();
    let file = place.file();
    let check = run(&["--config", file.to_str().unwrap(), "--check"]);
    assert_eq!((check.status.code(), check.stdout.as_slice()), (Some(0), &b"ok\n"[..]));
    assert!(!place.dir().exists(), "a check changes nothing");
    assert_eq!(run(&["--config"]).status.code(), Some(2));
    assert_eq!(run(&["--nonsense"]).status.code(), Some(2));
    let help = run(&["--help"]);
    assert!(
        String::from_utf8_lossy(&help.stdout)
            .contains("espalier --config /etc/espalier/gateway.toml --check")
    );
    let version = run(&["--version"]);
    assert!(String::from_utf8_lossy(&version.stdout).contains("DPDK 22.11"));
}

#[test]
fn metrics_are_openmetrics_and_end_as_they_must() {
    let place = Place::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let metrics = format!("[metrics]\nlisten = \"127.0.0.1:{port}\"\n{PORT}{TUNNEL}");
    place.write("netdevs = false", &metrics);
    let engine = Running::start(&place);
    let text = get(port, "/metrics");
    assert!(
        text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0"),
        "{text}"
    );
    assert!(text.ends_with("# EOF\n"));
    for reason in DropReason::ALL {
        let sample = format!("espalier_dropped_packets_total{{reason=\"{}\",worker=\"0\"}} 0", reason.name());
        assert!(text.contains(&sample), "{sample}");
    }
    for part in
        ["espalier_build_info{version=", "espalier_tunnel_up{if_id=\"1\",name=\"ipsec1\",peer=\"\"} 0"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(get(port, "/").starts_with("HTTP/1.1 404"));
    engine.stop(Signal::SIGTERM);
}

fn get(port: u16, path: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}
