//! The engine's configuration file as data.

use std::fmt::Write;
use std::path::Path;

/// One gateway's configuration.
#[derive(Debug, Clone)]
pub struct GatewayToml {
    /// CPU ids, one worker each.
    pub workers: Vec<u32>,
    /// Whether the kernel owns addresses and neighbours through TAPs.
    pub netdevs: bool,
    /// What happens to clear packets between ports: `drop` or `forward`.
    pub unprotected: String,
    /// Smallest replay window. Units: packets.
    pub min_replay_window: Option<u32>,
    /// AEAD backend, if one is forced.
    pub backend: Option<String>,
    /// Whether all workers share the sequence numbers of an outbound SA.
    pub spread: bool,
    /// Ports.
    pub ports: Vec<Port>,
    /// Interfaces: name, `if_id`, addresses.
    pub interfaces: Vec<(String, u32, Vec<String>)>,
    /// Static neighbours: port, address, MAC.
    pub neighbors: Vec<(String, String, String)>,
    /// Routes: destination, next hop if any, device.
    pub routes: Vec<(String, Option<String>, String)>,
}

/// One `[[port]]`.
#[derive(Debug, Clone)]
pub struct Port {
    /// Name of the port and its TAP.
    pub name: String,
    /// DPDK devargs.
    pub device: String,
    /// MTU. Units: octets.
    pub mtu: u32,
    /// Addresses with prefix lengths.
    pub addresses: Vec<String>,
}

impl Port {
    /// Makes a port named `name` on the kernel device `veth-NAME`.
    ///
    /// 8 192 frames of ring: a second without the CPU must not cost a packet.
    pub fn on_veth(number: u32, name: &str, addresses: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            device: format!("net_af_packet{number},iface=veth-{name},framecnt=8192"),
            mtu: 1500,
            addresses: addresses.iter().map(|a| (*a).to_owned()).collect(),
        }
    }
}

impl Default for GatewayToml {
    fn default() -> Self {
        Self {
            workers: vec![1],
            netdevs: true,
            unprotected: "drop".to_owned(),
            min_replay_window: None,
            backend: None,
            spread: false,
            ports: Vec::new(),
            interfaces: Vec::new(),
            neighbors: Vec::new(),
            routes: Vec::new(),
        }
    }
}

impl GatewayToml {
    /// Adds a port.
    #[must_use]
    pub fn port(mut self, port: Port) -> Self {
        self.ports.push(port);
        self
    }

    /// Adds an interface without addresses.
    #[must_use]
    pub fn interface(mut self, name: &str, if_id: u32) -> Self {
        self.interfaces.push((name.to_owned(), if_id, Vec::new()));
        self
    }

    /// Adds a route into an interface.
    #[must_use]
    pub fn route(mut self, to: &str, dev: &str) -> Self {
        self.routes.push((to.to_owned(), None, dev.to_owned()));
        self
    }

    /// Adds a route by a next hop.
    #[must_use]
    pub fn route_via(mut self, to: &str, via: &str, dev: &str) -> Self {
        self.routes.push((to.to_owned(), Some(via.to_owned()), dev.to_owned()));
        self
    }

    /// Writes the file's text.
    pub fn render(&self, runtime_dir: &Path) -> String {
        let mut text = format!(
            "[engine]\nruntime_dir = \"{}\"\nworkers = {:?}\nhugepages = false\nnetdevs = {}\nidle = \"sleep\"\n\
             unprotected = \"{}\"\n",
            runtime_dir.display(),
            self.workers,
            self.netdevs,
            self.unprotected
        );
        if let Some(window) = self.min_replay_window {
            let _ = writeln!(text, "min_replay_window = {window}");
        }
        if let Some(backend) = &self.backend {
            let _ = writeln!(text, "[crypto]\nbackend = \"{backend}\"");
        }
        for port in &self.ports {
            let Port { name, device, mtu, addresses } = port;
            let _ = write!(
                text,
                "\n[[port]]\nname = \"{name}\"\ndevice = \"{device}\"\nmtu = {mtu}\naddresses = {addresses:?}\n"
            );
        }
        for (name, if_id, addresses) in &self.interfaces {
            let _ = write!(
                text,
                "\n[[interface]]\nname = \"{name}\"\nif_id = {if_id}\naddresses = {addresses:?}\n"
            );
            if self.spread {
                text.push_str("spread = true\n");
            }
        }
        for (port, ip, mac) in &self.neighbors {
            let _ = write!(text, "\n[[neighbor]]\nport = \"{port}\"\nip = \"{ip}\"\nmac = \"{mac}\"\n");
        }
        for (to, via, dev) in &self.routes {
            let _ = write!(text, "\n[[route]]\nto = \"{to}\"\n");
            if let Some(via) = via {
                let _ = writeln!(text, "via = \"{via}\"");
            }
            let _ = writeln!(text, "dev = \"{dev}\"");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rendered_is_toml() {
        let text = GatewayToml::default()
            .port(Port::on_veth(0, "wan", &["192.0.2.1/24"]))
            .interface("ipsec1", 1)
            .route("10.2.0.0/16", "ipsec1")
            .route_via("0.0.0.0/0", "192.0.2.2", "wan")
            .render(Path::new("/run/x"));
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["engine"]["workers"].as_array().unwrap().len(), 1);
        assert_eq!(table["route"].as_array().unwrap().len(), 2);
    }
}
