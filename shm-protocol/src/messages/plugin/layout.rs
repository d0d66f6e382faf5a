//! The offset of every field and the size of every message, checked while compiling; the same numbers as
//! in the plugin's `espalier_layout.h`.

use super::*;

macro_rules! layout {
    ($message:ty, $octets:literal, $($field:ident @ $at:literal)*) => {
        const _: () = {
            assert!(size_of::<$message>() == $octets);
            assert!(align_of::<$message>() == 1);
            $(assert!(core::mem::offset_of!($message, $field) == $at);)*
        };
    };
}

layout!(Header, 24,
    magic @ 0 version @ 4 kind @ 6 length @ 8 flags @ 12 request_id @ 16);
layout!(Host, 20,
    family @ 0 port @ 2 address @ 4);
layout!(TrafficSelector, 40,
    from @ 0 to @ 16 from_port @ 32 to_port @ 34 family @ 36 proto @ 38 reserved @ 39);
layout!(Mark, 8,
    value @ 0 mask @ 4);
layout!(Limit, 24,
    life @ 0 rekey @ 8 jitter @ 16);
layout!(SaId, 64,
    src @ 0 dst @ 20 spi @ 40 if_id @ 44 mark @ 48 proto @ 56 reserved @ 57);
layout!(PolicyId, 112,
    dir @ 0 label_present @ 1 interface_truncated @ 2 reserved @ 3 if_id @ 4 mark @ 8 interface @ 16
    src_ts @ 32 dst_ts @ 72);
layout!(Hello, 120,
    header @ 0 pid @ 24 pending_deletes @ 28 start_ticks @ 32 daemon @ 40 strongswan @ 72
    plugin @ 104);
layout!(GetSpi, 72,
    header @ 0 src @ 24 dst @ 44 proto @ 64 reserved @ 65);
layout!(AddSa, 1024,
    header @ 0 id @ 24 time @ 88 octets @ 112 packets @ 136 reqid @ 160 replay_window_pkts @ 164
    tfc @ 168 set_mark @ 172 cpu @ 180 acquire_seq @ 184 enc_alg @ 188 int_alg @ 190
    enc_key_octets @ 192 int_key_octets @ 194 ipcomp @ 196 cpi @ 198 mode @ 200 encap @ 201
    hw_offload @ 202 label_present @ 203 esn @ 204 copy_df @ 205 copy_ecn @ 206 copy_dscp @ 207
    initiator @ 208 inbound @ 209 update @ 210 src_ts_count @ 211 dst_ts_count @ 212
    ts_truncated @ 213 interface_truncated @ 214 reserved @ 215 interface @ 224 enc_key @ 240
    int_key @ 304 src_ts @ 368 dst_ts @ 688 spare @ 1008);
layout!(UpdateSa, 136,
    header @ 0 id @ 24 new_src @ 88 new_dst @ 108 new_reqid @ 128 cpi @ 132 encap @ 134
    new_encap @ 135);
layout!(SaRef, 96,
    header @ 0 id @ 24 cpi @ 88 reserved @ 90);
layout!(PolicyRef, 136,
    header @ 0 id @ 24);
layout!(Policy, 208,
    header @ 0 id @ 24 kind @ 136 prio @ 137 mode @ 138 esp_use @ 139 manual_prio @ 140 src @ 144
    dst @ 164 reqid @ 184 policy_count @ 188 esp_spi @ 192 ah_spi @ 196 ah_use @ 200 reserved @ 201
    ipcomp @ 202 cpi @ 204 reserved2 @ 206);
layout!(Reply, 264,
    header @ 0 status @ 24 spi @ 28 octets @ 32 packets @ 40 last_use_ago_ns @ 48 detail_octets @ 56
    reserved @ 58 detail @ 64);
layout!(Expire, 56,
    header @ 0 dst @ 24 spi @ 44 proto @ 48 hard @ 49 reserved @ 50);
layout!(Acquire, 120,
    header @ 0 src_ts @ 24 dst_ts @ 64 reqid @ 104 cpu @ 108 acquire_seq @ 112 reserved @ 116);
layout!(Mapping, 72,
    header @ 0 dst @ 24 remote @ 44 spi @ 64 proto @ 68 reserved @ 69);
