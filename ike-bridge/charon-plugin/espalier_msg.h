/*
 * Messages between charon's kernel-espalier plugin and the ike-bridge: fixed little-endian
 * structs, one per SOCK_SEQPACKET datagram. A longer tail is ignored, a shorter message refused.
 * shm-protocol/src/messages/plugin is the same layout in Rust; both are tested on one golden file.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef ESPALIER_MSG_H_
#define ESPALIER_MSG_H_

#include <stddef.h>
#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the messages are little-endian and are sent as they lie in memory"
#endif

#define ESPALIER_MAGIC 0x4b505345u /* "ESPK" */
#define ESPALIER_VERSION 1
#define ESPALIER_MAX_TS 8
#define ESPALIER_KEY_OCTETS 64
#define ESPALIER_DETAIL_OCTETS 200
#define ESPALIER_MAX_OCTETS 2048
#define ESPALIER_ANY_CPU 0xffffffffu
#define ESPALIER_NEVER_USED UINT64_MAX

enum espalier_type {
	ESPALIER_HELLO = 1,
	ESPALIER_GET_SPI = 2,
	ESPALIER_ADD_SA = 3,
	ESPALIER_UPDATE_SA = 4,
	ESPALIER_QUERY_SA = 5,
	ESPALIER_DEL_SA = 6,
	ESPALIER_FLUSH_SAS = 7,
	ESPALIER_ADD_POLICY = 8,
	ESPALIER_QUERY_POLICY = 9,
	ESPALIER_DEL_POLICY = 10,
	ESPALIER_FLUSH_POLICIES = 11,
	ESPALIER_REPLY = 64,
	ESPALIER_EXPIRE = 128,
	ESPALIER_ACQUIRE = 129,
	ESPALIER_MAPPING = 130,
};

/* header.flags: the message was sent before, under the same request id */
#define ESPALIER_RESENT 1u

enum espalier_status {
	ESPALIER_SUCCESS = 0,
	ESPALIER_FAILED = 1,
	ESPALIER_NOT_SUPPORTED = 2,
	ESPALIER_ALREADY_DONE = 3,
	ESPALIER_NOT_FOUND = 4,
};

struct espalier_header {
	uint32_t magic;
	uint16_t version;
	uint16_t type;
	uint32_t length; /* octets, header included */
	uint32_t flags;
	uint64_t request_id; /* unique in one charon process; 0 in events */
};

struct espalier_host {
	uint16_t family; /* 4, 6, or 0 for none */
	uint16_t port;
	uint8_t address[16]; /* network order, IPv4 in the first four */
};

struct espalier_ts {
	uint8_t from[16];
	uint8_t to[16];
	uint16_t from_port; /* ICMP: type << 8 | code */
	uint16_t to_port;
	uint16_t family; /* 4, 6, or 0 for a kind that has no address */
	uint8_t proto; /* 0 = any */
	uint8_t reserved;
};

struct espalier_mark {
	uint32_t value;
	uint32_t mask;
};

struct espalier_limit {
	uint64_t life; /* hard, 0 = none */
	uint64_t rekey; /* soft, 0 = none */
	uint64_t jitter;
};

struct espalier_sa_id {
	struct espalier_host src;
	struct espalier_host dst;
	uint32_t spi; /* host order */
	uint32_t if_id;
	struct espalier_mark mark;
	uint8_t proto; /* 50 = ESP, 51 = AH, 0 after a failed get_spi */
	uint8_t reserved[7];
};

struct espalier_policy_id {
	uint8_t dir; /* 0 in, 1 out, 2 fwd */
	uint8_t label_present;
	uint8_t interface_truncated;
	uint8_t reserved;
	uint32_t if_id;
	struct espalier_mark mark;
	char interface[16];
	struct espalier_ts src_ts;
	struct espalier_ts dst_ts;
};

struct espalier_hello {
	struct espalier_header header;
	uint32_t pid;
	uint32_t pending_deletes; /* requests that follow this one at once */
	uint64_t start_ticks; /* field 22 of /proc/self/stat */
	char daemon[32];
	char strongswan[32];
	char plugin[16];
};

struct espalier_get_spi {
	struct espalier_header header;
	struct espalier_host src;
	struct espalier_host dst;
	uint8_t proto;
	uint8_t reserved[7];
};

