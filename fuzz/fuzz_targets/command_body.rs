//! See `checks/src/command_body.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| writ_fuzz_checks::command_body(data));
