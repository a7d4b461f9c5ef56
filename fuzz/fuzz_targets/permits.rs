#![no_main]
//! Any sequence of requests for permits is decided as a naive book decides it.
libfuzzer_sys::fuzz_target!(|input: &[u8]| pares::internal::fuzz_permits(input));
