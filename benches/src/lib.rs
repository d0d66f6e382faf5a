//! Load harness and stage benches.
