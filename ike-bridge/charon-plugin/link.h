/*
 * The connection to the bridge: one thread owns the socket, sends what is queued and hands each reply to the
 * caller that waits for it; another thread passes events on to charon.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef ESPALIER_LINK_H_
#define ESPALIER_LINK_H_

#include <library.h>

#include "espalier_layout.h"

typedef struct link_t link_t;

/** Needs no bridge: the link goes on trying for as long as it lives. */
link_t *link_create(const char *path);

/**
 * Sends a message, whose header is filled in here, and waits for its reply: queries 200 ms, all else 2 s,
 * over any number of connections. Returns FALSE if none came; then a delete is kept and sent first when the
 * bridge is back, anything else is forgotten.
 */
bool link_call(link_t *this, uint16_t type, void *message, uint32_t octets, struct espalier_reply *reply);

void link_destroy(link_t *this);

/** Calls charon for one event of the bridge; at least ESPALIER_MAX_OCTETS can be read. */
void event_raise(const struct espalier_header *event);

#endif /* ESPALIER_LINK_H_ */
