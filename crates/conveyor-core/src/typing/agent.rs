//! The structured sources about an agent: its server's own word where it can be had, else the
//! rollout. Never the screen.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use conveyor_agents::age;
use conveyor_agents::codex::{self, Client, CodexError, Item, ItemEntry, Reading, State};
use conveyor_agents::rollout::TurnEvent;
use conveyor_model::records::Session;
use conveyor_model::{Adapter, AgentState, Confidence, EndpointOrigin};
use conveyor_store::endpoints::{self, NewEndpoint};
use conveyor_store::{StoreError, Tx};
use serde_json::json;

use super::record::{self, Told, normalised};
use super::verdict::{Activity, QUIET};

/// How long a server may take to let us in. A live one takes milliseconds.
const CONNECT: Duration = Duration::from_secs(2);

/// So many pages of 100 items are read for a message, newest first.
const PAGES: usize = 20;

/// Where an agent can be asked and what it writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// The home of its Codex.
    pub(crate) home: Option<PathBuf>,
    /// Its thread.
    pub(crate) thread_id: Option<String>,
    /// Its rollout.
    pub(crate) rollout: Option<PathBuf>,
    /// Whether its server answered for it before: then its silence is no reason to do without.
    proven: bool,
    /// Where it works, as registered.
    cwd: String,
}

impl Sources {
    /// What is known of a session. A ledger without our tables has no addresses.
    pub(crate) fn of(tx: &mut Tx<'_>, session: &Session, base: &Path) -> Result<Self, StoreError> {
        let endpoint = endpoints::active(tx, &session.id, Adapter::Codex)?;
        let rollout = session.codex_session_path.as_deref().filter(|path| !path.is_empty());
        let rollout = rollout.map(|path| base.join(path));
        let named = [&session.codex_app_thread_id, &session.codex_session_id];
        let claimed = named.into_iter().flatten().find(|id| is_uuid(id)).cloned();
        let known = endpoint.as_ref().and_then(|endpoint| endpoint.text("thread_id")).map(ToOwned::to_owned);
        // Registered anew for another thread: what was recorded is about its predecessor.
        let replaced = claimed.is_some() && known.is_some() && claimed != known;
        let endpoint = endpoint.filter(|_| !replaced);
        let home = endpoint.as_ref().and_then(|endpoint| endpoint.text("codex_home")).map(PathBuf::from);
        Ok(Self {
            home: home.or_else(|| rollout.as_deref().and_then(home_of)),
            thread_id: claimed.or(known),
            proven: endpoint.is_some(),
            rollout,
            cwd: session.cwd.clone(),
        })
    }

    /// The sources of a terminal of which nothing is registered.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// Asks whoever can be asked, from now on through one connection.
    pub(crate) fn ask(self, native: bool) -> Agent {
        Agent { sources: self, native, client: None, reached: None, failed_at_ms: None }
    }
}

/// Rollouts are at `<home>/sessions/<year>/<month>/<day>/`.
fn home_of(rollout: &Path) -> Option<PathBuf> {
    let sessions = rollout.ancestors().find(|dir| dir.file_name().is_some_and(|name| name == "sessions"))?;
    sessions.parent().map(Path::to_path_buf)
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<usize> = text.split('-').map(str::len).collect();
    parts == [8, 4, 4, 4, 12] && text.chars().all(|letter| letter.is_ascii_hexdigit() || letter == '-')
}

/// An agent that can be asked.
pub(crate) struct Agent {
    pub(crate) sources: Sources,
    native: bool,
    client: Option<Client>,
    /// The thread as its server told, for the record of addresses.
    reached: Option<Reached>,
    /// By when its last turn had failed, if it did, in milliseconds since 1970.
    pub(crate) failed_at_ms: Option<i64>,
}

/// A thread that answered.
struct Reached {
    cwd: String,
    version: String,
}

/// What was found out about an agent.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) activity: Activity,
}

impl Asked {
    /// The same for somebody who knows that the last turn failed: the agent takes a message then.
    pub(crate) fn after_known_error(mut self) -> Self {
        if self.activity.state == AgentState::Error {
            self.activity.state = AgentState::Idle;
        }
        self
    }
}

/// A moment before an effect, from which on proofs count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    /// By the machine's clock, in milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// The end of the rollout.
    pub(crate) offset: u64,
}

