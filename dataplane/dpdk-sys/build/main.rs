//! Finds libdpdk 22.11 by pkg-config, compiles the shim and tells cargo what to link.

use std::process::{Command, exit};

#[cfg(feature = "generate")]
mod bindings;
mod link;

const SUPPORTED: &str = "22.11";

fn main() {
    for path in ["build", "shim"] {
        println!("cargo::rerun-if-changed={path}");
    }
    for variable in ["PKG_CONFIG", "PKG_CONFIG_PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let version = pkg_config(&["--modversion"]);
    if version != SUPPORTED && !version.starts_with("22.11.") {
        refuse(&format!("dpdk-sys is made for libdpdk {SUPPORTED}, this machine has {version}"));
    }
    let cflags = pkg_config(&["--cflags"]);
    let cflags: Vec<&str> = cflags.split_whitespace().collect();
    compile_shim(&cflags);
    #[cfg(feature = "generate")]
    bindings::write(&cflags);
    link::emit();
}

fn compile_shim(cflags: &[&str]) {
    let mut build = cc::Build::new();
    build.file("shim/shim.c").std("gnu11").warnings(true);
    // DPDK's own headers are system headers here: their warnings are not about this shim.
    for flag in cflags {
        match flag.strip_prefix("-I") {
            Some(path) => build.flag("-isystem").flag(path),
            None => build.flag(flag),
        };
    }
    build.compile("dpdk_shim");
}

/// Runs `pkg-config ARGUMENTS libdpdk` and returns what it printed.
fn pkg_config(arguments: &[&str]) -> String {
    let program = std::env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".to_owned());
    let output = match Command::new(&program).args(arguments).arg("libdpdk").output() {
        Ok(output) => output,
        Err(error) => refuse(&format!(
            "dpdk-sys needs {program} to find libdpdk {SUPPORTED}, which does not run: {error}"
        )),
    };
    if !output.status.success() {
        refuse(&format!(
            "dpdk-sys is made for libdpdk {SUPPORTED}, this machine has none (Debian 12: apt install libdpdk-dev)"
        ));
    }
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn refuse(reason: &str) -> ! {
    println!("cargo::error={reason}");
    exit(1)
}
