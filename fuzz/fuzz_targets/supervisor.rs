#![no_main]
//! Any sequence of inputs keeps the supervisor's invariants and its words to others true.
libfuzzer_sys::fuzz_target!(|input: &[u8]| pares::internal::fuzz_supervisor(input));
