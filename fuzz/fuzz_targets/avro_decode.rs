//! See `checks/src/avro_decode.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| writ_fuzz_checks::avro_decode(data));