struct espalier_add_sa {
	struct espalier_header header;
	struct espalier_sa_id id;
	struct espalier_limit time; /* seconds */
	struct espalier_limit octets;
	struct espalier_limit packets;
	uint32_t reqid;
	uint32_t replay_window_pkts;
	uint32_t tfc; /* 0xffffffff = MTU */
	struct espalier_mark set_mark;
	uint32_t cpu; /* ESPALIER_ANY_CPU, or the CPU of a per-CPU SA */
	uint32_t acquire_seq; /* 0 = none */
	uint16_t enc_alg; /* IKEv2 transform numbers */
	uint16_t int_alg;
	uint16_t enc_key_octets; /* true length; above ESPALIER_KEY_OCTETS no key is sent */
	uint16_t int_key_octets;
	uint16_t ipcomp;
	uint16_t cpi;
	uint8_t mode; /* 1 transport, 2 tunnel, 3 BEET */
	uint8_t encap;
	uint8_t hw_offload; /* 0 no, 1 yes, 2 auto */
	uint8_t label_present;
	uint8_t esn;
	uint8_t copy_df;
	uint8_t copy_ecn;
	uint8_t copy_dscp; /* 0 out only, 1 in only, 2 yes, 3 no */
	uint8_t initiator;
	uint8_t inbound;
	uint8_t update; /* the SPI was reserved by get_spi */
	uint8_t src_ts_count;
	uint8_t dst_ts_count;
	uint8_t ts_truncated; /* there were more than ESPALIER_MAX_TS on a side */
	uint8_t interface_truncated;
	uint8_t reserved[9];
	char interface[16];
	uint8_t enc_key[ESPALIER_KEY_OCTETS];
	uint8_t int_key[ESPALIER_KEY_OCTETS];
	struct espalier_ts src_ts[ESPALIER_MAX_TS];
	struct espalier_ts dst_ts[ESPALIER_MAX_TS];
	uint8_t spare[16];
};

struct espalier_update_sa {
	struct espalier_header header;
	struct espalier_sa_id id; /* the old addresses */
	struct espalier_host new_src;
	struct espalier_host new_dst;
	uint32_t new_reqid; /* 0 = unchanged */
	uint16_t cpi;
	uint8_t encap;
	uint8_t new_encap;
};

/* QUERY_SA and DEL_SA */
struct espalier_sa_ref {
	struct espalier_header header;
	struct espalier_sa_id id;
	uint16_t cpi;
	uint8_t reserved[6];
};

/* QUERY_POLICY */
struct espalier_policy_ref {
	struct espalier_header header;
	struct espalier_policy_id id;
};

/* ADD_POLICY and DEL_POLICY */
struct espalier_policy {
	struct espalier_header header;
	struct espalier_policy_id id;
	uint8_t type; /* 1 IPsec, 2 pass, 3 drop */
	uint8_t prio; /* 0 pass, 1 default, 2 routed (trap), 3 fallback */
	uint8_t mode;
	uint8_t esp_use;
	uint32_t manual_prio; /* 0 = automatic */
	struct espalier_host src;
	struct espalier_host dst;
	uint32_t reqid;
	uint32_t policy_count;
	uint32_t esp_spi; /* host order, 0 = any */
	uint32_t ah_spi;
	uint8_t ah_use;
	uint8_t reserved;
	uint16_t ipcomp;
	uint16_t cpi;
	uint16_t reserved2;
};

/* Answers every request, the hello included. */
struct espalier_reply {
	struct espalier_header header;
	uint32_t status;
	uint32_t spi; /* GET_SPI, host order */
	uint64_t octets; /* QUERY_SA */
	uint64_t packets;
	uint64_t last_use_ago_ns; /* QUERY_SA, QUERY_POLICY; ESPALIER_NEVER_USED */
	uint16_t detail_octets;
	uint8_t reserved[6];
	char detail[ESPALIER_DETAIL_OCTETS]; /* one sentence for charon's log, UTF-8 */
};

struct espalier_expire {
	struct espalier_header header;
	struct espalier_host dst;
	uint32_t spi; /* host order */
	uint8_t proto;
	uint8_t hard;
	uint8_t reserved[6];
};

struct espalier_acquire {
	struct espalier_header header;
	struct espalier_ts src_ts;
	struct espalier_ts dst_ts;
	uint32_t reqid;
	uint32_t cpu; /* ESPALIER_ANY_CPU */
	uint32_t acquire_seq;
	uint32_t reserved;
};

struct espalier_mapping {
	struct espalier_header header;
	struct espalier_host dst; /* of the inbound SA */
	struct espalier_host remote; /* where its packets come from now */
	uint32_t spi; /* host order */
	uint8_t proto;
	uint8_t reserved[3];
};

#endif /* ESPALIER_MSG_H_ */
