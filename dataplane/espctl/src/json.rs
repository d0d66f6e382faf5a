//! What programs read: one object a command, whose names stay as they are.

use serde_json::{Value, json};
use shm_protocol::messages::control::{
    DropLine, Ledger, LifetimeSpec, PolicyInfo, PortLine, StateInfo, StatusPage, TunnelLine, WorkerLine,
};
use shm_protocol::policy::{Action, PolicyDirection, Template};
use shm_protocol::sa::{Direction, Limit, Mark};
use shm_protocol::selector::{AddressRange, PortRange, SelectorRecord};

use crate::print::ratio;

/// Returns a state.
pub fn state(info: &StateInfo) -> Value {
    let spec = &info.spec;
    let key = spec
        .aead
        .key_and_salt
        .as_ref()
        .map(|key| key.expose().iter().fold("0x".to_owned(), |hex, octet| format!("{hex}{octet:02x}")));
    let mut flags = Vec::new();
    for (is_set, name) in [
        (spec.flags.noecn, "noecn"),
        (spec.flags.decap_dscp, "decap-dscp"),
        (spec.flags.nopmtudisc, "nopmtudisc"),
        (spec.flags.af_unspec, "af-unspec"),
        (spec.flags.esn, "esn"),
        (spec.flags.dont_encap_dscp, "dont-encap-dscp"),
    ] {
        if is_set {
            flags.push(name);
        }
    }
    json!({
        "src": spec.src,
        "dst": spec.dst,
        "proto": "esp",
        "spi": spec.spi.to_string(),
        "reqid": spec.reqid,
        "mode": "tunnel",
        "dir": spec.dir.map(|dir| match dir { Direction::In => "in", Direction::Out => "out" }),
        "larval": info.larval,
        "replay_window": spec.replay_window_pkts,
        "flags": flags,
        "aead": {"name": spec.aead.name, "icv_bits": spec.aead.icv_bits, "key": key},
        "encap": spec.encap.map(|ports| json!({"type": "espinudp", "sport": ports.sport, "dport": ports.dport})),
        "if_id": spec.if_id.0,
        "mark": mark(spec.mark),
        "output_mark": mark(spec.set_mark),
        "selectors": spec.selectors.iter().map(selector).collect::<Vec<_>>(),
        "limits": limits(&spec.limits),
        "tfcpad": spec.tfc_pad_octets,
        "slot": info.slot,
        "owner": info.owner,
        "usage": info.usage,
    })
}

/// Returns a policy.
pub fn policy(info: &PolicyInfo) -> Value {
    let (action, template) = match info.spec.action {
        Action::Protect(template) => ("allow", Some(template)),
        Action::Pass => ("allow", None),
        Action::Discard => ("block", None),
    };
    json!({
        "selector": selector(&info.spec.id.selector),
        "dir": match info.spec.id.direction {
            PolicyDirection::In => "in",
            PolicyDirection::Out => "out",
            PolicyDirection::Fwd => "fwd",
        },
        "if_id": info.spec.id.if_id.0,
        "mark": mark(info.spec.id.mark),
        "priority": info.spec.priority,
        "action": action,
        "tmpl": template.map(|template| tmpl(&template)),
        "slot": info.slot,
        "owner": info.owner,
        "users": info.users,
    })
}

/// Returns what `status` says.
pub fn status(head: &StatusPage, tunnels: &[TunnelLine]) -> Value {
    json!({
        "version": head.version,
        "pid": head.pid,
        "uptime_seconds": head.uptime_seconds,
        "crypto": head.crypto,
        "generation": head.generation,
        "sas": head.sas,
        "policies": head.policies,
        "bridge_connected": head.bridge_connected,
        "trouble": head.trouble,
        "ledger": head.ledger,
        "tunnels": tunnels.iter().map(tunnel).collect::<Vec<_>>(),
    })
}

