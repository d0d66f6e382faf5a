//! A blocking route-netlink socket: one request, its answers, its acknowledgement.
//!
//! Used while the engine starts, reloads and stops, never while packets wait.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// A connection to the kernel's tables of this network namespace.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Connects.
    ///
    /// # Errors
    /// What the system says.
    pub fn connect() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; BUFFER_OCTETS] })
    }

    /// Sends a change with `flags` and waits until the kernel has done or refused it.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.send(message, flags | NLM_F_REQUEST | NLM_F_ACK)?;
        self.answers(true).map(drop)
    }

    /// Asks for one object.
    ///
    /// # Errors
    /// The kernel's refusal, as `ENODEV` for an unknown name.
    pub fn get(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.send(message, NLM_F_REQUEST | NLM_F_ACK)?;
        self.answers(true)
    }

    /// Asks for a whole table.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn dump(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.send(message, NLM_F_REQUEST | NLM_F_DUMP)?;
        self.answers(false)
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = serialize(message, flags, self.sequence);
        self.socket.send(&bytes, 0).map(drop)
    }

    /// Collects answers up to the acknowledgement (`acked`) or the end of the table.
    fn answers(&mut self, acked: bool) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut found = Vec::new();
        loop {
            let len = self.socket.recv(&mut &mut self.buffer[..], 0)?;
            for message in messages(self.buffer.get(..len).unwrap_or_default()) {
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                match message.payload {
                    NetlinkPayload::InnerMessage(message) => found.push(message),
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    NetlinkPayload::Error(_) if acked => return Ok(found),
                    NetlinkPayload::Done(_) => return Ok(found),
                    _ => {}
                }
            }
        }
    }
}

/// Encodes a message.
pub(super) fn serialize(message: RouteNetlinkMessage, flags: u16, sequence: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Decodes the messages of one datagram; what the decoder does not know is passed over.
pub(super) fn messages(mut rest: &[u8]) -> impl Iterator<Item = NetlinkMessage<RouteNetlinkMessage>> + '_ {
    std::iter::from_fn(move || {
        loop {
            let length = rest.first_chunk::<4>().map(|head| u32::from_ne_bytes(*head))?;
            let length = usize::try_from(length).ok().filter(|length| *length >= HEADER_OCTETS)?;
            let (message, after) = rest.split_at_checked(length)?;
            rest = after.get(length.next_multiple_of(4) - length..).unwrap_or_default();
            if let Ok(message) = NetlinkMessage::deserialize(message) {
                return Some(message);
            }
        }
    })
}

/// `struct nlmsghdr`.
const HEADER_OCTETS: usize = 16;
/// Larger than any datagram of a kernel's dump.
const BUFFER_OCTETS: usize = 1 << 16;
