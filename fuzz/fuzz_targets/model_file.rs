//! See `checks/src/model_file.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| writ_fuzz_checks::model_file(data));
