//! Paths of requests.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| valetkey::policy::fuzz::path(input));
