/*
 * What Debian's build of strongSwan defines and its public headers look at; nothing else. ME changes
 * daemon_t, and without HAVE_STDBOOL_H `bool` would be another type.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#define ME 1
#define USE_IKEV1 1
#define USE_IKEV2 1
#define HAVE_ALLOCA_H 1
#define HAVE_SYS_PARAM_H 1
#define HAVE_SIGWAITINFO 1
#define CONFIG_H_INCLUDED 1
#define HAVE_STDBOOL_H 1
#define HAVE__BOOL 1
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

/* A preloaded plugin is loaded into the daemon's children too, which have none of these. */
#pragma weak lib
#pragma weak charon
#pragma weak dbg
#pragma weak kernel_ipsec_register
#pragma weak return_failed
