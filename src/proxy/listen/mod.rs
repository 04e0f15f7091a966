//! Sockets that clients connect to. One file for each kind; after `connect` nothing differs.

pub mod forward;
pub(super) mod socket;

pub use socket::Bound;