/// Whether a message is in the agent's own record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It is, in this turn.
    Seen {
        /// The turn, where it is named.
        turn_id: Option<String>,
        /// What told.
        via: &'static str,
    },
    /// It is not, and the record was read to its end.
    Absent,
    /// It could not be found out.
    Unclear,
}

impl Agent {
    /// What the agent does now.
    pub(crate) fn look(&mut self) -> Asked {
        match self.ask_server() {
            Some(Ok(reading)) => of_server(&reading),
            Some(Err(reason)) => unknown(reason),
            None => self.look_at_rollout(),
        }
    }

    /// What its server says: `None` when no server knows it; the inner error when one does, or
    /// should, but gives no answer.
    fn ask_server(&mut self) -> Option<Result<Reading, String>> {
        let thread_id = self.sources.thread_id.clone()?;
        let probed = match self.client()? {
            Ok(client) => codex::probe(client, &thread_id),
            Err(reason) => return self.sources.proven.then_some(Err(reason)),
        };
        match probed {
            Ok(reading) => {
                let thread = &reading.thread;
                self.reached = Some(Reached { cwd: thread.cwd.clone(), version: thread.cli_version.clone() });
                // Told in whole seconds.
                let ended = reading.last_turn.as_ref().and_then(|turn| turn.completed_at);
                self.failed_at_ms = ended.map(|at| (at + 1) * 1000);
                Some(Ok(reading))
            }
            Err(CodexError::NotFound { .. }) if !self.sources.proven => None,
            Err(error) => {
                self.client = None;
                Some(Err(error.to_string()))
            }
        }
    }

    /// The connection; the error says why there is none. `None` when there is nobody to ask.
    pub(crate) fn client(&mut self) -> Option<Result<&mut Client, String>> {
        if !self.native {
            return None;
        }
        if self.client.is_none() {
            match Client::connect(self.sources.home.as_ref()?, CONNECT) {
                Ok(client) => self.client = Some(client),
                Err(error) => return Some(Err(error.to_string())),
            }
        }
        self.client.as_mut().map(Ok)
    }

    fn look_at_rollout(&self) -> Asked {
        let Some(path) = &self.sources.rollout else {
            return unknown("neither a server nor a rollout is known for it".into());
        };
        let tail = match record::tail(path) {
            Ok(tail) => tail,
            Err(error) => return unknown(error.to_string()),
        };
        let state = match tail.step {
            None => AgentState::Unknown,
            Some(TurnEvent::Started) => AgentState::Busy,
            Some(TurnEvent::Completed | TurnEvent::Aborted) => AgentState::Idle,
        };
        let still = age::since_millis(tail.probe.modified_ns / 1_000_000) >= QUIET;
        let source = match tail.step {
            None => "its rollout has no turn yet",
            Some(_) => "from its rollout",
        };
        Asked {
            activity: Activity {
                state,
                confidence: if tail.step.is_some() { Confidence::Inferred } else { Confidence::None },
                quiet: still && tail.is_whole(),
                source: source.into(),
            },
        }
    }

