//! Answers of issuers.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| valetkey::mint::fuzz::answer(input));
