//! `cargo bench`: single calls, natively and in zones. What else is measured: `cargo run --release -p
//! picozone-bench`.

use std::process::Command;

fn main() {
    let mut words = std::env::args().skip(1);
    // Cargo's own word for a bench; one without dashes is part of names.
    let only = words.rfind(|word| !word.starts_with("--"));
    let zone = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/zone");
    let status = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["--zone", zone, "--micro", "--peers", "none", "--only"])
        .arg(only.unwrap_or_default())
        .status()
        .expect("the bench can be started");
    assert!(status.success(), "{status}");
}
