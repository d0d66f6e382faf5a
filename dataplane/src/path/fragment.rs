//! Fragmentation of a packet into buffers of its own, each of which then goes its way like a packet.

use esp::DropReason;
use esp::fragment::{Piece, Pieces, emit, emit6, pieces, pieces_of_own, pieces6};
use esp::wire::ip::Ip;
use esp::wire::ipv4::Ipv4;

use super::context::{Context, Packet};
use crate::ports::{Buffer, Ports};

/// A packet and how it is cut.
struct Cut<'a> {
    ip: Ip<'a>,
    pieces: Pieces,
    /// What the pieces of an IPv6 packet share.
    ident: u32,
}

/// Hands the fragments of an IPv4 packet to `each`. The original ends here as one of them: all further ones are counted
/// as made by the engine. Units of `mtu`: octets, IP header included.
pub(super) fn fragment<'t, P: Ports, K>(
    ctx: &mut Context<'t, P, K>,
    packet: Packet<P::Buf>,
    mtu: u16,
    each: impl FnMut(&mut Context<'t, P, K>, Packet<P::Buf>),
) {
    let planned = Ipv4::parse(packet.buf.data()).and_then(|ip| {
        let pieces = pieces(&ip, mtu).ok_or(DropReason::MtuExceeded)?;
        Ok(Cut { ip: Ip::V4(ip), pieces, ident: 0 })
    });
    match planned {
        Ok(cut) => hand_out(ctx, &packet, &cut, each),
        Err(reason) => ctx.drop(packet, reason),
    }
}

/// As [`fragment`], for a packet of either family that this gateway itself sends, whatever its "don't fragment" says.
/// `ident` differs from packet to packet.
#[cold]
pub(super) fn fragment_own<'t, P: Ports, K>(
    ctx: &mut Context<'t, P, K>,
    packet: Packet<P::Buf>,
    mtu: u16,
    ident: u32,
    each: impl FnMut(&mut Context<'t, P, K>, Packet<P::Buf>),
) {
    let planned = Ip::parse(packet.buf.data()).and_then(|ip| {
        let pieces = match &ip {
            Ip::V4(ip) => pieces_of_own(ip, mtu),
            Ip::V6(ip) => pieces6(ip, mtu),
        };
        Ok(Cut { ip, pieces: pieces.ok_or(DropReason::MtuExceeded)?, ident })
    });
    match planned {
        Ok(cut) => hand_out(ctx, &packet, &cut, each),
        Err(reason) => ctx.drop(packet, reason),
    }
}

fn hand_out<'t, P: Ports, K>(
    ctx: &mut Context<'t, P, K>,
    original: &Packet<P::Buf>,
    cut: &Cut<'_>,
    mut each: impl FnMut(&mut Context<'t, P, K>, Packet<P::Buf>),
) {
    let origin = original.origin;
    for piece in cut.pieces {
        // The first fragment takes the original's place in the account, the others are new.
        if piece.at != 0 {
            ctx.account(origin).made.add(1);
        }
        let Some(buf) = ctx.ports.alloc() else {
            ctx.counters().dropped(origin, DropReason::NoBuffer);
            continue;
        };
        let mut made = Packet { buf, origin };
        match write(cut, &piece, &mut made) {
            Ok(()) => each(ctx, made),
            Err(reason) => ctx.drop(made, reason),
        }
    }
}

fn write<B: Buffer>(cut: &Cut<'_>, piece: &Piece, to: &mut Packet<B>) -> Result<(), DropReason> {
    let most = piece.octets + MOST_HEADER_OCTETS;
    if !to.buf.append(most) {
        return Err(DropReason::NoHeadroom);
    }
    let octets = match &cut.ip {
        Ip::V4(ip) => emit(ip, piece, to.buf.data_mut()),
        Ip::V6(ip) => emit6(ip, piece, cut.ident, to.buf.data_mut()),
    }?;
    to.buf.trim(most - octets);
    Ok(())
}

/// Length of the longest header a piece has: IPv4 with all its options. Units: octets.
const MOST_HEADER_OCTETS: usize = 60;
