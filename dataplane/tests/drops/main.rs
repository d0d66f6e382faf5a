//! Every reason a packet can be dropped for, provoked in memory, one test a reason; afterwards the accounts still add
//! up. The last test fails for a reason that nothing here provokes and that is no exception with a cause.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use dataplane::path::host::{FromHost, HostDevice};
use dataplane::ports::memory::MemBuf;
use dataplane::ports::{Buffer, InterfaceId, PortId};
use esp::DropReason;
use esp::wire::Proto;
use gateway::{Gateway, LAN, Peer, WAN, clear, policy, sa};
use packets::{altered, arp, inner, nat_t, packet, patched, resealed};
use shm_protocol::policy::PolicyDirection::{Fwd, Out};
use shm_protocol::policy::{Action, Policy};
use shm_protocol::sa::{Direction, EncapPorts, Limit, Sa};
use shm_protocol::sad::Transaction;

#[path = "../gateway/mod.rs"]
mod gateway;
mod packets;

const A_HOST: [u8; 4] = [10, 1, 0, 9];
const B_HOST: [u8; 4] = [10, 2, 0, 9];
const A_WAN: [u8; 4] = [192, 0, 2, 1];
const B_WAN: [u8; 4] = [192, 0, 2, 2];
const ETHERNET: usize = 14;
const SECOND_NS: u64 = 1_000_000_000;

/// Why a reason has no test here.
const EXCEPTIONS: &[(DropReason, &str)] = &[
    (DropReason::NotForUs, "the path forwards, refuses or hands to the host, and raises it nowhere"),
    (DropReason::IcmpEmbedded, "the path does not look into the packets that ICMP errors quote"),
    (
        DropReason::TooLong,
        "a port's MTU is 16 bits, so what is too long for IP is too long for the port first",
    ),
];

macro_rules! provoked {
    ($($sentence:ident $reason:ident $provoke:expr;)+) => {
        const PROVOKED: &[DropReason] = &[$(DropReason::$reason),+];
        $(
            #[test]
            fn $sentence() {
                ends(DropReason::$reason, &$provoke());
            }
        )+
    };
}

