//! The bridge between IKE daemons and the packet engine: owns SPIs, SAD and SPD.
