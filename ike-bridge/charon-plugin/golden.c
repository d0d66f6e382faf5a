/*
 * Prints one message of each kind as hex; shm-protocol/tests/plugin_golden.txt holds the same lines, and a
 * test of shm-protocol compares them and reads them with the Rust types.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "espalier_layout.h"

#include <stdio.h>

static const struct espalier_host peer = { 4, 4500, { 192, 0, 2, 1 } };
static const struct espalier_host gateway = { 6, 500, { 0x20, 1, 0xd, 0xb8, [15] = 2 } };
static const struct espalier_ts inside = { { 10, 1, 0, 0 }, { 10, 1, 0, 255 }, 0, 65535, 4, 0, 0 };
static const struct espalier_ts ping = { { 0xfd, [15] = 1 }, { 0xfd, [15] = 9 }, 0x8000, 0x80ff, 6, 58, 0 };
static const struct espalier_sa_id sa = { .src = { 4, 4500, { 192, 0, 2, 1 } },
	.dst = { 6, 500, { 0x20, 1, 0xd, 0xb8, [15] = 2 } }, .spi = 0xabc00001, .if_id = 42, .mark = { 7, 0xff },
	.proto = 50 };

static struct espalier_policy_id policy_id(void)
{
	return (struct espalier_policy_id){ .dir = 2, .label_present = 1, .interface_truncated = 1, .if_id = 42,
		.mark = { 7, 0xff }, .interface = "wan0", .src_ts = inside, .dst_ts = ping };
}

static void show(const char *name, uint16_t type, uint64_t request_id, void *message, uint32_t octets)
{
	struct espalier_header *header = message;

	*header = (struct espalier_header){ ESPALIER_MAGIC, ESPALIER_VERSION, type, octets,
		type < ESPALIER_REPLY ? ESPALIER_RESENT : 0, request_id };
	printf("%s ", name);
	for (uint32_t i = 0; i < octets; i++) {
		printf("%02x", ((uint8_t*)message)[i]);
	}
	printf("\n");
}

#define SHOW(name, type, id, ...) \
	do { \
		struct espalier_##name message = { __VA_ARGS__ }; \
		show(#type, ESPALIER_##type, id, &message, sizeof(message)); \
	} while (0)

int main(void)
{
	SHOW(hello, HELLO, 1, .pid = 1234, .pending_deletes = 3, .start_ticks = 0x123456789a,
		 .daemon = "charon-systemd", .strongswan = "5.9.8", .plugin = "0.1.0");
	SHOW(get_spi, GET_SPI, 2, .src = peer, .dst = gateway, .proto = 50);
	SHOW(add_sa, ADD_SA, 0x1122334455667788, .id = sa, .time = { 3600, 3240, 360 },
		 .octets = { 0x100000000, 0xf0000000, 1 }, .packets = { 1000, 900, 10 }, .reqid = 5,
		 .replay_window_pkts = 128, .tfc = 0xffffffff, .set_mark = { 8, 0xf }, .cpu = 3, .acquire_seq = 9,
		 .enc_alg = 20, .int_alg = 1024, .enc_key_octets = 20, .int_key_octets = 4, .ipcomp = 2, .cpi = 0x1234,
		 .mode = 2, .encap = 1, .hw_offload = 2, .label_present = 1, .esn = 1, .copy_df = 1, .copy_ecn = 1,
		 .copy_dscp = 3, .initiator = 1, .inbound = 1, .update = 1, .src_ts_count = 1, .dst_ts_count = 2,
		 .ts_truncated = 1, .interface_truncated = 1, .interface = "wan0", .enc_key = { 1, 2, [19] = 20 },
		 .int_key = { 0xa, 0xb, 0xc, 0xd }, .src_ts = { inside }, .dst_ts = { ping, inside });
	SHOW(update_sa, UPDATE_SA, 4, .id = sa, .new_src = gateway, .new_dst = peer, .new_reqid = 6,
		 .cpi = 0x1234, .encap = 1, .new_encap = 1);
	SHOW(sa_ref, QUERY_SA, 5, .id = sa, .cpi = 0x1234);
	SHOW(sa_ref, DEL_SA, 6, .id = sa, .cpi = 0x1234);
	SHOW(policy, ADD_POLICY, 7, .id = policy_id(), .type = 1, .prio = 2, .mode = 2, .esp_use = 1,
		 .manual_prio = 77, .src = peer, .dst = gateway, .reqid = 5, .policy_count = 4, .esp_spi = 0xabc00001,
		 .ah_spi = 0xabc00002, .ah_use = 1, .ipcomp = 2, .cpi = 0x1234);
	SHOW(policy_ref, QUERY_POLICY, 8, .id = policy_id());
	SHOW(reply, REPLY, 9, .status = ESPALIER_NOT_SUPPORTED, .spi = 0xabc00001, .octets = 0x100000001,
		 .packets = 0x200000002, .last_use_ago_ns = 0x300000003, .detail_octets = 3, .detail = "no.");
	SHOW(expire, EXPIRE, 0, .dst = gateway, .spi = 0xabc00001, .proto = 50, .hard = 1);
	SHOW(acquire, ACQUIRE, 0, .src_ts = inside, .dst_ts = ping, .reqid = 5, .cpu = ESPALIER_ANY_CPU);
	SHOW(mapping, MAPPING, 0, .dst = gateway, .remote = peer, .spi = 0xabc00001, .proto = 50);
	return 0;
}
