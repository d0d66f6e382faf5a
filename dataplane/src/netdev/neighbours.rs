//! The kernel's neighbours on the TAPs: read at the start, followed by its notices, asked for when one is missing.
//!
//! Never blocks: the control thread waits on the socket together with its other files.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::link::family;
use super::netlink::{messages, serialize};
use crate::tables::topology::Mac;

/// What the kernel knows or no longer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The kernel's number of the device.
    pub index: u32,
    /// The neighbour.
    pub ip: IpAddr,
    /// What is known.
    pub known: Known,
}

/// How much the kernel knows of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Its Ethernet address, confirmed.
    Confirmed(Mac),
    /// Its Ethernet address, unconfirmed for a while: the kernel does not see what the engine sends.
    Stale(Mac),
    /// Nothing.
    Lost,
}

/// A socket that follows the kernel's neighbour tables of this network namespace.
pub struct Neighbours {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

impl Neighbours {
    /// Connects and asks for the whole table; the answers come as notices.
    ///
    /// # Errors
    /// What the system says.
    pub fn follow() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_rx_buf_sz(RECEIVE_OCTETS)?;
        socket.add_membership(RTNLGRP_NEIGH)?;
        socket.set_non_blocking(true)?;
        let mut neighbours = Self { socket, buffer: vec![0; BUFFER_OCTETS], sequence: 0 };
        neighbours.ask_for_all()?;
        Ok(neighbours)
    }

    /// Reads one datagram of notices and gives each to `with`; `false` when there is none.
    ///
    /// # Errors
    /// What the system says; notices lost to a full buffer are made good by asking for the whole table.
    pub fn read(&mut self, mut with: impl FnMut(Notice)) -> io::Result<bool> {
        let len = match self.socket.recv(&mut &mut self.buffer[..], 0) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                self.ask_for_all()?;
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        for message in messages(self.buffer.get(..len).unwrap_or_default()) {
            let notice = match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(message)) => notice(&message),
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelNeighbour(message)) => {
                    notice(&message).map(|notice| Notice { known: Known::Lost, ..notice })
                }
                _ => None,
            };
            notice.into_iter().for_each(&mut with);
        }
        Ok(true)
    }

    /// Asks the kernel to find a neighbour, or to confirm one it has.
    ///
    /// # Errors
    /// `WouldBlock` when the kernel is busy; what is missing still will be asked for again.
    pub fn solicit(&mut self, index: u32, ip: IpAddr) -> io::Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.family = family(ip);
        message.header.ifindex = index;
        message.header.state = NeighbourState::None;
        message.header.flags = NeighbourFlags::Use;
        message.attributes.push(NeighbourAttribute::Destination(ip.into()));
        self.send(RouteNetlinkMessage::NewNeighbour(message), NLM_F_REQUEST | NLM_F_CREATE)
    }

    fn ask_for_all(&mut self) -> io::Result<()> {
        let all = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        self.send(all, NLM_F_REQUEST | NLM_F_DUMP)
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&serialize(message, flags, self.sequence), 0).map(drop)
    }
}

impl AsFd for Neighbours {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl std::fmt::Debug for Neighbours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Neighbours").field("socket", &self.socket.as_raw_fd()).finish_non_exhaustive()
    }
}

fn notice(message: &NeighbourMessage) -> Option<Notice> {
    let (mut ip, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(addr)) => ip = Some(IpAddr::V4(*addr)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(addr)) => ip = Some(IpAddr::V6(*addr)),
            NeighbourAttribute::LinkLayerAddress(octets) => mac = Mac::try_from(octets.as_slice()).ok(),
            _ => {}
        }
    }
    let known = match (message.header.state, mac) {
        (NeighbourState::Noarp | NeighbourState::None, _) => return None,
        (NeighbourState::Stale, Some(mac)) => Known::Stale(mac),
        (NeighbourState::Failed | NeighbourState::Incomplete, _) | (_, None) => Known::Lost,
        (_, Some(mac)) => Known::Confirmed(mac),
    };
    Some(Notice { index: message.header.ifindex, ip: ip?, known })
}

const RTNLGRP_NEIGH: u32 = 3;
const BUFFER_OCTETS: usize = 1 << 16;
/// Room for a whole table of neighbours that change at once.
const RECEIVE_OCTETS: u32 = 1 << 20;