provoked! {
    a_frame_of_several_buffers Segmented || plain(&[0; 4000]);
    a_frame_without_an_ethernet_header MalformedFrame || plain(&[2; 10]);
    a_frame_for_another_station ForeignMac || plain(&altered(clear(A_HOST, B_HOST), 5, 0x77));
    a_frame_that_is_neither_ip_nor_arp UnknownEthertype || plain(&altered(clear(A_HOST, B_HOST), 12, 0x88));
    an_arp_message_cut_short MalformedArp || plain(&arp()[..30]);
    an_arp_message_for_the_gateway NeighborMessage || plain(&arp());
    an_ip_header_of_no_length MalformedIp || plain(&altered(clear(A_HOST, B_HOST), ETHERNET, 0x41));
    an_ip_header_with_a_wrong_checksum IpChecksum || plain(&altered(clear(A_HOST, B_HOST), ETHERNET + 8, 9));
    a_packet_from_the_loopback_net Martian || plain(&clear([127, 0, 0, 1], B_HOST));
    a_udp_header_longer_than_the_packet MalformedUdp
        || plain(&altered(clear(A_HOST, A_WAN), ETHERNET + 24, 9));
    a_nat_keepalive Keepalive || plain(&packet(Proto::UDP, A_HOST, A_WAN, &nat_t(&[0xff])));
    a_piece_of_esp EspFragment
        || plain(&patched(packet(Proto::ESP, A_HOST, A_WAN, &[1; 64]), 6, 0x20));
    esp_without_room_for_an_iv MalformedEsp || plain(&packet(Proto::ESP, A_HOST, A_WAN, &[1; 8]));

    an_spi_nobody_has UnknownSpi || plain(&packet(Proto::ESP, A_HOST, A_WAN, &[1; 64]));
    esp_in_ip_for_an_sa_in_udp SaMismatch || opening(&sealed(1), |records| {
        let mut encapsulated = sa(Direction::In, 1);
        encapsulated.encap = Some(EncapPorts { sport: 4500, dport: 4500 });
        records.put_sa(&encapsulated);
    });
    a_packet_behind_the_last_one_its_sa_may_open InboundExpired || opening(&sealed(2), |records| {
        let mut limited = sa(Direction::In, 1);
        limited.limits.packets = Limit::new(0, 1);
        records.put_sa(&limited).put_policy(&policy(0, Fwd, 1));
    });
    a_packet_sent_again Replay || opening(&[sealed(1), sealed(1)].concat(), expecting);
    a_packet_before_the_window TooOld || {
        // With extended numbers a low one means the next 2^32, so this needs short ones.
        let mut sender = sealing(400, |records| {
            records.put_sa(&short(Direction::Out)).put_policy(&policy(0, Out, 1));
        });
        while sender.poll(0) > 0 {}
        let mut frames = sender.sent(WAN);
        frames.rotate_left(1);
        opening(&frames, |records| {
            records.put_sa(&short(Direction::In)).put_policy(&policy(0, Fwd, 1));
        })
    };
    a_forged_packet Integrity || {
        let mut frames = sealed(1);
        *frames[0].last_mut().unwrap() ^= 1;
        opening(&frames, expecting)
    };
    padding_out_of_order BadPadding || opening(&[resealed(&inner(A_HOST), &[1, 9], 4)], expecting);
    a_dummy Dummy || opening(&[resealed(&[0; 40], &[1, 2], 59)], expecting);
    no_ip_packet_inside NotTunnel || opening(&[resealed(&[0; 40], &[1, 2], 6)], expecting);
    an_inner_packet_of_the_other_family BadInner
        || opening(&[resealed(&inner(A_HOST), &[1, 2], 41)], expecting);
    congestion_reported_to_who_cannot_hear_it Ecn || {
        let frames: Vec<_> = sealed(1).into_iter().map(|frame| patched(frame, 1, 3)).collect();
        opening(&frames, expecting)
    };

    an_inner_address_its_sa_does_not_allow InboundSelector || opening(&sealed(1), |records| {
        let mut narrow = sa(Direction::In, 1);
        let inner = gateway::selector("10.1.0.128", "10.1.0.255", "10.2.0.0", "10.2.0.255");
        narrow.selectors = [inner].into_iter().collect();
        records.put_sa(&narrow).put_policy(&policy(0, Fwd, 1));
    });
    a_packet_another_tunnel_should_have_brought IfIdMismatch || opening(&sealed(1), |records| {
        records.put_sa(&sa(Direction::In, 2)).put_policy(&policy(0, Fwd, 1));
    });
    a_packet_no_policy_expects InboundNoPolicy || opening(&sealed(1), |records| {
        records.put_sa(&sa(Direction::In, 1));
    });
    a_packet_that_an_inbound_policy_discards InboundBlocked || opening(&sealed(1), |records| {
        let mut discard = policy(0, Fwd, 1);
        discard.action = Action::Discard;
        records.put_sa(&sa(Direction::In, 1)).put_policy(&discard);
    });
    a_packet_by_an_sa_of_another_template InboundTemplate || opening(&sealed(1), |records| {
        records.put_sa(&sa(Direction::In, 1)).put_policy(&of_reqid_two());
    });
    clear_text_that_a_policy_wants_protected Unprotected || opening(&[clear(A_HOST, B_HOST)], |records| {
        records.put_policy(&policy(0, Fwd, 0));
    });

    a_packet_whose_ttl_runs_out TtlExpired || plain(&patched(clear(A_HOST, B_HOST), 8, 1));
    a_packet_to_a_link_local_address Multicast || plain(&clear(A_HOST, [169, 254, 1, 1]));
    a_destination_nobody_knows NoRoute || plain(&clear(A_HOST, [198, 51, 100, 1]));
    an_interface_that_is_not_there NoInterface || from_host(
        &[(HostDevice::Interface(InterfaceId(9)), &clear(A_HOST, B_HOST)[ETHERNET..])]
    );
    clear_text_from_port_to_port UnprotectedForwarding || plain(&clear(A_HOST, B_WAN));
    esp_that_the_host_made HostEsp || from_host(
        &[(HostDevice::Port(PortId(1)), &packet(Proto::ESP, A_WAN, B_WAN, &[1; 64]))]
    );

    a_packet_for_a_tunnel_without_a_policy OutboundNoPolicy || plain(&clear(A_HOST, B_HOST));
    a_packet_that_an_outbound_policy_discards OutboundBlocked || sealing(1, |records| {
        let mut discard = policy(0, Out, 1);
        discard.action = Action::Discard;
        records.put_policy(&discard);
    });
    a_policy_without_an_sa NoSa || sealing(1, |records| {
        records.put_policy(&policy(0, Out, 1));
    });
    a_packet_behind_the_last_one_its_sa_may_seal OutboundExpired || sealing(2, |records| {
        let mut limited = sa(Direction::Out, 1);
        limited.limits.packets = Limit::new(0, 1);
        records.put_sa(&limited).put_policy(&policy(0, Out, 1));
    });
    a_long_packet_that_must_stay_whole MtuExceeded || {
        let mut gateway = sealing(0, protecting);
        gateway.offer(LAN, &[patched(packet(Proto::UDP, A_HOST, B_HOST, &[0; 1480]), 6, 0x40)]);
        assert_eq!(gateway.sent(LAN).len(), 1, "its sender is told");
        gateway
    };
    an_sa_to_where_no_port_leads NoOuterRoute || sealing(1, |records| {
        let far = "203.0.113.9".parse().unwrap();
        let (mut sa, mut policy) = (sa(Direction::Out, 1), policy(0, Out, 1));
        sa.dst = far;
        if let Action::Protect(template) = &mut policy.action {
            template.dst = far;
        }
        records.put_sa(&sa).put_policy(&policy);
    });
    a_next_hop_that_stays_silent NeighborUnresolved || unanswered(1);
    a_newer_packet_for_a_silent_next_hop NeighborQueueFull || unanswered(2);
    an_sa_without_numbers SequenceExhausted || sealing(1, |records| {
        let mut used_up = short(Direction::Out);
        used_up.initial.oseq = u64::from(u32::MAX);
        records.put_sa(&used_up).put_policy(&policy(0, Out, 1));
    });
    a_buffer_without_headroom NoHeadroom headless;

    a_dry_pool NoBuffer || {
        let mut gateway = sealing(0, protecting);
        gateway.ports().pool = 0;
        gateway.offer(LAN, &[packet(Proto::UDP, A_HOST, B_HOST, &[0; 1480])]);
        gateway
    };
    a_worker_that_takes_nothing_over HandoffFull overloaded;
    a_worker_that_gives_nothing_back HandoffLost deserted;
    a_port_that_is_not_there PortUnknown || {
        let there = HostDevice::Port(PortId(9));
        from_host(&[(there, &arp()), (there, &clear(A_WAN, B_WAN))])
    };
    a_transmit_queue_that_takes_nothing TxFull || {
        let mut gateway = sealing(0, protecting);
        gateway.ports().tx_room = 2;
        gateway.offer(LAN, &vec![clear(A_HOST, B_HOST); 5]);
        assert_eq!(gateway.sent(WAN).len(), 2);
        gateway
    };
    a_flood_of_one_class PuntRateLimit || {
        let mut gateway = sealing(0, protecting).changed(1, |topology| topology.netdevs = true);
        for _ in 0..1001 {
            gateway.arrive(LAN, &arp(), 0);
            while gateway.shared().host.punts.pop().is_some() {}
        }
        gateway
    };
    a_host_that_takes_nothing PuntFull || {
        let mut gateway = sealing(0, protecting).changed(1, |topology| topology.netdevs = true);
        for _ in 0..1025 {
            gateway.arrive(LAN, &clear(A_HOST, [10, 1, 0, 1]), 0);
        }
        gateway
    };
    a_packet_for_a_host_that_is_not_there NoHost || plain(&clear(A_HOST, [10, 1, 0, 1]));
}

