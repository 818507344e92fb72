//! Developer tasks, run as `cargo xtask NAME`. To add one, write its module and name it in
//! [`TASKS`].
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a developer's tool: it prints, and it reads clock and environment directly"
)]

mod bench;
mod demo;
mod failure;
mod reference;
mod test;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use failure::Failure;

/// What a developer can run.
struct Task {
    name: &'static str,
    /// One line for the list; empty for the parts of another task, which are not listed.
    about: &'static str,
    run: fn(&[String]) -> Result<(), Failure>,
}

const TASKS: &[Task] = &[
    Task { name: "tidy", about: "check the house rules that no lint knows", run: tidy::run },
    Task {
        name: "test",
        about: "run all tests with one PostgreSQL server for the whole run",
        run: test::run,
    },
    Task { name: "cli-reference", about: "write docs/cli-reference.md", run: reference::run },
    Task { name: "chaos", about: "run the long form of the crash suite", run: test::run_chaos },
    Task { name: "bench", about: "measure the figures of the documentation", run: bench::run },
    Task { name: "demo", about: "let two scripted agents work through one ledger", run: demo::run },
    Task { name: "demo-manager", about: "", run: demo::run_manager },
    Task { name: "demo-worker", about: "", run: demo::run_worker },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        list();
        return ExitCode::from(2);
    };
    let Some(task) = TASKS.iter().find(|task| task.name == name) else {
        eprintln!("xtask: unknown task {name:?}");
        list();
        return ExitCode::from(2);
    };
    match (task.run)(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{name}: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn list() {
    eprintln!("usage: cargo xtask TASK [ARGUMENTS]\n");
    for task in TASKS.iter().filter(|task| !task.about.is_empty()) {
        eprintln!("  {:<14} {}", task.name, task.about);
    }
}

/// The root of the source tree.
fn source_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}
