//! What helpers print (`grant = "exec"`), and answers that config describes (`grant = "http"`).

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| valetkey::mint::fuzz::output(input));
