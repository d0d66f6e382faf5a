//! From the file's shape to values that can be used: single values first, then what they say about each other.

use std::collections::HashSet;
use std::hash::Hash;
use std::path::{Path, PathBuf};

use esp::IfId;
use toml::Spanned;

use super::error::{CpuList, Error, Problem};
use super::types::{self, Buffers, Device, Flows, Mtu, NetdevName, SegmentSize, WindowPkts};
use super::{Backend, Config, Engine, Idle, Interface, Neighbour, Port, Route, raw};
use crate::tables::topology::{Prefix, Unprotected};

/// The file being checked.
pub(super) struct Check<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
    pub(super) cpus: &'a CpuList,
}

/// Places a problem at the value it is about.
trait At<T> {
    fn at<V>(self, check: &Check<'_>, value: &Spanned<V>) -> Result<T, Error>;
}

impl<T> At<T> for Result<T, Problem> {
    fn at<V>(self, check: &Check<'_>, value: &Spanned<V>) -> Result<T, Error> {
        self.map_err(|problem| Error::at(check.file, check.text, value.span().start, problem))
    }
}

impl Check<'_> {
    /// Checks everything.
    pub(super) fn file(&self, raw: raw::File) -> Result<Config, Error> {
        let mut names = Seen::new("the name");
        if raw.port.is_empty() {
            let (file, line) = (self.file.to_owned(), self.text.lines().count());
            return Err(Error::Wrong {
                file,
                line,
                key: "port".into(),
                problem: Problem::Empty { of: "port" },
            });
        }
        let backend = raw.crypto.backend.as_ref();
        let backend = backend.map_or(Ok(Backend::Auto), |value| self::backend(value).at(self, value));
        let listen = raw.metrics.listen.as_ref().map(|value| listen(value).at(self, value));
        let mut config = Config {
            engine: self.engine(&raw.engine)?,
            backend: backend?,
            metrics: listen.transpose()?,
            ports: self.ports(&raw.port, &mut names)?,
            interfaces: self.interfaces(&raw.interface, &mut names)?,
            neighbours: Vec::new(),
            routes: Vec::new(),
        };
        self.addresses_differ(&raw)?;
        config.neighbours = self.neighbours(&raw.neighbor, &config)?;
        config.routes = self.routes(&raw.route, &config)?;
        Ok(config)
    }

    fn engine(&self, raw: &raw::Engine) -> Result<Engine, Error> {
        let dir = raw.runtime_dir.as_ref();
        let dir = dir.map_or(Ok(PathBuf::from(RUNTIME_DIR)), |value| runtime_dir(value).at(self, value))?;
        let idle = raw.idle.as_ref().map(|value| idle(value).at(self, value)).transpose()?;
        let policy = raw.unprotected.as_ref();
        let policy = policy.map_or(Ok(Unprotected::Drop), |value| unprotected(value).at(self, value))?;
        let window = raw.min_replay_window.as_ref();
        let window = window
            .map_or(Ok(WindowPkts::DEFAULT), |value| WindowPkts::new(*value.get_ref()).at(self, value))?;
        let buffers = raw.buffers.as_ref().map(|value| Buffers::new(*value.get_ref()).at(self, value));
        let flows = raw.flows.as_ref();
        let flows = flows.map_or(Ok(Flows::DEFAULT), |value| Flows::new(*value.get_ref()).at(self, value))?;
        Ok(Engine {
            runtime_dir: dir,
            workers: self.workers(&raw.workers)?,
            hugepages: raw.hugepages,
            netdevs: raw.netdevs,
            idle,
            unprotected: policy,
            min_replay_window: window,
            buffers: buffers.transpose()?,
            flows,
            spray_inbound: raw.spray_inbound,
        })
    }

