//! Sockets that clients connect to, one file for each kind, and what becomes of a connection. After
//! `connect` it makes no difference where it came from.

pub mod accept;
mod connect;
mod flood_guard;
pub(super) mod head;
mod intercept;
mod peek;
mod plain;
mod pulse;
mod socket;
mod transparent;

pub use socket::Bound;
