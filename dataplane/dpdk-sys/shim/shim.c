/* SPDX-License-Identifier: Apache-2.0 OR MIT */
#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_version.h>

#include "shim.h"

_Static_assert(RTE_VER_YEAR == 22 && RTE_VER_MONTH == 11, "libdpdk 22.11 is the one supported");

#define SAME(ours, theirs)                                                                         \
	_Static_assert(offsetof(struct dpdk_mbuf, ours) == offsetof(struct rte_mbuf, theirs),      \
		       "offset of rte_mbuf." #theirs);                                             \
	_Static_assert(sizeof(((struct dpdk_mbuf *)0)->ours) ==                                    \
			       sizeof(((struct rte_mbuf *)0)->theirs),                             \
		       "size of rte_mbuf." #theirs)
SAME(buf_addr, buf_addr);
SAME(buf_iova, buf_iova);
SAME(data_off, data_off);
SAME(refcnt, refcnt);
SAME(nb_segs, nb_segs);
SAME(port, port);
SAME(ol_flags, ol_flags);
SAME(packet_type, packet_type);
SAME(pkt_len, pkt_len);
SAME(data_len, data_len);
SAME(vlan_tci, vlan_tci);
SAME(hash, hash);
SAME(vlan_tci_outer, vlan_tci_outer);
SAME(buf_len, buf_len);
SAME(pool, pool);
_Static_assert(sizeof(struct dpdk_mbuf) == sizeof(struct rte_mbuf), "size of rte_mbuf");
_Static_assert(RTE_PKTMBUF_HEADROOM == 128, "headroom the packet path counts on");
_Static_assert(sizeof(struct rte_ether_addr) == 6, "size of rte_ether_addr");
_Static_assert(sizeof(((struct rte_eth_stats *)0)->ipackets) == 8, "width of the port counters");
_Static_assert(sizeof(((struct rte_eth_link *)0)->link_speed) == 4, "width of the link speed");
_Static_assert(sizeof(((struct rte_eth_dev_info *)0)->max_rx_queues) == 2, "width of the limits");
_Static_assert(RTE_LOG_EMERG == 1 && RTE_LOG_ERR == 4 && RTE_LOG_WARNING == 5 &&
		       RTE_LOG_NOTICE == 6 && RTE_LOG_INFO == 7 && RTE_LOG_DEBUG == 8,
	       "log levels the wrapper names");

static dpdk_shim_log_fn log_write;

static ssize_t log_cookie_write(void *cookie, const char *text, size_t len)
{
	int level = rte_log_cur_msg_loglevel();

	(void)cookie;
	log_write(level > 0 ? (uint32_t)level : RTE_LOG_INFO, text, len);
	return (ssize_t)len;
}

int dpdk_shim_log_to(dpdk_shim_log_fn write)
{
	cookie_io_functions_t functions = { .write = log_cookie_write };
	FILE *stream;

	log_write = write;
	stream = fopencookie(NULL, "w", functions);
	if (stream == NULL)
		return -errno;
	setvbuf(stream, NULL, _IOLBF, BUFSIZ);
	return rte_openlog_stream(stream);
}

void dpdk_shim_flush(void)
{
	fflush(stdout);
	fflush(stderr);
}

int dpdk_shim_errno(void)
{
	return rte_errno;
}

uint32_t dpdk_shim_lcore_id(void)
{
	return rte_lcore_id();
}

uint64_t dpdk_shim_tsc(void)
{
	return rte_rdtsc();
}

int dpdk_shim_pin(uint32_t cpu)
{
	rte_cpuset_t set;

	if (cpu >= CPU_SETSIZE)
		return -EINVAL;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	/* Asked of the kernel first: DPDK's call does not tell why it failed. */
	if (sched_setaffinity(0, sizeof(set), &set) != 0)
		return -errno;
	return rte_thread_set_affinity(&set) == 0 ? 0 : -EINVAL;
}

struct rte_mbuf *dpdk_shim_mbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

int dpdk_shim_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, uint32_t n)
{
	return rte_pktmbuf_alloc_bulk(pool, mbufs, n);
}

void dpdk_shim_mbuf_free(struct rte_mbuf *mbuf)
{
	rte_pktmbuf_free(mbuf);
}

struct rte_mbuf *dpdk_shim_mbuf_single(struct rte_mbuf *mbuf)
{
	struct rte_mbuf *copy = rte_pktmbuf_copy(mbuf, mbuf->pool, 0, UINT32_MAX);

	rte_pktmbuf_free(mbuf);
	if (copy != NULL && copy->nb_segs != 1) {
		rte_pktmbuf_free(copy);
		return NULL;
	}
	return copy;
}

uint16_t dpdk_shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n)
{
	return rte_eth_rx_burst(port, queue, mbufs, n);
}

uint16_t dpdk_shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n)
{
	return rte_eth_tx_burst(port, queue, mbufs, n);
}

