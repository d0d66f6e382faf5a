//! Sans-I/O ESP: wire formats, windows, selectors, encapsulation.
#![forbid(unsafe_code)]

pub mod aead;
