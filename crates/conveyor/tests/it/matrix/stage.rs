//! A bound worker in a terminal, and everybody around it.

use std::cell::RefCell;
use std::time::Duration;

use conveyor::Environment;
use conveyor_core::ServerChoice;
use conveyor_testkit::fake_codex::{FakeCodex, Mode};
use conveyor_testkit::witness::Witness;
use conveyor_testkit::{TmuxServer, wait};
use serde_json::Value;

use super::Outcome;
use super::situations::Situation;
use crate::harness::{Ran, World, on_sqlite};
use crate::rollouts::{append, meta};

/// The tmux session in which the worker was registered.
pub const TERMINAL: &str = "codex-demo";

pub struct Stage<'w> {
    pub world: &'w World,
    /// The server on which the worker's terminal is.
    pub tmux: &'w TmuxServer,
    /// A server that commands do not see by themselves.
    pub elsewhere: &'w TmuxServer,
    pub fake: FakeCodex<'w>,
    /// The pid that was registered.
    pub pid: String,
    pub outcome: Outcome,
    witnesses: RefCell<Vec<Witness<'w>>>,
    situation: &'static str,
    cell: RefCell<&'static str>,
}

impl<'w> Stage<'w> {
    /// Does something in a situation, in a world of its own.
    pub fn with(situation: &Situation, act: impl Fn(&Stage<'_>)) {
        on_sqlite(|world| {
            let elsewhere = TmuxServer::new();
            let tmux = if situation.elsewhere { &elsewhere } else { &world.tmux };
            (situation.before)(world, tmux);
            let fake = FakeCodex::start(tmux, TERMINAL, world.dir());
            let stage = Stage {
                world,
                tmux,
                elsewhere: &elsewhere,
                pid: fake.pid(),
                fake,
                outcome: situation.outcome,
                witnesses: RefCell::default(),
                situation: situation.name,
                cell: RefCell::new("registering"),
            };
            stage.register();
            // Its name begins alike, and it is the last thing on the server.
            stage.witness("bystander", &["new-session", "-d", "-s", "codex-demo-2"]);
            (situation.arrange)(&stage);
            act(&stage);
        });
    }

    fn register(&self) {
        let manager = self.world.dir().join("manager.jsonl");
        append(&manager, meta("codex-m"));
        let manager = manager.display().to_string();
        self.json(&["register-manager", "--name", "demo-manager", "--pid", "1", "--codex-session", &manager]);
        self.register_worker(TERMINAL);
        self.json(&["tasks", "--create", "demo", "--goal", "g"]);
        self.json(&["bind", "--task", "demo", "--worker", "demo-worker", "--manager", "demo-manager"]);
        self.json(&["manager-config", "demo", "--allow-worker-compact-clear"]);
        self.json(&["handoff", "demo", "--summary", "half done"]);
    }

    /// Registers the worker by its process, as it is found in a tmux session, with the server of
    /// its terminal as the one at hand.
    pub fn register_worker(&self, terminal: &str) -> Value {
        let rollout = self.fake.rollout().display().to_string();
        let words =
            ["register-worker", "--name", "demo-worker", "--pid", &self.pid, "--codex-session", &rollout];
        let directory = self.tmux.dir().to_owned();
        let there =
            Environment { tmux_server: ServerChoice::Directory(directory), ..self.world.environment() };
        self.world.run_in(&there, &[&words[..], &["--tmux-session", terminal]].concat()).json()
    }

    /// Starts a witness on the worker's server.
    pub fn witness(&self, name: &str, command: &[&str]) {
        self.witness_on(self.tmux, name, command);
    }

    pub fn witness_on(&self, tmux: &'w TmuxServer, name: &str, command: &[&str]) {
        let witness = Witness::start(tmux, self.world.dir(), name, command);
        self.witnesses.borrow_mut().push(witness);
    }

    pub fn add(&self, witness: Witness<'w>) {
        self.witnesses.borrow_mut().push(witness);
    }

    /// The pane of the witness that was started last.
    pub fn last_witness(&self) -> String {
        self.witnesses.borrow().last().expect("a witness").pane().to_owned()
    }

    /// Forgets the witnesses, whose server is being ended.
    pub fn dismiss_witnesses(&self) {
        self.witnesses.borrow_mut().clear();
    }

    /// Notes which command comes next.
    pub fn begin(&self, cell: &'static str) {
        *self.cell.borrow_mut() = cell;
        if self.reaches() {
            self.fake.behave(Mode::Idle);
            self.fake.quieten();
        }
    }

    pub fn reaches(&self) -> bool {
        self.outcome == Outcome::Reaches
    }

    /// Where we are, for failures.
    pub fn place(&self) -> String {
        format!("{} × {}", self.cell.borrow(), self.situation)
    }

    #[track_caller]
    pub fn check_witnesses(&self) {
        for witness in self.witnesses.borrow().iter() {
            assert_eq!(witness.troubles(), "", "{}: a witness was touched", self.place());
        }
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.world.run(arguments)
    }

    /// A command that must succeed and print JSON.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{}: {}{}", self.place(), ran.stdout, ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{}: {e}: {}", self.place(), ran.stdout))
    }

    /// A command that must fail with one of these codes.
    #[track_caller]
    pub fn fails(&self, codes: &[u8], arguments: &[&str]) {
        let ran = self.run(arguments);
        assert!(
            codes.contains(&ran.code),
            "{}: exit {}: {}{}",
            self.place(),
            ran.code,
            ran.stdout,
            ran.stderr
        );
    }

    /// Whether the worker's process is there.
    pub fn worker_lives(&self) -> bool {
        std::path::Path::new("/proc").join(&self.pid).join("cmdline").exists()
            && std::fs::read(format!("/proc/{}/cmdline", self.pid)).is_ok_and(|text| !text.is_empty())
    }

    pub fn until_worker_is_gone(&self) {
        wait::until(Duration::from_secs(20), "the end of the worker", || !self.worker_lives());
    }

    /// The tmux sessions in which the worker's pane is.
    pub fn sessions_that_show_it(&self) -> Vec<String> {
        let panes = self.tmux.tmux(["list-panes", "-a", "-F", "#{pane_id} #{session_name}"]);
        let of_it = |line: &str| {
            line.split_once(' ')
                .filter(|(pane, _)| *pane == self.fake.pane())
                .map(|(_, name)| name.to_owned())
        };
        panes.lines().filter_map(of_it).collect()
    }
}
