//! What the ledger and the files of workers say about a terminal.

use conveyor_agents::processes::{self, Identity};
use conveyor_agents::tmux::{PaneFacts, ServerChoice, Tmux};
use conveyor_model::EndpointOrigin;
use conveyor_model::records::Session;
use conveyor_model::{Adapter, Whereabouts};
use conveyor_store::endpoints::{self, Endpoint, NewEndpoint};
use conveyor_store::{StoreError, Tx, machines};
use serde_json::{Value, json};

use super::Terminal;
use crate::legacy::{Config, tmux_session_of};

/// What is known of a terminal's pane and process, from most to least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// The pane and the process that tmux started in it.
    Process { pane_id: String, process: PaneProcess },
    /// The pane, and the process of the session that lived in it, if that is known.
    Pane { pane_id: String, pid: Option<i64> },
    /// The name of the tmux session alone, and the session's process.
    Session { pid: Option<i64> },
}

/// The process of a pane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PaneProcess {
    pid: i64,
    /// When it began; builds before did not record it.
    started: Option<String>,
    /// The process of the tmux server; likewise.
    server_pid: Option<i64>,
}

impl PaneProcess {
    /// The process, if it is there and began when it was recorded to have.
    pub(super) fn identity(&self) -> Option<Identity> {
        let pid = u32::try_from(self.pid).ok()?;
        let recorded = self.started.as_ref()?;
        (processes::started(pid).as_ref() == Some(recorded)).then(|| Identity::of(pid)).flatten()
    }

    /// Whether this is the process of a pane that is there now.
    pub(super) fn is_of(&self, facts: &PaneFacts) -> bool {
        let same = |recorded: Option<i64>, now: u32| recorded.is_none_or(|pid| pid == i64::from(now));
        // Where the system does not tell when a process began, its pid must do.
        let began = || match (&self.started, processes::started(facts.pid)) {
            (Some(recorded), Some(now)) => *recorded == now,
            _ => true,
        };
        // tmux may not have noticed yet that it has ended.
        let lives = || processes::is_alive(facts.pid.into());
        same(Some(self.pid), facts.pid) && same(self.server_pid, facts.server_pid) && lives() && began()
    }
}

impl Recorded {
    fn of_address(
        text: impl Fn(&str) -> Option<String>,
        number: impl Fn(&str) -> Option<i64>,
    ) -> Option<Self> {
        let process = PaneProcess {
            pid: number("pane_pid")?,
            started: text("pane_started"),
            server_pid: number("server_pid"),
        };
        Some(Self::Process { pane_id: text("pane_id")?, process })
    }
}

impl Terminal {
    /// The terminal of a registered session; `None` when it has none. The ledger must have our
    /// tables.
    ///
    /// # Errors
    /// A failing statement.
    pub(crate) fn of_session(
        tx: &mut Tx<'_>,
        session: &Session,
        ours: &Tmux,
    ) -> Result<Option<Self>, StoreError> {
        let Some(name) = session.tmux() else { return Ok(None) };
        let endpoint = endpoints::active(tx, &session.id, Adapter::Tmux)?;
        // What was recorded for another terminal is about a predecessor.
        let endpoint = endpoint.filter(|known| known.text("session").is_none_or(|known| known == name));
        let machine = machines::of_session(tx, &session.id)?;
        Ok(Some(Self {
            tmux: server_of(endpoint.as_ref(), ours),
            session: name.to_owned(),
            recorded: of_session(session, endpoint.as_ref()),
            whereabouts: tx.machine().whereabouts(&machine),
        }))
    }

    /// The terminal of a worker of the state root.
    pub(crate) fn of_worker(config: &Config, name: &str, tmux: &Tmux) -> Self {
        let recorded = Recorded::of_address(
            // The name of the key is older than the others.
            |key| config.text(if key == "pane_id" { "tmux_pane_id" } else { key }).map(ToOwned::to_owned),
            |key| config.number(key),
        );
        let by_pane = || {
            let pane_id = config.text("tmux_pane_id")?.to_owned();
            Some(Recorded::Pane { pane_id, pid: None })
        };
        Self {
            tmux: tmux.clone(),
            session: tmux_session_of(name),
            recorded: recorded.or_else(by_pane).unwrap_or(Recorded::Session { pid: None }),
            whereabouts: Whereabouts::Here,
        }
    }

    /// The terminal of somebody of whom only the tmux session and perhaps the pane are recorded.
    pub(crate) fn of_names(tmux: &Tmux, session: &str, pane_id: Option<&str>) -> Self {
        let recorded = match pane_id {
            Some(id) => Recorded::Pane { pane_id: id.to_owned(), pid: None },
            None => Recorded::Session { pid: None },
        };
        Self { tmux: tmux.clone(), session: session.to_owned(), recorded, whereabouts: Whereabouts::Here }
    }
}

fn of_session(session: &Session, endpoint: Option<&Endpoint>) -> Recorded {
    let pane_id = session.tmux_pane_id.as_deref().filter(|id| !id.is_empty());
    if let Some(endpoint) = endpoint {
        let known =
            Recorded::of_address(|key| endpoint.text(key).map(ToOwned::to_owned), |key| endpoint.number(key));
        // Another program may have recorded another pane since.
        if let Some(Recorded::Process { pane_id: known_id, .. }) = &known
            && pane_id.is_none_or(|id| id == known_id)
        {
            return known.unwrap_or(Recorded::Session { pid: session.pid });
        }
    }
    match pane_id {
        Some(id) => Recorded::Pane { pane_id: id.to_owned(), pid: session.pid },
        None => Recorded::Session { pid: session.pid },
    }
}

fn server_of(endpoint: Option<&Endpoint>, ours: &Tmux) -> Tmux {
    match endpoint.and_then(|endpoint| endpoint.text("socket_name")) {
        Some(socket) => ours.clone().on_server(ServerChoice::Socket(socket.into())),
        None => ours.clone(),
    }
}

/// Records the pane of a session as its terminal.
///
/// # Errors
/// A failing statement.
pub(crate) fn record_terminal(
    tx: &mut Tx<'_>,
    session_id: &str,
    address: Value,
    origin: EndpointOrigin,
    pane: &PaneFacts,
) -> Result<(), StoreError> {
    conveyor_store::sessions::set_pane(tx, session_id, Some(&pane.id))?;
    endpoints::record(
        tx,
        &NewEndpoint {
            session_id,
            adapter: Adapter::Tmux,
            address,
            incarnation: &format!("{}:{}:{}", pane.server_pid, pane.id, pane.pid),
            origin,
            capabilities: json!({}),
        },
    )
}
