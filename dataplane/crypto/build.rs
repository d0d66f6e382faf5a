//! Builds the IPSec_MB shim and sets `cfg(ipsec_mb)` where the distribution's header is installed.
//!
//! IPSec_MB 1.3 ships no pkg-config file, so the probe is whether its header compiles. A header that compiles and
//! does not match the shim's assertions fails the build; a missing one leaves it out, with a warning.

use std::env;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(ipsec_mb)");
    println!("cargo::rerun-if-changed=shim");
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| env::var(name).as_deref() == Ok(value);
    let wanted = env::var_os("CARGO_FEATURE_IPSEC_MB").is_some()
        && is("CARGO_CFG_TARGET_ARCH", "x86_64")
        && is("CARGO_CFG_TARGET_OS", "linux");
    if !wanted {
        return;
    }
    let header = cc::Build::new().file("shim/probe.c").cargo_warnings(false).try_expand();
    if header.is_err() {
        println!("cargo::warning=intel-ipsec-mb.h (libipsec-mb-dev) not found: no AEAD by IPSec_MB");
        return;
    }
    cc::Build::new().file("shim/ipsec_mb.c").std("c11").warnings(true).compile("espalier_ipsec_mb");
    println!("cargo::rustc-link-lib=dylib=IPSec_MB");
    println!("cargo::rustc-cfg=ipsec_mb");
}
