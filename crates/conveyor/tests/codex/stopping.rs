//! "Stopped" is a claim about the work: nothing of it goes on once a command has made it.

use std::path::PathBuf;
use std::time::Duration;

use conveyor_agents::codex::{Status, TurnStatus};
use conveyor_testkit::codex::{Forgetful, Mixture, ask};
use conveyor_testkit::model_server::{Reply, Script};
use conveyor_testkit::{on_every_codex, wait};
use serde_json::{Value, json};

use super::stage::{LIMIT, Lab, Ran, Stage, quoted};

on_every_codex!(
    no_command_of_a_stopped_worker_goes_on,
    nothing_begins_in_place_of_what_was_stopped,
    an_open_approval_is_withdrawn,
    a_terminal_that_is_gone_is_no_proof_that_the_work_is,
    agents_of_an_agent_stop_with_it,
    an_agent_stops_itself_in_its_own_turn,
    a_server_without_the_methods_is_not_believed,
    an_agent_without_a_server_takes_its_commands_along,
);

const FREE: [&str; 4] = ["--sandbox", "danger-full-access", "--ask-for-approval", "never"];

/// How often a ticking command writes.
const TICK: Duration = Duration::from_millis(50);

/// A file to which a command writes again and again, as long as it runs.
struct Ticks {
    file: PathBuf,
}

impl Ticks {
    fn new(stage: &Stage<'_>, name: &str) -> Self {
        Self { file: stage.project.join(name) }
    }

    /// The command, without quotes of its own.
    fn command(&self) -> String {
        format!("while :; do echo x >> {}; sleep 0.05; done", quoted(&self.file))
    }

    fn count(&self) -> u64 {
        std::fs::metadata(&self.file).map_or(0, |file| file.len())
    }

    fn until_running(&self) {
        wait::until(LIMIT, &format!("ticks in {}", self.file.display()), || self.count() > 3);
    }

    /// Whether it still writes: much longer than it ever waits between two.
    fn go_on(&self) -> bool {
        let before = self.count();
        std::thread::sleep(TICK * 30);
        self.count() > before
    }
}

/// A worker with a task, at work on what `steps` say.
fn worker(stage: &Stage<'_>, task: &str, steps: Vec<Reply>, more: &[&str]) {
    let goal = format!("the work of {task}");
    stage.lab.model.add(Script::new().on(&goal, steps));
    let start = ["start-worker", "--name", "w", "--timeout-seconds", "60", "--task", &goal];
    stage.json(&[&start[..], more].concat());
    supervise(stage, task);
}

/// A task for the worker, whose manager is nobody's terminal.
fn supervise(stage: &Stage<'_>, task: &str) {
    stage.json(&["tasks", "--create", task, "--goal", "work", "--json"]);
    let manager = "insert into sessions (id, name, role, identity_token, cwd, registered_at, state) \
                   values ('session-m', 'm', 'manager', 't', '/', '2026-01-01T00:00:00Z', 'active')";
    stage.sql().execute(manager, []).unwrap();
    stage.json(&["bind", "--task", task, "--worker", "w", "--manager", "m"]);
}

/// Waits until a command runs behind the worker's turns. Before, it would end with the turn.
fn until_behind(stage: &Stage<'_>) {
    let (mut client, thread) = (stage.lab.client(), stage.thread_of("w"));
    wait::until(LIMIT, "a command in the background", || {
        !client.background_terminals(&thread).unwrap().is_empty()
    });
}

/// The three ways to stop a worker.
fn stop(stage: &Stage<'_>, way: usize, task: &str) -> Ran {
    match way % 3 {
        0 => stage.run(&["stop", "w"]),
        1 => stage.run(&["finish-task", task, "--stop-worker"]),
        _ => stage.run(&["stop-task", task, "--stop-worker"]),
    }
}

/// Nothing is left of the worker: no terminal, no turn, nothing queued, no command.
#[track_caller]
fn assert_stopped(stage: &Stage<'_>, ran: &Ran, turns: usize) {
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert!(stage.sessions().is_empty(), "no terminal");
    assert_eq!(stage.scalar("select state from sessions where name = 'w'"), "gone");
    let thread = stage.thread_of("w");
    let mut client = stage.lab.client();
    assert!(!matches!(client.thread_read(&thread).unwrap().status, Status::Active { .. }));
    assert!(client.queue(&thread).unwrap().is_empty());
    assert!(client.background_terminals(&thread).unwrap_or_default().is_empty());
    assert_eq!(client.turns(&thread, 10).unwrap().len(), turns, "no turn has begun since");
}

