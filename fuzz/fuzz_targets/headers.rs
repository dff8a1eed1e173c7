//! See `checks/src/headers.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| writ_fuzz_checks::headers(data));
