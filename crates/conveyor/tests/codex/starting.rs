//! `start-worker`, `start-manager`, `register-* --self`: the right session or none.

use std::path::Path;
use std::time::Instant;

use conveyor_agents::codex::State;
use conveyor_testkit::codex::Mixture;
use conveyor_testkit::model_server::{Reply, Script};
use conveyor_testkit::{on_every_codex, wait};
use serde_json::Value;

use super::stage::{LIMIT, Lab, Stage, quoted, ran};

on_every_codex!(
    a_started_worker_is_the_registered_one_and_has_its_first_message,
    an_agent_registers_itself_and_is_found_in_its_terminal,
    without_consent_nothing_is_started_where_codex_would_ask,
);

const SAFE: [&str; 4] = ["--sandbox", "workspace-write", "--ask-for-approval", "on-request"];

fn start<'a>(name: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["start-worker", "--name", name, "--timeout-seconds", "60"][..], more].concat()
}

/// The thread that a terminal shows, as its command line says.
fn shown_thread(stage: &Stage<'_>, session: &str) -> String {
    let pid = stage.tmux.tmux(["list-panes", "-t", &format!("={session}:"), "-F", "#{pane_pid}"]);
    let line = std::fs::read(format!("/proc/{}/cmdline", pid.trim())).unwrap();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    let mut words = line.split_whitespace().skip_while(|word| *word != "resume");
    words.nth(1).unwrap_or_default().to_owned()
}

fn a_started_worker_is_the_registered_one_and_has_its_first_message(mixture: Mixture) {
    let Some(lab) = Lab::mixed(mixture) else { return };
    let stage = Stage::new(lab, "first");
    lab.model.add(Script::new().on("greet the first", [Reply::text("greeted")]));
    let began = Instant::now();
    let started = stage.json(&[start("w", &["--task", "greet the first"]), SAFE.to_vec()].concat());
    assert!(began.elapsed() < LIMIT, "it took {:?}", began.elapsed());

    let thread = started["thread_id"].as_str().unwrap();
    assert_eq!(started["codex_session_id"], thread);
    assert_eq!(shown_thread(&stage, "codex-w"), thread, "the terminal shows the registered thread");
    let rollout = started["codex_session_path"].as_str().unwrap();
    assert!(rollout.contains(thread) && Path::new(rollout).is_file());
    assert_eq!(started["cwd"].as_str(), stage.project.to_str());
    assert_eq!(
        (&started["name"], &started["role"], &started["tmux_session"]),
        (&"w".into(), &"worker".into(), &"codex-w".into())
    );
    assert_eq!(started.get("warnings").is_some(), mixture.server != mixture.terminal, "{started}");
    let pid = started["pid"].as_u64().unwrap();
    let program = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(program.contains("codex") && program.contains(thread), "{program:?}");

    // Its first message is a proven delivery, and a turn of the thread.
    assert_eq!(
        stage.scalar("select purpose || ' ' || stage || ' ' || adapter || ' ' || mode from deliveries"),
        "bootstrap seen codex start"
    );
    stage.until("w", State::Idle);
    assert_eq!(lab.model.requests_about("greet the first").len(), 1);
    let endpoints =
        stage.column("select adapter || ' ' || origin || ' ' || state from session_endpoints order by id");
    assert_eq!(endpoints, ["tmux spawned active", "codex spawned active"]);
    let events = stage.column("select type from events order by id");
    assert_eq!(events, ["session_spawn_intent", "session_spawn_thread", "session_registered"]);
    assert_eq!(stage.scalar("select count(*) from sessions"), "1");

    // From now on it is typed to like any other.
    let nudged = stage.json(&["session-nudge", "w", "and again"]);
    assert_eq!(nudged["delivery"]["stage"], "seen");
    // The terminal ends with its program, as terminals do.
    let option = stage.tmux.tmux(["display-message", "-p", "-t", "=codex-w:", "#{remain-on-exit}"]);
    assert_eq!(option.trim(), "off");

    // The name is taken now, and so is the terminal's.
    let again = stage.run(&start("w", &[]));
    assert_eq!((again.code, again.stdout.as_str()), (Some(1), ""));
    assert!(again.stderr.contains("registered already"), "{}", again.stderr);
}

