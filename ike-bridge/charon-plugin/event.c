/*
 * Hands the bridge's events to charon. They are hints: one that makes no sense is logged and left.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "link.h"

#include <daemon.h>

static host_t *host(const struct espalier_host *from)
{
	chunk_t address = chunk_create((uint8_t*)from->address, from->family == 6 ? 16 : 4);

	return host_create_from_chunk(from->family == 6 ? AF_INET6 : AF_INET, address, from->port);
}

static traffic_selector_t *selector(const struct espalier_ts *from)
{
	ts_type_t type = from->family == 6 ? TS_IPV6_ADDR_RANGE : TS_IPV4_ADDR_RANGE;
	chunk_t low = chunk_create((uint8_t*)from->from, from->family == 6 ? 16 : 4);
	chunk_t high = chunk_create((uint8_t*)from->to, low.len);

	return traffic_selector_create_from_bytes(from->proto, type, low, from->from_port, high, from->to_port);
}

static void expire(const struct espalier_expire *event)
{
	host_t *dst = host(&event->dst);

	charon->kernel->expire(charon->kernel, event->proto, htonl(event->spi), dst, event->hard);
	dst->destroy(dst);
}

static void acquire(const struct espalier_acquire *event)
{
	kernel_acquire_data_t data = { .src = selector(&event->src_ts), .dst = selector(&event->dst_ts) };

	charon->kernel->acquire(charon->kernel, event->reqid, &data);
	data.src->destroy(data.src);
	data.dst->destroy(data.dst);
}

static void mapping(const struct espalier_mapping *event)
{
	host_t *dst = host(&event->dst), *remote = host(&event->remote);

	charon->kernel->mapping(charon->kernel, event->proto, htonl(event->spi), dst, remote);
	dst->destroy(dst);
	remote->destroy(remote);
}

void event_raise(const struct espalier_header *event)
{
	if (event->type == ESPALIER_EXPIRE && event->length >= sizeof(struct espalier_expire)) {
		expire((const struct espalier_expire*)event);
	} else if (event->type == ESPALIER_ACQUIRE && event->length >= sizeof(struct espalier_acquire)) {
		acquire((const struct espalier_acquire*)event);
	} else if (event->type == ESPALIER_MAPPING && event->length >= sizeof(struct espalier_mapping)) {
		mapping((const struct espalier_mapping*)event);
	} else {
		DBG1(DBG_KNL, "espalier: event type %u of %u octets is none of ours", event->type, event->length);
	}
}
