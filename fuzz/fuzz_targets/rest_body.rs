#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| batuta_api::fuzzing::rest_body(bytes));
