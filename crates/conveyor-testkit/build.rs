//! Compiles the executable of the fake Codex, which must be a program of its own and no script.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a build script is told by its environment, and says why it fails by panicking"
)]

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    let source = "src/fake_codex/launcher.rs";
    println!("cargo::rerun-if-changed={source}");
    let out = env::var_os("OUT_DIR").expect("cargo sets it");
    let status = Command::new(env::var_os("RUSTC").expect("cargo sets it"))
        .args(["--edition", "2024", "-C", "opt-level=s", "-C", "strip=symbols", "-o"])
        .arg(Path::new(&out).join("fake-codex"))
        .arg(source)
        .status()
        .expect("rustc runs");
    assert!(status.success(), "{source} does not compile");
}