/// The packets ended for this reason, and each packet ended once.
fn ends(reason: DropReason, gateway: &Gateway) {
    let drops = gateway.drops();
    assert!(drops.iter().any(|(ended_for, _)| *ended_for == reason), "{reason:?} is not in {drops:?}");
    // The packet that took another's place is given up in its turn.
    let alone = |other: DropReason| other == reason || other == DropReason::NeighborUnresolved;
    assert!(drops.iter().all(|(other, _)| alone(*other)), "{reason:?} is not alone in {drops:?}");
    gateway.adds_up();
}

fn expecting(records: &mut Transaction) {
    records.put_sa(&sa(Direction::In, 1)).put_policy(&policy(0, Fwd, 1));
}

fn protecting(records: &mut Transaction) {
    records.put_sa(&sa(Direction::Out, 1)).put_policy(&policy(0, Out, 1));
}

/// An SA without extended sequence numbers.
fn short(direction: Direction) -> Sa {
    Sa { esn: false, ..sa(direction, 1) }
}

fn of_reqid_two() -> Policy {
    let mut policy = policy(0, Fwd, 1);
    if let Action::Protect(template) = &mut policy.action {
        template.reqid = 2;
    }
    policy
}

/// A gateway without SAs and policies after one frame from its LAN.
fn plain(frame: &[u8]) -> Gateway {
    let mut gateway = Gateway::new(Peer::A, |_| ());
    gateway.arrive(LAN, frame, 0);
    gateway
}

