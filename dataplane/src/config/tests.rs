//! The example of the manual parses; each fault gives exactly one line.

use super::*;

pub(super) const EXAMPLE: &str = r#"[engine]
runtime_dir = "/run/espalier"
workers     = [1]
hugepages   = false
netdevs     = true
idle        = "sleep"
unprotected = "drop"
min_replay_window = 1024
[crypto]
backend = "auto"
[metrics]
listen = "127.0.0.1:9111"

[[port]]
name      = "wan"
device    = "net_af_packet0,iface=veth-wan"
mtu       = 1500
addresses = ["192.0.2.1/24", "2001:db8::1/64"]

[[interface]]
name      = "ipsec1"
if_id     = 1
addresses = ["10.255.0.1/30"]

[[neighbor]]
port = "wan"
ip   = "192.0.2.2"
mac  = "02:00:00:00:00:02"

[[route]]
to  = "10.2.0.0/16"
dev = "ipsec1"
[[route]]
to  = "0.0.0.0/0"
via = "192.0.2.2"
dev = "wan"
"#;

pub(super) fn parse(text: &str) -> Result<Config, Error> {
    Config::parse(Path::new("gw.toml"), text, &CpuList(vec![0, 1, 2, 3]))
}

fn fault(from: &str, to: &str) -> String {
    assert!(EXAMPLE.contains(from), "the example lacks {from}");
    parse(&EXAMPLE.replacen(from, to, 1)).unwrap_err().to_string()
}

#[test]
fn the_example_of_the_manual_parses() {
    let config = parse(EXAMPLE).unwrap();
    assert_eq!(config.engine.workers, [1]);
    assert_eq!(config.engine.idle, Some(Idle::Sleep));
    assert_eq!(config.ports[0].device.kernel_device(), Some("veth-wan"));
    assert_eq!(config.interfaces[0].if_id, IfId(1));
    assert_eq!(config.routes[1].via, Some("192.0.2.2".parse().unwrap()));
    assert_eq!(config.metrics, Some("127.0.0.1:9111".parse().unwrap()));
}

#[test]
fn an_if_id_is_read_in_hex_too() {
    let config = parse(&EXAMPLE.replace("if_id     = 1", "if_id = \"0x2a\"")).unwrap();
    assert_eq!(config.interfaces[0].if_id, IfId(42));
}

#[test]
fn what_the_file_leaves_out_has_its_default() {
    let config =
        parse("[engine]\nworkers = [0]\n[[port]]\nname = \"a\"\ndevice = \"0000:3b:00.0\"\n").unwrap();
    assert_eq!(config.engine.runtime_dir, Path::new("/run/espalier"));
    assert!(config.engine.netdevs && !config.engine.hugepages && config.engine.idle.is_none());
    assert_eq!(config.engine.min_replay_window.pkts(), 1024);
    assert_eq!((config.engine.buffers, config.engine.flows), (None, Flows::DEFAULT));
    assert!(!config.engine.spray_inbound);
    assert_eq!(config.ports[0].mtu.octets(), 1500);
    assert_eq!((config.backend, config.metrics), (Backend::Auto, None));
}

#[test]
fn every_fault_is_one_line_with_place_key_fault_and_remedy() {
    for (from, to, expected) in FAULTS {
        assert_eq!(&fault(from, to), expected, "for {to}");
    }
}

#[test]
fn a_second_interface_with_the_same_if_id_is_refused() {
    let text = format!("{EXAMPLE}[[interface]]\nname = \"b\"\nif_id = \"0x1\"\n");
    let line = parse(&text).unwrap_err().to_string();
    assert_eq!(line, "gw.toml:39: interface.if_id: if_id 0x1 (1) stands twice; remove one or change it");
}

#[test]
fn two_ports_on_one_device_are_refused() {
    let text = format!("{EXAMPLE}[[port]]\nname = \"b\"\ndevice = \"net_af_packet1,iface=veth-wan\"\n");
    let line = parse(&text).unwrap_err().to_string();
    assert_eq!(
        line,
        "gw.toml:39: port.device: the kernel device veth-wan stands twice; remove one or change it"
    );
}

#[test]
fn a_file_without_port_or_engine_is_refused() {
    let line = parse("[engine]\nworkers = [0]\n").unwrap_err().to_string();
    assert_eq!(line, "gw.toml:2: port: empty; give at least one port");
    let line = parse("[[port]]\nname = \"a\"\ndevice = \"net_null0\"\n").unwrap_err().to_string();
    assert_eq!(line, "gw.toml:1: port: missing field `engine`; add it");
}

#[test]
fn an_unreadable_file_is_named() {
    let line = Config::load(Path::new("/nonexistent/gw.toml")).unwrap_err().to_string();
    assert!(line.starts_with("/nonexistent/gw.toml: cannot be read: No such file"), "{line}");
}

