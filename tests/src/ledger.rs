//! The packet ledger: received + host-made = sent + punted + drops by reason, per port and in sum.
