//! `cargo xtask cli-reference`: writes `docs/cli-reference.md` from the command table.

use std::process::Command;

use crate::failure::Failure;
use crate::source_root;

/// Runs the test that compares the reference with the table, told to write it first: so the file
/// and the check can never disagree on how it is made.
pub(crate) fn run(_: &[String]) -> Result<(), Failure> {
    let arguments =
        ["test", "--quiet", "--package", "conveyor", "--test", "it", "the_cli_reference_is_up_to_date"];
    let status = Command::new("cargo")
        .args(arguments)
        .env("CONVEYOR_WRITE_REFERENCE", "1")
        .current_dir(source_root())
        .status()
        .map_err(|error| Failure::new(format!("cannot run cargo: {error}")))?;
    if status.success() { Ok(()) } else { Err(Failure::new("the reference could not be written")) }
}