#[test]
fn ports_workers_and_hugepages_need_a_restart_and_the_rest_does_not() {
    let old = parse(EXAMPLE).unwrap();
    assert_eq!(old.difference(&old), Difference::None);
    let changed = |from: &str, to: &str| old.difference(&parse(&EXAMPLE.replacen(from, to, 1)).unwrap());
    let restart = |part| Difference::NeedsRestart(vec![part]);
    assert_eq!(changed("[1]", "[1, 2]"), restart(Restart::Workers));
    assert_eq!(changed("hugepages   = false", "hugepages = true"), restart(Restart::Hugepages));
    assert_eq!(changed("= 1024", "= 1024\nbuffers = 65536"), restart(Restart::Buffers));
    assert_eq!(changed("= 1024", "= 1024\nflows = 65536"), restart(Restart::Flows));
    assert_eq!(changed("= 1024", "= 1024\nspray_inbound = true"), restart(Restart::SprayInbound));
    assert_eq!(changed("iface=veth-wan", "iface=veth1"), restart(Restart::Ports));
    assert_eq!(changed("mtu       = 1500", "mtu = 1400"), restart(Restart::Ports));
    assert_eq!(changed("\"192.0.2.1/24\"", "\"192.0.2.9/24\""), Difference::Live);
    assert_eq!(changed("\"drop\"", "\"forward\""), Difference::Live);
    assert_eq!(changed("if_id     = 1", "if_id = 7"), Difference::Live);
    assert_eq!(changed("to  = \"10.2.0.0/16\"", "to  = \"10.3.0.0/16\""), Difference::Live);
}

