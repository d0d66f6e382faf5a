//! A packet's fate when it is neither sent nor punted: one reason, declared once.
//!
//! Counters, metrics and `docs/drops.md` are made from this table; a reason stands where a packet meets it.

use core::fmt;

/// How much a reason should worry whoever reads the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Belongs to ordinary operation; nobody needs to look.
    Quiet,
    /// Traffic was lost to load, configuration or a peer's fault; the count says how much.
    Trouble,
    /// An event that RFC 4301 or RFC 4303 wants audited, or that an attacker can cause.
    Audit,
}

impl Severity {
    /// Returns the word that tables and metrics show.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Trouble => "trouble",
            Self::Audit => "audit",
        }
    }
}

macro_rules! drop_reasons {
    ($($variant:ident $name:literal $severity:ident $rfc:literal $xfrm:tt $sentence:literal)+) => {
        /// Why a packet was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason {
            $(#[doc = $sentence] $variant,)+
        }

        impl DropReason {
            /// Every reason, in the order a packet meets them; position `i` has `index()` `i`.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the name that counters and metrics use.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// Returns what happened, as one sentence.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence),+ }
            }

            /// Returns the RFC and section that rule the case; empty where none does.
            #[must_use]
            pub const fn rfc(self) -> &'static str {
                match self { $(Self::$variant => $rfc),+ }
            }

            /// Returns how much the reason should worry.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity),+ }
            }

            /// Returns the counter of `/proc/net/xfrm_stat` that would have grown in Linux, if one would.
            #[must_use]
            pub const fn xfrm_stat(self) -> Option<&'static str> {
                match self { $(Self::$variant => drop_reasons!(@xfrm $xfrm)),+ }
            }
        }
    };
    (@xfrm -) => { None };
    (@xfrm $name:literal) => { Some($name) };
}

