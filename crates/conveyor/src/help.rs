//! Help texts, all made from the command table.

use std::ffi::OsString;
use std::path::Path;

use crate::Host;
use crate::commands::{COMMANDS, CommandSpec, Group};
use crate::texts;

/// The name that help texts call the program by.
pub(crate) fn program_name(argument: Option<&OsString>, host: &Host) -> &'static str {
    match host.environment.program.as_deref() {
        Some("conveyor") => return "conveyor",
        Some("workerctl") => return "workerctl",
        _ => {}
    }
    let called = argument.map(Path::new).and_then(Path::file_stem);
    if called.is_some_and(|name| name == "workerctl") { "workerctl" } else { "conveyor" }
}

/// The top-level help: every command in its group, one line each.
pub(crate) fn overview(program: &str) -> String {
    let mut text = format!(
        "usage: {program} <command> [arguments] [options]\n\n\
         Conveyor: the local control plane in which a manager agent supervises worker agents.\n"
    );
    let width = COMMANDS.iter().map(|spec| spec.name.len()).max().unwrap_or(0);
    for group in Group::ALL {
        let of_group: Vec<&CommandSpec> = COMMANDS.iter().filter(|spec| spec.group == *group).collect();
        if of_group.is_empty() {
            continue;
        }
        text.push_str(&format!("\n{}\n", group.title()));
        for spec in of_group {
            text.push_str(&format!("  {:width$}  {}\n", spec.name, spec.about));
            for alias in spec.aliases {
                text.push_str(&format!("  {alias:width$}  The same as {}\n", spec.name));
            }
        }
    }
    text.push_str(&format!(
        "\nCommands take --path FILE|URL (default: .codex-workers/workerctl.db) and, for programs, --json.\n\
         Help on one command, with an example: {program} <command> --help\n"
    ));
    text
}

/// The clap tree of one command.
pub(crate) fn command_tree(spec: &CommandSpec, program: &'static str) -> clap::Command {
    let tree = clap::Command::new(spec.name)
        .bin_name(format!("{program} {}", spec.name))
        .visible_aliases(spec.aliases.iter().copied())
        .disable_version_flag(true)
        .args_override_self(true);
    texts::with_files((spec.args)(tree))
        .about(spec.about)
        .after_help(spec.help)
        .help_template("usage: {usage}\n\n{about}.\n\n{all-args}{after-help}\n")
}

/// The clap tree of one command as it was called: by its name, or by an alias.
pub(crate) fn called_tree(spec: &CommandSpec, program: &'static str, name: &str) -> clap::Command {
    command_tree(spec, program).bin_name(format!("{program} {name}"))
}

/// The help text of one command.
pub(crate) fn of_command(mut tree: clap::Command, colour: bool) -> String {
    let text = tree.render_help();
    if colour { text.ansi().to_string() } else { text.to_string() }
}

/// The reference of all commands as Markdown: what `docs/cli-reference.md` holds.
#[must_use]
pub fn cli_reference() -> String {
    let mut text = String::from(
        "# Commands\n\n<!-- Made by `cargo xtask cli-reference` from the command table; do not edit. -->\n",
    );
    for group in Group::ALL {
        text.push_str(&format!("\n## {}\n", group.title()));
        for spec in COMMANDS.iter().filter(|spec| spec.group == *group) {
            let aliases: String = spec.aliases.iter().map(|alias| format!(" (also `{alias}`)")).collect();
            let help = of_command(command_tree(spec, "conveyor"), false);
            text.push_str(&format!("\n### `{}`{aliases}\n\n```text\n{}\n```\n", spec.name, help.trim_end()));
        }
    }
    text
}

/// The whole program as one clap tree: for completions, man pages and the reference.
#[must_use]
pub fn clap_tree() -> clap::Command {
    let program = clap::Command::new("conveyor")
        .about("The local control plane in which a manager agent supervises worker agents")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true);
    COMMANDS.iter().fold(program, |program, spec| program.subcommand(command_tree(spec, "conveyor")))
}