/// What is replaced in the example, by what, and the line that has to come.
const FAULTS: &[(&str, &str, &str)] = &[
    (
        "hugepages   = false",
        "hugepage = false",
        "gw.toml:4: engine.hugepage: unknown field `hugepage`, expected one of `runtime_dir`, `workers`, `hugepages`, `netdevs`, `idle`, `unprotected`, `min_replay_window`, `buffers`, `flows`, `spray_inbound`; remove or correct it",
    ),
    (
        "hugepages   = false",
        "hugepages = 1",
        "gw.toml:4: engine.hugepages: invalid type: integer `1`, expected a boolean; correct it",
    ),
    (
        "hugepages   = false",
        "hugepages = ",
        "gw.toml:4: engine.hugepages: string values must be quoted, expected literal string; correct it",
    ),
    (
        "\"/run/espalier\"",
        "\"run\"",
        "gw.toml:2: engine.runtime_dir: not an absolute path of at most 90 octets; write one as \"/run/espalier\"",
    ),
    ("[1]", "[]", "gw.toml:3: engine.workers: empty; give at least one CPU"),
    (
        "[1]",
        "[9]",
        "gw.toml:3: engine.workers: CPU 9 does not exist or is not open to this process; choose from 0-3",
    ),
    (
        "[1]",
        "[-1]",
        "gw.toml:3: engine.workers: CPU -1 does not exist or is not open to this process; choose from 0-3",
    ),
    ("[1]", "[1,\n  1]", "gw.toml:4: engine.workers: CPU 1 stands twice; remove one or change it"),
    ("\"sleep\"", "\"nap\"", "gw.toml:6: engine.idle: \"nap\" is not known; write \"sleep\" or \"spin\""),
    (
        "\"drop\"",
        "\"pass\"",
        "gw.toml:7: engine.unprotected: \"pass\" is not known; write \"drop\" or \"forward\"",
    ),
    (
        "= 1024",
        "= 31",
        "gw.toml:8: engine.min_replay_window: 31 is outside 32..1048576 packets; choose a value inside",
    ),
    (
        "= 1024",
        "= 1024\nflows = 100",
        "gw.toml:9: engine.flows: 100 is outside 32768..16777216 flows; choose a value inside",
    ),
    (
        "= 1024",
        "= 1024\nspray_inbound = \"yes\"",
        "gw.toml:9: engine.spray_inbound: invalid type: string \"yes\", expected a boolean; correct it",
    ),
    (
        "= 1024",
        "= 1024\nbuffers = 100",
        "gw.toml:9: engine.buffers: 100 is outside 16384..4194304 buffers; choose a value inside",
    ),
    (
        "\"auto\"",
        "\"openssl\"",
        "gw.toml:10: crypto.backend: \"openssl\" is not known; write \"auto\", \"vaes\", \"ipsec-mb\" or \"rustcrypto\"",
    ),
    (
        "\"127.0.0.1:9111\"",
        "\"9111\"",
        "gw.toml:12: metrics.listen: \"9111\" is no address with a port; write one as \"127.0.0.1:9111\"",
    ),
    (
        "= \"wan\"",
        "= \"a-name-too-long-for-linux\"",
        "gw.toml:15: port.name: \"a-name-too-long-for-linux\" cannot name a network device; use 1 to 15 letters, digits, '-', '_' or '.'",
    ),
    (
        "port = \"wan\"",
        "port = \"ipsec1\"",
        "gw.toml:26: neighbor.port: no [[port]] is named \"ipsec1\"; name one that the file has",
    ),
    (
        "= \"ipsec1\"",
        "= \"wan\"",
        "gw.toml:21: interface.name: the name wan stands twice; remove one or change it",
    ),
    (
        "net_af_packet0,iface=veth-wan",
        "veth-wan",
        "gw.toml:16: port.device: \"veth-wan\" is no DPDK device; write devargs as \"net_af_packet0,iface=veth0\" or a PCI address as \"0000:3b:00.0\"",
    ),
    (
        "iface=veth-wan",
        "iface=wan",
        "gw.toml:15: port.name: \"wan\" is the kernel device behind a port, and the port's TAP needs a name of its own; rename one",
    ),
    (
        "mtu       = 1500",
        "mtu = 100",
        "gw.toml:17: port.mtu: 100 is outside 576..9000 octets; choose a value inside",
    ),
    (
        "mtu       = 1500",
        "mtu = 1200",
        "gw.toml:17: port.mtu: 1200 octets are too few for the IPv6 addresses of the port; use 1280 or more",
    ),
    (
        "\"192.0.2.1/24\"",
        "\"192.0.2.1\"",
        "gw.toml:18: port.addresses: \"192.0.2.1\" is no address with a prefix length; write one as \"192.0.2.1/24\"",
    ),
    (
        "\"192.0.2.1/24\"",
        "\"224.0.0.1/24\"",
        "gw.toml:18: port.addresses: \"224.0.0.1/24\" is no unicast IP address; write one as \"192.0.2.2\" or \"2001:db8::2\"",
    ),
    (
        "10.255.0.1/30",
        "192.0.2.1/32",
        "gw.toml:23: interface.addresses: the address 192.0.2.1 stands twice; remove one or change it",
    ),
    (
        "if_id     = 1",
        "if_id = 0",
        "gw.toml:22: interface.if_id: \"0\" is no if_id; write a number from 1 to 4294967295, or in hex as \"0x1\"",
    ),
    (
        "if_id     = 1",
        "if_id = \"0xg\"",
        "gw.toml:22: interface.if_id: \"0xg\" is no if_id; write a number from 1 to 4294967295, or in hex as \"0x1\"",
    ),
    (
        "\"02:00:00:00:00:02\"",
        "\"01:00:00:00:00:02\"",
        "gw.toml:28: neighbor.mac: \"01:00:00:00:00:02\" is no unicast Ethernet address; write one as \"02:00:00:00:00:02\"",
    ),
    (
        "ip   = \"192.0.2.2\"",
        "ip = \"0.0.0.0\"",
        "gw.toml:27: neighbor.ip: \"0.0.0.0\" is no unicast IP address; write one as \"192.0.2.2\" or \"2001:db8::2\"",
    ),
    (
        "10.2.0.0/16",
        "10.2.0.1/16",
        "gw.toml:31: route.to: 10.2.0.1/16 has bits set behind its prefix; write 10.2.0.0/16",
    ),
    (
        "to  = \"0.0.0.0/0\"",
        "to  = \"10.2.0.0/16\"",
        "gw.toml:34: route.to: the route to 10.2.0.0/16 stands twice; remove one or change it",
    ),
    (
        "dev = \"ipsec1\"",
        "dev = \"ipsec2\"",
        "gw.toml:32: route.dev: no [[port]] or [[interface]] is named \"ipsec2\"; name one that the file has",
    ),
    (
        "dev = \"ipsec1\"",
        "dev = \"ipsec1\"\nvia = \"192.0.2.2\"",
        "gw.toml:33: route.via: an [[interface]] has no next hop; remove the key",
    ),
    (
        "via = \"192.0.2.2\"\n",
        "",
        "gw.toml:35: route.dev: a route out of a port needs a next hop; add via = \"ADDRESS\"",
    ),
    (
        "via = \"192.0.2.2\"",
        "via = \"198.51.100.1\"",
        "gw.toml:35: route.via: 198.51.100.1 is not on the link of port \"wan\"; add an address of its network to the port or correct it",
    ),
    (
        "via = \"192.0.2.2\"",
        "via = \"2001:db8::2\"",
        "gw.toml:35: route.via: 2001:db8::2 is of another address family than the route; give a next hop of the same family",
    ),
    ("name      = \"ipsec1\"\n", "", "gw.toml:20: interface: missing field `name`; add it"),
];
