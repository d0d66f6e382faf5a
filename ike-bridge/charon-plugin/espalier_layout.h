/*
 * The offset of every field and the size of every message, the same numbers as in
 * shm-protocol/src/messages/plugin/layout.rs.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef ESPALIER_LAYOUT_H_
#define ESPALIER_LAYOUT_H_

#include "espalier_msg.h"

#define AT(message, field, at) _Static_assert(offsetof(struct espalier_##message, field) == (at), #field)
#define SIZE(message, octets) _Static_assert(sizeof(struct espalier_##message) == (octets), #message)

SIZE(header, 24);
AT(header, magic, 0); AT(header, version, 4); AT(header, type, 6); AT(header, length, 8);
AT(header, flags, 12); AT(header, request_id, 16);

SIZE(host, 20);
AT(host, family, 0); AT(host, port, 2); AT(host, address, 4);

SIZE(ts, 40);
AT(ts, from, 0); AT(ts, to, 16); AT(ts, from_port, 32); AT(ts, to_port, 34); AT(ts, family, 36);
AT(ts, proto, 38); AT(ts, reserved, 39);

SIZE(mark, 8);
AT(mark, value, 0); AT(mark, mask, 4);

SIZE(limit, 24);
AT(limit, life, 0); AT(limit, rekey, 8); AT(limit, jitter, 16);

SIZE(sa_id, 64);
AT(sa_id, src, 0); AT(sa_id, dst, 20); AT(sa_id, spi, 40); AT(sa_id, if_id, 44); AT(sa_id, mark, 48);
AT(sa_id, proto, 56); AT(sa_id, reserved, 57);

SIZE(policy_id, 112);
AT(policy_id, dir, 0); AT(policy_id, label_present, 1); AT(policy_id, interface_truncated, 2);
AT(policy_id, reserved, 3); AT(policy_id, if_id, 4); AT(policy_id, mark, 8);
AT(policy_id, interface, 16); AT(policy_id, src_ts, 32); AT(policy_id, dst_ts, 72);

SIZE(hello, 120);
AT(hello, header, 0); AT(hello, pid, 24); AT(hello, pending_deletes, 28); AT(hello, start_ticks, 32);
AT(hello, daemon, 40); AT(hello, strongswan, 72); AT(hello, plugin, 104);

SIZE(get_spi, 72);
AT(get_spi, header, 0); AT(get_spi, src, 24); AT(get_spi, dst, 44); AT(get_spi, proto, 64);
AT(get_spi, reserved, 65);

SIZE(add_sa, 1024);
AT(add_sa, header, 0); AT(add_sa, id, 24); AT(add_sa, time, 88); AT(add_sa, octets, 112);
AT(add_sa, packets, 136); AT(add_sa, reqid, 160); AT(add_sa, replay_window_pkts, 164);
AT(add_sa, tfc, 168); AT(add_sa, set_mark, 172); AT(add_sa, cpu, 180); AT(add_sa, acquire_seq, 184);
AT(add_sa, enc_alg, 188); AT(add_sa, int_alg, 190); AT(add_sa, enc_key_octets, 192);
AT(add_sa, int_key_octets, 194); AT(add_sa, ipcomp, 196); AT(add_sa, cpi, 198); AT(add_sa, mode, 200);
AT(add_sa, encap, 201); AT(add_sa, hw_offload, 202); AT(add_sa, label_present, 203);
AT(add_sa, esn, 204); AT(add_sa, copy_df, 205); AT(add_sa, copy_ecn, 206); AT(add_sa, copy_dscp, 207);
AT(add_sa, initiator, 208); AT(add_sa, inbound, 209); AT(add_sa, update, 210);
AT(add_sa, src_ts_count, 211); AT(add_sa, dst_ts_count, 212); AT(add_sa, ts_truncated, 213);
AT(add_sa, interface_truncated, 214); AT(add_sa, reserved, 215); AT(add_sa, interface, 224);
AT(add_sa, enc_key, 240); AT(add_sa, int_key, 304); AT(add_sa, src_ts, 368); AT(add_sa, dst_ts, 688);
AT(add_sa, spare, 1008);

SIZE(update_sa, 136);
AT(update_sa, header, 0); AT(update_sa, id, 24); AT(update_sa, new_src, 88); AT(update_sa, new_dst, 108);
AT(update_sa, new_reqid, 128); AT(update_sa, cpi, 132); AT(update_sa, encap, 134);
AT(update_sa, new_encap, 135);

SIZE(sa_ref, 96);
AT(sa_ref, header, 0); AT(sa_ref, id, 24); AT(sa_ref, cpi, 88); AT(sa_ref, reserved, 90);

SIZE(policy_ref, 136);
AT(policy_ref, header, 0); AT(policy_ref, id, 24);

SIZE(policy, 208);
AT(policy, header, 0); AT(policy, id, 24); AT(policy, type, 136); AT(policy, prio, 137);
AT(policy, mode, 138); AT(policy, esp_use, 139); AT(policy, manual_prio, 140); AT(policy, src, 144);
AT(policy, dst, 164); AT(policy, reqid, 184); AT(policy, policy_count, 188); AT(policy, esp_spi, 192);
AT(policy, ah_spi, 196); AT(policy, ah_use, 200); AT(policy, reserved, 201); AT(policy, ipcomp, 202);
AT(policy, cpi, 204); AT(policy, reserved2, 206);

SIZE(reply, 264);
AT(reply, header, 0); AT(reply, status, 24); AT(reply, spi, 28); AT(reply, octets, 32);
AT(reply, packets, 40); AT(reply, last_use_ago_ns, 48); AT(reply, detail_octets, 56);
AT(reply, reserved, 58); AT(reply, detail, 64);

SIZE(expire, 56);
AT(expire, header, 0); AT(expire, dst, 24); AT(expire, spi, 44); AT(expire, proto, 48);
AT(expire, hard, 49); AT(expire, reserved, 50);

SIZE(acquire, 120);
AT(acquire, header, 0); AT(acquire, src_ts, 24); AT(acquire, dst_ts, 64); AT(acquire, reqid, 104);
AT(acquire, cpu, 108); AT(acquire, acquire_seq, 112); AT(acquire, reserved, 116);

SIZE(mapping, 72);
AT(mapping, header, 0); AT(mapping, dst, 24); AT(mapping, remote, 44); AT(mapping, spi, 64);
AT(mapping, proto, 68); AT(mapping, reserved, 69);

#undef AT
#undef SIZE

#endif /* ESPALIER_LAYOUT_H_ */
