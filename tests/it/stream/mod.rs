//! Every kind of stream, in each combination of HTTP/1.1 and HTTP/2, between two ends that the test plays by
//! hand: nothing is held back, nothing is lost, and what breaks is seen to break.

mod broken;
mod coded;
mod distance;
mod early;
mod early_http1;
mod engine;
mod flow;
mod given;
mod interim;
mod kept;
mod narrowed;
mod nginx;
mod overriding;
mod own_credential;
mod peers;
mod redact;
mod refused;
mod revoked;
mod spelt;
mod strict;
mod timeouts;
mod trailers;
mod unbegun;
pub mod upgrade;

/// Whether `VALETKEY_TEST_LARGE` asks for the full size of what is shortened otherwise.
pub fn is_large() -> bool {
    std::env::var_os("VALETKEY_TEST_LARGE").is_some_and(|v| v == "1")
}

/// How often what may fail rarely is tried.
fn repeats() -> usize {
    if is_large() || !cfg!(debug_assertions) { 1_000 } else { 250 }
}
