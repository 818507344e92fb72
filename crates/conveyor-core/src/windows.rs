//! Opening windows in which people look at the terminals of agents: `open`, `open-worker`,
//! `open-manager`.

pub use conveyor_agents::desktop::{Desktop, Window, WindowChoice};
use conveyor_agents::tmux::{ServerChoice, Tmux};
use conveyor_model::Role;
use conveyor_model::shell::quote_if_needed;
use serde::Serialize;
use serde_json::json;

use crate::addressing::Terminal;
use crate::legacy::{Config, Place, Selection, check_name, each_event};
use crate::{Cx, Error, Result, reference};

/// Whose window to open.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The legacy worker, or the task.
    pub name: &'a str,
    /// In which program.
    pub choice: WindowChoice,
    /// Only tell the command.
    pub dry_run: bool,
}

/// The window of a legacy worker.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "documented with the command")]
pub struct Opened {
    pub attach_command: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    pub dry_run: bool,
    pub force: bool,
    pub name: String,
    pub terminal: Window,
    pub tmux_session: String,
}

/// The window of one side of a task.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "documented with the command")]
pub struct OpenedSide {
    pub attach_command: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    pub dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manager: Option<String>,
    pub task: String,
    pub terminal: Window,
    pub tmux_session: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
}

/// What a person types to see a terminal.
#[must_use]
pub fn attach_command(tmux_session: &str) -> String {
    format!("tmux attach -t {}", quote_if_needed(tmux_session))
}

/// Opens a window with the terminal of a legacy worker. Once is enough: a further window needs
/// `force`.
///
/// # Errors
/// A name from which no path may be made. As refusals of the environment: no such worker, no
/// desktop of macOS, a terminal that does not run, a window that was opened before, a failing
/// command.
pub fn open(place: &mut Place, desktop: &Desktop, request: &Request<'_>, force: bool) -> Result<Opened> {
    let name = request.name;
    check_name(name).map_err(Error::operational)?;
    let Some(config) = Config::of(place.root(), name)? else {
        return Err(Error::refused(format!(
            "there is no worker {name:?} in the state root: see `conveyor list`; the terminals of a task are opened \
             with `conveyor open-worker` and `conveyor open-manager`"
        )));
    };
    require_desktop(desktop)?;
    let terminal = Terminal::of_worker(&config, name, place.tmux());
    let tmux_session = shown_in(&terminal, name)?;
    let tmux = place.tmux().clone();
    if !force && let Some(at) = opened_before(place, name)? {
        return Err(Error::refused(format!(
            "a window for worker {name:?} was opened before ({at}): look for it, attach with `{}`, or give --force",
            attach_command(&tmux_session)
        )));
    }
    let terminal = desktop.choose(request.choice);
    let command = terminal.command(&attach_words(&tmux, &tmux_session));
    if !request.dry_run {
        let facts = json!({ "forced": force, "terminal": terminal });
        place.log(name, "open_attempt", facts.clone())?;
        desktop.open(&command).map_err(Error::refused)?;
        place.log(name, "open", facts)?;
    }
    Ok(Opened {
        attach_command: attach_command(&tmux_session),
        command: request.dry_run.then_some(command),
        dry_run: request.dry_run,
        force,
        name: name.to_owned(),
        terminal,
        tmux_session,
    })
}

/// Opens a window with the terminal of one side of a task.
///
/// # Errors
/// An unknown task. As refusals of the environment: a task without a live binding, a side without
/// a terminal, no desktop of macOS, a terminal that does not run, a failing command.
pub fn open_side(cx: &mut Cx, desktop: &Desktop, request: &Request<'_>, role: Role) -> Result<OpenedSide> {
    let tmux = cx.tmux.clone();
    let (task, session, place) = cx.db.read(|tx| {
        let task = reference::task(tx, request.name)?;
        let binding = reference::live_binding(tx, &task).map_err(Error::operational)?;
        let session = reference::bound_session(tx, &binding, role)?;
        let nobody = || Error::NoBoundSession { task: task.name.clone(), role }.operational();
        let session = session.ok_or_else(nobody)?;
        let terminal = Terminal::of_session(tx, &session, &tmux)?;
        let terminal = terminal.ok_or_else(|| Error::NoTmuxSession(session.name.clone()).operational())?;
        Ok::<_, Error>((task, session, terminal))
    })?;
    require_desktop(desktop)?;
    let tmux_session = shown_in(&place, &session.name)?;
    let terminal = desktop.choose(request.choice);
    let command = terminal.command(&attach_words(&place.tmux, &tmux_session));
    if !request.dry_run {
        desktop.open(&command).map_err(Error::refused)?;
    }
    let of = |side: Role| (side == role).then(|| session.name.clone());
    Ok(OpenedSide {
        attach_command: attach_command(&tmux_session),
        command: request.dry_run.then_some(command),
        dry_run: request.dry_run,
        manager: of(Role::Manager),
        task: task.name,
        terminal,
        tmux_session,
        worker: of(Role::Worker),
    })
}

/// Refuses where no window can be opened.
pub(crate) fn require_desktop(desktop: &Desktop) -> Result<()> {
    if desktop.is_macos {
        return Ok(());
    }
    Err(Error::refused("windows can be opened on macOS only: attach to the terminal with `tmux attach -t …`"))
}

/// The tmux session in which a terminal is shown now, under whatever name.
fn shown_in(terminal: &Terminal, name: &str) -> Result<String> {
    let here = terminal.require(name).map_err(Error::operational)?;
    terminal.session_now(&here).map_err(|error| Error::from(error).operational())
}

/// The command that a window runs. It starts without our environment, so the server is named.
fn attach_words(tmux: &Tmux, tmux_session: &str) -> Vec<String> {
    let mut words = match tmux.server() {
        ServerChoice::Default => vec!["tmux".to_owned()],
        ServerChoice::Directory(dir) => {
            vec!["env".to_owned(), format!("TMUX_TMPDIR={}", dir.display()), "tmux".to_owned()]
        }
        ServerChoice::Name(name) => vec!["tmux".to_owned(), "-L".to_owned(), name.clone()],
        ServerChoice::Socket(path) => {
            vec!["tmux".to_owned(), "-S".to_owned(), path.display().to_string()]
        }
    };
    words.extend(["attach", "-t", tmux_session].map(ToOwned::to_owned));
    words
}

/// When a window was opened last, by the worker's log.
fn opened_before(place: &mut Place, name: &str) -> Result<Option<String>> {
    let mut last = None;
    let all = Selection { name, event_type: None, limit: 0 };
    each_event(place, &all, &mut |event| {
        let text = |key: &str| event.get(key).and_then(serde_json::Value::as_str);
        if matches!(text("type"), Some("open" | "open_attempt")) {
            last = Some(text("time").unwrap_or("at an unknown time").to_owned());
        }
        Ok(())
    })?;
    Ok(last)
}
