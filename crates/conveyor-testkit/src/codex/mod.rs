//! The real Codex for tests: the pinned binary, and homes of its own with a scripted model.
//!
//! One home and one server serve a whole test binary; tests keep apart by their directories
//! (`Home::project`). A test that kills the server takes a home of its own.

mod home;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use home::Home;

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

/// The installed `codex`, as npm puts it on people's PATH. `None` only when switched off.
///
/// # Panics
/// With one line that says what to run, when it is not installed.
#[must_use]
pub fn binary() -> Option<&'static Path> {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    if !enabled() {
        return None;
    }
    Some(BINARY.get_or_init(|| {
        let binary = prefix().join("node_modules/.bin/codex");
        assert!(
            binary.is_file(),
            "the real Codex is needed for these tests: run scripts/install-codex or set {SWITCH_VARIABLE}=off"
        );
        binary
    }))
}

/// Where `scripts/install-codex` installs it.
fn prefix() -> PathBuf {
    target_dir().join("codex")
}

/// The build directory, as cargo and the scripts find it.
fn target_dir() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().expect("the workspace that these tests were built from");
    // A relative directory means one below the workspace, in which the scripts run.
    root.join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}