/// Where a command of a worker may be when the worker is stopped.
fn no_command_of_a_stopped_worker_goes_on(mixture: Mixture) {
    let Some(lab) = Lab::mixed(mixture) else { return };
    type Steps = fn(&str) -> Vec<Reply>;
    let cases: [(&str, Steps); 7] = [
        ("in-the-turn", |tick| vec![Reply::shell(tick), Reply::text("done")]),
        ("behind-an-idle-agent", |tick| vec![Reply::background(tick), Reply::text("done")]),
        ("behind-a-turn", |tick| vec![Reply::background(tick), Reply::text("done").held("never")]),
        ("deaf", |tick| vec![Reply::shell(&format!("trap '' TERM HUP INT; {tick}"))]),
        ("in-a-session-of-its-own", |tick| {
            vec![Reply::background(&format!("setsid sh -c '{tick}' & sleep 1000")), Reply::text("done")]
        }),
        ("whose-starter-has-ended", |tick| {
            vec![
                Reply::shell(&format!("setsid sh -c '{tick}' & sleep 0.2")),
                Reply::text("done").held("never"),
            ]
        }),
        ("of-a-shell-of-a-shell", |tick| {
            vec![Reply::shell(&format!(
                "(setsid nohup sh -c \"trap '' TERM; {tick}\" >/dev/null 2>&1 & sleep 1000)"
            ))]
        }),
    ];
    for (way, (name, steps)) in cases.into_iter().enumerate() {
        let stage = Stage::new(lab, &format!("stop-{name}"));
        let ticks = Ticks::new(&stage, "ticks");
        worker(&stage, name, steps(&ticks.command()), &FREE);
        ticks.until_running();
        if name.starts_with("behind") {
            until_behind(&stage);
        }
        let ran = stop(&stage, way, name);
        assert!(!ticks.go_on(), "{name}: the command goes on");
        assert_stopped(&stage, &ran, 1);
        assert!(!ran.stdout.contains("background"), "{name}: {}", ran.stdout);
    }
}

/// The terminal may have ended by itself, or by hand: the work in the server has not.
fn a_terminal_that_is_gone_is_no_proof_that_the_work_is(mixture: Mixture) {
    let Some(lab) = Lab::mixed(mixture) else { return };
    for (way, name) in [(0, "closed-by-hand"), (1, "closed-by-hand-too"), (2, "killed")] {
        let stage = Stage::new(lab, &format!("stop-{name}"));
        let ticks = Ticks::new(&stage, "ticks");
        let steps = vec![Reply::background(&ticks.command()), Reply::text("done").held("never")];
        worker(&stage, name, steps, &FREE);
        ticks.until_running();
        until_behind(&stage);
        if name == "killed" {
            let pid = stage.scalar("select pid from sessions where name = 'w'");
            let killed = std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
            assert!(killed.success());
            wait::until(LIMIT, "the end of the terminal", || stage.sessions().is_empty());
        } else {
            stage.tmux.tmux(["kill-session", "-t", "=codex-w"]);
        }
        assert!(ticks.go_on(), "the work goes on without its terminal");
        let ran = stop(&stage, way, name);
        assert!(!ticks.go_on(), "{name}: the command goes on");
        assert_stopped(&stage, &ran, 1);
        match way {
            0 => assert_eq!(ran.stdout, "w was not running\n"),
            _ => assert_eq!(ran.json()["killed_worker"], false),
        }
    }
}