fn tunnel(line: &TunnelLine) -> Value {
    let mut value = json!(line);
    let state = format!("{:?}", line.state).to_lowercase();
    let sas = line.sas.iter().map(|sa| {
        let mut value = json!(sa);
        put(&mut value, "spi", json!(sa.spi.to_string()));
        put(&mut value, "direction", json!(format!("{:?}", sa.direction).to_lowercase()));
        value
    });
    put(&mut value, "state", json!(state));
    put(&mut value, "sas", sas.collect());
    value
}

/// Returns what `drops` says.
pub fn drops(lines: &[DropLine], total: u64) -> Value {
    json!({"drops": lines, "total": total})
}

/// Returns what `workers` says.
pub fn workers(workers: &[WorkerLine], ports: &[PortLine], ledger: &Ledger) -> Value {
    let workers: Vec<Value> = workers
        .iter()
        .map(|worker| {
            let stages = worker.stages.iter().map(|stage| {
                let mut value = json!(stage);
                put(&mut value, "packets_per_call", json!(ratio(stage.packets, stage.calls)));
                put(&mut value, "cycles_per_packet", json!(ratio(stage.cycles, stage.packets)));
                value
            });
            let mut value = json!(worker);
            put(&mut value, "stages", stages.collect());
            value
        })
        .collect();
    json!({"workers": workers, "ports": ports, "ledger": ledger})
}

fn put(object: &mut Value, name: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}

fn selector(record: &SelectorRecord) -> Value {
    json!({
        "src": range(record.src()),
        "dst": range(record.dst()),
        "proto": record.proto,
        "sport": ports(record.sport),
        "dport": ports(record.dport),
    })
}

fn range(range: AddressRange) -> String {
    match range.prefix_bits() {
        Some(bits) => format!("{}/{bits}", range.lo()),
        None => format!("{}-{}", range.lo(), range.hi()),
    }
}

fn ports(ports: PortRange) -> Value {
    json!([ports.lo(), ports.hi()])
}

fn mark(mark: Mark) -> Value {
    if mark == Mark::default() { Value::Null } else { json!({"value": mark.value, "mask": mark.mask}) }
}

fn limits(limits: &LifetimeSpec) -> Value {
    let pair = |limit: Limit| json!({"soft": limit.soft(), "hard": limit.hard()});
    json!({
        "seconds": pair(limits.time_seconds),
        "use_seconds": pair(limits.use_seconds),
        "octets": pair(limits.octets),
        "packets": pair(limits.packets),
    })
}

fn tmpl(template: &Template) -> Value {
    json!({
        "src": template.src,
        "dst": template.dst,
        "proto": "esp",
        "spi": template.spi.map(|spi| spi.to_string()),
        "reqid": template.reqid,
        "mode": "tunnel",
    })
}

#[cfg(test)]
mod tests {
    use shm_protocol::messages::control::XfrmChange;

    use super::*;
    use crate::grammar::{Command, testing::parsed};

    #[test]
    fn a_policy_has_names_that_stay() {
        let line =
            "policy add src 10.0.0.0/8 dir out priority 3 tmpl src 1.1.1.1 dst 2.2.2.2 reqid 9 if_id 2";
        let Ok(Command::Change(XfrmChange::PolicyAdd(spec))) = parsed(line) else { panic!("{line}") };
        let value = policy(&PolicyInfo { spec, slot: 1, owner: "manual".to_owned(), users: 1 });
        assert_eq!(value["selector"]["src"], "10.0.0.0/8");
        assert_eq!(value["selector"]["dport"], json!([0, 65535]));
        assert_eq!((&value["dir"], &value["if_id"]), (&json!("out"), &json!(2)));
        assert_eq!((&value["tmpl"]["reqid"], &value["tmpl"]["spi"]), (&json!(9), &Value::Null));
        assert_eq!((&value["action"], &value["mark"]), (&json!("allow"), &Value::Null));
    }
}
