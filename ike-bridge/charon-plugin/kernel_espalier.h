/*
 * What the plugin's files share: the shape strongSwan's headers must have, and the constructor.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KERNEL_ESPALIER_H_
#define KERNEL_ESPALIER_H_

#include <daemon.h>
#include <kernel/kernel_ipsec.h>

_Static_assert(sizeof(bool) == 1, "bool of stdbool.h");
_Static_assert(offsetof(daemon_t, kernel) == sizeof(void*), "daemon_t");
_Static_assert(sizeof(kernel_ipsec_t) == 15 * sizeof(void*), "kernel_ipsec_t");
_Static_assert(sizeof(kernel_ipsec_sa_id_t) == 40, "kernel_ipsec_sa_id_t");
_Static_assert(sizeof(kernel_ipsec_add_sa_t) == 144, "kernel_ipsec_add_sa_t");
_Static_assert(sizeof(kernel_ipsec_update_sa_t) == 32, "kernel_ipsec_update_sa_t");
_Static_assert(sizeof(kernel_ipsec_policy_id_t) == 56, "kernel_ipsec_policy_id_t");
_Static_assert(sizeof(kernel_ipsec_manage_policy_t) == 40, "kernel_ipsec_manage_policy_t");
_Static_assert(sizeof(ipsec_sa_cfg_t) == 32, "ipsec_sa_cfg_t");
_Static_assert(sizeof(lifetime_cfg_t) == 72, "lifetime_cfg_t");

/** Never returns NULL: charon would fall back to the kernel's IPsec without a word. */
kernel_ipsec_t *espalier_create(void);

#endif /* KERNEL_ESPALIER_H_ */
