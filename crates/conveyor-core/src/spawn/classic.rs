//! Without a server that could be asked: a terminal is started, and the rollout looked for that a
//! process below its pane holds open and that is not older than the start.

use conveyor_agents::codex::{Features, WITHOUT_UPDATE};
use conveyor_agents::processes::{self, Holder, holder_below};
use conveyor_agents::rollout;
use conveyor_agents::screen::StartupState;
use conveyor_agents::tmux::PaneFacts;
use conveyor_model::Timestamp;
use conveyor_model::shell::quote;

use super::error::exact;
use super::record::{Proven, register};
use super::watch::{Seen, died, look};
use super::{Spawn, Spawned, StartError, Startup, intent, terminal};
use crate::{Cx, Error, Result, fault};

/// How long a command line tmux takes; a little less than the 16 KiB of its messages, which hold more.
const LONGEST_COMMAND: usize = 14_000;

/// How often processes are looked at.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(250);

pub(super) fn start(cx: &mut Cx, spawn: &Spawn<'_>) -> Result<Spawned> {
    check_words(spawn.request.startup, &spawn.features)?;
    check_length(&words(cx, spawn))?;
    intent::begin(cx, spawn, false)?;
    fault::point("spawn.intended");
    let outcome = carry_out(cx, spawn);
    if let Err(Error::Start(error)) = &outcome
        && error.leaves_nothing()
    {
        // The cause is what the user must hear of, also if this cannot be recorded.
        let reason = "the start failed and left no terminal";
        let _ = cx.db.write(|tx| intent::end(tx, spawn.request.name, reason));
    }
    outcome
}

fn carry_out(cx: &mut Cx, spawn: &Spawn<'_>) -> Result<Spawned> {
    let target = terminal::start(cx, spawn, &words(cx, spawn))?;
    fault::point("spawn.terminal_started");
    let mut trust_accepted = false;
    loop {
        let pane = match look(cx, spawn, &target, &mut trust_accepted)? {
            Seen::Ended(last) => return Err(died(cx, spawn, &target, last)),
            Seen::Running(pane, state, reason, asked) => (pane, state, reason, asked),
        };
        let (pane, state, reason, asked) = pane;
        let wanting = match prove(&pane, spawn.began_ms) {
            Ok(proven) => {
                let advice = advice(spawn, &cx.ledger());
                let mut spawned = register(cx, spawn, &proven)
                    .map_err(|error| StartError::Unfinished { reason: error.to_string(), advice })?;
                spawned.trust_accepted = trust_accepted;
                fault::point("spawn.registered");
                let _ = cx.tmux.let_go(&target);
                return Ok(spawned);
            }
            Err(wanting) => wanting,
        };
        // A session that has begun would be proven: this is a question about its start.
        if let Some(question) = asked {
            let (session, advice) = (spawn.tmux_session.clone(), advice(spawn, &cx.ledger()));
            return Err(StartError::Asks { session, question, advice }.into());
        }
        if spawn.is_over() {
            let seen = if state == StartupState::Ready { wanting } else { format!("{reason} {wanting}") };
            return Err(late(spawn, &seen, &cx.ledger()));
        }
        std::thread::sleep(PAUSE);
    }
}

/// Refuses words that the command line of this Codex does not take: some it takes from its server
/// only. Where the help lists none, Codex itself is to say so.
pub(super) fn check_words(startup: &Startup, features: &Features) -> Result<()> {
    let words = [
        ("--sandbox", startup.sandbox.as_str(), &features.sandboxes),
        ("--ask-for-approval", startup.approval.as_str(), &features.approvals),
    ];
    for (option, word, listed) in words {
        if !listed.is_empty() && !listed.iter().any(|known| known == word) {
            return Err(StartError::Word { option, word, listed: listed.clone() }.into());
        }
    }
    Ok(())
}

/// Refuses a first message that does not fit on the command line, before anything is made.
fn check_length(words: &[String]) -> Result<()> {
    let length: usize = words.iter().map(|word| word.len() + 1).sum();
    if length <= LONGEST_COMMAND {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "without Codex's server the first message goes on Codex's command line, which may have {LONGEST_COMMAND} \
         bytes, not {length}: start it by way of the server, or write the message to a file and name that file"
    )))
}

/// The command line, with the first message on it.
fn words(cx: &Cx, spawn: &Spawn<'_>) -> Vec<String> {
    let startup = spawn.request.startup;
    let program = spawn.request.installation.program.iter().map(|program| program.display().to_string());
    let mut words: Vec<String> = program.collect();
    words.extend(WITHOUT_UPDATE.map(Into::into));
    if spawn.features.keeps_history {
        words.push("--no-alt-screen".into());
    }
    // A shared server would hold the rollout, and prove nothing.
    if spawn.features.does_without_server {
        words.push("--no-daemon".into());
    }
    words.extend(["--sandbox", startup.sandbox.as_str()].map(Into::into));
    words.extend(["--ask-for-approval", startup.approval.as_str()].map(Into::into));
    for dir in spawn.writable(cx) {
        words.extend(["--add-dir".into(), dir.display().to_string()]);
    }
    if let Some(prompt) = spawn.request.prompt {
        // It may begin with a dash.
        words.extend(["--".into(), prompt.to_owned()]);
    }
    words
}

/// The one rollout below the pane, if it was made since; the error says what is wanting.
fn prove(pane: &PaneFacts, began_ms: i64) -> Result<Proven, String> {
    let Holder { pid, rollout } =
        holder_below(processes::local().as_ref(), pane.pid.into()).map_err(|error| error.to_string())?;
    let meta = rollout::session_meta(&rollout).map_err(|error| error.to_string())?;
    let made = meta.timestamp.as_deref().and_then(Timestamp::parse).map(|at| at.as_millis());
    match made {
        None => return Err(format!("the rollout {rollout:?} does not say when it was made")),
        Some(made) if made < began_ms => {
            return Err(format!("the rollout {rollout:?} is older than the start"));
        }
        Some(_) => {}
    }
    let path =
        rollout.to_str().ok_or_else(|| format!("the rollout {rollout:?} is not valid UTF-8"))?.to_owned();
    Ok(Proven { codex_session_id: meta.id, path, pid, pane: pane.clone(), thread: None })
}

fn late(spawn: &Spawn<'_>, seen: &str, ledger: &str) -> Error {
    let session = spawn.tmux_session.clone();
    let reason = format!("Codex wrote no session that can be proven to be this one: {seen}");
    let seconds = spawn.request.startup.limit.as_secs();
    StartError::Late { session, seconds, reason, advice: advice(spawn, ledger) }.into()
}

fn advice(spawn: &Spawn<'_>, ledger: &str) -> String {
    let session = &spawn.tmux_session;
    let (role, name) = (spawn.request.role, quote(spawn.request.name));
    format!(
        "look at it with `tmux attach -t {}`, where a first message or Enter may be needed; then register it with \
         `conveyor register-{role} --name {name} --pid <pid> --codex-session <rollout.jsonl> --cwd {} --tmux-session \
         {} --path {}`, or end it with `tmux kill-session -t {}`",
        quote(&exact(session)),
        quote(&spawn.request.cwd.display().to_string()),
        quote(session),
        quote(ledger),
        quote(&exact(session)),
    )
}
