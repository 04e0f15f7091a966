//! Floor 2: reaching other machines.
//!
//! `dial` turns a target into a TCP stream, asking `guard` whether its addresses may be reached for
//! a client; `roots` says whose certificates are believed, `tls` waits for them; `client` speaks to issuers. What is sent
//! to an API, and by whose permit, is the proxy's business. `via` goes through the parent proxy.

pub mod anchors;
pub mod budget;
pub mod chain;
pub mod client;
pub mod dial;
pub mod dial_error;
pub mod guard;
mod itself;
mod platform;
pub mod prefixed;
pub mod roots;
pub mod shares;
pub mod stream;
pub mod tls;
mod tls_fault;
mod tls_name;
pub mod via;

pub use tls_fault::tls_fault;
pub use tls_name::tls_name;
