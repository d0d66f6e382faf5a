//! How a port divides packets over its receive queues.

use std::fmt;

/// See the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steering {
    /// There is nothing to divide.
    OneQueue,
    /// Receive side scaling: by a hash over these fields, as far as a packet has them.
    Rss {
        /// Receive queues.
        queues: u16,
        /// IP addresses.
        ip: bool,
        /// UDP ports.
        udp: bool,
        /// The SPI.
        esp: bool,
    },
    /// The device or its driver divides by a rule of its own, such as the fan-out of packet sockets.
    Own {
        /// Receive queues.
        queues: u16,
    },
}

impl fmt::Display for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::OneQueue => f.write_str("one queue"),
            Self::Rss { queues, ip, udp, esp } => {
                let fields = [(ip, "IP addresses"), (udp, "UDP ports"), (esp, "SPI")];
                let fields: Vec<_> =
                    fields.iter().filter(|(hashed, _)| *hashed).map(|(_, name)| *name).collect();
                write!(f, "{queues} queues, RSS by {}", fields.join(", "))
            }
            Self::Own { queues } => write!(f, "{queues} queues, by the device's own rule"),
        }
    }
}