/// A gateway with these records after `count` packets that go into the tunnel.
fn sealing(count: usize, records: impl FnOnce(&mut Transaction)) -> Gateway {
    let mut gateway = Gateway::new(Peer::A, records);
    gateway.offer(LAN, &vec![clear(A_HOST, B_HOST); count]);
    gateway
}

/// A gateway with these records after frames from the other one.
fn opening(frames: &[Vec<u8>], records: impl FnOnce(&mut Transaction)) -> Gateway {
    let mut gateway = Gateway::new(Peer::B, records);
    for frame in frames {
        gateway.offer(WAN, std::slice::from_ref(frame));
    }
    gateway
}

/// ESP frames from A to B.
fn sealed(count: usize) -> Vec<Vec<u8>> {
    let mut gateway = sealing(0, protecting);
    (0..count).for_each(|_| gateway.offer(LAN, &[clear(A_HOST, B_HOST)]));
    gateway.sent(WAN)
}

/// A gateway after what its host sent.
fn from_host(packets: &[(HostDevice, &[u8])]) -> Gateway {
    let mut gateway = sealing(0, protecting);
    for (device, octets) in packets {
        let buf = MemBuf::from_octets(octets).unwrap();
        gateway.shared().host.from_host.push(FromHost { device: *device, buf }).unwrap();
    }
    while gateway.poll(0) > 0 {}
    gateway
}

/// A packet from the host that begins where its buffer begins.
fn headless() -> Gateway {
    let mut gateway = sealing(0, protecting);
    into_the_tunnel(&mut gateway, vec![without_headroom()]);
    gateway
}

fn without_headroom() -> MemBuf {
    let mut buf = MemBuf::empty();
    assert!(buf.prepend(128));
    let packet = &clear(A_HOST, B_HOST)[ETHERNET..];
    buf.data_mut()[..packet.len()].copy_from_slice(packet);
    buf.trim(128 - packet.len());
    buf
}

