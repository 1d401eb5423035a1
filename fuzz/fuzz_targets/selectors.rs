//! See `src/selectors.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringfence_fuzz::selectors::run(data));