    fn workers(&self, raw: &Spanned<Vec<Spanned<i64>>>) -> Result<Vec<u16>, Error> {
        let mut seen = Seen::new("CPU");
        let mut workers = Vec::new();
        for value in raw.get_ref() {
            let cpu = *value.get_ref();
            let known = u16::try_from(cpu).ok().filter(|cpu| self.cpus.0.contains(cpu));
            let missing = || Problem::NoSuchCpu { cpu, available: self.cpus.clone() };
            let known = known.ok_or_else(missing).at(self, value)?;
            seen.add(known, &known.to_string()).at(self, value)?;
            workers.push(known);
        }
        if workers.is_empty() {
            return Err(Problem::Empty { of: "CPU" }).at(self, raw);
        }
        Ok(workers)
    }

    fn ports(&self, raw: &[raw::Port], names: &mut Seen<NetdevName>) -> Result<Vec<Port>, Error> {
        let (mut devices, mut kernel) = (Seen::new("the device"), Seen::new("the kernel device"));
        let mut ports = Vec::with_capacity(raw.len());
        for port in raw {
            let device = Device::parse(port.device.get_ref()).at(self, &port.device)?;
            devices.add(device.name().to_owned(), device.name()).at(self, &port.device)?;
            if let Some(name) = device.kernel_device() {
                kernel.add(name.to_owned(), name).at(self, &port.device)?;
            }
            let mtu = port.mtu.as_ref().map_or(Ok(DEFAULT_MTU), |value| mtu(value, self))?;
            let port = Port {
                name: self.name(&port.name, names)?,
                device,
                mtu,
                addresses: self.addresses(&port.addresses)?,
            };
            ports.push(port);
        }
        for (raw, port) in raw.iter().zip(&ports) {
            let v6 = port.addresses.iter().any(|address| address.addr.is_ipv6());
            if let Some(value) = raw.mtu.as_ref().filter(|_| v6 && port.mtu.octets() < MIN_IPV6_MTU) {
                return Err(Problem::MtuForIpv6 { mtu: port.mtu.octets() }).at(self, value);
            }
            if kernel.seen.contains(port.name.as_str()) {
                return Err(Problem::NameOfKernelDevice { value: port.name.as_str().into() })
                    .at(self, &raw.name);
            }
        }
        Ok(ports)
    }

    fn interfaces(
        &self,
        raw: &[raw::Interface],
        names: &mut Seen<NetdevName>,
    ) -> Result<Vec<Interface>, Error> {
        let mut ids = Seen::new("if_id");
        let mut interfaces = Vec::with_capacity(raw.len());
        for interface in raw {
            let id = if_id(&interface.if_id.get_ref().0).at(self, &interface.if_id)?;
            ids.add(id, &id.to_string()).at(self, &interface.if_id)?;
            let mss = interface.mss_clamp.as_ref();
            interfaces.push(Interface {
                name: self.name(&interface.name, names)?,
                if_id: id,
                mtu: interface.mtu.as_ref().map(|value| mtu(value, self)).transpose()?,
                addresses: self.addresses(&interface.addresses)?,
                spread: interface.spread,
                mss_clamp: mss.map(|value| SegmentSize::new(*value.get_ref()).at(self, value)).transpose()?,
            });
        }
        Ok(interfaces)
    }

    fn neighbours(&self, raw: &[raw::Neighbor], config: &Config) -> Result<Vec<Neighbour>, Error> {
        let mut seen = Seen::new("the neighbour");
        let mut neighbours = Vec::with_capacity(raw.len());
        for neighbour in raw {
            let name = neighbour.port.get_ref();
            let port = config.ports.iter().find(|port| port.name.as_str() == name);
            let missing = || Problem::NoSuchDevice { value: name.as_str().into(), interfaces: false };
            let port = port.ok_or_else(missing).at(self, &neighbour.port)?.name.clone();
            let ip = types::unicast(neighbour.ip.get_ref()).at(self, &neighbour.ip)?;
            seen.add((port.clone(), ip), &format!("{ip} on {port}")).at(self, &neighbour.ip)?;
            let mac = types::mac(neighbour.mac.get_ref()).at(self, &neighbour.mac)?;
            neighbours.push(Neighbour { port, ip, mac });
        }
        Ok(neighbours)
    }