    /// Waits, not longer than quietness takes, for a rollout that has just grown.
    pub(crate) fn look_patiently(&mut self) -> Asked {
        let deadline = Instant::now() + QUIET + Duration::from_millis(100);
        loop {
            let asked = self.look();
            let settling = asked.activity.state == AgentState::Idle
                && asked.activity.confidence == Confidence::Inferred
                && !asked.activity.quiet;
            if !settling || Instant::now() >= deadline {
                return asked;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The moment from which on a proof counts.
    pub(crate) fn mark(&self) -> Mark {
        let tail = self.sources.rollout.as_deref().and_then(|path| record::tail(path).ok());
        Mark { at_ms: age::machine_millis(), offset: tail.map_or(0, |tail| tail.end) }
    }

    /// Looks for the first message since a mark whose text, white space normalised, is the wanted one,
    /// in a turn that is none of those which prove something else.
    pub(crate) fn find(&mut self, mark: Mark, wanted: &dyn Fn(&str) -> bool, taken: &[String]) -> Found {
        let by_rollout = self.find_in_rollout(mark, wanted, taken);
        if matches!(by_rollout, Found::Seen { .. }) {
            return by_rollout;
        }
        match self.find_at_server(mark, wanted, taken) {
            Found::Unclear => by_rollout,
            found => found,
        }
    }

    fn find_in_rollout(&self, mark: Mark, wanted: &dyn Fn(&str) -> bool, taken: &[String]) -> Found {
        let Some(path) = &self.sources.rollout else { return Found::Unclear };
        let is_it = |told: &Told| {
            // A rollout that did not exist at the mark is read from its beginning.
            let after = mark.offset > 0 || told.at_ms.is_some_and(|at| at >= mark.at_ms);
            after && is_free(told.turn_id.as_deref(), taken) && wanted(&normalised(&told.text))
        };
        match record::find_told(path, mark.offset, is_it) {
            Ok(Some(told)) => Found::Seen { turn_id: told.turn_id, via: "rollout" },
            Ok(None) => Found::Absent,
            Err(_) => Found::Unclear,
        }
    }

    fn find_at_server(&mut self, mark: Mark, wanted: &dyn Fn(&str) -> bool, taken: &[String]) -> Found {
        let Some(thread_id) = self.sources.thread_id.clone() else { return Found::Unclear };
        let Some(Ok(client)) = self.client() else { return Found::Unclear };
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES {
            let Ok(page) = client.items(&thread_id, cursor.as_deref()) else { return Found::Unclear };
            for entry in page.data {
                if entry.started_at_ms.is_some_and(|at| at < mark.at_ms) {
                    return Found::Absent;
                }
                if is_free(Some(&entry.turn_id), taken) && is_wanted(&entry, wanted) {
                    return Found::Seen { turn_id: Some(entry.turn_id), via: "app-server" };
                }
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Found::Absent;
            }
        }
        Found::Unclear
    }

    /// Records the address at which the session's server answered, if it did and works where the
    /// session does.
    pub(crate) fn record_address(&self, tx: &mut Tx<'_>, session_id: &str) -> Result<(), StoreError> {
        let Sources { home: Some(home), thread_id: Some(thread_id), cwd, .. } = &self.sources else {
            return Ok(());
        };
        let Some(reached) = &self.reached else { return Ok(()) };
        if self.sources.proven || !(cwd.is_empty() || *cwd == reached.cwd) {
            return Ok(());
        }
        endpoints::record(
            tx,
            &NewEndpoint {
                session_id,
                adapter: Adapter::Codex,
                address: json!({ "codex_home": home, "thread_id": thread_id }),
                incarnation: thread_id,
                origin: EndpointOrigin::Registered,
                capabilities: json!({ "version": reached.version }),
            },
        )
    }
}

/// A turn proves one message only; a record that names none is judged by its text alone.
fn is_free(turn_id: Option<&str>, taken: &[String]) -> bool {
    turn_id.is_none_or(|turn| !taken.iter().any(|other| other == turn))
}

fn is_wanted(entry: &ItemEntry, wanted: &dyn Fn(&str) -> bool) -> bool {
    match &entry.item {
        Item::UserMessage { .. } => entry.item.user_text().is_some_and(|text| wanted(&normalised(&text))),
        Item::Other => false,
    }
}

fn unknown(source: String) -> Asked {
    let activity =
        Activity { state: AgentState::Unknown, confidence: Confidence::None, quiet: false, source };
    Asked { activity }
}

fn of_server(reading: &Reading) -> Asked {
    let state = match reading.state() {
        State::Idle => AgentState::Idle,
        State::Busy => AgentState::Busy,
        State::WaitingApproval => AgentState::WaitingApproval,
        State::WaitingInput => AgentState::WaitingInput,
        State::Error => AgentState::Error,
        State::UsageLimited => AgentState::UsageLimited,
        State::NotLoaded => AgentState::NotLoaded,
        State::Unknown => AgentState::Unknown,
    };
    Asked {
        activity: Activity {
            state,
            confidence: Confidence::Proven,
            quiet: true,
            source: "as its server says".into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_is_above_the_sessions() {
        let home = |path: &str| home_of(Path::new(path));
        assert_eq!(home("/h/.codex/sessions/2026/11/23/rollout-x.jsonl"), Some("/h/.codex".into()));
        assert_eq!(home("/h/rollout-x.jsonl"), None);
    }

    #[test]
    fn only_uuids_name_threads() {
        assert!(is_uuid("01a20909-70cd-7d52-8815-bf0405ec057c"));
        for other in ["", "codex-demo-w", "01a20909-70cd-7d52-8815-bf0405ec057", "disposable-x-y-z-w"] {
            assert!(!is_uuid(other), "{other}");
        }
    }
}
