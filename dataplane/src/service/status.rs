//! `espctl status`: each tunnel, whether it is up, since when, how fast, and what is wrong in words.

use shm_protocol::ids::IfId;
use shm_protocol::messages::control::{Cursor, EngineReply, StatusPage, TunnelLine, TunnelState};

use super::facts::Facts;
use super::lists::page;
use super::tunnels::{Key, Tunnel, Tunnels, seconds};
use crate::clock::boottime_ns;
use crate::tables::Tables;

/// Answers `status`.
pub(super) fn status<K>(facts: &Facts<K>, tunnels: &Tunnels, cursor: Cursor) -> EngineReply {
    let now_ns = boottime_ns();
    let tables = facts.view.tables();
    let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
    let head = StatusPage {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime_seconds: seconds(now_ns.saturating_sub(facts.started_ns)),
        crypto: facts.crypto.clone(),
        generation: tunnels.generation(),
        sas: count(tables.inbound.len() + tables.foreign.len() + tables.outbound.len()),
        policies: count(tables.spd.len()),
        bridge_connected: facts.view.bridge_connected(),
        trouble: trouble(facts),
        ledger: facts.ledger(),
        tunnels: Vec::new(),
        next: None,
    };
    let lines = tunnels.iter().map(|(key, tunnel)| TunnelLine {
        sas: tunnels.sas(&tables, key, tunnel, now_ns),
        ..line(&tables, tunnels, key, tunnel, now_ns)
    });
    page(lines, cursor, |tunnels, next| {
        EngineReply::Status(Box::new(StatusPage { tunnels, next, ..head.clone() }))
    })
}

/// Describes every tunnel without its SAs.
pub(super) fn lines<K>(tables: &Tables<K>, tunnels: &Tunnels, now_ns: u64) -> Vec<TunnelLine> {
    tunnels.iter().map(|(key, tunnel)| line(tables, tunnels, key, tunnel, now_ns)).collect()
}

fn line<K>(tables: &Tables<K>, all: &Tunnels, key: &Key, tunnel: &Tunnel, now_ns: u64) -> TunnelLine {
    let interface = tables.derived.interfaces.get(&esp::IfId(key.if_id));
    let interface = interface.and_then(|id| tables.interface(*id));
    let totals = *all.totals_of_the_only_tunnel(key.if_id).unwrap_or(&tunnel.totals);
    let rate = all.rate(tunnel);
    let last_ns = tunnel.last_packet_ns;
    TunnelLine {
        if_id: IfId(key.if_id),
        name: interface.map(|interface| interface.name.clone()).unwrap_or_default(),
        peer: key.peer,
        peer_port: tunnel.peer_port,
        local: tunnel.local,
        state: tunnel.state,
        since_seconds: seconds(now_ns.saturating_sub(tunnel.since_ns)),
        last_packet_ago_seconds: (last_ns != 0).then(|| seconds(now_ns.saturating_sub(last_ns))),
        in_octets: totals.in_octets,
        in_packets: totals.in_packets,
        out_octets: totals.out_octets,
        out_packets: totals.out_packets,
        in_bits_per_second: rate.in_bits,
        in_packets_per_second: rate.in_packets,
        out_bits_per_second: rate.out_bits,
        out_packets_per_second: rate.out_packets,
        mtu_octets: interface.and_then(|interface| interface.mtu),
        sas: Vec::new(),
        sa_count: tunnel.counts.iter().sum(),
        drops: tunnel.drops,
        trouble: tunnel_trouble(tunnel),
    }
}

fn tunnel_trouble(tunnel: &Tunnel) -> String {
    match (tunnel.state, tunnel.counts) {
        (TunnelState::Up, _) => String::new(),
        (TunnelState::Half, [0, _]) => "no inbound SA; ask the IKE daemon: swanctl --list-sas".to_owned(),
        (TunnelState::Half, _) => "no outbound SA; ask the IKE daemon: swanctl --list-sas".to_owned(),
        (TunnelState::Down, _) => "no SA; start it: swanctl --initiate --child NAME".to_owned(),
    }
}

fn trouble<K>(facts: &Facts<K>) -> String {
    if facts.view.bridge_connected() {
        return String::new();
    }
    let dir = facts.dir.path().display();
    format!(
        "ike-bridge is not connected: no SA is changed until it is; start it: ike-bridge --runtime-dir {dir}"
    )
}
