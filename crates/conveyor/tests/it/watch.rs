//! `dispatch --watch` as a real process: woken by commits and by rollouts, ended by a signal.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use conveyor_testkit::wait;
use serde_json::{Value, json};

use crate::harness::{START, World, on_both_engines};

const LIMIT: Duration = Duration::from_secs(20);

/// A process of the real program; killed when the test is over.
pub struct Process(pub Child);

impl Process {
    pub fn start(world: &World, arguments: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_conveyor"))
            .args(arguments)
            .args(["--path", &world.ledger()])
            .current_dir(world.dir())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Waits for its end; gives exit code, output and errors.
    pub fn end(mut self) -> (Option<i32>, String, String) {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.0.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        self.0.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (self.0.wait().unwrap().code(), stdout, stderr)
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn watching(world: &World, more: &[&str]) -> Process {
    let mut arguments = vec!["dispatch", "--watch", "--json"];
    arguments.extend(more);
    let process = Process::start(world, &arguments);
    wait::until(LIMIT, "the first heartbeat", || {
        world.scalar("select count(*) from telemetry_events where event_type = 'dispatch_watch_heartbeat'")
            != "0"
    });
    process
}

fn rollout(world: &World, task: &str, role: &str) -> PathBuf {
    world.dir().join(format!("{task}-{role}.jsonl"))
}

fn append(path: &std::path::Path, lines: &[Value]) {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    for line in lines {
        writeln!(file, "{line}").unwrap();
    }
}

fn begin_rollouts(world: &World, task: &str) {
    for role in ["worker", "manager"] {
        append(
            &rollout(world, task, role),
            &[json!({"type": "session_meta", "payload": {"id": format!("codex-{role}")}})],
        );
    }
}

fn completion(at: &str, message: &str) -> Value {
    json!({"timestamp": at, "type": "event_msg", "payload": {"type": "task_complete", "last_agent_message": message}})
}

#[test]
fn a_waiting_inbox_is_served_at_once_and_a_signal_ends_the_watch() {
    on_both_engines(|world| {
        world.bind("demo");
        begin_rollouts(world, "demo");
        // An interval far beyond the test: only a wake-up can bring the message through.
        let watch = watching(world, &["--interval", "3600"]);
        let inbox = Process::start(
            world,
            &[
                "worker-inbox",
                "demo",
                "--consume-next",
                "--wait",
                "--timeout",
                "60",
                "--interval",
                "60",
                "--json",
            ],
        );
        world.run(&["enqueue-nudge-worker", "demo", "--message", "wake up"]);
        let (code, stdout, stderr) = inbox.end();
        assert_eq!(code, Some(0), "{stderr}");
        let got: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(got["consumed"]["payload"]["message"], "wake up");
        assert_eq!(got["wait"]["timed_out"], false);

        watch.signal(rustix::process::Signal::TERM);
        let (code, stdout, stderr) = watch.end();
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        let report: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(report["processed_total"], 1);
        assert_eq!(report["iterations"], 1, "woken passes are not iterations");
    });
}

#[test]
fn a_finished_turn_in_a_rollout_reaches_the_manager_by_itself() {
    on_both_engines(|world| {
        world.bind("demo");
        begin_rollouts(world, "demo");
        let _watch = watching(world, &["--interval", "3600"]);
        let inbox = Process::start(
            world,
            &["manager-inbox", "demo", "--consume-next", "--wait", "--timeout", "60", "--json"],
        );
        append(&rollout(world, "demo", "worker"), &[completion("2099-01-01T00:00:00Z", "all green")]);
        let (code, stdout, stderr) = inbox.end();
        assert_eq!(code, Some(0), "{stderr}");
        let got: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(got["consumed"]["signal_type"], "worker_task_complete");
        assert_eq!(got["consumed"]["payload"]["worker_receipt"]["last_agent_message"], "all green");
        let lease = world.scalar("select last_heartbeat_at from sessions where id = 'session-demo-w'");
        assert_eq!(lease, START, "being watched is no life sign");
    });
}

#[test]
fn history_stays_history_for_whoever_routes_the_rest_of_it() {
    on_both_engines(|world| {
        world.bind("demo");
        begin_rollouts(world, "demo");
        let old =
            |second: u32| completion(&format!("2026-01-01T00:00:{second:02}.000Z"), &format!("old {second}"));
        let history: Vec<Value> = (0..30).map(old).collect();
        append(&rollout(world, "demo", "worker"), &history);
        // Ten a pass; each is another process.
        let once = ["dispatch", "--once", "--ingest", "--json"];
        for states in [["suppressed"; 10].to_vec(), ["suppressed"; 10].to_vec()] {
            let said = world.json(&once)["processed"].clone();
            let told: Vec<&str> =
                said.as_array().unwrap().iter().map(|one| one["state"].as_str().unwrap()).collect();
            assert_eq!(told, states);
            assert!(said[0].get("error").is_none(), "{said}");
        }
        let said = world.json(&once)["processed"].clone();
        let last = said.as_array().unwrap().last().unwrap();
        assert_eq!((&last["state"], said.as_array().unwrap().len()), (&json!("pull_required"), 10));
        assert_eq!(world.scalar("select count(*) from routed_notifications where state = 'delivered'"), "1");
        assert_eq!(
            world.scalar("select count(*) from routed_notifications where claimed_by is null or claim_expires_at is null"),
            "0",
            "who routed each is recorded"
        );
        // What somebody read on purpose is told as ever.
        append(&rollout(world, "demo", "worker"), &[old(40), old(41)]);
        world.json(&["ingest", "demo-worker"]);
        let said = world.json(&once)["processed"].clone();
        assert_eq!(
            (&said[0]["state"], &said[1]["state"]),
            (&json!("pull_required"), &json!("pull_required"))
        );
    });
}

#[test]
fn of_old_history_only_the_newest_completion_is_routed() {
    on_both_engines(|world| {
        world.bind("demo");
        begin_rollouts(world, "demo");
        let old: Vec<Value> =
            (1..=25).map(|n| completion("2026-01-01T00:00:00Z", &format!("old {n}"))).collect();
        append(&rollout(world, "demo", "worker"), &old);
        append(&rollout(world, "demo", "worker"), &[completion("2099-01-01T00:00:00Z", "new")]);
        let watch = watching(world, &["--interval", "3600"]);
        let in_state = |state: &str| {
            world.column(&format!(
                "select e.payload_json from routed_notifications n join codex_events e on e.id = n.source_event_id \
                 where n.state = '{state}' order by n.id"
            ))
        };
        wait::until(LIMIT, "all completions", || {
            in_state("delivered").len() + in_state("suppressed").len() == 26
        });
        let delivered = in_state("delivered");
        assert_eq!(delivered.len(), 2, "{delivered:?}");
        assert!(delivered[0].contains("old 25") && delivered[1].contains("new"), "{delivered:?}");
        watch.signal(rustix::process::Signal::INT);
        assert_eq!(watch.end().0, Some(0));
    });
}

#[test]
fn a_bounded_watch_reads_rollouts_only_when_told() {
    on_both_engines(|world| {
        world.bind("demo");
        begin_rollouts(world, "demo");
        append(&rollout(world, "demo", "worker"), &[completion("2099-01-01T00:00:00Z", "done")]);
        let watch = ["dispatch", "--watch", "--watch-iterations", "1", "--json"];
        assert_eq!(world.json(&watch)["processed_total"], 0);
        let told: Vec<&str> = watch.iter().copied().chain(["--ingest"]).collect();
        assert_eq!(world.json(&told)["processed_total"], 1);
        append(&rollout(world, "demo", "worker"), &[completion("2099-01-01T00:00:01Z", "again")]);
        assert_eq!(world.json(&["dispatch", "--json"])["processed_total"], 0);
        assert_eq!(world.json(&["dispatch", "--once", "--ingest", "--json"])["processed_total"], 1);
    });
}

#[test]
fn a_replaced_rollout_warns_once_and_holds_nobody_up() {
    on_both_engines(|world| {
        world.bind("a");
        world.bind("b");
        begin_rollouts(world, "a");
        begin_rollouts(world, "b");
        let _watch = watching(world, &["--interval", "3600"]);
        let first = "select count(*) from codex_events where session_id = 'session-a-w'";
        wait::until(LIMIT, "the first lines", || world.scalar(first) == "1");
        let replaced = rollout(world, "a", "worker");
        let aside = world.dir().join("aside.jsonl");
        append(&aside, &[json!({"type": "session_meta", "payload": {"id": "another one"}})]);
        std::fs::rename(&aside, &replaced).unwrap();
        let warned = "select count(*) from telemetry_events where event_type = 'codex_events_ingest_failed'";
        wait::until(LIMIT, "the warning", || world.scalar(warned) == "1");
        append(&rollout(world, "b", "worker"), &[completion("2099-01-01T00:00:00Z", "b is done")]);
        let routed = "select count(*) from routed_notifications where task_id = 'task-b'";
        wait::until(LIMIT, "the other task's completion", || world.scalar(routed) == "1");
        assert_eq!(world.scalar(warned), "1");
    });
}

/// A watch that may have so many `what` (`watches`, `instances`) of the system's file notifications;
/// `None` where no user namespace can be had.
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn limited(world: &World, what: &str, most: u32) -> Option<Process> {
    let script = format!("echo {most} > /proc/sys/user/max_inotify_{what} && exec \"$0\" \"$@\"");
    let possible = Command::new("unshare").args(["-Ur", "sh", "-c", &script, "true"]).status();
    if !possible.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no user namespace whose limits could be lowered");
        return None;
    }
    let child = Command::new("unshare")
        .args(["-Ur", "sh", "-c", &script, env!("CARGO_BIN_EXE_conveyor")])
        .args(["dispatch", "--watch", "--json", "--interval", "3600", "--path", &world.ledger()])
        .current_dir(world.dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Some(Process(child))
}

/// Has turns end in rollouts in directories of their own; gives what the watch said meanwhile.
fn served_without_hints(world: &World, what: &str, most: u32) -> Option<String> {
    for task in ["ada", "bob", "eve"] {
        world.bind(task);
        for role in ["worker", "manager"] {
            let directory = world.dir().join(format!("of-{task}-{role}"));
            std::fs::create_dir(&directory).unwrap();
            let path = directory.join("rollout.jsonl");
            append(&path, &[json!({"type": "session_meta", "payload": {"id": task}})]);
            let set = format!("update sessions set codex_session_path = '{}'", path.display());
            world.sql(&format!("{set} where name = '{task}-{role}'"));
        }
    }
    let watch = limited(world, what, most)?;
    let read = "select count(*) from sessions where last_ingest_offset is not null";
    wait::until(LIMIT, "all rollouts to be read", || world.scalar(read) == "6");
    for (turn, task) in ["ada", "bob", "eve", "ada"].into_iter().enumerate() {
        let path = world.dir().join(format!("of-{task}-worker/rollout.jsonl"));
        append(&path, &[completion("2099-01-01T00:00:00Z", &format!("turn {turn}"))]);
        wait::until(LIMIT, "the completion", || {
            world.scalar("select count(*) from routed_notifications") == (turn + 1).to_string()
        });
    }
    // Also what begins later says nothing a second time.
    world.bind("late");
    begin_rollouts(world, "late");
    wait::until(LIMIT, "the session bound later", || world.scalar(read) == "8");
    watch.signal(rustix::process::Signal::TERM);
    let (code, _, stderr) = watch.end();
    assert_eq!(code, Some(0), "{stderr}");
    Some(stderr)
}

#[test]
fn where_the_system_gives_no_hints_rollouts_are_looked_at() {
    let world = World::on_sqlite();
    // One for the ledger, some for directories.
    if let Some(said) = served_without_hints(&world, "watches", 3) {
        assert_eq!(
            said,
            "4 rollout(s) are looked at four times a second: as many directories are watched as the system allows; \
             see fs.inotify.max_user_watches\n"
        );
    }
    let world = World::on_sqlite();
    if let Some(said) = served_without_hints(&world, "instances", 0) {
        let [said] = said.lines().collect::<Vec<_>>()[..] else { panic!("not one line: {said}") };
        assert!(
            said.starts_with("6 rollout(s) are looked at four times a second: file notifications"),
            "{said}"
        );
        assert!(said.ends_with("see fs.inotify.max_user_instances"), "{said}");
    }
}

#[test]
fn watches_beside_each_other_tell_each_completion_once() {
    on_both_engines(|world| {
        const TURNS: usize = 12;
        for task in ["ada", "bob"] {
            world.bind(task);
            begin_rollouts(world, task);
        }
        let one = watching(world, &["--interval", "3600", "--dispatcher-id", "one"]);
        let two = watching(world, &["--interval", "3600", "--dispatcher-id", "two"]);
        for turn in 1..=TURNS {
            for task in ["ada", "bob"] {
                append(
                    &rollout(world, task, "worker"),
                    &[completion("2099-01-01T00:00:00Z", &turn.to_string())],
                );
            }
            wait::until(LIMIT, "the completions", || {
                let routed =
                    world.scalar("select count(*) from routed_notifications where state = 'delivered'");
                routed == (2 * turn).to_string()
            });
        }
        for watch in [one, two] {
            watch.signal(rustix::process::Signal::TERM);
            let (code, _, stderr) = watch.end();
            assert_eq!((code, stderr.as_str()), (Some(0), ""));
        }
        let events = "select count(*) from codex_events where subtype = 'task_complete'";
        assert_eq!(world.scalar(events), (2 * TURNS).to_string());
        assert_eq!(world.scalar("select count(*) from routed_notifications"), (2 * TURNS).to_string());
    });
}

#[test]
fn a_task_bound_during_a_watch_is_watched_at_once() {
    on_both_engines(|world| {
        world.bind("first");
        begin_rollouts(world, "first");
        let _watch = watching(world, &["--interval", "3600"]);
        for (n, task) in ["ada", "bob", "eve"].into_iter().enumerate() {
            let name = |role: &str| format!("{task}-{role}");
            for role in ["worker", "manager"] {
                let path = rollout(world, task, role);
                append(&path, &[json!({"type": "session_meta", "payload": {"id": name(role)}})]);
                let (register, file) = (format!("register-{role}"), path.to_str().unwrap());
                world.json(&[&register, "--name", &name(role), "--pid", "1", "--codex-session", file]);
            }
            world.json(&["tasks", "--create", task, "--goal", "g"]);
            let (worker, manager) = (name("worker"), name("manager"));
            world.json(&["bind", "--task", task, "--worker", &worker, "--manager", &manager]);
            append(&rollout(world, task, "worker"), &[completion("2099-01-01T00:00:00Z", "done")]);
            wait::until(LIMIT, "the completion", || {
                world.scalar("select count(*) from routed_notifications") == (n + 1).to_string()
            });
        }
    });
}

#[test]
fn what_another_program_changes_without_a_record_is_taken_up() {
    let world = World::on_sqlite();
    world.bind("first");
    begin_rollouts(&world, "first");
    let _watch = watching(&world, &["--interval", "3600"]);
    for role in ["worker", "manager"] {
        append(&rollout(&world, "late", role), &[completion("2099-01-01T00:00:00Z", "done")]);
    }
    // Looked at beside an event that is of no concern, the binding seems to be none, either.
    let bind = "insert into tasks (id, name, goal, state, created_at, updated_at) \
                values ('late', 'late', 'g', 'managed', 't', 't');";
    let session = |role: &str| {
        format!(
            "insert into sessions (id, name, role, identity_token, codex_session_path, pid, cwd, registered_at, \
             state) values ('late-{role}', 'late-{role}', '{role}', 'token-{role}', 'late-{role}.jsonl', 1, '', \
             '2026-06-11T12:00:00Z', 'active');"
        )
    };
    world.sql(&format!(
        "begin; {bind} {} {} \
         insert into bindings (id, task_id, worker_session_id, manager_session_id, state, created_at) \
         values ('late', 'late', 'late-worker', 'late-manager', 'active', '2026-06-11T12:00:00Z'); \
         insert into telemetry_events (id, timestamp, actor, event_type, severity, summary, correlation_json, \
         attributes_json) values ('beat', '2026-06-11T12:00:00Z', 'worker', 'app_heartbeat', 'info', 's', '{{}}', \
         '{{}}'); commit",
        session("worker"),
        session("manager"),
    ));
    wait::until(LIMIT, "the completion", || world.scalar("select count(*) from routed_notifications") == "1");
}
