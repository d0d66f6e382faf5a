//! Where the programs under test lie.

use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::Result;

/// Finds a program of the workspace: in `ESPALIER_BIN_DIR`, beside the running executable, or in the
/// `release` or `debug` folder next to it.
///
/// Errors: none is there; the error says what to type.
pub fn program(name: &str) -> Result<PathBuf> {
    let mut places = Vec::new();
    if let Some(set) = std::env::var_os("ESPALIER_BIN_DIR") {
        places.push(PathBuf::from(set));
    } else {
        let own = std::env::current_exe()?;
        for folder in own.ancestors().skip(1).take(3) {
            places.extend([folder.to_path_buf(), folder.join("release"), folder.join("debug")]);
        }
    }
    for place in &places {
        let path = place.join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    bail!("{name} is not built: run `make build`, or name the folder of the programs in ESPALIER_BIN_DIR")
}

/// Finds the charon plugin: `ESPALIER_PLUGIN`, else `build/` of the repository.
///
/// Errors: it is not there; the error says what to type.
pub fn plugin() -> Result<PathBuf> {
    let path = match std::env::var_os("ESPALIER_PLUGIN") {
        Some(set) => PathBuf::from(set),
        None => repository().join("build/libstrongswan-kernel-espalier.so"),
    };
    if !path.is_file() {
        bail!("{} is not built: run `make plugin`, or set ESPALIER_PLUGIN", path.display());
    }
    Ok(path)
}

/// Checks that everything a tunnel between namespaces needs is there.
///
/// Errors: the first thing that is missing, and what to type.
pub fn require_all() -> Result<()> {
    for name in ["espalier", "ike-bridge", "espctl"] {
        program(name)?;
    }
    plugin()?;
    for tool in ["ip", "ethtool", "sysctl", "ping", "tcpdump", "iperf3", "swanctl", "charon-systemd"] {
        let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
        if !folders.iter().any(|folder| Path::new(folder).join(tool).is_file()) {
            bail!("{tool} is not installed: run `make setup`");
        }
    }
    Ok(())
}

/// Returns the root of the repository.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}
