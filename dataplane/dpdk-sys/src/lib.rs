//! Raw bindings to the distribution's libdpdk.
