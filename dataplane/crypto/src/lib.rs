//! Burst AEAD behind one trait: IPSec_MB and RustCrypto.