/// What a person runs in the agent's thread with an exclamation mark runs in the server, too.
#[test]
fn a_shell_command_of_the_terminal_ends_with_it() {
    let Some(lab) = Lab::shared() else { return };
    for (way, name) in [(0, "idle-thread"), (1, "busy-thread")] {
        let stage = Stage::new(lab, &format!("stop-shell-{name}"));
        let ticks = Ticks::new(&stage, "ticks");
        let reply = Reply::text("done");
        worker(&stage, name, vec![if way == 1 { reply.held("never") } else { reply }], &FREE);
        let state =
            if way == 1 { conveyor_agents::codex::State::Busy } else { conveyor_agents::codex::State::Idle };
        stage.until("w", state);
        let params = json!({"threadId": stage.thread_of("w"), "command": ticks.command()});
        let _ = ask(lab.home.path(), "thread/shellCommand", &params);
        ticks.until_running();
        let ran = stop(&stage, way, name);
        assert!(!ticks.go_on(), "{name}: the command goes on: {}", ran.stderr);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(stage.sessions().is_empty());
    }
}

/// In the sandbox that is recommended, commands run in walls of their own.
#[test]
fn no_command_in_a_sandbox_goes_on() {
    let Some(lab) = Lab::shared() else { return };
    let stage = Stage::new(lab, "stop-walled");
    let ticks = Ticks::new(&stage, "ticks");
    let steps = vec![Reply::background(&ticks.command()), Reply::text("done").held("never")];
    let walled = ["--sandbox", "workspace-write", "--ask-for-approval", "on-request"];
    worker(&stage, "walled", steps, &walled);
    ticks.until_running();
    until_behind(&stage);
    let ran = stop(&stage, 1, "walled");
    assert!(!ticks.go_on());
    assert_stopped(&stage, &ran, 1);
}

/// What would begin as the turn ends: messages in the queue of the server and of the terminal, a goal.
fn nothing_begins_in_place_of_what_was_stopped(mixture: Mixture) {
    let Some(lab) = Lab::mixed(mixture) else { return };
    for (way, name) in ["queued-there", "queued-here", "goal"].into_iter().enumerate() {
        let stage = Stage::new(lab, &format!("stop-{name}"));
        let later = stage.project.join("later");
        let begin = Reply::shell(&format!("touch {}", quoted(&later)));
        lab.model.add(Script::new().on(&format!("later in {name}"), [begin, Reply::text("begun")]));
        worker(&stage, name, vec![Reply::text("done").held("never")], &FREE);
        stage.until("w", conveyor_agents::codex::State::Busy);
        let thread = stage.thread_of("w");
        let text = format!("later in {name}");
        match name {
            "queued-there" => {
                for id in ["one", "two"] {
                    let input = json!([{"type": "text", "text": text, "text_elements": []}]);
                    let params = json!({"threadId": thread, "input": input, "clientUserMessageId": id});
                    let _ = ask(lab.home.path(), "thread/queue/add", &params);
                }
            }
            "queued-here" => {
                stage.until_shown("codex-w", "esc to interrupt");
                stage.tmux.tmux(["send-keys", "-t", "=codex-w:", "-l", &text]);
                stage.until_shown("codex-w", &text);
                stage.tmux.tmux(["send-keys", "-t", "=codex-w:", "Tab"]);
                stage.until_shown("codex-w", "Queued");
            }
            _ => {
                let params = json!({"threadId": thread, "objective": text, "status": "active"});
                let _ = ask(lab.home.path(), "thread/goal/set", &params);
            }
        }
        let ran = stop(&stage, way, name);
        assert_stopped(&stage, &ran, 1);
        std::thread::sleep(TICK * 30);
        assert_stopped(&stage, &ran, 1);
        assert!(!later.exists(), "{name}");
        let mut client = lab.client();
        let goal = client.goal(&thread).unwrap();
        assert!(goal.is_none_or(|goal| goal.status != "active"), "a goal would begin another turn");
    }
}

/// An open request is withdrawn with its turn.
fn an_open_approval_is_withdrawn(mixture: Mixture) {
    let Some(lab) = Lab::mixed(mixture) else { return };
    let stage = Stage::new(lab, "stop-approval");
    let made = stage.project.join("made");
    let steps = vec![Reply::escalated(&format!("touch {}", quoted(&made)), "May I?"), Reply::text("done")];
    let asking = ["--sandbox", "workspace-write", "--ask-for-approval", "on-request"];
    worker(&stage, "approval", steps, &asking);
    stage.until("w", conveyor_agents::codex::State::WaitingApproval);
    let ran = stop(&stage, 2, "approval");
    assert_stopped(&stage, &ran, 1);
    let last = lab.client().turns(&stage.thread_of("w"), 1).unwrap().remove(0);
    assert_eq!(last.status, TurnStatus::Interrupted);
    assert!(!made.exists());
}

