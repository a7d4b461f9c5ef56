#![no_main]
//! Any bytes as a datagram: never a panic, and what is understood is written as it was read.
libfuzzer_sys::fuzz_target!(|input: &[u8]| pares::internal::fuzz_heartbeat(input));
