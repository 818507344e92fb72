//! Commands that a real Codex runs in its own turn. Its model is scripted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use conveyor_agents::codex::{
    Approval, Attachment, Codex, Message, NewThread, Sandbox, State, create, deliver, probe,
};
use conveyor_model::shell::quote;
use conveyor_testkit::codex::{Home, binary};
use conveyor_testkit::model_server::{Model, Reply, Script};
use conveyor_testkit::{TmuxServer, wait};

/// Generous, because other tests use the machine, too.
const LIMIT: Duration = Duration::from_secs(60);

/// A task with a manager in the terminal `codex-m`.
fn ledger(file: &Path, thread_id: &str, rollout: &str) {
    let made = Command::new(env!("CARGO_BIN_EXE_conveyor"))
        .args(["tasks", "--create", "t", "--goal", "g", "--path"])
        .arg(file)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    // Anything that writes brings our tables along.
    rusqlite::Connection::open(file)
        .unwrap()
        .execute_batch(&format!(
            "insert into sessions (id, name, role, identity_token, tmux_session, codex_session_path, codex_session_id, \
             pid, cwd, registered_at, state) values \
             ('session-m', 'm', 'manager', 'tm', 'codex-m', '{rollout}', '{thread_id}', 1, '', '', 'active'), \
             ('session-w', 'w', 'worker', 'tw', null, '/nowhere', 'x', 1, '', '', 'active'); \
             insert into bindings (id, task_id, worker_session_id, manager_session_id, state, created_at) \
             select 'binding-t', id, 'session-w', 'session-m', 'active', '2026-01-01T00:00:00Z' from tasks"
        ))
        .unwrap();
}

#[test]
fn a_manager_closes_its_task_and_itself_in_its_own_turn() {
    let model = Model::start(Script::new());
    let Some(home) = Home::new(&model) else { return };
    home.start_server();
    let codex = Codex::new(binary().unwrap(), home.path());
    let mut client = codex.connect(LIMIT).unwrap();
    let project = home.project("managing");
    let tmux = TmuxServer::new();
    let (sandbox, approval) = (Sandbox::DangerFullAccess, Approval::Never);
    let new = NewThread { cwd: &project, sandbox, approval, model: None };
    let thread = create(&mut client, &new, "m").unwrap();
    let how = Attachment { sandbox, approval, model: None, writable: &[], keep_history: true };
    let words: Vec<String> = codex.attach(&thread.id, &how).iter().map(|word| quote(word)).collect();
    let mut arguments: Vec<String> = ["new-session", "-d", "-s", "codex-m"].map(Into::into).into();
    for (name, value) in home.environment() {
        arguments.extend(["-e".to_owned(), format!("{name}={value}")]);
    }
    arguments.extend(["-c".to_owned(), project.display().to_string()]);
    arguments.push(format!("exec {}", words.join(" ")));
    tmux.tmux(arguments);
    tmux.tmux(["new-session", "-d", "-s", "other", "exec sleep 600"]);
    let file = project.join("ledger.db");
    ledger(&file, &thread.id, thread.path.as_deref().unwrap());

    let close = format!(
        "TMUX_TMPDIR={} {} finish-task t --stop-manager --path {} && touch lived",
        quote(&tmux.dir().display().to_string()),
        quote(env!("CARGO_BIN_EXE_conveyor")),
        quote(&file.display().to_string())
    );
    model.add(Script::new().on("you are done", [Reply::shell(&close), Reply::text("closed")]));
    let message = Message { text: "you are done", id: "cv-1" };
    deliver(&mut client, &thread.id, message, false).unwrap();

    let text = |query: &str| {
        let raw = rusqlite::Connection::open(&file).unwrap();
        raw.query_row(query, [], |row| row.get::<_, String>(0)).unwrap()
    };
    wait::until(LIMIT, "the end of the task", || text("select state from tasks") == "done");
    assert_eq!(text("select state from commands where type = 'finish_task'"), "succeeded");
    assert_eq!(text("select state from sessions where name = 'm'"), "gone");
    assert_eq!(text("select state from bindings"), "ended");
    assert!(!tmux.tmux(["list-sessions"]).contains("codex-m"));
    assert!(!project.join("lived").exists(), "the turn ended, and with it whoever called");
    wait::until(LIMIT, "an idle thread", || probe(&mut client, &thread.id).unwrap().state() == State::Idle);
}
