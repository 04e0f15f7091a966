//! What the benches share: an API that answers only to the real key, a lean client, and the proxies.

pub mod api;
pub mod client;
pub mod count;
pub mod steps;
pub mod valetkey;

/// The name of the API; every proxy reaches it on loopback.
pub const HOST: &str = "api.bench.example";
/// What the API wants to see: whoever forwards without putting it in is answered 401.
pub const KEY: &str = "bench-key-0123456789abcdef0123456789abcdef";
