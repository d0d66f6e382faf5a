/*
 * Encodes charon's kernel-ipsec calls for the bridge. Decides nothing.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "kernel_espalier.h"
#include "link.h"

#include <daemon.h>

#define FEATURES (KERNEL_ESP_V3_TFC | KERNEL_NO_POLICY_UPDATES)

typedef struct {
	kernel_ipsec_t public;
	link_t *link;
} espalier_t;

static struct espalier_host host(host_t *from)
{
	struct espalier_host to = {};
	chunk_t address = from ? from->get_address(from) : chunk_empty;

	if (from) {
		to.family = from->get_family(from) == AF_INET6 ? 6 : 4;
		to.port = from->get_port(from);
		memcpy(to.address, address.ptr, min(address.len, sizeof(to.address)));
	}
	return to;
}

static struct espalier_ts selector(traffic_selector_t *from)
{
	struct espalier_ts to = {};

	if (from && from->get_type(from) != TS_SECLABEL) {
		chunk_t low = from->get_from_address(from), high = from->get_to_address(from);

		to.family = from->get_type(from) == TS_IPV6_ADDR_RANGE ? 6 : 4;
		memcpy(to.from, low.ptr, min(low.len, sizeof(to.from)));
		memcpy(to.to, high.ptr, min(high.len, sizeof(to.to)));
		to.from_port = from->get_from_port(from);
		to.to_port = from->get_to_port(from);
		to.proto = from->get_protocol(from);
	}
	return to;
}

/** Returns how many selectors were stored; sets `truncated` if there are more. */
static uint8_t selectors(linked_list_t *from, struct espalier_ts *to, uint8_t *truncated)
{
	enumerator_t *all = from ? from->create_enumerator(from) : enumerator_create_empty();
	traffic_selector_t *ts;
	uint8_t count = 0;

	while (!*truncated && all->enumerate(all, &ts)) {
		if (count < ESPALIER_MAX_TS) {
			to[count++] = selector(ts);
		} else {
			*truncated = TRUE;
		}
	}
	all->destroy(all);
	return count;
}

/** Returns whether the name is too long to be sent. */
static bool interface(const char *from, char to[16])
{
	size_t octets = from ? strlen(from) : 0;

	memcpy(to, from, octets < 16 ? octets : 0);
	return octets >= 16;
}

/** Returns the key's true length; a key that does not fit is not sent. */
static uint16_t key(chunk_t from, uint8_t to[ESPALIER_KEY_OCTETS])
{
	memcpy(to, from.ptr, from.len <= ESPALIER_KEY_OCTETS ? from.len : 0);
	return min(from.len, UINT16_MAX);
}

static struct espalier_mark mark(mark_t from)
{
	return (struct espalier_mark){ .value = from.value, .mask = from.mask };
}

static struct espalier_sa_id sa_id(kernel_ipsec_sa_id_t *id)
{
	return (struct espalier_sa_id){ .src = host(id->src), .dst = host(id->dst), .spi = ntohl(id->spi),
		.if_id = id->if_id, .mark = mark(id->mark), .proto = id->proto };
}

static struct espalier_policy_id policy_id(kernel_ipsec_policy_id_t *id)
{
	struct espalier_policy_id to = { .dir = id->dir, .label_present = id->label != NULL, .if_id = id->if_id,
		.mark = mark(id->mark), .src_ts = selector(id->src_ts), .dst_ts = selector(id->dst_ts) };

	to.interface_truncated = interface(id->interface, to.interface);
	return to;
}

static status_t call(espalier_t *this, uint16_t type, void *message, size_t octets, struct espalier_reply *reply)
{
	status_t status[] = {
		[ESPALIER_SUCCESS] = SUCCESS, [ESPALIER_FAILED] = FAILED, [ESPALIER_NOT_SUPPORTED] = NOT_SUPPORTED,
		[ESPALIER_ALREADY_DONE] = ALREADY_DONE, [ESPALIER_NOT_FOUND] = NOT_FOUND,
	};

	if (!link_call(this->link, type, message, octets, reply)) {
		return FAILED;
	}
	if (reply->detail_octets) {
		DBG1(DBG_KNL, "espalier: %.*s", (int)min(reply->detail_octets, sizeof(reply->detail)), reply->detail);
	}
	return reply->status < countof(status) ? status[reply->status] : FAILED;
}

#define CALL(type, message, reply) call(this, type, message, sizeof(*(message)), reply)

