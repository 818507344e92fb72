//! The program: arguments to operation to text or JSON. The only crate that knows the command
//! line, colours and exit codes; everything it does is an operation of `conveyor-core`.

mod app;
pub mod commands;
mod detached;
mod environment;
mod failure;
mod grammar;
mod help;
mod host;
mod input;
mod out;
mod surroundings;
mod texts;
mod values;

use conveyor_core::sandbox;

pub use commands::{COMMANDS, CommandSpec, Group};
pub use environment::Environment;
pub use help::{clap_tree, cli_reference};
pub use host::Host;

/// Runs the program on the process's own arguments, environment and streams.
pub fn main() -> std::process::ExitCode {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().collect();
    // Before anything else is looked at: it is a launcher then, not the program.
    if let [_, entry, stage] = arguments.as_slice()
        && entry == sandbox::ENTRY
    {
        return sandbox::main(&stage.to_string_lossy()).into();
    }
    let mut host = Host::of_process();
    run(&arguments, &mut host).into()
}

/// Runs the program: `arguments[0]` is the name it was called by. Gives the exit code.
pub fn run(arguments: &[std::ffi::OsString], host: &mut Host) -> u8 {
    match app::run(arguments, host) {
        Ok(()) => 0,
        Err(failure) => failure.report(host),
    }
}

/// Whether the program would accept a command line, here without the program's own name. Nothing
/// is run: this is for checking what documents and prompts tell people to type.
///
/// # Errors
/// What the user would be told.
pub fn check(words: &[String]) -> Result<(), String> {
    app::check(words).map_err(|failure| match failure {
        failure::Failure::Usage(text) => text,
        other => format!("{other:?}"),
    })
}
