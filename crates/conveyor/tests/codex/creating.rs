//! `create`, `stop`: workers of the state root where Codex's server runs.

use conveyor_agents::codex::State;
use conveyor_testkit::model_server::{Reply, Script};
use serde_json::Value;

use super::stage::{Lab, Stage};

fn config(stage: &Stage<'_>, name: &str) -> Value {
    let path = stage.project.join(".codex-workers").join(name).join("config.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_created_worker_reports_and_is_stopped_and_started_again() {
    let Some(lab) = Lab::shared() else { return };
    let stage = Stage::new(lab, "created");
    let ledger = stage.ledger().display().to_string();
    let report = format!(
        "conveyor update-status first --state done --current-task 'It is a test' --next-action None --path {ledger}"
    );
    lab.model.add(Script::new().on("You are worker first", [Reply::shell(&report), Reply::text("reported")]));
    let created = stage.run(&[
        "create",
        "first",
        "--task",
        "Say what this is",
        "--wait-ready",
        "--verify",
        "--verify-timeout",
        "20",
    ]);
    assert_eq!((created.code, created.stderr.as_str()), (Some(0), ""), "{}", created.stdout);
    for line in ["contract: given as the first message", "startup: ready", "verification: ok", "It is a test"]
    {
        let answers = lab.model.requests_about("You are worker first");
        let answers = answers.last().map(|last| &last.outputs);
        assert!(created.stdout.contains(line), "{line}: {} {answers:?}", created.stdout);
    }
    let told = lab.model.requests_about("You are worker first");
    assert!(told[0].user_text.contains("Say what this is"), "{}", told[0].user_text);
    assert_eq!(
        stage.column("select purpose || ' ' || stage || ' ' || adapter from deliveries"),
        ["bootstrap seen codex"]
    );
    assert_eq!(stage.scalar("select state from workers"), "active");
    let thread = stage.thread_of("first");
    assert_eq!(config(&stage, "first")["codex_thread_id"], thread.as_str());

    // Because it is proven which thread the terminal shows, it takes messages.
    stage.until("first", State::Idle);
    let nudged = stage.run(&["nudge", "first", "go on then"]);
    assert_eq!(
        (nudged.code, nudged.stdout.as_str()),
        (Some(0), "sent nudge to first\n"),
        "{}",
        nudged.stderr
    );
    stage.until("first", State::Idle);

    // A turn that runs in the server ends with it.
    lab.model.add(Script::new().on("take your time", [Reply::text("late").held("forever")]));
    stage.run(&["nudge", "first", "take your time"]);
    stage.until("first", State::Busy);
    let stopped = stage.run(&["stop", "first"]);
    assert_eq!((stopped.code, stopped.stdout.as_str()), (Some(0), "stopped first\n"), "{}", stopped.stderr);
    stage.until("first", State::Idle);
    assert_eq!(stage.scalar("select w.state || ' ' || s.state from workers w, sessions s"), "stopped gone");
    assert!(stage.sessions().is_empty());

    let session = stage.scalar("select id from sessions");
    let again = stage.run(&["create", "first", "--reuse", "--no-initial-prompt"]);
    assert_eq!((again.code, again.stderr.as_str()), (Some(0), ""), "{}", again.stdout);
    assert_ne!(stage.thread_of("first"), thread);
    assert_eq!(stage.scalar("select id || ' ' || state from sessions"), format!("{session} active"));
    assert_eq!(stage.scalar("select count(*) from deliveries where purpose = 'bootstrap'"), "1");
    let end = stage.run(&["stop", "first"]);
    assert_eq!(end.code, Some(0), "{}", end.stderr);
}

#[test]
fn nothing_is_created_where_codex_would_ask() {
    let Some(lab) = Lab::shared() else { return };
    let stage = Stage::in_project(lab, lab.home.untrusted_project("creating"));
    let refused = stage.run(&["create", "second"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("Trust this folder?") && refused.stderr.contains("--accept-trust"),
        "{}",
        refused.stderr
    );
    assert!(stage.sessions().is_empty() && !stage.project.join(".codex-workers").exists());
    assert_eq!(stage.scalar("select count(*) from workers"), "0");
    let created =
        stage.run(&["start-test", "second", "--accept-trust", "--verify-timeout", "1", "--stop-after"]);
    assert_eq!(created.code, Some(0), "{}", created.stderr);
    assert!(
        ["trust prompt: accepted", "startup: ready", "stopped second"]
            .iter()
            .all(|line| created.stdout.contains(line)),
        "{}",
        created.stdout
    );
    assert!(stage.sessions().is_empty());
    assert_eq!(stage.scalar("select w.state || ' ' || s.state from workers w, sessions s"), "stopped gone");

    // Its name belongs to a worker for good.
    stage.sql().execute("update sessions set role = 'manager'", []).unwrap();
    let taken = stage.run(&["create", "second", "--accept-trust", "--reuse"]);
    assert_eq!((taken.code, taken.stdout.as_str()), (Some(1), ""), "{}", taken.stderr);
    assert!(taken.stderr.contains("registered already") && stage.sessions().is_empty(), "{}", taken.stderr);
}
