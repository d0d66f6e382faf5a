/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* What `generate` reads; build/bindings.rs names the few functions that are taken from it. */
#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_pdump.h>
#include <rte_version.h>

#include "shim.h"
