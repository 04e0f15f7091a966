//! Requests and answers of HTTP/1.1.

#![no_main]

#[path = "framing/holds.rs"]
mod holds;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    holds::request(input);
    holds::answer(input);
    holds::challenges(input);
});