    fn routes(&self, raw: &[raw::Route], config: &Config) -> Result<Vec<Route>, Error> {
        let mut seen = Seen::new("the route to");
        let mut routes = Vec::with_capacity(raw.len());
        for route in raw {
            let to = types::prefix(route.to.get_ref(), "\"10.2.0.0/16\"").at(self, &route.to)?;
            destination(to).at(self, &route.to)?;
            seen.add(to, route.to.get_ref()).at(self, &route.to)?;
            let name = route.dev.get_ref().as_str();
            let port = config.ports.iter().find(|port| port.name.as_str() == name);
            let interface = config.interfaces.iter().find(|interface| interface.name.as_str() == name);
            let via = route.via.as_ref();
            let via = via.map(|value| types::unicast(value.get_ref()).at(self, value)).transpose()?;
            let dev = match (port, interface, &route.via) {
                (Some(port), _, Some(value)) => {
                    let reach = via.map_or(Ok(()), |via| next_hop(via, to, port, config.engine.netdevs));
                    reach.at(self, value)?;
                    &port.name
                }
                (Some(_), _, None) => return Err(Problem::ViaMissing).at(self, &route.dev),
                (None, Some(_), Some(value)) => return Err(Problem::ViaOnInterface).at(self, value),
                (None, Some(interface), None) => &interface.name,
                (None, None, _) => {
                    let missing = Problem::NoSuchDevice { value: name.into(), interfaces: true };
                    return Err(missing).at(self, &route.dev);
                }
            };
            routes.push(Route { to, via, dev: dev.clone() });
        }
        Ok(routes)
    }

    fn name(&self, raw: &Spanned<String>, names: &mut Seen<NetdevName>) -> Result<NetdevName, Error> {
        let name = NetdevName::parse(raw.get_ref()).at(self, raw)?;
        names.add(name.clone(), name.as_str()).at(self, raw)?;
        Ok(name)
    }

    fn addresses(&self, raw: &[Spanned<String>]) -> Result<Vec<Prefix>, Error> {
        let address = |value: &Spanned<String>| {
            let prefix = types::prefix(value.get_ref(), "\"192.0.2.1/24\"").at(self, value)?;
            let wrong = || Problem::Address { value: value.get_ref().as_str().into() };
            types::is_unicast(prefix.addr).then_some(prefix).ok_or_else(wrong).at(self, value)
        };
        raw.iter().map(address).collect()
    }

    /// The same address on two devices would make it a matter of luck which one answers.
    fn addresses_differ(&self, raw: &raw::File) -> Result<(), Error> {
        let ports = raw.port.iter().flat_map(|port| &port.addresses);
        let interfaces = raw.interface.iter().flat_map(|interface| &interface.addresses);
        let mut seen = Seen::new("the address");
        for value in ports.chain(interfaces) {
            let prefix = types::prefix(value.get_ref(), "\"192.0.2.1/24\"").at(self, value)?;
            let link_local =
                matches!(prefix.addr, std::net::IpAddr::V6(addr) if addr.is_unicast_link_local());
            if !link_local {
                seen.add(prefix.addr, &prefix.addr.to_string()).at(self, value)?;
            }
        }
        Ok(())
    }
}

/// What may stand once only.
struct Seen<T> {
    what: &'static str,
    seen: HashSet<T>,
}

impl<T: Hash + Eq> Seen<T> {
    fn new(what: &'static str) -> Self {
        Self { what, seen: HashSet::new() }
    }

    fn add(&mut self, value: T, shown: &str) -> Result<(), Problem> {
        let twice = Problem::Twice { what: self.what, value: shown.into() };
        if self.seen.insert(value) { Ok(()) } else { Err(twice) }
    }
}

