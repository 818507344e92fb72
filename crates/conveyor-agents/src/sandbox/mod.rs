//! Running a program that may not see certain files: neither read nor write, replace or remove them,
//! under whatever name, nor reach a process that could do it in its place.
//!
//! The program is started through our own executable (see [`launch`]): one process that keeps watch
//! over everything it starts, and one that shuts itself off and then becomes the program. How it
//! shuts itself off is an [`Engine`]'s business; the first that sets up and passes a test from inside
//! is used, and without one the program is not run.

mod bubblewrap;
mod denied;
#[cfg(target_os = "linux")]
mod devices;
mod keeper;
#[cfg(target_os = "linux")]
mod landlock;
pub mod launch;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "linux")]
mod mounts;
#[cfg(target_os = "linux")]
mod namespaces;
mod report;
mod run;
mod self_test;
#[cfg(target_os = "linux")]
mod syscalls;

pub use run::{Ending, Ran, Request, run};

/// What a sandbox of ours denies, as records name it.
pub const PROFILE: &str = "deny-state-root-bound-session-and-db-read";

/// A way to shut a process off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// `sandbox-exec` of macOS.
    SandboxExec,
    /// Landlock rules of Linux.
    Landlock,
    /// The program `bwrap`.
    Bubblewrap,
    /// Namespaces of Linux, made by ourselves.
    Namespaces,
}

impl Engine {
    /// The engines of this system, best first.
    #[must_use]
    pub fn of_system() -> &'static [Self] {
        if cfg!(target_os = "linux") {
            &[Self::Landlock, Self::Bubblewrap, Self::Namespaces]
        } else if cfg!(target_os = "macos") {
            &[Self::SandboxExec]
        } else {
            &[]
        }
    }

    /// How records name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SandboxExec => "sandbox-exec",
            Self::Landlock => "landlock",
            Self::Bubblewrap => "bubblewrap",
            Self::Namespaces => "namespaces",
        }
    }
}
