//! Ethernet ports: a device is probed, started into a port and its queues, and closed with the last of them.

mod control;
mod device;
mod queue;
mod steering;

pub use control::{Link, MacAddress, Port, PortStats};
pub use device::{Device, Limits, PortConfig, Started};
pub use queue::{Received, RxQueue, TxQueue};
pub use steering::Steering;