fn runtime_dir(value: &Spanned<String>) -> Result<PathBuf, Problem> {
    let path = PathBuf::from(value.get_ref());
    let fits = path.as_os_str().len() <= MAX_DIR_OCTETS && path.is_absolute();
    if fits { Ok(path) } else { Err(Problem::RuntimeDir { max_octets: MAX_DIR_OCTETS }) }
}

fn idle(value: &Spanned<String>) -> Result<Idle, Problem> {
    match value.get_ref().as_str() {
        "sleep" => Ok(Idle::Sleep),
        "spin" => Ok(Idle::Spin),
        other => Err(Problem::Choice { value: other.into(), choices: "\"sleep\" or \"spin\"" }),
    }
}

fn unprotected(value: &Spanned<String>) -> Result<Unprotected, Problem> {
    match value.get_ref().as_str() {
        "drop" => Ok(Unprotected::Drop),
        "forward" => Ok(Unprotected::Forward),
        other => Err(Problem::Choice { value: other.into(), choices: "\"drop\" or \"forward\"" }),
    }
}

fn backend(value: &Spanned<String>) -> Result<Backend, Problem> {
    match value.get_ref().as_str() {
        "auto" => Ok(Backend::Auto),
        "vaes" => Ok(Backend::Vaes),
        "ipsec-mb" => Ok(Backend::IpsecMb),
        "rustcrypto" => Ok(Backend::RustCrypto),
        other => Err(Problem::Choice {
            value: other.into(),
            choices: "\"auto\", \"vaes\", \"ipsec-mb\" or \"rustcrypto\"",
        }),
    }
}

fn listen(value: &Spanned<String>) -> Result<std::net::SocketAddr, Problem> {
    value.get_ref().parse().map_err(|_| Problem::Listen { value: value.get_ref().as_str().into() })
}

fn mtu(value: &Spanned<i64>, check: &Check<'_>) -> Result<Mtu, Error> {
    Mtu::new(*value.get_ref()).at(check, value)
}

fn if_id(text: &str) -> Result<IfId, Problem> {
    let parsed = text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u32::from_str_radix(hex, 16));
    match parsed {
        Ok(id) if id != 0 && !text.starts_with('+') => Ok(IfId(id)),
        _ => Err(Problem::IfId { value: text.into() }),
    }
}

fn destination(to: Prefix) -> Result<(), Problem> {
    let network = types::network(to);
    if network == to {
        return Ok(());
    }
    let shown = |prefix: Prefix| format!("{}/{}", prefix.addr, prefix.len).into();
    Err(Problem::HostBits { value: shown(to), network: shown(network) })
}

/// With netdevs the kernel's side may hold addresses the file does not name, so a port without any is not judged.
fn next_hop(via: std::net::IpAddr, to: Prefix, port: &Port, netdevs: bool) -> Result<(), Problem> {
    let value: Box<str> = via.to_string().into();
    if via.is_ipv4() != to.addr.is_ipv4() {
        return Err(Problem::ViaFamily { value });
    }
    if matches!(via, std::net::IpAddr::V6(addr) if addr.is_unicast_link_local()) {
        return Ok(());
    }
    let family: Vec<&Prefix> =
        port.addresses.iter().filter(|address| address.addr.is_ipv4() == via.is_ipv4()).collect();
    let on_link = |own: &&Prefix| types::network(**own) == types::network(Prefix { addr: via, len: own.len });
    if family.iter().any(on_link) || (netdevs && family.is_empty()) {
        return Ok(());
    }
    Err(Problem::ViaNotOnLink { value, port: port.name.as_str().into() })
}

const RUNTIME_DIR: &str = "/run/espalier";
/// A socket's name has 108 octets with its zero; `/control.sock` needs 13 of them.
const MAX_DIR_OCTETS: usize = 90;
const DEFAULT_MTU: Mtu = Mtu::ETHERNET;
/// RFC 8200 section 5.
const MIN_IPV6_MTU: u16 = 1280;
