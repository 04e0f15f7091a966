//! Requests and answers of HTTP/1.1.

#![no_main]

use libfuzzer_sys::fuzz_target;
use valetkey::proxy::fuzz;

fuzz_target!(|input: &[u8]| {
    fuzz::request(input);
    fuzz::answer(input);
});
