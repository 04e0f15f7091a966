//! What the benches share: an API that answers only to the real key, a lean client, and the proxies.

pub mod api;
pub mod client;
pub mod count;
pub mod steps;
pub mod valetkey;

/// The name of the API; every proxy reaches it on loopback.
pub const HOST: &str = "api.bench.example";
/// The same API, by a name whose answers are not searched for the token (`redact = false`).
pub const BLOBS: &str = "blobs-api.bench.example";
/// What the API wants to see: whoever forwards without putting it in is answered 401.
pub const KEY: &str = "bench-key-0123456789abcdef0123456789abcdef";

/// So many bytes of an answer as APIs give them, with this text in it: JSON in which no two lines are the same.
pub fn orders(text: &str, length: usize) -> Vec<u8> {
    let line = |n: usize| {
        let id = n.wrapping_mul(2_654_435_761) % 10_000_000;
        format!("{{\"id\": {id}, \"kind\": \"{text}\", \"open\": {}}},\n", id.is_multiple_of(2))
    };
    let mut bytes: Vec<u8> = (0..=length / 32).flat_map(|n| line(n).into_bytes()).collect();
    assert!(bytes.len() >= length);
    bytes.truncate(length);
    bytes
}