/// An agent may have agents that work for it, each with turns and commands of its own.
fn agents_of_an_agent_stop_with_it(mixture: Mixture) {
    let Some(lab) = Lab::mixed(mixture) else { return };
    let stage = Stage::new(lab, "stop-family");
    let (turning, behind) = (Ticks::new(&stage, "turning"), Ticks::new(&stage, "behind"));
    lab.model.add(
        Script::new()
            .on("help in the turn", [Reply::shell(&turning.command()), Reply::text("helped")])
            .on("help behind it", [Reply::background(&behind.command()), Reply::text("helped")]),
    );
    let steps =
        vec![Reply::agent("help in the turn"), Reply::agent("help behind it"), Reply::text("delegated")];
    worker(&stage, "family", steps, &FREE);
    turning.until_running();
    behind.until_running();
    let ran = stop(&stage, 0, "family");
    assert!(!turning.go_on() && !behind.go_on(), "agents of the agent go on");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let mut client = lab.client();
    for id in client.thread_loaded_list().unwrap() {
        let thread = client.thread_read(&id).unwrap();
        let active = matches!(thread.status, Status::Active { .. });
        assert!(thread.parent_thread_id.is_none() || !active, "{thread:?}");
    }
}

/// Without a server the agent lives in its terminal, and what it has started is below it.
fn an_agent_without_a_server_takes_its_commands_along(mixture: Mixture) {
    let Some(lab) = Lab::of(mixture) else { return };
    for (way, name, session) in [(0, "plain", false), (1, "apart", true), (2, "beside-a-server", false)] {
        // A server of the same home that has nothing to do with it.
        if way == 2 {
            lab.home.start_server();
        }
        let stage = Stage::new(&lab, &format!("stop-alone-{name}"));
        let ticks = Ticks::new(&stage, "ticks");
        let command = match session {
            true => format!("setsid sh -c '{}' & sleep 1000", ticks.command()),
            false => ticks.command(),
        };
        let free = [&FREE[..], &["--no-native"]].concat();
        worker(&stage, name, vec![Reply::background(&command), Reply::text("done")], &free);
        ticks.until_running();
        let ran = stop(&stage, way, name);
        assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
        assert!(!ticks.go_on(), "{name}: the command goes on");
        assert!(stage.sessions().is_empty());
        assert_eq!(stage.scalar("select state from sessions where name = 'w'"), "gone");
    }
}

/// A server that cannot say what goes on is no proof of anything.
fn a_server_without_the_methods_is_not_believed(mixture: Mixture) {
    let Some(lab) = Lab::of(mixture) else { return };
    lab.home.start_server();
    for (way, method) in
        ["thread/backgroundTerminals/clean", "thread/backgroundTerminals/list", "thread/queue/delete"]
            .into_iter()
            .enumerate()
    {
        let stage = Stage::new(&lab, &format!("stop-old-{way}"));
        let name = format!("old-{way}");
        worker(&stage, &name, vec![Reply::text("done").held("never")], &FREE);
        stage.until("w", conveyor_agents::codex::State::Busy);
        let old = Forgetful::of(lab.home.path(), method);
        let refused = stop(&stage, way, &name);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{}", refused.stderr);
        assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
        assert!(refused.stderr.contains(method) && refused.stderr.contains("--force"), "{}", refused.stderr);
        assert_eq!(stage.sessions(), ["codex-w"], "nothing was ended");
        assert_eq!(stage.scalar("select state from sessions where name = 'w'"), "active");
        stage.until("w", conveyor_agents::codex::State::Busy);
        let forced = match way {
            0 => stage.run(&["stop", "w", "--force"]),
            1 => stage.run(&["finish-task", &name, "--stop-worker", "--force"]),
            _ => stage.run(&["stop-task", &name, "--stop-worker", "--force"]),
        };
        drop(old);
        assert_stopped(&stage, &forced, 1);
        let recorded = match way {
            0 => "select payload_json from events where type = 'session_stopped'",
            1 => "select payload_json from events where type = 'finish_task_succeeded'",
            _ => "select payload_json from events where type = 'stop_task_succeeded'",
        };
        let recorded: Value = serde_json::from_str(&stage.scalar(recorded)).unwrap();
        assert_eq!(recorded["background"], "unknown");
        if way > 0 {
            assert_eq!(forced.json()["background"], "unknown");
        }
    }
}

