//! `swanctl.conf` as data.

use std::fmt::Write;

/// A connection: one peer and the tunnels to it.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Name in swanctl's sense.
    pub name: String,
    /// Own outer address.
    pub local: String,
    /// The peer's outer address.
    pub remote: String,
    /// Own IKE identity.
    pub local_id: String,
    /// The peer's IKE identity.
    pub remote_id: String,
    /// Further lines of the connection, such as `if_id_in = %unique`.
    pub lines: Vec<String>,
    /// The tunnels.
    pub children: Vec<Child>,
}

/// A CHILD_SA's configuration.
#[derive(Debug, Clone)]
pub struct Child {
    /// Name in swanctl's sense.
    pub name: String,
    /// Own traffic selectors, comma-separated.
    pub local_ts: String,
    /// The peer's traffic selectors, comma-separated.
    pub remote_ts: String,
    /// ESP proposal.
    pub esp: String,
    /// Interface id for both directions; `None` makes a policy-based tunnel.
    pub if_id: Option<String>,
    /// Further lines of the child.
    pub lines: Vec<String>,
}

/// Proposal of the tests: AES-256-GCM with a 16-octet ICV, without extended sequence numbers.
pub const ESP_PLAIN: &str = "aes256gcm16";

/// The same with extended sequence numbers, and nothing else.
pub const ESP_ESN: &str = "aes256gcm16-esn";

impl Connection {
    /// Makes a connection without tunnels; identities are `<local_id>` and `<remote_id>`.
    pub fn new(name: &str, local: (&str, &str), remote: (&str, &str)) -> Self {
        Self {
            name: name.to_owned(),
            local: local.1.to_owned(),
            remote: remote.1.to_owned(),
            local_id: local.0.to_owned(),
            remote_id: remote.0.to_owned(),
            lines: Vec::new(),
            children: Vec::new(),
        }
    }

    /// Adds a tunnel.
    #[must_use]
    pub fn child(mut self, child: Child) -> Self {
        self.children.push(child);
        self
    }

    /// Adds a line to the connection.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }
}

impl Child {
    /// Makes a tunnel between two networks with the plain proposal.
    pub fn new(name: &str, local_ts: &str, remote_ts: &str) -> Self {
        Self {
            name: name.to_owned(),
            local_ts: local_ts.to_owned(),
            remote_ts: remote_ts.to_owned(),
            esp: ESP_PLAIN.to_owned(),
            if_id: None,
            lines: Vec::new(),
        }
    }

    /// Sets the interface id, a number or `%unique` and its kin.
    #[must_use]
    pub fn if_id(mut self, if_id: &str) -> Self {
        self.if_id = Some(if_id.to_owned());
        self
    }

    /// Sets the ESP proposal.
    #[must_use]
    pub fn esp(mut self, proposal: &str) -> Self {
        self.esp = proposal.to_owned();
        self
    }

    /// Adds a line to the child.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }
}

/// Writes the whole file; every peer shares one secret made for the tests.
pub fn render(connections: &[Connection]) -> String {
    let mut text = String::from("connections {\n");
    for connection in connections {
        let Connection { name, local, remote, local_id, remote_id, .. } = connection;
        let _ = write!(
            text,
            "  {name} {{\n    version = 2\n    local_addrs = {local}\n    remote_addrs = {remote}\n    \
             proposals = aes256gcm16-prfsha256-ecp256\n    local {{\n      auth = psk\n      id = {local_id}\n    \
             }}\n    remote {{\n      auth = psk\n      id = {remote_id}\n    }}\n"
        );
        for line in &connection.lines {
            let _ = writeln!(text, "    {line}");
        }
        text.push_str("    children {\n");
        connection.children.iter().for_each(|child| child.render(&mut text));
        text.push_str("    }\n  }\n");
    }
    text.push_str("}\nsecrets {\n  ike-1 {\n    secret = \"only between namespaces\"\n  }\n}\n");
    text
}

impl Child {
    fn render(&self, text: &mut String) {
        let Self { name, local_ts, remote_ts, esp, .. } = self;
        let _ = write!(
            text,
            "      {name} {{\n        local_ts = {local_ts}\n        remote_ts = {remote_ts}\n        \
             esp_proposals = {esp}\n        mode = tunnel\n        rekey_time = 1h\n"
        );
        if let Some(if_id) = &self.if_id {
            let _ = writeln!(text, "        if_id_in = {if_id}\n        if_id_out = {if_id}");
        }
        for line in &self.lines {
            let _ = writeln!(text, "        {line}");
        }
        text.push_str("      }\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_id_is_written_for_both_directions() {
        let connection = Connection::new("ab", ("a.test", "192.0.2.1"), ("b.test", "192.0.2.2"))
            .child(Child::new("net", "10.1.0.0/24", "10.2.0.0/24").if_id("7").esp(ESP_ESN));
        let text = render(&[connection]);
        assert!(text.contains("if_id_in = 7\n        if_id_out = 7"));
        assert!(text.contains("esp_proposals = aes256gcm16-esn"));
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }
}
