//! Safe wrapper of the parts of DPDK the engine uses.
