#![no_main]
//! A proof is accepted in its own meeting and under its own key, and nowhere else.
libfuzzer_sys::fuzz_target!(|input: &[u8]| pares::internal::fuzz_handshake(input));