/// Whoever ends itself ends with its shell line, which must not go on; and the record is whole.
fn an_agent_stops_itself_in_its_own_turn(mixture: Mixture) {
    let Some(lab) = Lab::mixed(mixture) else { return };
    for (name, command, behind) in [
        ("self-stop", "conveyor stop w", false),
        ("self-finish", "conveyor finish-task self-finish --stop-worker", true),
        ("self-give-up", "conveyor stop-task self-give-up --stop-worker", false),
    ] {
        let stage = Stage::new(lab, name);
        let lived = stage.project.join("lived");
        // Whatever the command says, the line would go on.
        let line = format!(
            "{command} --path {} > {} 2>&1 ; touch {}",
            stage.ledger().display(),
            quoted(&stage.project.join("said")),
            quoted(&lived)
        );
        let step = if behind { Reply::background(&line) } else { Reply::shell(&line) };
        worker(&stage, name, vec![Reply::text("ready")], &FREE);
        lab.model.add(Script::new().on(&format!("end {name}"), [step, Reply::text("ended")]));
        stage.until_ready("codex-w");
        stage.until("w", conveyor_agents::codex::State::Idle);
        stage.json(&["session-nudge", "w", &format!("end {name}")]);
        wait::until(LIMIT, "the end of the session", || {
            stage.scalar("select state from sessions where name = 'w'") == "gone"
        });
        assert!(stage.sessions().is_empty());
        if name != "self-stop" {
            assert_eq!(stage.scalar("select state from tasks"), "done");
            assert_eq!(stage.scalar("select state from bindings"), "ended");
        }
        std::thread::sleep(TICK * 30);
        let said = std::fs::read_to_string(stage.project.join("said")).unwrap_or_default();
        assert!(!lived.exists(), "{name}: the line behind the command went on: {said}");
    }
}

/// A stop that dies between any two steps is repeated, and comes to the same end.
#[cfg(feature = "fault-points")]
#[test]
fn a_stop_that_dies_is_repeated() {
    let Some(lab) = Lab::shared() else { return };
    for (way, point) in ["stopping.work_ended", "stopping.terminal_ended"].into_iter().enumerate() {
        for (kind, arguments) in
            [("stop", &["stop", "w"][..]), ("finish", &["finish-task", "t", "--stop-worker"])]
        {
            let stage = Stage::new(lab, &format!("stop-dies-{kind}-{way}"));
            let ticks = Ticks::new(&stage, "ticks");
            let steps = vec![Reply::background(&ticks.command()), Reply::text("done").held("never")];
            lab.model.add(Script::new().on(&format!("work until {point} of {kind}"), steps));
            let goal = format!("work until {point} of {kind}");
            stage.json(
                &[&["start-worker", "--name", "w", "--timeout-seconds", "60", "--task", &goal], &FREE[..]]
                    .concat(),
            );
            supervise(&stage, "t");
            ticks.until_running();
            until_behind(&stage);
            let mut command = stage.command(arguments);
            command.env("CONVEYOR_FAULT", point);
            let died = super::stage::ran(command);
            assert_eq!(died.code, None, "it was aborted: {}", died.stderr);
            assert_eq!(
                stage.scalar("select state from sessions where name = 'w'"),
                "active",
                "nothing is claimed"
            );
            let again = stage.run(arguments);
            assert!(!ticks.go_on());
            assert_stopped(&stage, &again, 1);
        }
    }
}

/// An interrupt leaves what the agent has set going, and says so.
#[test]
fn an_interrupt_leaves_background_commands_and_says_so() {
    let Some(lab) = Lab::shared() else { return };
    let stage = Stage::new(lab, "interrupt-leaves");
    let ticks = Ticks::new(&stage, "ticks");
    let steps = vec![Reply::background(&ticks.command()), Reply::text("done").held("never")];
    worker(&stage, "leaves", steps, &FREE);
    ticks.until_running();
    until_behind(&stage);
    let report = stage.json(&["session-interrupt", "w"]);
    assert_eq!(
        (report["background"].as_str(), report["background_commands"].as_u64()),
        (Some("left"), Some(1))
    );
    assert!(ticks.go_on(), "it is left on purpose");
    let ran = stop(&stage, 0, "leaves");
    assert!(!ticks.go_on());
    assert_stopped(&stage, &ran, 1);
}

