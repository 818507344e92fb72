//! The real Codex for tests: the pinned binaries, and homes of its own with a scripted model.
//!
//! One home and one server for each [`Mixture`] serve a whole test binary; tests keep apart by their
//! directories (`Home::project`). A test that kills the server takes a home of its own.

mod home;
mod place;
mod release;
mod wire;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use home::Home;
pub use release::{Mixture, PerMixture, Release};
pub use wire::{Forgetful, ask};

/// Set to `off`, the tests with the real Codex say so and do nothing.
pub const SWITCH_VARIABLE: &str = "CONVEYOR_TEST_CODEX";

/// Whether tests run the real Codex. `false` only when switched off by the environment variable
/// [`SWITCH_VARIABLE`]; then one visible line says so. A missing binary is no reason to skip.
#[must_use]
pub fn enabled() -> bool {
    static ENABLED: OnceLock<bool> = OnceLock::new();
    *ENABLED.get_or_init(|| {
        let off = std::env::var_os(SWITCH_VARIABLE).is_some_and(|value| value == "off");
        if off {
            // Written past the capture of the test harness, which hides what passing tests print.
            let line = format!("tests with the real Codex are skipped: {SWITCH_VARIABLE}=off\n");
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
        !off
    })
}

/// The newest installed `codex`. `None` only when switched off.
///
/// # Panics
/// With one line that says what to run, when it is not installed.
#[must_use]
pub fn binary() -> Option<&'static Path> {
    Release::Newest.binary()
}

/// The build directory, as cargo and the scripts find it.
fn target_dir() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().expect("the workspace that these tests were built from");
    // A relative directory means one below the workspace, in which the scripts run.
    root.join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}
