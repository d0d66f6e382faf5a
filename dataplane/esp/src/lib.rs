//! Sans-I/O ESP: wire formats, windows, selectors, encapsulation.
