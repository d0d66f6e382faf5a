//! Counters in OpenMetrics; none of them falls at a rekey.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use shm_protocol::messages::control::{Ledger, TunnelState};

use super::facts::Facts;
use super::tunnels::Tunnels;
use super::{lists, status};
use crate::clock::boottime_ns;

/// What metrics are made from.
pub struct Metrics<K> {
    facts: Arc<Facts<K>>,
    tunnels: Arc<Mutex<Tunnels>>,
}

type Labels = Vec<(&'static str, String)>;

/// One family: its samples share name, help and type.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    samples: Vec<(Labels, f64)>,
}

/// How the samples of a family behave.
#[derive(Clone, Copy)]
enum Kind {
    /// They only grow.
    Counter,
    /// They come and go.
    Gauge,
}

impl Kind {
    fn metric_type(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
        }
    }

    fn put(self, sample: &mut MetricEncoder<'_>, value: f64) -> fmt::Result {
        match self {
            Self::Counter => sample.encode_counter::<NoLabelSet, f64, u64>(&value, None),
            Self::Gauge => sample.encode_gauge(&value),
        }
    }
}

impl<K: Send + Sync + 'static> Metrics<K> {
    pub(super) fn new(facts: Arc<Facts<K>>, tunnels: Arc<Mutex<Tunnels>>) -> Self {
        Self { facts, tunnels }
    }

    /// Returns the exposition.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut families = vec![self.build_info(), self.bridge()];
        families.extend(self.drops());
        families.extend(self.workers());
        families.extend(self.ports());
        families.extend(self.tunnels());
        families.push(self.lost());
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Families(families)));
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut out, &registry);
        out
    }

    fn build_info(&self) -> Family {
        let labels = vec![
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("dpdk", self.facts.dpdk.to_owned()),
            ("crypto", self.facts.crypto.clone()),
        ];
        gauge("espalier_build_info", "Release of the engine and of what it runs on", vec![(labels, 1.0)])
    }

    fn bridge(&self) -> Family {
        let up = f64::from(u8::from(self.facts.view.bridge_connected()));
        gauge("espalier_bridge_connected", "Whether ike-bridge is connected", vec![(vec![], up)])
    }

    fn lost(&self) -> Family {
        let lost = &self.facts.view.lost;
        let count = |counter: &std::sync::atomic::AtomicU64| {
            number(counter.load(std::sync::atomic::Ordering::Relaxed))
        };
        let samples = vec![
            (vec![("direction", "to_host".to_owned())], count(&lost.to_host)),
            (vec![("direction", "from_host".to_owned())], count(&lost.from_host)),
        ];
        counter("espalier_host_lost_packets", "Packets lost between the engine and the kernel", samples)
    }

    fn drops(&self) -> Vec<Family> {
        let (mut packets, mut about) = (Vec::new(), Vec::new());
        for line in lists::drop_lines(&self.facts) {
            for (worker, count) in line.by_worker.iter().enumerate() {
                let labels = vec![("reason", line.name.clone()), ("worker", worker.to_string())];
                packets.push((labels, number(*count)));
            }
            let labels = vec![
                ("reason", line.name),
                ("sentence", line.sentence),
                ("rfc", line.rfc),
                ("severity", line.severity),
                ("xfrm_stat", line.xfrm_stat),
            ];
            about.push((labels, 1.0));
        }
        let help = "What each drop reason means";
        vec![
            counter("espalier_dropped_packets", "Packets dropped, by reason", packets),
            gauge("espalier_drop_reason_info", help, about),
        ]
    }

    fn workers(&self) -> Vec<Family> {
        let (mut packets, mut busy, mut ran) = (Vec::new(), Vec::new(), Vec::new());
        let mut stages = [Vec::new(), Vec::new(), Vec::new()];
        for (line, facts) in lists::worker_lines(&self.facts).into_iter().zip(&self.facts.workers) {
            let worker = || ("worker", line.worker.to_string());
            packets.extend(
                fates(&line.ledger)
                    .map(|(fate, count)| (vec![worker(), ("fate", fate.to_owned())], number(count))),
            );
            let (busy_ns, of_ns) = facts.pulse.busy_of_ns();
            busy.push((vec![worker()], number(busy_ns) / 1e9));
            ran.push((vec![worker()], number(of_ns) / 1e9));
            for stage in line.stages {
                let counts = [stage.calls, stage.packets, stage.cycles];
                for (family, count) in stages.iter_mut().zip(counts) {
                    family.push((vec![worker(), ("stage", stage.name.clone())], number(count)));
                }
            }
        }
        let [calls, handled, cycles] = stages;
        vec![
            counter("espalier_worker_packets", "Packets by what became of them", packets),
            counter("espalier_worker_busy_seconds", "Time with packets", busy),
            counter("espalier_worker_seconds", "Time since the worker's start", ran),
            counter("espalier_stage_calls", "Bursts a stage worked on", calls),
            counter("espalier_stage_packets", "Packets a stage worked on", handled),
            counter("espalier_stage_cycles", "Time stamp counter ticks a stage took", cycles),
        ]
    }

    fn ports(&self) -> Vec<Family> {
        let (mut octets, mut packets, mut lost, mut link) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for line in lists::port_lines(&self.facts) {
            let port = || ("port", line.name.clone());
            for (direction, count) in [("in", line.received_octets), ("out", line.sent_octets)] {
                octets.push((vec![port(), ("direction", direction.to_owned())], number(count)));
            }
            packets.extend(
                fates(&line.ledger)
                    .map(|(fate, count)| (vec![port(), ("fate", fate.to_owned())], number(count))),
            );
            for (cause, count) in [("missed", line.device_missed), ("error", line.device_errors)] {
                lost.push((vec![port(), ("cause", cause.to_owned())], number(count)));
            }
            link.push((vec![port()], f64::from(u8::from(line.link_up))));
        }
        vec![
            counter("espalier_port_bytes", "Octets by port, as the device counts them", octets),
            counter("espalier_port_packets", "Packets of a port by what became of them", packets),
            counter("espalier_port_device_lost_packets", "Packets the device lost before the engine", lost),
            gauge("espalier_port_up", "Whether the link is up", link),
        ]
    }

    fn tunnels(&self) -> Vec<Family> {
        let mut tunnels = self.tunnels.lock().unwrap_or_else(PoisonError::into_inner);
        tunnels.sample(&self.facts.view, boottime_ns());
        let tables = self.facts.view.tables();
        let (mut up, mut sas, mut octets, mut packets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for line in status::lines(&tables, &tunnels, boottime_ns()) {
            let peer = line.peer.map(|peer| peer.to_string()).unwrap_or_default();
            let labels = vec![("if_id", line.if_id.0.to_string()), ("name", line.name), ("peer", peer)];
            up.push((labels.clone(), f64::from(u8::from(line.state == TunnelState::Up))));
            sas.push((labels, f64::from(line.sa_count)));
        }
        for (id, totals) in tunnels.ids() {
            let labels =
                |direction: &str| vec![("if_id", id.to_string()), ("direction", direction.to_owned())];
            octets.push((labels("in"), number(totals.in_octets)));
            octets.push((labels("out"), number(totals.out_octets)));
            packets.push((labels("in"), number(totals.in_packets)));
            packets.push((labels("out"), number(totals.out_packets)));
        }
        vec![
            gauge("espalier_tunnel_up", "Whether a tunnel has an SA each way", up),
            gauge("espalier_tunnel_sas", "SAs of a tunnel", sas),
            counter("espalier_tunnel_bytes", "Inner octets of an if_id, rekeys included", octets),
            counter("espalier_tunnel_packets", "Inner packets of an if_id, rekeys included", packets),
        ]
    }
}

