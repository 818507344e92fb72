//! The real Codex with a scripted model: what is claimed about it is seen here.
//!
//! One home and one server for each mixture of versions; tests keep apart by their directories and texts.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail like tests")]

mod server;
mod terminal;
mod threads;
mod trust;

use std::path::PathBuf;
use std::time::Duration;

use conveyor_agents::codex::{
    Approval, Client, Codex, CodexError, Message, NewThread, Reading, Sandbox, State, Thread, create,
    deliver, probe,
};
use conveyor_testkit::codex::{Home, Mixture, PerMixture};
use conveyor_testkit::model_server::{Model, Script};
use conveyor_testkit::wait;

/// Generous, because other tests use the machine, too.
const LIMIT: Duration = Duration::from_secs(30);

/// A home, its server and its model.
struct Lab {
    home: Home,
    model: Model,
}

impl Lab {
    /// One of one's own, for tests that kill its server. `None` when switched off.
    fn own() -> Option<Self> {
        Self::of(Mixture::NEWEST)
    }

    fn of(mixture: Mixture) -> Option<Self> {
        let model = Model::start(Script::new());
        let home = Home::of(mixture, &model)?;
        home.start_server();
        Some(Self { home, model })
    }

    /// The one that all other tests share.
    fn shared() -> Option<&'static Self> {
        Self::mixed(Mixture::NEWEST)
    }

    /// The one that all tests of a mixture share.
    fn mixed(mixture: Mixture) -> Option<&'static Self> {
        static SHARED: PerMixture<Option<Lab>> = PerMixture::new();
        SHARED.get(mixture, || Self::of(mixture)).as_ref()
    }

    fn codex(&self) -> Codex {
        Codex::new(self.home.program(), self.home.path())
    }

    fn client(&self) -> Client {
        self.codex().connect(LIMIT).expect("a running server")
    }

    /// A trusted directory with a thread of the same name.
    fn thread(&self, client: &mut Client, name: &str) -> (PathBuf, Thread) {
        let cwd = self.home.project(name);
        let new = new_thread(&cwd);
        let thread = create(client, &new, name).expect("a new thread");
        (cwd, thread)
    }
}

fn new_thread(cwd: &std::path::Path) -> NewThread<'_> {
    NewThread { cwd, sandbox: Sandbox::WorkspaceWrite, approval: Approval::OnRequest, model: None }
}

/// Starts a turn with a text that is its own message id.
fn begin(client: &mut Client, thread: &Thread, text: &str) -> String {
    let message = Message { text, id: &format!("cv-{text}") };
    deliver(client, &thread.id, message, true).expect("a turn").turn_id
}

fn wait_for(client: &mut Client, thread: &Thread, state: State) -> Reading {
    wait::some(LIMIT, &format!("{} in {}", state.as_str(), thread.cwd), || {
        let reading = probe(client, &thread.id).expect("a state");
        (reading.state() == state).then_some(reading)
    })
}

fn is_not_reachable(result: &Result<Client, CodexError>) -> bool {
    matches!(result, Err(CodexError::NotReachable { .. }))
}
