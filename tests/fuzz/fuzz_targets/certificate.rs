//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz certificate`.

#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::certificate(bytes));
