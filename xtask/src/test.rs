//! `cargo xtask test` and `cargo xtask chaos`: cargo's tests around one PostgreSQL server.

use std::process::Command;
use std::time::Instant;

use conveyor_testkit::codex::Mixture;
use conveyor_testkit::postgres::{SOCKET_DIR_VARIABLE, Server, enabled};

use crate::failure::{Context as _, Failure};

/// Tells the crash suite to run its long form.
const CHAOS_VARIABLE: &str = "CONVEYOR_CHAOS";

/// Runs all tests; `arguments` go to `cargo test`.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    let start = Instant::now();
    let server = server_for_the_run()?;
    let status = cargo_test(server.as_ref())
        .args(["--workspace", "--features", "conveyor/fault-points", "--no-fail-fast"])
        .args(arguments)
        .status()
        .context("starting cargo test")?;
    // The server must be gone before the verdict, whatever it is.
    drop(server);
    if conveyor_testkit::codex::enabled() {
        print!("{}", Mixture::legend());
    }
    let seconds = start.elapsed().as_secs();
    println!("tests took {} min {:02} s", seconds / 60, seconds % 60);
    if status.success() { Ok(()) } else { Err(Failure::new("tests failed")) }
}

/// Runs the crash suite in its long form; `arguments` go to the test program.
pub fn run_chaos(arguments: &[String]) -> Result<(), Failure> {
    let server = server_for_the_run()?;
    let status = cargo_test(server.as_ref())
        .env(CHAOS_VARIABLE, "long")
        .args(["--package", "conveyor", "--features", "conveyor/fault-points", "--test", "crash"])
        .args(["--", "--nocapture"])
        .args(arguments)
        .status()
        .context("starting cargo test")?;
    drop(server);
    if status.success() { Ok(()) } else { Err(Failure::new("the crash suite failed")) }
}

/// One server for all test programs; none when it is switched off or somebody runs one already.
fn server_for_the_run() -> Result<Option<Server>, Failure> {
    if !enabled() || std::env::var_os(SOCKET_DIR_VARIABLE).is_some() {
        return Ok(None);
    }
    Ok(Some(Server::own()?))
}

fn cargo_test(server: Option<&Server>) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(crate::source_root()).arg("test");
    if let Some(server) = server {
        cargo.env(SOCKET_DIR_VARIABLE, server.socket_dir());
    }
    cargo
}
