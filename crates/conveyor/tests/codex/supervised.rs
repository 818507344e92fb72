//! Whole supervised tasks: real Codex on both sides, each driving Conveyor through its own shell.

use conveyor_agents::codex::{State, probe};
use conveyor_testkit::codex::Mixture;
use conveyor_testkit::model_server::{Reply, Script};
use conveyor_testkit::{on_every_codex, wait};
use serde_json::Value;

use super::stage::{LIMIT, Lab, Stage, quoted};

on_every_codex!(
    stopping_during_a_turn_stops_its_work,
    a_supervised_task_from_pair_to_finish,
    a_manager_closes_its_task_and_itself_in_its_own_turn,
);

const SAFE: [&str; 4] = ["--sandbox", "danger-full-access", "--ask-for-approval", "never"];

fn pair<'a>(task: &'a str, goal: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let fixed = [
        "pair",
        "--task",
        task,
        "--task-goal",
        goal,
        "--worker-name",
        "worker",
        "--manager-name",
        "manager",
        "--timeout-seconds",
        "60",
    ];
    [&fixed[..], &SAFE[..], more].concat()
}

fn is_alive(pid: i64) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

/// Everything that a supervised task is: the pair is started, the manager observes its worker and
/// nudges it from its own shell, the worker does two turns, the completions reach the manager as
/// turns of its own, and closing leaves nothing behind.
fn a_supervised_task_from_pair_to_finish(mixture: Mixture) {
    let Some(lab) = Lab::mixed(mixture) else { return };
    let stage = Stage::new(lab, "supervised");
    let ledger = stage.ledger().display().to_string();
    let observed = stage.project.join("observed.json");
    let observe = format!("conveyor cycle widgets --path {ledger} > {}", quoted(&observed));
    // The worker may still be at its first turn.
    let nudge = format!(
        "for n in $(seq 100); do conveyor session-nudge worker 'and now the second slice' --path {ledger} && exit 0; \
         sleep 0.3; done; exit 1"
    );
    lab.model.add(
        Script::new()
            .on("worker of Conveyor task widgets", [Reply::text("first slice is done")])
            .on("and now the second slice", [Reply::text("second slice is done")])
            .on(
                "Manager session: manager",
                [Reply::shell(&observe), Reply::shell(&nudge), Reply::text("watching")],
            )
            .on("has apparently ended", [Reply::text("noted")]),
    );
    let paired =
        stage.json(&pair("widgets", "build widgets", &["--manager-acceptance", "widgets are round"]));
    assert_eq!(
        (paired["task"]["created"].as_bool(), paired["manager_acceptance_criteria_seeded"].as_u64()),
        (Some(true), Some(1))
    );
    assert_eq!(paired["dispatch"]["started"], true);
    let dispatcher = paired["dispatch"]["pid"].as_i64().unwrap();
    assert!(is_alive(dispatcher));
    for side in ["worker", "manager"] {
        assert_eq!(paired[side].get("warnings").is_some(), mixture.server != mixture.terminal, "{paired}");
    }

    // The manager's own shell ran both; the worker did two turns.
    stage.until_shown("codex-worker", "second slice is done");
    stage.until("worker", State::Idle);
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&observed).unwrap()).unwrap();
    assert_eq!(
        (report["kind"].as_str(), report["worker_session"].as_str()),
        (Some("session_cycle"), Some("worker"))
    );
    assert_eq!(report["pane_signal"]["captured"], true, "in the recorded terminal: {report}");
    assert_eq!(
        report["manager_context"]["acceptance_criteria"]["accepted"][0]["criterion"],
        "widgets are round"
    );
    let mut client = lab.client();
    let worker = stage.thread_of("worker");
    assert_eq!(client.turns(&worker, 10).unwrap().len(), 2);

    // Both completions became turns of the manager, one after the other, none twice.
    wait::until(LIMIT, "two completions delivered", || {
        stage.scalar("select count(*) from routed_notifications where state = 'delivered' and signal_type = 'worker_task_complete'") == "2"
    });
    stage.until("manager", State::Idle);
    let manager = stage.thread_of("manager");
    wait::until(LIMIT, "the turns of the manager", || client.turns(&manager, 10).unwrap().len() == 3);
    assert_eq!(
        stage.scalar("select count(*) from deliveries where stage not in ('seen', 'finished', 'failed')"),
        "0"
    );

    // A queued message goes the same way.
    lab.model.add(Script::new().on("round the corners", [Reply::text("corners are round")]));
    stage.json(&["enqueue-nudge-worker", "widgets", "--message", "round the corners", "--json"]);
    stage.until_shown("codex-worker", "corners are round");
    wait::until(LIMIT, "the queue", || {
        stage.scalar("select state from commands where type = 'nudge_worker'") == "succeeded"
    });
    wait::until(LIMIT, "the third completion", || {
        stage.scalar("select count(*) from routed_notifications where state = 'delivered' and signal_type = 'worker_task_complete'") == "3"
    });
    stage.until("manager", State::Idle);

    let finished = stage.json(&[
        "finish-task",
        "widgets",
        "--stop-manager",
        "--stop-worker",
        "--capture-transcript-before-stop",
        "--reason",
        "seen with our own eyes",
    ]);
    assert_eq!(
        (finished["killed_worker"].as_bool(), finished["killed_manager"].as_bool()),
        (Some(true), Some(true))
    );
    assert_eq!(finished["pre_stop_transcript_captures"].as_array().unwrap().len(), 2);
    assert_eq!(finished["dispatcher_stopped"], true, "{finished}");
    assert!(stage.sessions().is_empty(), "no session, no pane");
    wait::until(LIMIT, "the end of the dispatcher", || !is_alive(dispatcher));
    assert_eq!(stage.column("select state from sessions order by name"), ["gone", "gone"]);
    assert_eq!(stage.scalar("select state from tasks"), "done");
    assert_eq!(stage.scalar("select status from runs"), "finished");
    // Nothing runs on for them in the shared server.
    for thread in [&worker, &manager] {
        assert_ne!(probe(&mut client, thread).unwrap().state(), State::Busy);
    }
}

