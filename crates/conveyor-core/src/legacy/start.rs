//! `start`: a Codex in a terminal, not registered, that knows how to become a worker.

use std::path::{Path, PathBuf};

use conveyor_agents::tmux::Tmux;
use conveyor_model::shell::quote;
use serde::Serialize;
use serde_json::json;

use super::files::{check_name, write_text};
use super::launch::{Launch, Surroundings, is_taken, launch};
use crate::spawn::{self, StartError};
use crate::windows::attach_command;
use crate::{Error, Result};

/// What to start.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The tmux session.
    pub session: &'a str,
    /// Where it works, absolute.
    pub cwd: &'a Path,
    /// What is handed on to Codex.
    pub arguments: &'a [String],
    /// Whether Codex is told how to become a worker.
    pub with_prompt: bool,
    /// Where the text of that is kept.
    pub state_root: &'a Path,
    /// The ledger as generated commands name it.
    pub ledger: &'a str,
    /// Which Codex, and what it gets.
    pub surroundings: Surroundings<'a>,
}

/// What was started, and how it goes on. Words in angle brackets are to be filled in.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "documented with the command")]
pub struct Started {
    pub attach_command: String,
    pub bind_command_template: String,
    pub cwd: String,
    pub manager_config_questions_command_template: String,
    pub register_worker_command_template: String,
    pub session: String,
    pub start_manager_command_template: String,
    pub start_prompt_path: Option<PathBuf>,
    pub start_prompt_sent: bool,
}

/// Starts Codex in a new tmux session of exactly this name. The ledger is not touched.
///
/// # Errors
/// [`Error::Start`]: Codex or tmux is not installed, the directory does not exist, the session is
/// there already. A name that cannot be a session's, a file that cannot be written, a failing tmux.
pub fn start(tmux: &Tmux, request: &Request<'_>) -> Result<Started> {
    request.surroundings.installation.program()?;
    check_name(request.session)?;
    if !request.cwd.is_dir() {
        return Err(StartError::NoDirectory(request.cwd.to_owned()).into());
    }
    spawn::check_tmux(tmux)?;
    let taken = || Error::from(StartError::TerminalTaken(request.session.to_owned()));
    if tmux.has_session(request.session).map_err(StartError::Tmux)? {
        return Err(taken());
    }
    let commands = Commands::of(request);
    let prompt = request
        .with_prompt
        .then(|| request.state_root.join("artifacts/start-prompts").join(format!("{}.md", request.session)));
    if let Some(file) = &prompt {
        write_text(file, &commands.prompt(request))?;
    }
    let new = Launch {
        tmux_session: request.session,
        cwd: request.cwd,
        arguments: request.arguments,
        alone: false,
        prompt: prompt.as_deref(),
    };
    launch(tmux, &request.surroundings, &new)
        .map_err(|error| if is_taken(&error) { taken() } else { error })?;
    Ok(Started {
        attach_command: attach_command(request.session),
        bind_command_template: commands.bind,
        cwd: request.cwd.display().to_string(),
        manager_config_questions_command_template: commands.questions,
        register_worker_command_template: commands.register,
        session: request.session.to_owned(),
        start_manager_command_template: commands.start_manager,
        start_prompt_sent: prompt.is_some(),
        start_prompt_path: prompt,
    })
}

/// The commands that make a supervised worker of it.
struct Commands {
    register: String,
    create_task: String,
    start_manager: String,
    bind: String,
    questions: String,
    acknowledge: String,
    open_manager: String,
    open_worker: String,
}

impl Commands {
    fn of(request: &Request<'_>) -> Self {
        let cwd = quote(&request.cwd.display().to_string());
        let path = format!("--path {}", quote(request.ledger));
        let of_task = |name: &str, options: &str| format!("conveyor {name} <task>{options} {path}");
        Self {
            register: format!(
                "conveyor register-worker --self --name <worker> --cwd {cwd} --tmux-session {} {path}",
                quote(request.session)
            ),
            create_task: format!("conveyor tasks --create <task> --goal <goal> {path}"),
            start_manager: format!(
                "conveyor start-manager --name <manager> --cwd {cwd} --task <task> --worker <worker> {path}"
            ),
            bind: format!("conveyor bind --task <task> --worker <worker> --manager <manager> {path}"),
            questions: of_task("manager-config", " --questions"),
            acknowledge: of_task("worker-ack", " --from-stdin"),
            open_manager: of_task("open-manager", ""),
            open_worker: of_task("open-worker", ""),
        }
    }

    fn prompt(&self, request: &Request<'_>) -> String {
        let example = json!({
            "expected_tools": ["…"],
            "goal_restatement": "…",
            "open_questions": [],
            "proposed_criteria": { "follow_up": ["…"], "must_have": ["…"] },
            "ready_to_start": true,
        });
        format!(
            "You are a raw worker candidate of Agent Conveyor: a Codex in tmux session {session}, in the directory \
             {cwd}. You are not registered yet, and nobody supervises you.\n\n\
             Four facts are needed: the worker's name, the manager's name, the task's name, and the task's goal. Ask \
             the user for each one that you were not told, and wait for the answer. Never invent one.\n\n\
             Then set up the supervision, in this order, with the words in angle brackets filled in and quoted for the \
             shell:\n\
             1. Register yourself as the worker:\n\
             {register}\n\
             2. Create the task:\n\
             {create_task}\n\
             3. Start a manager in the same directory:\n\
             {start_manager}\n\
             4. Bind the three to each other:\n\
             {bind}\n\
             5. Get the questions about the task's contract, and put them to the user unless the manager has done so:\n\
             {questions}\n\
             6. Once you are bound, and before you edit anything, acknowledge the task in your own words:\n\
             {acknowledge} <<'JSON'\n\
             {example}\n\
             JSON\n\n\
             The user can look at both terminals; on macOS these open a window for each:\n\
             {open_manager}\n\
             {open_worker}\n",
            session = request.session,
            cwd = request.cwd.display(),
            register = self.register,
            create_task = self.create_task,
            start_manager = self.start_manager,
            bind = self.bind,
            questions = self.questions,
            acknowledge = self.acknowledge,
            open_manager = self.open_manager,
            open_worker = self.open_worker,
        )
    }
}
