/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * The C side of the bindings: what DPDK offers only as static inlines, as thread-local variables
 * or in structures whose layout is nobody's business here. Needs no DPDK header to be read.
 */
#ifndef ESPALIER_DPDK_SHIM_H
#define ESPALIER_DPDK_SHIM_H

#include <stddef.h>
#include <stdint.h>

struct rte_mbuf;
struct rte_mempool;
struct rte_device;

/* The first cache line of struct rte_mbuf as far as the packet path reads it, and the tail of the
 * structure as padding. shim.c asserts every offset against DPDK's own type. */
struct dpdk_mbuf {
	void *buf_addr;
	uint64_t buf_iova;
	uint16_t data_off;
	uint16_t refcnt;
	uint16_t nb_segs;
	uint16_t port;
	uint64_t ol_flags;
	uint32_t packet_type;
	uint32_t pkt_len;
	uint16_t data_len;
	uint16_t vlan_tci;
	uint32_t hash[2];
	uint16_t vlan_tci_outer;
	uint16_t buf_len;
	struct rte_mempool *pool;
	uint8_t second_line[64];
};

/* What a device can do, before it is configured. */
struct dpdk_shim_limits {
	uint16_t max_rx_queues;
	uint16_t max_tx_queues;
	uint16_t min_mtu_octets;
	uint16_t max_mtu_octets;
	int32_t numa_socket;
	uint32_t if_index;
	char driver[32];
	struct rte_device *device;
};

/* How a port is configured. Descriptor counts are adjusted to the device's limits. */
struct dpdk_shim_port_config {
	uint16_t rx_queues;
	uint16_t tx_queues;
	uint16_t rx_descriptors;
	uint16_t tx_descriptors;
	uint16_t mtu_octets;
};

/* The counters of a port. */
struct dpdk_shim_stats {
	uint64_t rx_pkts;
	uint64_t tx_pkts;
	uint64_t rx_octets;
	uint64_t tx_octets;
	uint64_t rx_missed_pkts;
	uint64_t rx_error_pkts;
	uint64_t tx_error_pkts;
	uint64_t rx_no_mbuf_pkts;
};

/* The link of a port. speed_mbps is UINT32_MAX when the driver does not know it. */
struct dpdk_shim_link {
	uint32_t speed_mbps;
	uint8_t up;
	uint8_t full_duplex;
};

/* How a configured port divides packets over its receive queues: by which fields its RSS hashes, all 0 without RSS. */
struct dpdk_shim_steering {
	uint16_t rx_queues;
	uint8_t ip;
	uint8_t udp;
	uint8_t esp;
};

typedef void (*dpdk_shim_log_fn)(uint32_t level, const char *text, size_t len);

/* Sends every log line of DPDK to `write`. Returns 0 or -errno. */
int dpdk_shim_log_to(dpdk_shim_log_fn write);

/* Writes out what C's standard streams hold. */
void dpdk_shim_flush(void);
int dpdk_shim_errno(void);
uint32_t dpdk_shim_lcore_id(void);
uint64_t dpdk_shim_tsc(void);
/* Pins the calling thread to one CPU. Returns 0 or -errno. */
int dpdk_shim_pin(uint32_t cpu);

struct rte_mbuf *dpdk_shim_mbuf_alloc(struct rte_mempool *pool);
int dpdk_shim_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, uint32_t n);
void dpdk_shim_mbuf_free(struct rte_mbuf *mbuf);
/* Copies a chained or shared packet into one fresh mbuf of its pool and frees the original.
 * Returns NULL (original freed) if the pool is empty or the packet does not fit one buffer. */
struct rte_mbuf *dpdk_shim_mbuf_single(struct rte_mbuf *mbuf);

uint16_t dpdk_shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n);
uint16_t dpdk_shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n);

int dpdk_shim_port_limits(uint16_t port, struct dpdk_shim_limits *limits);
/* Configures the device and sets up every queue. Returns 0 or a negative errno. */
int dpdk_shim_port_configure(uint16_t port, const struct dpdk_shim_port_config *config,
			     struct rte_mempool *pool);
int dpdk_shim_port_steering(uint16_t port, struct dpdk_shim_steering *steering);
int dpdk_shim_port_stats(uint16_t port, struct dpdk_shim_stats *stats);
int dpdk_shim_port_link(uint16_t port, struct dpdk_shim_link *link);
int dpdk_shim_port_mac(uint16_t port, uint8_t mac[6]);
int dpdk_shim_port_set_mac(uint16_t port, const uint8_t mac[6]);

#endif