/// Inside the sandbox that we recommend, a manager observes and queues; the dispatcher outside types.
#[test]
fn a_manager_in_a_sandbox_supervises_through_the_ledger() {
    let Some(lab) = Lab::shared() else { return };
    let stage = Stage::new(lab, "sandboxed");
    let ledger = stage.ledger().display().to_string();
    let observed = stage.project.join("observed.json");
    let look = format!(
        "conveyor cycle gadgets --path {ledger} > {0}; conveyor reconcile --apply --path {ledger} > {0}.repaired; \
         conveyor enqueue-nudge-worker gadgets --message 'a queued gadget' --path {ledger}",
        quoted(&observed)
    );
    lab.model.add(
        Script::new()
            .on("worker of Conveyor task gadgets", [Reply::text("ready")])
            .on("a queued gadget", [Reply::text("the gadget is made")])
            .on("Manager session: boxed-manager", [Reply::shell(&look), Reply::text("watching")]),
    );
    let fixed = ["pair", "--task", "gadgets", "--task-goal", "gadgets", "--worker-name", "boxed-worker"];
    let more = ["--manager-name", "boxed-manager", "--timeout-seconds", "60"];
    let safe = ["--sandbox", "workspace-write", "--ask-for-approval", "on-request"];
    stage.json(&[&fixed[..], &more, &safe].concat());
    stage.until_shown("codex-boxed-worker", "the gadget is made");
    wait::until(LIMIT, "the queue", || {
        stage.scalar("select state from commands where type = 'nudge_worker'") == "succeeded"
    });
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&observed).unwrap()).unwrap();
    // The sandbox hides processes and terminals; that is no sign of anybody's death.
    assert_eq!(
        (report["worker_alive"].as_bool(), report["manager_alive"].as_bool()),
        (Some(true), Some(true))
    );
    assert_eq!(report["pane_signal"]["degraded"], true);
    assert_eq!(stage.column("select state from sessions"), ["active", "active"]);
    stage.json(&["finish-task", "gadgets", "--stop-manager", "--stop-worker"]);
    assert!(stage.sessions().is_empty());
}

/// A manager that closes its task in its own turn ends that turn, and with it whoever called: the
/// closing is completed all the same.
fn a_manager_closes_its_task_and_itself_in_its_own_turn(mixture: Mixture) {
    let Some(lab) = Lab::mixed(mixture) else { return };
    let stage = Stage::new(lab, "closing");
    let ledger = stage.ledger().display().to_string();
    let lived = stage.project.join("lived");
    let close = format!(
        "conveyor finish-task closing --stop-manager --stop-worker --path {ledger} && touch {}",
        quoted(&lived)
    );
    lab.model.add(
        Script::new()
            .on("worker of Conveyor task closing", [Reply::text("all is done")])
            .on("Manager session: closing-manager", [Reply::text("waiting")])
            .on("close it yourself", [Reply::shell(&close), Reply::text("closed")]),
    );
    let fixed = ["pair", "--task", "closing", "--task-goal", "close it", "--worker-name", "closing-worker"];
    let more = ["--manager-name", "closing-manager", "--timeout-seconds", "60", "--no-dispatch"];
    stage.json(&[&fixed[..], &more, &SAFE].concat());
    for side in ["closing-worker", "closing-manager"] {
        stage.until(side, State::Idle);
    }
    stage.until_ready("codex-closing-manager");
    stage.json(&["session-nudge", "closing-manager", "close it yourself"]);
    wait::until(LIMIT, "the end of the task", || stage.scalar("select state from tasks") == "done");
    assert_eq!(stage.scalar("select state from commands where type = 'finish_task'"), "succeeded");
    assert_eq!(stage.column("select state from sessions"), ["gone", "gone"]);
    assert_eq!(stage.scalar("select state from bindings"), "ended");
    assert!(stage.sessions().is_empty());
    assert!(!lived.exists(), "the turn ended, and with it whoever called");
    stage.until("closing-manager", State::Idle);
}

