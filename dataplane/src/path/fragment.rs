//! Fragmentation of an IPv4 packet into buffers of its own, each of which then goes its way like a packet.

use esp::DropReason;
use esp::fragment::{emit, pieces};
use esp::wire::ipv4::Ipv4;

use super::context::{Context, Packet};
use crate::ports::{Buffer, Ports};

/// Hands the fragments of `packet` to `each`. The original ends here as one of them: all further ones are counted as
/// made by the engine. Units of `mtu`: octets, IP header included.
pub(super) fn fragment<'t, P: Ports, K>(
    ctx: &mut Context<'t, P, K>,
    packet: Packet<P::Buf>,
    mtu: u16,
    mut each: impl FnMut(&mut Context<'t, P, K>, Packet<P::Buf>),
) {
    let origin = packet.origin;
    let planned = Ipv4::parse(packet.buf.data()).and_then(|ip| {
        let pieces = pieces(&ip, mtu).ok_or(DropReason::MtuExceeded)?;
        Ok((ip, pieces))
    });
    let (ip, pieces) = match planned {
        Ok(planned) => planned,
        Err(reason) => return ctx.drop(packet, reason),
    };
    for piece in pieces {
        // The first fragment takes the original's place in the account, the others are new.
        if piece.at != 0 {
            ctx.account(origin).made.add(1);
        }
        let Some(buf) = ctx.ports.alloc() else {
            ctx.counters().dropped(origin, DropReason::NoBuffer);
            continue;
        };
        let mut made = Packet { buf, origin };
        match write(&ip, &piece, &mut made) {
            Ok(()) => each(ctx, made),
            Err(reason) => ctx.drop(made, reason),
        }
    }
}

fn write<B: Buffer>(
    ip: &Ipv4<'_>,
    piece: &esp::fragment::Piece,
    to: &mut Packet<B>,
) -> Result<(), DropReason> {
    let most = piece.octets + ip.header_octets();
    if !to.buf.append(most) {
        return Err(DropReason::NoHeadroom);
    }
    let octets = emit(ip, piece, to.buf.data_mut())?;
    to.buf.trim(most - octets);
    Ok(())
}