/** charon's clock is monotonic and in seconds; 0 is never. */
static time_t last_use(struct espalier_reply *reply)
{
	return reply->last_use_ago_ns == ESPALIER_NEVER_USED ? 0 :
		time_monotonic(NULL) - (time_t)(reply->last_use_ago_ns / 1000000000);
}

METHOD(kernel_ipsec_t, get_features, kernel_feature_t, espalier_t *this)
{
	return FEATURES;
}

METHOD(kernel_ipsec_t, get_spi, status_t, espalier_t *this, host_t *src, host_t *dst, uint8_t proto, uint32_t *spi)
{
	struct espalier_get_spi message = { .src = host(src), .dst = host(dst), .proto = proto };
	struct espalier_reply reply = {};
	status_t status = CALL(ESPALIER_GET_SPI, &message, &reply);

	*spi = htonl(status == SUCCESS ? reply.spi : 0);
	return status;
}

METHOD(kernel_ipsec_t, get_cpi, status_t, espalier_t *this, host_t *src, host_t *dst, uint16_t *cpi)
{
	DBG1(DBG_KNL, "espalier: IPComp is not supported");
	return NOT_SUPPORTED;
}

METHOD(kernel_ipsec_t, add_sa, status_t, espalier_t *this, kernel_ipsec_sa_id_t *id, kernel_ipsec_add_sa_t *sa)
{
	struct espalier_add_sa message = { .id = sa_id(id), .reqid = sa->reqid,
		.replay_window_pkts = sa->replay_window, .tfc = sa->tfc, .set_mark = mark(sa->mark),
		.cpu = ESPALIER_ANY_CPU, .enc_alg = sa->enc_alg, .int_alg = sa->int_alg, .ipcomp = sa->ipcomp,
		.cpi = sa->cpi, .mode = sa->mode, .encap = sa->encap, .hw_offload = sa->hw_offload,
		.label_present = sa->label != NULL, .esn = sa->esn, .copy_df = sa->copy_df, .copy_ecn = sa->copy_ecn,
		.copy_dscp = sa->copy_dscp, .initiator = sa->initiator, .inbound = sa->inbound, .update = sa->update };
	lifetime_cfg_t none = {}, *l = sa->lifetime ?: &none;
	struct espalier_reply reply;
	status_t status;

	message.time = (struct espalier_limit){ l->time.life, l->time.rekey, l->time.jitter };
	message.octets = (struct espalier_limit){ l->bytes.life, l->bytes.rekey, l->bytes.jitter };
	message.packets = (struct espalier_limit){ l->packets.life, l->packets.rekey, l->packets.jitter };
	message.interface_truncated = interface(sa->interface, message.interface);
	message.src_ts_count = selectors(sa->src_ts, message.src_ts, &message.ts_truncated);
	message.dst_ts_count = selectors(sa->dst_ts, message.dst_ts, &message.ts_truncated);
	message.enc_key_octets = key(sa->enc_key, message.enc_key);
	message.int_key_octets = key(sa->int_key, message.int_key);
	status = CALL(ESPALIER_ADD_SA, &message, &reply);
	memwipe(&message, sizeof(message));
	return status;
}

METHOD(kernel_ipsec_t, update_sa, status_t, espalier_t *this, kernel_ipsec_sa_id_t *id, kernel_ipsec_update_sa_t *sa)
{
	struct espalier_update_sa message = { .id = sa_id(id), .new_src = host(sa->new_src),
		.new_dst = host(sa->new_dst), .new_reqid = sa->new_reqid, .cpi = sa->cpi, .encap = sa->encap,
		.new_encap = sa->new_encap };
	struct espalier_reply reply;

	/* charon rekeys on this failure and ignores any other, which would leave a black hole */
	return CALL(ESPALIER_UPDATE_SA, &message, &reply) == SUCCESS ? SUCCESS : NOT_SUPPORTED;
}

METHOD(kernel_ipsec_t, query_sa, status_t, espalier_t *this, kernel_ipsec_sa_id_t *id, kernel_ipsec_query_sa_t *sa,
	uint64_t *bytes, uint64_t *packets, time_t *time)
{
	struct espalier_sa_ref message = { .id = sa_id(id), .cpi = sa->cpi };
	struct espalier_reply reply;
	status_t status = CALL(ESPALIER_QUERY_SA, &message, &reply);

	if (status == SUCCESS) {
		*bytes = reply.octets;
		*packets = reply.packets;
		if (time) {
			*time = last_use(&reply);
		}
	}
	return status;
}