/// Stopping in the middle of a turn really stops it: what it would have written does not appear.
fn stopping_during_a_turn_stops_its_work(mixture: Mixture) {
    let Some(lab) = Lab::mixed(mixture) else { return };
    let stage = Stage::new(lab, "stopped");
    let (begun, ended) = (stage.project.join("begun"), stage.project.join("ended"));
    let work = format!("touch {}; sleep 20; touch {}", quoted(&begun), quoted(&ended));
    lab.model.add(Script::new().on("work for long", [Reply::shell(&work), Reply::text("done")]));
    let start = ["start-worker", "--name", "w", "--timeout-seconds", "60", "--task", "work for long"];
    stage.json(&[&start[..], &SAFE[..]].concat());
    wait::until(LIMIT, "the work", || begun.exists());
    let stopped = stage.run(&["stop", "w"]);
    assert_eq!(stopped.code, Some(0), "{}", stopped.stderr);
    assert!(stage.sessions().is_empty());
    let thread = stage.thread_of("w");
    let mut client = lab.client();
    let last = client.turns(&thread, 1).unwrap().remove(0);
    assert_eq!(last.status, conveyor_agents::codex::TurnStatus::Interrupted);
    // The shell that would have written the file is gone.
    wait::until(LIMIT, "the end of its shell", || !runs(&ended.display().to_string()));
    assert!(!ended.exists());
}

/// Whether a process has this text on its command line.
fn runs(text: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .any(|line| String::from_utf8_lossy(&line).contains(text))
}

/// Whatever is wrong is told before anything is created.
#[test]
fn a_pair_that_cannot_be_is_refused_before_anything_exists() {
    // A server of its own: other tests make threads at the shared one.
    let Some(lab) = Lab::own() else { return };
    lab.home.start_server();
    let stage = Stage::new(&lab, "refused");
    let threads = lab.client().thread_loaded_list().unwrap();
    for (more, code, part) in [
        (&["--manager-recipe", "nonsense"][..], 2, "nonsense"),
        (&["--manager-epilogue", "nonsense"], 2, "nonsense"),
        (&["--manager-permissions-json", "[]"], 2, "must be a JSON object"),
        (&["--codex-profile", "nonsense"], 1, "yolo"),
        (&["--sandbox", "nonsense"], 2, "workspace-write"),
    ] {
        let ran = stage.run(
            &["pair", "--task", "t", "--task-goal", "g", "--worker-name", "w", "--manager-name", "m"]
                .iter()
                .chain(more)
                .copied()
                .collect::<Vec<_>>(),
        );
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{more:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(part) && ran.stderr.lines().count() == 1, "{more:?}: {}", ran.stderr);
    }
    assert!(!stage.ledger().exists() && stage.sessions().is_empty());
    assert_eq!(lab.client().thread_loaded_list().unwrap(), threads);

    let missing =
        stage.run(&["pair", "--task", "t", "--worker-name", "w", "--manager-name", "m", "--no-dispatch"]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("--task-goal"), "{}", missing.stderr);
    // A name that is taken is told, and recorded, before any process is started.
    stage.json(&["start-worker", "--name", "m", "--timeout-seconds", "60"]);
    let taken = stage.run(&pair_named("m"));
    assert_eq!((taken.code, taken.stdout.as_str()), (Some(1), ""), "{}", taken.stderr);
    assert!(taken.stderr.contains("registered already"), "{}", taken.stderr);
    assert_eq!(stage.sessions(), ["codex-m"]);
    let failed =
        stage.scalar("select attributes_json from telemetry_events where event_type = 'pair_failed'");
    let failed: Value = serde_json::from_str(&failed).unwrap();
    assert_eq!(
        (failed["worker_spawned"].as_bool(), failed["binding_created"].as_bool()),
        (Some(false), Some(false))
    );
}

fn pair_named(manager: &str) -> Vec<&str> {
    let fixed =
        ["pair", "--task", "t", "--task-goal", "g", "--worker-name", "w", "--no-dispatch", "--manager-name"];
    fixed.into_iter().chain([manager]).collect()
}