drop_reasons! {
    // Reception and classification.
    Segmented "segmented" Trouble "" -
        "The frame spans several buffers, which no path here can read."
    MalformedFrame "malformed_frame" Trouble "RFC 894" -
        "The frame is shorter than an Ethernet header."
    ForeignMac "foreign_mac" Quiet "RFC 1812 3.3" -
        "The frame is addressed to another station."
    UnknownEthertype "unknown_ethertype" Quiet "RFC 894" -
        "The frame carries neither IPv4, IPv6 nor ARP."
    MalformedArp "malformed_arp" Trouble "RFC 826" -
        "The ARP or neighbour discovery message is cut short or for another kind of network."
    NeighborMessage "neighbor_message" Quiet "RFC 826" -
        "The ARP or neighbour discovery message was for the engine itself and has been used."
    MalformedIp "malformed_ip" Trouble "RFC 1812 5.2.2" "XfrmInHdrError"
        "The IP header is cut short, inconsistent, or longer than the frame."
    IpChecksum "ip_checksum" Trouble "RFC 1812 5.2.2" "XfrmInHdrError"
        "The IPv4 header checksum is wrong."
    Martian "martian" Audit "RFC 1812 5.3.7" -
        "The source address cannot be that of a host which sends to us."
    MalformedUdp "malformed_udp" Trouble "RFC 768" "XfrmInHdrError"
        "The UDP header is cut short or its length does not fit the packet."
    Keepalive "keepalive" Quiet "RFC 3948 2.3" -
        "The packet was a NAT keepalive, whose whole use is to have passed the NAT."
    NotForUs "not_for_us" Quiet "RFC 4301 5.2" -
        "The packet is addressed to a host that is not this gateway and is not to be forwarded."
    EspFragment "esp_fragment" Audit "RFC 4303 3.4.1" "XfrmInHdrError"
        "The ESP packet is still a fragment."
    MalformedEsp "malformed_esp" Trouble "RFC 4303 2" "XfrmInHdrError"
        "The packet is too short to hold ESP header, IV, trailer and ICV."

    // SPI to inner packet.
    UnknownSpi "unknown_spi" Audit "RFC 4303 3.4.2" "XfrmInNoStates"
        "No inbound SA has this SPI."
    SaMismatch "sa_mismatch" Audit "RFC 4301 4.1" "XfrmInStateMismatch"
        "The packet came in UDP and its SA is not encapsulated, or the other way round."
    InboundExpired "inbound_expired" Trouble "RFC 4301 4.4.2.1" "XfrmInStateExpired"
        "The inbound SA has reached a hard limit of time, octets or packets."
    Replay "replay" Audit "RFC 4303 3.4.3" "XfrmInStateSeqError"
        "A packet with this sequence number was accepted before."
    TooOld "too_old" Audit "RFC 4303 3.4.3" "XfrmInStateSeqError"
        "The sequence number lies before the replay window."
    Integrity "integrity" Audit "RFC 4303 3.4.4" "XfrmInStateProtoError"
        "The integrity check value does not match: the packet was altered, forged or sealed with another key."
    BadPadding "bad_padding" Trouble "RFC 4303 2.4" "XfrmInStateProtoError"
        "The packet is genuine, but its padding is not 1, 2, 3 and so on, or longer than the packet."
    Dummy "dummy" Quiet "RFC 4303 2.6" -
        "The packet is genuine traffic flow padding with next header 59."
    NotTunnel "not_tunnel" Trouble "RFC 4303 3.1.2" "XfrmInStateModeError"
        "The packet is genuine, but carries no IP packet although the SA is in tunnel mode."
    BadInner "bad_inner" Trouble "RFC 4301 5.2" "XfrmInHdrError"
        "The packet is genuine, but the IP header inside is cut short, inconsistent or of the other family."
    Ecn "ecn" Trouble "RFC 6040 4.2" -
        "The outer header reports congestion to a flow that does not understand the report."

    // Inbound policy.
    InboundSelector "inbound_selector" Audit "RFC 4301 5.2" "XfrmInStateMismatch"
        "The inner packet is none that the selectors of its SA allow."
    IfIdMismatch "if_id_mismatch" Audit "RFC 4301 5.2" "XfrmInTmplMismatch"
        "The packet came by a tunnel with another if_id than the policy that fits it."
    InboundNoPolicy "inbound_no_policy" Audit "RFC 4301 5.2" "XfrmInNoPols"
        "No inbound policy with the SA's if_id fits the inner packet."
    InboundBlocked "inbound_blocked" Audit "RFC 4301 5.2" "XfrmInPolBlock"
        "The inbound policy that fits the packet discards it."
    InboundTemplate "inbound_template" Audit "RFC 4301 5.2" "XfrmInTmplMismatch"
        "The packet came by an SA other than the one its inbound policy asks for."
    Unprotected "unprotected" Audit "RFC 4301 5.2" "XfrmInTmplMismatch"
        "The packet came in clear where an inbound policy asks for protection."
    IcmpEmbedded "icmp_embedded" Audit "RFC 4301 6.2" "XfrmInStateMismatch"
        "The packet quoted by an ICMP error is none that the SA could have carried the other way."

    // Forwarding.
    TtlExpired "ttl_expired" Quiet "RFC 1812 5.3.1" "XfrmFwdHdrError"
        "The TTL or hop limit ran out here."
    Multicast "multicast" Quiet "RFC 1812 5.3.4" -
        "The destination is a group, a broadcast or link-local address, which is not forwarded."
    NoRoute "no_route" Trouble "RFC 1812 5.2.4" -
        "No route leads to the destination."
    NoInterface "no_interface" Trouble "" -
        "The route names an interface or port that does not exist or is down."
    UnprotectedForwarding "unprotected_forwarding" Trouble "RFC 4301 4.4.1" -
        "The packet would go from port to port in clear, which the configuration does not allow."
    HostEsp "host_esp" Audit "RFC 4301 5.1" -
        "The host made this ESP packet itself; here only the engine does."

    // Outbound.
    OutboundNoPolicy "outbound_no_policy" Trouble "RFC 4301 5.1" "XfrmOutPolBlock"
        "The packet was routed to a tunnel interface, but no policy with its if_id fits it."
    OutboundBlocked "outbound_blocked" Trouble "RFC 4301 5.1" "XfrmOutPolBlock"
        "The outbound policy that fits the packet discards it."
    NoSa "no_sa" Trouble "RFC 4301 5.1" "XfrmOutNoStates"
        "The policy asks for protection and no SA that fits its template is there."
    OutboundExpired "outbound_expired" Trouble "RFC 4301 4.4.2.1" "XfrmOutStateExpired"
        "The outbound SA has reached a hard limit of time, octets or packets."
    MtuExceeded "mtu_exceeded" Quiet "RFC 4301 8.2.1" -
        "The packet is too long for the path and must not be fragmented; its sender was told the size."
    TooLong "too_long" Trouble "RFC 4303 2" "XfrmOutError"
        "The protected packet would be longer than an IP packet can be."
    NoOuterRoute "no_outer_route" Trouble "RFC 4301 5.1" -
        "No port leads to the outer destination of the SA."
    NeighborUnresolved "neighbor_unresolved" Trouble "RFC 1122 2.3.2" -
        "The Ethernet address of the next hop did not become known in time."
    NeighborQueueFull "neighbor_queue_full" Trouble "RFC 1122 2.3.2.2" -
        "A newer packet took the one place that is held while the next hop is asked for."
    SequenceExhausted "sequence_exhausted" Audit "RFC 4303 3.3.3" "XfrmOutStateSeqError"
        "The outbound SA has no sequence number left."
    NoHeadroom "no_headroom" Trouble "" "XfrmOutError"
        "The buffer has no room for the headers or the trailer."

    // Buffers, rings and queues.
    NoBuffer "no_buffer" Trouble "" -
        "No buffer was free."
    HandoffFull "handoff_full" Trouble "" -
        "The ring to the worker that has to finish the packet is full."
    HandoffLost "handoff_lost" Trouble "" -
        "The worker that took the packet over to open it did not give it back in time."
    PortUnknown "port_unknown" Trouble "" -
        "The port or queue that the packet should leave by does not exist."
    TxFull "tx_full" Trouble "" -
        "The transmit queue took no more packets."
    PuntRateLimit "punt_rate_limit" Trouble "" -
        "The host gets no more packets of this class at the moment."
    PuntFull "punt_full" Trouble "" -
        "The ring to the host is full."
    NoHost "no_host" Quiet "" -
        "The packet is for the host, and the host has no interface here."
}

