#![no_main]
//! One process of a masterless group among members that say anything: nothing breaks, and its
//! tokens grow.
libfuzzer_sys::fuzz_target!(|input: &[u8]| pares::internal::fuzz_group(input));
