//! Writes `src/bindings.rs` from the installed headers (feature `generate`).

/// What is taken from DPDK's headers as it is; everything else goes through the shim.
/// No variable is on the list: those of DPDK that matter are thread-local and cannot be bound.
const FUNCTIONS: &[&str] = &[
    "dpdk_shim_.*",
    "rte_dev_probe",
    "rte_dev_remove",
    "rte_eal_get_runtime_dir",
    "rte_eal_init",
    "rte_eth_dev_close",
    "rte_eth_dev_get_mtu",
    "rte_eth_dev_get_port_by_name",
    "rte_eth_dev_set_mtu",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_promiscuous_disable",
    "rte_eth_promiscuous_enable",
    "rte_eth_stats_reset",
    "rte_get_tsc_hz",
    "rte_log_set_global_level",
    "rte_mempool_avail_count",
    "rte_pdump_init",
    "rte_pktmbuf_free_bulk",
    "rte_pktmbuf_pool_create",
    "rte_thread_register",
    "rte_thread_unregister",
    "rte_version",
];

/// Writes the bindings. Types DPDK owns are not followed: the library declares them itself, opaque,
/// or takes the part of `rte_mbuf` whose layout the shim asserts.
pub(crate) fn write(cflags: &[&str]) {
    let mut builder = bindgen::Builder::default()
        .header("shim/wrapper.h")
        .clang_args(cflags)
        .use_core()
        .layout_tests(true)
        .generate_comments(false)
        .merge_extern_blocks(true)
        .raw_line("use crate::{rte_device, rte_mbuf, rte_mempool};")
        .allowlist_recursively(false)
        .allowlist_type("dpdk_.*");
    for function in FUNCTIONS {
        builder = builder.allowlist_function(function);
    }
    if let Err(error) = builder.generate().map(|bindings| bindings.write_to_file("src/bindings.rs")) {
        crate::refuse(&format!("bindgen did not make the bindings: {error}"));
    }
}
