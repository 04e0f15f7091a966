//! Sockets that clients connect to. One file for each kind; after `connect` nothing differs.

pub mod accept;
pub(super) mod socket;
mod transparent;

pub use socket::Bound;