METHOD(kernel_ipsec_t, del_sa, status_t, espalier_t *this, kernel_ipsec_sa_id_t *id, kernel_ipsec_del_sa_t *sa)
{
	struct espalier_sa_ref message = { .id = sa_id(id), .cpi = sa->cpi };
	struct espalier_reply reply;

	return CALL(ESPALIER_DEL_SA, &message, &reply);
}

static status_t policy(espalier_t *this, uint16_t type, kernel_ipsec_policy_id_t *id, kernel_ipsec_manage_policy_t *data)
{
	ipsec_sa_cfg_t none = {}, *sa = data->sa ?: &none;
	struct espalier_policy message = { .id = policy_id(id), .type = data->type, .prio = data->prio,
		.mode = sa->mode, .esp_use = sa->esp.use, .manual_prio = data->manual_prio, .src = host(data->src),
		.dst = host(data->dst), .reqid = sa->reqid, .policy_count = sa->policy_count,
		.esp_spi = ntohl(sa->esp.spi), .ah_spi = ntohl(sa->ah.spi), .ah_use = sa->ah.use,
		.ipcomp = sa->ipcomp.transform, .cpi = sa->ipcomp.cpi };
	struct espalier_reply reply;

	return CALL(type, &message, &reply);
}

METHOD(kernel_ipsec_t, add_policy, status_t, espalier_t *this, kernel_ipsec_policy_id_t *id,
	kernel_ipsec_manage_policy_t *data)
{
	return policy(this, ESPALIER_ADD_POLICY, id, data);
}

METHOD(kernel_ipsec_t, query_policy, status_t, espalier_t *this, kernel_ipsec_policy_id_t *id,
	kernel_ipsec_query_policy_t *data, time_t *use_time)
{
	struct espalier_policy_ref message = { .id = policy_id(id) };
	struct espalier_reply reply;
	status_t status = CALL(ESPALIER_QUERY_POLICY, &message, &reply);

	if (status == SUCCESS) {
		*use_time = last_use(&reply);
	}
	return status;
}

METHOD(kernel_ipsec_t, del_policy, status_t, espalier_t *this, kernel_ipsec_policy_id_t *id,
	kernel_ipsec_manage_policy_t *data)
{
	return policy(this, ESPALIER_DEL_POLICY, id, data);
}

static status_t flush(espalier_t *this, uint16_t type)
{
	struct espalier_header message;
	struct espalier_reply reply;

	return CALL(type, &message, &reply);
}

METHOD(kernel_ipsec_t, flush_sas, status_t, espalier_t *this)
{
	return flush(this, ESPALIER_FLUSH_SAS);
}

METHOD(kernel_ipsec_t, flush_policies, status_t, espalier_t *this)
{
	return flush(this, ESPALIER_FLUSH_POLICIES);
}

/* IKE's packets never meet our policies, and the engine takes ESP off UDP before the kernel sees it */
METHOD(kernel_ipsec_t, bypass_socket, bool, espalier_t *this, int fd, int family)
{
	return TRUE;
}

METHOD(kernel_ipsec_t, enable_udp_decap, bool, espalier_t *this, int fd, int family, uint16_t port)
{
	return TRUE;
}

METHOD(kernel_ipsec_t, destroy, void, espalier_t *this)
{
	link_destroy(this->link);
	free(this);
}

kernel_ipsec_t *espalier_create(void)
{
	char *path = lib->settings->get_str(lib->settings, "%s.plugins.kernel-espalier.socket",
										"/run/espalier/bridge.sock", lib->ns);
	espalier_t *this;

	INIT(this,
		.public = {
			.get_features = _get_features, .get_spi = _get_spi, .get_cpi = _get_cpi, .add_sa = _add_sa,
			.update_sa = _update_sa, .query_sa = _query_sa, .del_sa = _del_sa, .flush_sas = _flush_sas,
			.add_policy = _add_policy, .query_policy = _query_policy, .del_policy = _del_policy,
			.flush_policies = _flush_policies, .bypass_socket = _bypass_socket,
			.enable_udp_decap = _enable_udp_decap, .destroy = _destroy,
		},
		.link = link_create(path),
	);
	DBG1(DBG_KNL, "kernel-espalier " ESPALIER_PLUGIN_VERSION " for strongSwan " STRONGSWAN_VERSION
		 ": bridge at %s, features ESP_V3_TFC NO_POLICY_UPDATES", path);
	return &this->public;
}
