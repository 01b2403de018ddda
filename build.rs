//! Builds the personality, the freestanding program that lives inside each guest, and leaves it in
//! `OUT_DIR/personality` for the library to embed; and has `zone` linked statically.

use std::env;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Freestanding: no libc, no vector registers, and the functions that compiled code calls by name.
const TARGET: &str = "x86_64-unknown-none";

fn main() {
    println!("cargo:rerun-if-changed=personality/link.ld");
    for watched in ["personality", "syscalls", "fsmap"] {
        println!("cargo:rerun-if-changed={watched}/src");
        println!("cargo:rerun-if-changed={watched}/Cargo.toml");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let cargo = env::var_os("CARGO").expect("cargo sets CARGO");
    assert!(
        has_target(TARGET),
        "the personality is built for the target {TARGET}, which this toolchain does not have: rustup target add {TARGET}"
    );
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let mut flags = vec![
        "-Crelocation-model=pic".to_owned(),
        "-Cpanic=abort".to_owned(),
        // Who follows rbp from the personality comes to the guest's frames.
        "-Cforce-frame-pointers=yes".to_owned(),
        format!("--remap-path-prefix={root}=."),
    ];
    let script = format!("{root}/personality/link.ld");
    // The inner cargo does not watch the script: what it holds is part of the flags.
    let mut hasher = DefaultHasher::new();
    std::fs::read(&script)
        .expect("the linker script is there")
        .hash(&mut hasher);
    flags.push(format!("-Cmetadata={:x}", hasher.finish()));
    let link = ["--no-pie", "--build-id=none", "-T", &script];
    flags.extend(link.iter().map(|argument| format!("-Clink-arg={argument}")));

    let status = Command::new(cargo)
        .args([
            "build",
            "--release",
            "--locked",
            "--offline",
            "--package",
            "picozone-personality",
            "--bin",
            "personality",
            "--features",
            "guest",
        ])
        .args(["--target", TARGET, "--target-dir"])
        .arg(out.join("build"))
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env("CARGO_PROFILE_RELEASE_LTO", "true")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .status()
        .expect("cargo can be started");
    assert!(status.success(), "the personality does not build");
    let built = out.join("build").join(TARGET).join("release/personality");
    copy(&built, &out.join("personality"));
    link_statically(&out);
}

/// Links `zone` with the static libraries of glibc, still to be loaded anywhere. Every command of a zone
/// is a start of it, and a quarter of that was the dynamic linker's work; it asks glibc for nothing that
/// would load more (no names of hosts or users).
///
/// Cargo has a switch for this (`crt-static`) only for all programs at once, the test suite's guests
/// included, which are to be dynamic. So the names by which rustc asks for the libraries that it would load
/// stand for the static ones here.
fn link_statically(out: &Path) {
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    if !is("CARGO_CFG_TARGET_OS", "linux") || !is("CARGO_CFG_TARGET_ENV", "gnu") {
        return;
    }
    let libraries = out.join("static");
    std::fs::create_dir_all(&libraries).expect("OUT_DIR can be written");
    for (name, group) in [
        ("libc.so", "libc.a libgcc_eh.a libgcc.a"),
        ("libgcc_s.so", "libgcc_eh.a libgcc.a"),
        ("libm.so", "libm.a"),
    ] {
        std::fs::write(libraries.join(name), format!("GROUP ( {group} )\n"))
            .expect("OUT_DIR can be written");
    }
    println!("cargo:rustc-link-arg-bin=zone=-static-pie");
    println!("cargo:rustc-link-arg-bin=zone=-L{}", libraries.display());
}

fn copy(from: &Path, to: &Path) {
    if let Err(error) = std::fs::copy(from, to) {
        panic!("copy {} to {}: {error}", from.display(), to.display());
    }
}

fn has_target(name: &str) -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    Command::new(rustc)
        .args(["--print", "target-libdir", "--target", name])
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .is_some_and(|dir| Path::new(dir.trim()).is_dir())
}