#[test]
fn three_workers_started_at_once_in_one_directory_are_told_apart() {
    let Some(lab) = Lab::shared() else { return };
    let stage = Stage::new(lab, "crowd");
    let names = ["a", "b", "c"];
    let started: Vec<Value> = std::thread::scope(|scope| {
        let stage = &stage;
        let each = names.map(|name| {
            scope.spawn(move || {
                let task = format!("I am {name} of the crowd");
                let began = Instant::now();
                let started = stage.json(&[start(name, &["--task", &task]), SAFE.to_vec()].concat());
                assert!(began.elapsed() < LIMIT, "{name} took {:?}", began.elapsed());
                started
            })
        });
        each.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for (name, started) in names.iter().zip(&started) {
        assert_eq!(shown_thread(&stage, &format!("codex-{name}")), started["thread_id"].as_str().unwrap());
        let text = format!("I am {name} of the crowd");
        stage.until_shown(&format!("codex-{name}"), &text);
        assert_eq!(lab.model.requests_about(&text).len(), 1);
        for other in names.iter().filter(|other| *other != name) {
            assert!(!stage.screen(&format!("codex-{name}")).contains(&format!("I am {other}")));
        }
    }
    let mut threads: Vec<&str> = started.iter().map(|one| one["thread_id"].as_str().unwrap()).collect();
    threads.sort_unstable();
    threads.dedup();
    assert_eq!(threads.len(), 3);
}

fn without_consent_nothing_is_started_where_codex_would_ask(mixture: Mixture) {
    // A server of its own: other tests make threads at the shared one.
    let Some(lab) = Lab::of(mixture) else { return };
    lab.home.start_server();
    let stage = Stage::in_project(&lab, lab.home.untrusted_project("asking"));
    let threads = lab.client().thread_loaded_list().unwrap().len();
    let refused = stage.run(&[start("w", &[]), SAFE.to_vec()].concat());
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("Trust this folder?") && refused.stderr.contains("--accept-trust"),
        "{}",
        refused.stderr
    );
    assert!(stage.sessions().is_empty(), "no terminal");
    assert_eq!(lab.client().thread_loaded_list().unwrap().len(), threads, "no thread");
    assert_eq!(stage.scalar("select count(*) from events"), "0");

    // With it the question is answered, once, and the agent may do what it was started for.
    let file = stage.project.join("written");
    let command = format!("touch {}", quoted(&file));
    lab.model.add(Script::new().on("write it down", [Reply::shell(&command), Reply::text("done")]));
    let accepted = [start("w", &["--accept-trust", "--task", "write it down"]), SAFE.to_vec()].concat();
    let started = stage.json(&accepted);
    assert_eq!(shown_thread(&stage, "codex-w"), started["thread_id"].as_str().unwrap());
    wait::until(LIMIT, "the file", || file.exists());
    stage.until("w", State::Idle);
    assert_eq!(lab.model.requests_about("write it down").len(), 2);
}

#[test]
fn a_manager_is_told_its_task_and_a_worker_may_write_to_the_ledger() {
    let Some(lab) = Lab::shared() else { return };
    let stage = Stage::new(lab, "managed");
    stage.json(&["tasks", "--create", "demo", "--goal", "a goal of its own"]);
    // Inside its sandbox the agent's own shell finds conveyor, and the ledger takes what it writes.
    let ledger = stage.ledger().display().to_string();
    let command = format!("conveyor tasks --create by-agent --goal x --path {ledger}");
    lab.model.add(Script::new().on("a goal of its own", [Reply::shell(&command), Reply::text("done")]));
    let manager =
        ["start-manager", "--name", "m", "--task", "demo", "--worker", "w", "--timeout-seconds", "60"];
    let started = stage.json(&[&manager[..], &SAFE[..]].concat());
    assert_eq!(started["role"], "manager");
    stage.until("m", State::Idle);
    let told = &lab.model.requests_about("a goal of its own");
    for part in ["demo", "conveyor cycle", &ledger] {
        assert!(told[0].user_text.contains(part), "{part}: {}", told[0].user_text);
    }
    assert_eq!(
        stage.column("select name from tasks order by created_at, id"),
        ["demo", "by-agent"],
        "{:?}",
        told.last().map(|last| &last.outputs)
    );
}

fn an_agent_registers_itself_and_is_found_in_its_terminal(mixture: Mixture) {
    let Some(lab) = Lab::mixed(mixture) else { return };
    let stage = Stage::new(lab, "itself");
    let ledger = stage.ledger().display().to_string();
    // Started by somebody else, into another ledger.
    let other = stage.project.join("other.db").display().to_string();
    let words = ["start-worker", "--name", "theirs", "--timeout-seconds", "60", "--path", &other];
    let theirs = ran(stage.plain_command(&words)).json();

    // The shared server is not in this test's terminals.
    let terminals = stage.tmux.dir().display();
    let register =
        format!("TMUX_TMPDIR={terminals} conveyor register-worker --self --name own --path {ledger}");
    lab.model.add(Script::new().on("register yourself", [Reply::shell(&register), Reply::text("done")]));
    let mut client = lab.client();
    let message = conveyor_agents::codex::Message { text: "register yourself", id: "cv-self" };
    conveyor_agents::codex::deliver(&mut client, theirs["thread_id"].as_str().unwrap(), message, false)
        .unwrap();
    let end = State::Idle;
    wait::until(LIMIT, "the end of its turn", || {
        conveyor_agents::codex::probe(&mut client, theirs["thread_id"].as_str().unwrap())
            .is_ok_and(|reading| reading.state() == end && reading.last_turn.is_some())
    });
    assert_eq!(
        stage.column("select name from sessions"),
        ["own"],
        "{:?}",
        lab.model.requests_about("register yourself").last().map(|last| &last.outputs)
    );
    assert_eq!(stage.thread_of("own"), theirs["thread_id"].as_str().unwrap());
    let row = stage.scalar("select tmux_session || ' ' || codex_session_path from sessions");
    assert_eq!(row, format!("codex-theirs {}", theirs["codex_session_path"].as_str().unwrap()));
    assert_eq!(
        stage.column("select adapter || ' ' || origin from session_endpoints order by id"),
        ["codex self", "tmux self"]
    );
    // It can be typed to; its server is asked, not its screen.
    stage.until("own", State::Idle);
    assert_eq!(stage.json(&["session-nudge", "own", "well done"])["delivery"]["stage"], "seen");

    // Nobody is registered by the shared server's process, or by a thread that nobody knows.
    let pid = lab.home.server_pid().to_string();
    let refused = stage.run(&["register-worker", "--name", "x", "--pid", &pid]);
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.stderr.contains("shared server") && refused.stderr.contains("--self"),
        "{}",
        refused.stderr
    );
    let unknown = ["register-worker", "--name", "x", "--thread-id", "01a20909-70cd-7d52-8815-bf0405ec057c"];
    let refused = stage.run(&unknown);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("no such session"), "{}", refused.stderr);
    assert_eq!(stage.scalar("select count(*) from sessions"), "1");
}