/// What has left its shell outlives the server, and nothing leads to it but its own environment.
#[test]
fn commands_of_a_dead_server_stop_too() {
    let Some(lab) = Lab::own() else { return };
    lab.home.start_server();
    let stage = Stage::new(&lab, "stop-orphans");
    let (orphan, apart) = (Ticks::new(&stage, "orphan"), Ticks::new(&stage, "apart"));
    let steps = vec![
        Reply::background(&orphan.command()),
        Reply::background(&format!("setsid sh -c '{}' & sleep 0.1", apart.command())),
        Reply::text("done").held("never"),
    ];
    worker(&stage, "orphans", steps, &FREE);
    orphan.until_running();
    apart.until_running();
    lab.home.kill_server();
    assert!(apart.go_on(), "what has left its shell outlives the server");
    let ran = stop(&stage, 1, "orphans");
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert!(!orphan.go_on(), "the command of a dead server goes on");
    assert!(!apart.go_on(), "the command that left its shell goes on");
}

/// Inside its sandbox an agent sees neither terminals nor processes: it cannot say that anything ended.
#[test]
fn nothing_is_stopped_from_inside_a_sandbox() {
    let Some(lab) = Lab::shared() else { return };
    let stage = Stage::new(lab, "stop-inside");
    let said = stage.project.join("said");
    let line = format!(
        "conveyor finish-task inside --stop-worker --path {} > {said} 2>&1; echo \"exit $?\" >> {said}",
        stage.ledger().display(),
        said = quoted(&said)
    );
    let steps = vec![Reply::text("ready")];
    worker(&stage, "inside", steps, &["--sandbox", "workspace-write", "--ask-for-approval", "on-request"]);
    lab.model.add(Script::new().on("try it inside", [Reply::shell(&line), Reply::text("tried")]));
    stage.until_ready("codex-w");
    stage.until("w", conveyor_agents::codex::State::Idle);
    stage.json(&["session-nudge", "w", "try it inside"]);
    let told = wait::some(LIMIT, "what it said", || {
        std::fs::read_to_string(&said).ok().filter(|text| text.contains("exit "))
    });
    assert!(told.contains("exit 1") && told.contains("sandbox"), "{told}");
    assert_eq!(stage.sessions(), ["codex-w"]);
    assert_eq!(stage.scalar("select state from sessions where name = 'w'"), "active");
    assert_eq!(stage.scalar("select state from tasks"), "candidate");
    let ran = stop(&stage, 0, "inside");
    assert_stopped(&stage, &ran, 2);
}

/// Without a server the shell of an agent is below its terminal, and so is whoever stops it from there.
#[test]
fn an_agent_without_a_server_stops_itself() {
    let Some(lab) = Lab::own() else { return };
    let stage = Stage::new(&lab, "stop-itself-alone");
    let lived = stage.project.join("lived");
    let line = format!(
        "conveyor finish-task alone --stop-worker --path {} ; touch {}",
        stage.ledger().display(),
        quoted(&lived)
    );
    let free = [&FREE[..], &["--no-native"]].concat();
    // The line waits until the worker is bound.
    let line = format!("until test -e {}; do sleep 0.05; done; {line}", quoted(&stage.project.join("go")));
    lab.model.add(Script::new().on("the work of alone", [Reply::shell(&line), Reply::text("ended")]));
    let start = ["start-worker", "--name", "w", "--timeout-seconds", "60", "--task", "the work of alone"];
    stage.json(&[&start[..], &free].concat());
    supervise(&stage, "alone");
    std::fs::write(stage.project.join("go"), "").unwrap();
    wait::until(LIMIT, "the end of the task", || stage.scalar("select state from tasks") == "done");
    assert_eq!(stage.scalar("select state from sessions where name = 'w'"), "gone");
    assert!(stage.sessions().is_empty());
    std::thread::sleep(TICK * 30);
    assert!(!lived.exists(), "the line behind the command went on");
}