impl DropReason {
    /// Number of reasons, the length of an array of counters.
    pub const COUNT: usize = Self::ALL.len();

    /// Returns the reason's place in an array of counters, below [`Self::COUNT`].
    #[must_use]
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Returns the reason with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.name() == name)
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl core::error::Error for DropReason {}

#[cfg(test)]
mod tests {
    use super::*;

    fn snake_case(camel: &str) -> String {
        let mut out = String::new();
        for (i, c) in camel.chars().enumerate() {
            if c.is_uppercase() && i > 0 {
                out.push('_');
            }
            out.extend(c.to_lowercase());
        }
        out
    }

    #[test]
    fn names_are_the_variants_in_snake_case() {
        for reason in DropReason::ALL {
            assert_eq!(reason.name(), snake_case(&format!("{reason:?}")));
        }
    }

    #[test]
    fn an_index_is_the_place_in_all() {
        for (i, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), i);
            assert_eq!(DropReason::from_name(reason.name()), Some(*reason));
        }
        assert_eq!(DropReason::from_name("nonsense"), None);
    }

    #[test]
    fn every_sentence_ends_with_a_full_stop() {
        for reason in DropReason::ALL {
            assert!(reason.sentence().ends_with('.') && !reason.sentence().contains('\n'));
        }
    }

    #[test]
    fn counterparts_are_counters_that_linux_has() {
        const XFRM_STAT: [&str; 14] = [
            "XfrmInHdrError",
            "XfrmInNoStates",
            "XfrmInStateProtoError",
            "XfrmInStateModeError",
            "XfrmInStateSeqError",
            "XfrmInStateExpired",
            "XfrmInStateMismatch",
            "XfrmInTmplMismatch",
            "XfrmInNoPols",
            "XfrmInPolBlock",
            "XfrmOutNoStates",
            "XfrmOutStateSeqError",
            "XfrmOutStateExpired",
            "XfrmOutPolBlock",
        ];
        for stat in DropReason::ALL.iter().filter_map(|reason| reason.xfrm_stat()) {
            assert!(
                XFRM_STAT.contains(&stat) || ["XfrmOutError", "XfrmFwdHdrError"].contains(&stat),
                "{stat}"
            );
        }
    }

    #[test]
    fn a_result_costs_one_octet() {
        assert_eq!(size_of::<Result<(), DropReason>>(), 1);
    }
}
