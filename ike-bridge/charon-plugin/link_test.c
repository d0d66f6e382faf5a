/*
 * Makes calls over link.c as charon's threads do, on demand: each line of the input is the type of one request.
 * Prints how each ended and after how long. ike-bridge/tests/plugin_link.rs plays the bridge.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "link.h"

#include <threading/thread.h>

#include <stdio.h>

static link_t *tested;

static uint64_t now_ms(void)
{
	timeval_t now;

	time_monotonic(&now);
	return now.tv_sec * 1000ULL + now.tv_usec / 1000;
}

static void *call(void *type)
{
	struct espalier_policy message = {}; /* as long as any request below takes */
	struct espalier_reply reply = {};
	uint64_t began = now_ms();
	bool done = link_call(tested, (uintptr_t)type, &message, sizeof(message), &reply);

	printf("%u %s %u\n", (u_int)(uintptr_t)type, done ? "done" : "late", (u_int)(now_ms() - began));
	fflush(stdout);
	return NULL;
}

void event_raise(const struct espalier_header *event)
{
	printf("event %u\n", event->type);
	fflush(stdout);
}

int main(int argc, char *argv[])
{
	uintptr_t type;

	if (argc != 2 || !library_init(NULL, "link-test")) {
		return 2;
	}
	tested = link_create(argv[1]);
	while (scanf("%zu", &type) == 1) {
		thread_t *caller = thread_create(call, (void*)type);

		caller->detach(caller);
	}
	link_destroy(tested);
	library_deinit();
	return 0;
}
