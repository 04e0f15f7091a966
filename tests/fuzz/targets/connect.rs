//! Targets of CONNECT and of absolute-form.

#![no_main]

use libfuzzer_sys::fuzz_target;
use valetkey::proxy::fuzz;

fuzz_target!(|input: &[u8]| {
    fuzz::connect(input);
    fuzz::absolute(input);
});
