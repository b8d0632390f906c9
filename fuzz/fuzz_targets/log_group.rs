#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| batuta_raft::fuzzing::log_group(bytes));