/// What the registry is given; it is made for each request anew.
struct Families(Vec<Family>);

impl fmt::Debug for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Families").field(&self.0.len()).finish()
    }
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in &self.0 {
            let mut metric =
                encoder.encode_descriptor(family.name, family.help, None, family.kind.metric_type())?;
            for (labels, value) in &family.samples {
                if labels.is_empty() {
                    family.kind.put(&mut metric, *value)?;
                } else {
                    family.kind.put(&mut metric.encode_family(labels)?, *value)?;
                }
            }
        }
        Ok(())
    }
}

fn fates(ledger: &Ledger) -> impl Iterator<Item = (&'static str, u64)> {
    [
        ("received", ledger.received),
        ("host_made", ledger.host_made),
        ("engine_made", ledger.engine_made),
        ("sent", ledger.sent),
        ("punted", ledger.punted),
        ("dropped", ledger.drops),
    ]
    .into_iter()
}

fn counter(name: &'static str, help: &'static str, samples: Vec<(Labels, f64)>) -> Family {
    Family { name, help, kind: Kind::Counter, samples }
}

fn gauge(name: &'static str, help: &'static str, samples: Vec<(Labels, f64)>) -> Family {
    Family { name, help, kind: Kind::Gauge, samples }
}

/// A count as the exposition takes it; beyond 2^53 it is rounded.
#[allow(clippy::cast_precision_loss, reason = "the exposition's numbers are doubles")]
fn number(count: u64) -> f64 {
    count as f64
}