int dpdk_shim_port_limits(uint16_t port, struct dpdk_shim_limits *limits)
{
	struct rte_eth_dev_info info;
	int rc = rte_eth_dev_info_get(port, &info);

	if (rc != 0)
		return rc;
	memset(limits, 0, sizeof(*limits));
	limits->max_rx_queues = info.max_rx_queues;
	limits->max_tx_queues = info.max_tx_queues;
	limits->min_mtu_octets = info.min_mtu;
	limits->max_mtu_octets = info.max_mtu;
	limits->numa_socket = rte_eth_dev_socket_id(port);
	limits->if_index = info.if_index;
	snprintf(limits->driver, sizeof(limits->driver), "%s",
		 info.driver_name != NULL ? info.driver_name : "");
	limits->device = info.device;
	return 0;
}

static int setup_queues(uint16_t port, const struct dpdk_shim_port_config *config,
			const struct rte_eth_dev_info *info, struct rte_mempool *pool)
{
	uint16_t rx_descriptors = config->rx_descriptors, tx_descriptors = config->tx_descriptors;
	int socket = rte_eth_dev_socket_id(port);
	unsigned int numa = socket < 0 ? (unsigned int)SOCKET_ID_ANY : (unsigned int)socket;
	int rc = rte_eth_dev_adjust_nb_rx_tx_desc(port, &rx_descriptors, &tx_descriptors);

	if (rc != 0)
		return rc;
	for (uint16_t queue = 0; queue < config->rx_queues; queue++) {
		struct rte_eth_rxconf rxconf = info->default_rxconf;

		rc = rte_eth_rx_queue_setup(port, queue, rx_descriptors, numa, &rxconf, pool);
		if (rc != 0)
			return rc;
	}
	for (uint16_t queue = 0; queue < config->tx_queues; queue++) {
		struct rte_eth_txconf txconf = info->default_txconf;

		rc = rte_eth_tx_queue_setup(port, queue, tx_descriptors, numa, &txconf);
		if (rc != 0)
			return rc;
	}
	return 0;
}

int dpdk_shim_port_configure(uint16_t port, const struct dpdk_shim_port_config *config,
			     struct rte_mempool *pool)
{
	struct rte_eth_dev_info info;
	struct rte_eth_conf conf = { .rxmode = { .mtu = config->mtu_octets } };
	int rc = rte_eth_dev_info_get(port, &info);

	if (rc != 0)
		return rc;
	if (config->rx_queues > 1 && info.flow_type_rss_offloads != 0) {
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rx_adv_conf.rss_conf.rss_hf =
			(RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP | RTE_ETH_RSS_ESP) &
			info.flow_type_rss_offloads;
	}
	rc = rte_eth_dev_configure(port, config->rx_queues, config->tx_queues, &conf);
	if (rc != 0)
		return rc;
	return setup_queues(port, config, &info, pool);
}

int dpdk_shim_port_steering(uint16_t port, struct dpdk_shim_steering *steering)
{
	struct rte_eth_dev_info info;
	struct rte_eth_rss_conf rss = { .rss_key = NULL };
	int rc = rte_eth_dev_info_get(port, &info);

	if (rc != 0)
		return rc;
	/* A driver that does not say what it hashes does not hash. */
	if (info.nb_rx_queues < 2 || rte_eth_dev_rss_hash_conf_get(port, &rss) != 0)
		rss.rss_hf = 0;
	steering->rx_queues = info.nb_rx_queues;
	steering->ip = (rss.rss_hf & RTE_ETH_RSS_IP) != 0;
	steering->udp = (rss.rss_hf & RTE_ETH_RSS_UDP) != 0;
	steering->esp = (rss.rss_hf & RTE_ETH_RSS_ESP) != 0;
	return 0;
}

int dpdk_shim_port_stats(uint16_t port, struct dpdk_shim_stats *stats)
{
	struct rte_eth_stats from;
	int rc = rte_eth_stats_get(port, &from);

	if (rc != 0)
		return rc;
	stats->rx_pkts = from.ipackets;
	stats->tx_pkts = from.opackets;
	stats->rx_octets = from.ibytes;
	stats->tx_octets = from.obytes;
	stats->rx_missed_pkts = from.imissed;
	stats->rx_error_pkts = from.ierrors;
	stats->tx_error_pkts = from.oerrors;
	stats->rx_no_mbuf_pkts = from.rx_nombuf;
	return 0;
}

int dpdk_shim_port_link(uint16_t port, struct dpdk_shim_link *link)
{
	struct rte_eth_link from;
	int rc = rte_eth_link_get_nowait(port, &from);

	if (rc != 0)
		return rc;
	link->speed_mbps = from.link_speed;
	link->up = from.link_status == RTE_ETH_LINK_UP;
	link->full_duplex = from.link_duplex == RTE_ETH_LINK_FULL_DUPLEX;
	return 0;
}

int dpdk_shim_port_mac(uint16_t port, uint8_t mac[6])
{
	struct rte_ether_addr address;
	int rc = rte_eth_macaddr_get(port, &address);

	if (rc == 0)
		memcpy(mac, address.addr_bytes, sizeof(address.addr_bytes));
	return rc;
}

int dpdk_shim_port_set_mac(uint16_t port, const uint8_t mac[6])
{
	struct rte_ether_addr address;

	memcpy(address.addr_bytes, mac, sizeof(address.addr_bytes));
	return rte_eth_dev_default_mac_addr_set(port, &address);
}
