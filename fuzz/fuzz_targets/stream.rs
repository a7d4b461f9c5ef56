#![no_main]
//! Any bytes, in any pieces: never a panic, same messages however cut, and what decodes encodes
//! back.
libfuzzer_sys::fuzz_target!(|input: &[u8]| pares::internal::fuzz_stream(input));
