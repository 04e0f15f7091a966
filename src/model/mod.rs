//! Floor 0: the nouns that every other floor speaks in.
//!
//! Nothing here does I/O or knows of HTTP, TLS or config. A value of one of these types
//! has been parsed once and cannot be wrong any more.

pub mod ask;
pub mod client;
pub mod clock;
pub mod decision;
pub mod dpop;
pub mod hex;
pub mod hint;
pub mod host;
pub mod id;
pub mod lock;
#[cfg(test)]
pub(crate) mod not_run;
pub mod overriding;
pub mod placeholder;
pub mod plain;
pub mod reason;
pub mod secret;
#[cfg(test)]
pub(crate) mod seeds;
pub mod target;
pub mod tls_fault;
pub mod token;
