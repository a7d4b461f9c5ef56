#![no_main]
//! A router and an agent among others that say anything: nothing breaks, and nothing is done
//! without the lease that needs it.
libfuzzer_sys::fuzz_target!(|input: &[u8]| pares::internal::fuzz_route(input));
