//! What can be chosen: backend and call form, by the configuration or by measuring.

use std::fmt;

use esp::aead::KeyError;
use thiserror::Error;

/// What the configuration says under `[crypto] backend`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The fastest that runs here, by measuring.
    #[default]
    Auto,
    /// The code of this crate for VAES and AVX-512, or an error.
    Vaes,
    /// IPSec_MB in its faster call form, or an error.
    IpsecMb,
    /// RustCrypto.
    RustCrypto,
}

impl Choice {
    /// Every choice, in the order of the manual.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Vaes, Self::IpsecMb, Self::RustCrypto];

    /// Returns the word of the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Vaes => "vaes",
            Self::IpsecMb => "ipsec-mb",
            Self::RustCrypto => "rustcrypto",
        }
    }

    /// Returns the choice that a word of the configuration names, if it names one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|choice| choice.name() == name)
    }
}

/// Whose code does the AEAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// The code of this crate for VAES and AVX-512.
    Vaes,
    /// The distribution's IPSec_MB.
    IpsecMb,
    /// RustCrypto's `aes-gcm`.
    RustCrypto,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vaes => "VAES",
            Self::IpsecMb => "IPSec_MB",
            Self::RustCrypto => "RustCrypto",
        })
    }
}

/// How a backend is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallForm {
    /// One call for a burst of packets.
    Burst,
    /// One call a packet.
    Direct,
}

impl fmt::Display for CallForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Burst => "burst calls",
            Self::Direct => "direct calls",
        })
    }
}

/// A backend in one of the forms it can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// The code of this crate for VAES and AVX-512, one call for a burst.
    Vaes,
    /// IPSec_MB, one submission for a burst.
    IpsecMbBurst,
    /// IPSec_MB, one call a packet.
    IpsecMbDirect,
    /// RustCrypto, one call a packet.
    RustCrypto,
}

impl Method {
    /// Every method, the portable one last.
    pub const ALL: [Self; 4] = [Self::Vaes, Self::IpsecMbBurst, Self::IpsecMbDirect, Self::RustCrypto];

    /// Returns whose code it is.
    #[must_use]
    pub const fn backend(self) -> Backend {
        match self {
            Self::Vaes => Backend::Vaes,
            Self::IpsecMbBurst | Self::IpsecMbDirect => Backend::IpsecMb,
            Self::RustCrypto => Backend::RustCrypto,
        }
    }

    /// Returns how it is called.
    #[must_use]
    pub const fn call_form(self) -> CallForm {
        match self {
            Self::Vaes | Self::IpsecMbBurst => CallForm::Burst,
            Self::IpsecMbDirect | Self::RustCrypto => CallForm::Direct,
        }
    }

    /// Returns those of [`Method::ALL`] that this build contains and this processor can run.
    pub fn built() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|method| match method.backend() {
            Backend::Vaes => has_vaes(),
            Backend::IpsecMb => cfg!(ipsec_mb),
            Backend::RustCrypto => true,
        })
    }
}

#[cfg(target_arch = "x86_64")]
fn has_vaes() -> bool {
    crate::vaes::Cpu::detect().is_ok()
}

#[cfg(not(target_arch = "x86_64"))]
const fn has_vaes() -> bool {
    false
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.backend(), self.call_form())
    }
}

/// Why a backend does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// The processor lacks something that the code for VAES needs.
    #[error("this processor has no {name}, so the VAES code does not run")]
    Feature {
        /// The first feature that is missing, as the processor's manual writes it.
        name: &'static str,
    },
    /// The build found no IPSec_MB, or its feature was off, or the target is not x86-64 Linux.
    #[error("this build is without IPSec_MB")]
    NotBuilt,
    /// The library that was loaded is not one the shim was written for.
    #[error("IPSec_MB {major}.{minor} was loaded, 1.3 or a later 1.x is needed")]
    Version {
        /// Major version of the library.
        major: u32,
        /// Minor version of the library.
        minor: u32,
    },
    /// The library could not allocate a manager.
    #[error("IPSec_MB could not allocate a manager")]
    Manager,
    /// The library refused to run here, for instance because its self-test failed.
    #[error("IPSec_MB did not start: its error {code}")]
    Start {
        /// IPSec_MB's own error number, or the system's.
        code: i32,
    },
    /// The keys that are measured with could not be expanded.
    #[error(transparent)]
    Key(#[from] KeyError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_found_by_its_name_and_by_nothing_else() {
        for choice in Choice::ALL {
            assert_eq!(Choice::from_name(choice.name()), Some(choice));
        }
        assert_eq!(Choice::from_name("IPSec_MB"), None);
        assert_eq!(Choice::from_name(""), None);
    }
}
