/*
 * The plugin as charon's loader sees it. Built for one strongSwan version; loaded into another one it keeps
 * its place and refuses every call, because charon would fall back to the kernel's IPsec without a word.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "kernel_espalier.h"

/** The library does not tell its version; the daemon's executable holds it as a string. */
static bool daemon_is(const char *version)
{
	chunk_t *program = chunk_map("/proc/self/exe", FALSE);
	bool found = program && memmem(program->ptr, program->len, version, strlen(version) + 1);

	if (program) {
		chunk_unmap(program);
	}
	return found;
}

static kernel_ipsec_t *create(void)
{
	/* room for members of another version; FAILED also reads as TRUE and as KERNEL_ESP_V3_TFC */
	static status_t (*refuse[64])(void);

	if (daemon_is(STRONGSWAN_VERSION)) {
		return espalier_create();
	}
	DBG1(DBG_KNL, "kernel-espalier " ESPALIER_PLUGIN_VERSION " was built for strongSwan " STRONGSWAN_VERSION
		 " and this daemon is another one: every IPsec call is refused");
	for (u_int i = 0; i < countof(refuse); i++) {
		refuse[i] = return_failed;
	}
	return (kernel_ipsec_t*)refuse;
}

METHOD(plugin_t, get_name, char*, plugin_t *this)
{
	return "kernel-espalier";
}

METHOD(plugin_t, get_features, int, plugin_t *this, plugin_feature_t *features[])
{
	static plugin_feature_t provided[] = {
		PLUGIN_CALLBACK(kernel_ipsec_register, create),
			PLUGIN_PROVIDE(CUSTOM, "kernel-ipsec"),
	};

	*features = provided;
	return countof(provided);
}

METHOD(plugin_t, destroy, void, plugin_t *this)
{
	free(this);
}

plugin_t *kernel_espalier_plugin_create(void)
{
	plugin_t *this;

	INIT(this, .get_name = _get_name, .get_features = _get_features, .destroy = _destroy);
	return this;
}
