//! Tells cargo which libraries to link, and how.

use crate::pkg_config;

/// The libraries the bindings call. With dynamic linking drivers come as plugins from the
/// directory the distribution built into the EAL.
const LIBRARIES: &[&str] = &["rte_pdump", "rte_ethdev", "rte_mbuf", "rte_mempool", "rte_ring", "rte_eal"];

pub(crate) fn emit() {
    println!("cargo::rustc-link-search=native={}", pkg_config(&["--variable=libdir"]));
    if cfg!(feature = "static") {
        return emit_static();
    }
    for library in LIBRARIES {
        println!("cargo::rustc-link-lib=dylib={library}");
    }
}

fn emit_static() {
    for library in DRIVERS.iter().chain(CORE) {
        println!("cargo::rustc-link-lib=static:+whole-archive,-bundle={library}");
    }
    for library in SYSTEM {
        println!("cargo::rustc-link-lib=dylib={library}");
    }
}

/// Drivers register themselves in constructors nobody refers to, hence whole archives.
const DRIVERS: &[&str] = &[
    "rte_net_af_packet",
    "rte_net_af_xdp",
    "rte_net_e1000",
    "rte_net_i40e",
    "rte_net_iavf",
    "rte_net_ice",
    "rte_net_ixgbe",
    "rte_net_memif",
    "rte_net_null",
    "rte_net_pcap",
    "rte_net_ring",
    "rte_net_tap",
    "rte_net_vhost",
    "rte_net_virtio",
    "rte_net_vmxnet3",
    "rte_common_iavf",
    "rte_mempool_ring",
    "rte_mempool_stack",
    "rte_bus_pci",
    "rte_bus_vdev",
];

/// Whole archives as well: they refer to each other in circles and register commands of telemetry.
const CORE: &[&str] = &[
    "rte_pdump",
    "rte_pcapng",
    "rte_bpf",
    "rte_vhost",
    "rte_gso",
    "rte_ip_frag",
    "rte_security",
    "rte_cryptodev",
    "rte_dmadev",
    "rte_hash",
    "rte_stack",
    "rte_metrics",
    "rte_ethdev",
    "rte_meter",
    "rte_net",
    "rte_mbuf",
    "rte_mempool",
    "rte_rcu",
    "rte_ring",
    "rte_pci",
    "rte_eal",
    "rte_telemetry",
    "rte_kvargs",
];

const SYSTEM: &[&str] = &["pcap", "xdp", "bpf", "elf", "z", "jansson", "bsd", "numa", "m", "dl", "pthread"];
