//! Workers in directories of the state root.

pub mod create;
pub mod events;
pub mod import_compat;
pub mod list;
pub mod start;
pub mod status;
pub mod stop;
pub mod update_status;

use std::io::Write;

use conveyor_core::doctor::{AgentShell, conveyor_in_agent_shell};
use conveyor_core::spawn::Installation;

use crate::app::App;

/// Warns when the agent will not find us in its shell, although it is told to run our commands.
fn warn_of_agent_shell(app: &mut App<'_>, installation: &Installation) {
    let environment = &app.host.environment;
    let (shell, program) = (environment.shell.as_deref(), environment.executable.as_deref());
    if let AgentShell::Missing(advice) = conveyor_in_agent_shell(shell, program, installation) {
        // Nobody is left to warn when standard error is gone.
        let _ = writeln!(app.host.stderr, "warning: {}", crate::out::printable(&advice));
    }
}
