//! Tells cargo which libraries to link, and how.

use std::process::Command;

use crate::{pkg_config, refuse};

/// The libraries the bindings call. With dynamic linking drivers come as plugins from the
/// directory the distribution built into the EAL.
const LIBRARIES: &[&str] = &["rte_pdump", "rte_ethdev", "rte_mbuf", "rte_mempool", "rte_ring", "rte_eal"];

pub(crate) fn emit() {
    let libdir = pkg_config(&["--variable=libdir"]);
    println!("cargo::rustc-link-search=native={libdir}");
    if cfg!(feature = "static") {
        return emit_static(&libdir);
    }
    for library in LIBRARIES {
        println!("cargo::rustc-link-lib=dylib={library}");
    }
}

fn emit_static(libdir: &str) {
    let out_dir = std::env::var("OUT_DIR").unwrap_or_default();
    println!("cargo::rustc-link-search=native={out_dir}");
    rename_bpf_validate(libdir, &out_dir);
    for library in DRIVERS.iter().chain(CORE) {
        println!("cargo::rustc-link-lib=static:+whole-archive,-bundle={library}");
    }
    for library in SYSTEM {
        println!("cargo::rustc-link-lib=static:-bundle={library}");
    }
    cc::Build::new().file("shim/no_dbus.c").cargo_metadata(false).compile("dpdk_no_dbus");
    println!("cargo::rustc-link-lib=static:+whole-archive,-bundle=dpdk_no_dbus");
    println!("cargo::rustc-link-lib=dylib=m");
}

/// Makes a copy of DPDK's BPF library whose `bpf_validate` does not meet that of libpcap, an unrelated one.
fn rename_bpf_validate(libdir: &str, out_dir: &str) {
    let status = Command::new("objcopy")
        .arg("--redefine-sym=bpf_validate=dpdk_bpf_validate")
        .arg(format!("{libdir}/librte_bpf.a"))
        .arg(format!("{out_dir}/libdpdk_bpf.a"))
        .status();
    if !status.is_ok_and(|status| status.success()) {
        refuse("dpdk-sys needs objcopy (Debian: binutils) and librte_bpf.a to link statically");
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
    "dpdk_bpf",
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

/// Each after those that call it; `libdpdk-dev` depends on the packages that carry these archives.
const SYSTEM: &[&str] = &["pcap", "xdp", "bpf", "elf", "z", "jansson", "bsd", "md", "numa"];
