//! The networks the tests run in.