/// The host sends IP packets by the tunnel interface, in one burst.
fn into_the_tunnel(gateway: &mut Gateway, packets: Vec<MemBuf>) {
    let device = HostDevice::Interface(InterfaceId(0));
    for buf in packets {
        gateway.shared().host.from_host.push(FromHost { device, buf }).unwrap();
    }
    gateway.poll(0);
}

#[test]
fn a_packet_without_headroom_ends_alone_and_takes_its_number_with_it() {
    let mut gateway = sealing(0, protecting);
    let whole = || MemBuf::from_octets(&clear(A_HOST, B_HOST)[ETHERNET..]).unwrap();
    into_the_tunnel(&mut gateway, vec![whole(), without_headroom(), whole(), without_headroom(), whole()]);
    let seqs: Vec<u8> = gateway.sent(WAN).iter().map(|frame| frame[ETHERNET + 20 + 7]).collect();
    assert_eq!(seqs, [1, 3, 5]);
    assert_eq!(gateway.drops(), [(DropReason::NoHeadroom, 2)]);
}

/// Packets for a host on B's LAN that does not answer, after the time they may wait.
fn unanswered(count: usize) -> Gateway {
    let mut sender = sealing(0, protecting);
    sender.offer(LAN, &vec![clear(A_HOST, [10, 2, 0, 77]); count]);
    let mut gateway = opening(&sender.sent(WAN), expecting);
    gateway.poll(2 * SECOND_NS);
    gateway
}

/// The other worker owns the SA and does not run until its ring is full.
fn overloaded() -> Gateway {
    let mut gateway = sealing(0, protecting).changed(2, |_| ());
    for _ in 0..1025 {
        gateway.offer(LAN, &[clear(A_HOST, B_HOST)]);
    }
    assert_eq!(gateway.drops(), [(DropReason::HandoffFull, 1)]);
    while let Some(handoff) = gateway.others()[0].handoffs.pop() {
        gateway.shared().handoffs.push(handoff).unwrap();
        gateway.poll(0);
    }
    assert_eq!(gateway.sent(WAN).len(), 1024);
    gateway
}

/// The other worker took everything over to open it and does not run again.
fn deserted() -> Gateway {
    let mut gateway = opening(&[], expecting).changed(2, |_| ()).spraying();
    gateway.offer(WAN, &sealed(40));
    let taken: Vec<_> = std::iter::from_fn(|| gateway.shared().spray.offered.pop()).collect();
    for after_ns in (0..10).map(|seconds| seconds * SECOND_NS) {
        gateway.poll(after_ns);
    }
    assert_eq!(gateway.drops(), [(DropReason::HandoffLost, 40)]);
    taken.into_iter().for_each(|chunk| gateway.shared().spray.opened.push(chunk).unwrap());
    gateway
}

#[test]
fn a_frame_for_a_port_without_a_transmit_queue_does_not_go_round_for_ever() {
    let mut gateway = sealing(0, protecting);
    gateway.ports().disown_tx(PortId(1));
    gateway.offer(LAN, &[clear(A_HOST, B_HOST)]);
    assert_eq!((gateway.poll(0), gateway.drops()), (0, vec![(DropReason::PortUnknown, 1)]));
    gateway.adds_up();
}

#[test]
fn pieces_of_a_piece_add_up() {
    let mut gateway = sealing(0, protecting);
    let second = patched(packet(Proto::UDP, A_HOST, B_HOST, &[0; 1480]), 7, 185);
    gateway.offer(LAN, &[second]);
    assert_eq!((gateway.sent(WAN).len(), gateway.drops()), (2, vec![]));
    gateway.adds_up();
}

#[test]
fn every_reason_is_provoked_or_has_a_cause_why_not() {
    for reason in DropReason::ALL {
        let provoked = PROVOKED.contains(reason);
        let excepted = EXCEPTIONS.iter().any(|(exception, cause)| exception == reason && !cause.is_empty());
        assert!(provoked || excepted, "{reason:?}: no test provokes it, and no exception says why");
        assert!(!(provoked && excepted), "{reason:?}: an exception that a test provokes");
    }
}