#[test]
fn a_codex_that_runs_already_is_not_mistaken_for_the_started_one() {
    let Some(lab) = Lab::shared() else { return };
    let stage = Stage::new(lab, "already");
    let first = stage.json(&start("one", &[]));
    let second = stage.json(&start("two", &[]));
    assert_ne!(first["thread_id"], second["thread_id"]);
    for (name, started) in [("one", &first), ("two", &second)] {
        assert_eq!(shown_thread(&stage, &format!("codex-{name}")), started["thread_id"].as_str().unwrap());
        stage.until_ready(&format!("codex-{name}"));
    }
    assert!(stage.run(&start("three", &[])).stderr.contains("without asking"), "the defaults are told");
}

#[test]
fn without_a_server_the_session_is_the_one_below_the_pane() {
    let Some(lab) = Lab::shared() else { return };
    let stage = Stage::new(lab, "classic");
    lab.model.add(Script::new().on("the old way", [Reply::text("done")]));
    let started = stage.json(&start("w", &["--no-native", "--task", "the old way"]));
    let rollout = started["codex_session_path"].as_str().unwrap();
    assert!(std::fs::read_to_string(rollout).unwrap().contains("the old way"));
    assert!(started.get("thread_id").is_none() && started.get("endpoint").is_none());
    // Without a first message such a Codex writes no rollout: nothing is proven, nothing registered.
    let late = stage.run(&["start-worker", "--name", "x", "--no-native", "--timeout-seconds", "3"]);
    assert_eq!((late.code, late.stdout.as_str()), (Some(1), ""));
    for part in ["codex-x", "tmux attach", "register-worker", "kill-session"] {
        assert!(late.stderr.contains(part), "{part}: {}", late.stderr);
    }
    assert_eq!(stage.column("select name from sessions"), ["w"]);
}
