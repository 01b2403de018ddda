//! Arbitrary bytes as a program, and as the interpreter of one, must not panic the loader.
//!
//! The corpus lies in `tests/corpus/loader`, where the tests run it too:
//! `cargo +nightly fuzz run loader ../tests/corpus/loader`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picozone::loader;

fuzz_target!(|bytes: &[u8]| {
    let size = bytes.len().try_into().unwrap_or(u64::MAX);
    // A head that is cut short, as when the file is longer than what was read.
    let head = &bytes[..bytes.len() / 2];
    for (head, size) in [
        (bytes, size),
        (head, size),
        (bytes, size / 2),
        (bytes, u64::MAX),
    ] {
        let _ = loader::parse(head, size);
        let _ = loader::parse_interpreter(head, size);
    }
});
