//! `continuation-reviewer`: a program in a sandbox, and what becomes of whatever goes wrong.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use conveyor::Environment;
use conveyor_core::continuation::Engine;
use serde_json::{Value, json};

use crate::continuation::{propose, with_contract};
use crate::harness::{Ran, World, on_both_engines, on_sqlite};
use crate::rollouts::meta;

const GOOD: &str = "echo '{\"agreement\":\"match\",\"verdict\":\"proceed\",\"rationale\":\"fine\"}'";

/// Both proposals for turn `k`; the project is a directory without git.
fn ready(world: &World) {
    with_contract(world);
    world.sql(&format!("update sessions set cwd = '{}'", world.dir().display()));
    propose(world, "worker", "k", "{\"next\": \"Write\"}");
    propose(world, "manager", "k", "{\"next\": \"Measure\"}");
}

/// Has the turn reviewed by a shell script.
fn review(world: &World, environment: Environment, options: &[&str], script: &str) -> Ran {
    review_on(world, &world.ledger(), environment, options, script)
}

fn review_on(world: &World, ledger: &str, environment: Environment, options: &[&str], script: &str) -> Ran {
    let file = world.dir().join("reviewer.sh");
    std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    let mut words = vec!["continuation-reviewer", "demo", "--path", ledger, "--correlation-id", "k"];
    words.extend(["--reviewer-session-id", "r1", "--manager-session-id", "m1"]);
    words.extend(options);
    words.extend(["--reviewer-command", "--", "./reviewer.sh", "--path", "-x"]);
    world.run_with(environment, &words)
}

fn reviewed(world: &World, script: &str) -> Value {
    review(world, world.environment(), &[], script).json()
}

/// A review without what differs from run to run and from ledger to ledger.
fn plain(world: &World, review: &Value) -> String {
    let mut plain = review.clone();
    plain["subagent_run"]["duration_ms"] = json!("[MS]");
    plain["subagent_run"]["sandbox"]["denied_path_count"] = json!("[COUNT]");
    plain["subagent_run"]["sandbox"]["engine"] = json!("[ENGINE]");
    world.normal(&serde_json::to_string_pretty(&plain).unwrap())
}

#[test]
fn a_reviewer_reads_the_context_and_its_answer_is_recorded() {
    on_both_engines(|world| {
        ready(world);
        let script = "cat > context; grep -q '\"correlation_id\":\"k\"' context && grep -q Measure context || exit 5\n\
                      [ \"$*\" = '--path -x' ] || exit 6\n\
                      echo '{\"agreement\":\"compatible\",\"verdict\":\"amend\",\"rationale\":\"fine\",\"addendum\":\"Measure\",\
                      \"subagent_run\":{\"model\":\"fast\",\"status\":\"failed\",\"manager_rollout_access\":true}}'";
        let found = reviewed(world, script);
        insta::assert_snapshot!("reviewer_review", plain(world, &found));
        // A file has three siblings; the state root and two rollouts are denied on both engines.
        let expected = if world.is_sqlite() { 7 } else { 3 };
        assert_eq!(found["subagent_run"]["sandbox"]["denied_path_count"], expected);
        let events =
            world.column("select payload_json from events where type = 'continuation_review_recorded'");
        assert_eq!(events.len(), 1);
        assert!(!world.telemetry().contains("Measure"), "telemetry tells what was said");
    });
}

#[test]
fn complaints_are_no_answer_however_long() {
    on_sqlite(|world| {
        ready(world);
        let found = reviewed(world, &format!("head -c 3000000 /dev/zero >&2; {GOOD}"));
        assert_eq!(found["verdict"], "proceed", "{found:#}");
    });
}

#[test]
fn a_dry_run_prints_the_context() {
    on_both_engines(|world| {
        ready(world);
        let before = world.dump();
        let shown = review(world, world.environment(), &["--dry-run"], GOOD);
        let mut preview = shown.json();
        // git's own words.
        assert!(preview["context"]["diff"]["error"].take().is_string());
        insta::assert_snapshot!("reviewer_dry_run", serde_json::to_string_pretty(&preview).unwrap());
        assert_eq!(world.dump(), before);
    });
}

#[test]
fn a_rollout_that_a_worker_has_left_is_denied_too() {
    on_both_engines(|world| {
        ready(world);
        let [first, second] = ["first", "second"].map(|name| {
            let file = world.dir().join(format!("{name}.jsonl"));
            std::fs::write(&file, meta(name)).unwrap();
            file.display().to_string()
        });
        let read =
            format!("cat {first} && exit 7; cat {second} && exit 8; cat reviewer.sh && exit 9; exit 3");
        for rollout in [&first, &second] {
            let register =
                ["register-worker", "--name", "demo-worker", "--pid", "1", "--codex-session", rollout];
            world.json(&register);
        }
        assert_eq!(reviewed(world, &read)["rationale"], "reviewer command exited 3");
    });
}

#[test]
fn git_tells_what_has_changed() {
    on_sqlite(|world| {
        ready(world);
        let git = |arguments: &[&str]| {
            let identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"];
            let output = std::process::Command::new("git")
                .current_dir(world.dir())
                .args(identity)
                .args(arguments)
                .output();
            let output = output.unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        git(&["init", "-q", "-b", "main"]);
        let write = |file: &str, text: &str| std::fs::write(world.dir().join(file), text).unwrap();
        write("a", "one\n");
        git(&["add", "a"]);
        git(&["commit", "-qm", "One"]);
        git(&["checkout", "-qb", "topic"]);
        write("b", "two\n");
        git(&["add", "b"]);
        git(&["commit", "-qm", "Two"]);
        write("a", "three\n");
        let preview = review(world, world.environment(), &["--dry-run"], GOOD).json();
        insta::assert_snapshot!(
            "reviewer_diff",
            serde_json::to_string_pretty(&preview["context"]["diff"]).unwrap()
        );
    });
}

#[test]
fn whatever_goes_wrong_is_a_recorded_stop() {
    on_both_engines(|world| {
        ready(world);
        let cases = [
            ("crash", "kill -SEGV $$", "reviewer command was ended by signal 11"),
            ("exit", "echo SECRET >&2; exit 3", "reviewer command exited 3"),
            ("as if not started", "echo 'failed: SECRET'; exit 127", "reviewer command exited 127"),
            ("as if reported", "printf 'SECRET\\n@x exited 0\\n'; exit 4", "reviewer command exited 4"),
            ("garbage", "echo SECRET", "reviewer command did not answer with one JSON document"),
            ("silence", "true", "reviewer command did not answer with one JSON document"),
            ("two documents", "echo '{}{}'", "reviewer command did not answer with one JSON document"),
            ("no object", "echo '[]'", "reviewer command did not answer with a JSON object"),
            (
                "no review",
                "echo '{\"agreement\":\"SECRET\",\"verdict\":\"proceed\",\"rationale\":1}'",
                "reviewer command gave no valid review: continuation review agreement must be one of match, compatible, \
                 divergent",
            ),
            ("huge", "head -c 1100000 /dev/zero | tr '\\0' ' '", "reviewer command wrote more than 1 MiB"),
            ("endless", "yes SECRET", "reviewer command wrote more than 1 MiB"),
        ];
        for (name, script, reason) in cases {
            let found = reviewed(world, script);
            assert_eq!(found["rationale"], reason, "{name}");
            assert_eq!(found["subagent_run"]["error"], reason, "{name}");
            assert_eq!(
                (&found["verdict"], &found["agreement"]),
                (&json!("stop"), &json!("divergent")),
                "{name}"
            );
            assert_eq!(found["operator_routing_required"], true, "{name}");
            assert_eq!(found["subagent_run"]["sandbox"]["enabled"], true, "{name}");
        }
        insta::assert_snapshot!(
            "reviewer_failure",
            plain(world, &reviewed(world, "echo SECRET >&2; exit 3"))
        );
        assert!(!world.dump().contains("SECRET"), "what a failed reviewer said is stored");
        // Not even where reviews are not asked for.
        world.sql("update manager_configs set nudge_on_completion = 'auto-proceed'");
        assert_eq!(reviewed(world, "exit 3")["operator_routing_required"], true);
    });
}

#[test]
fn a_reviewer_that_cannot_be_started_is_a_recorded_stop() {
    on_both_engines(|world| {
        ready(world);
        let ledger = world.ledger();
        let found = world.run_plain(&[
            "continuation-reviewer",
            "demo",
            "--path",
            &ledger,
            "--correlation-id",
            "k",
            "--reviewer-session-id",
            "r1",
            "--manager-session-id",
            "m1",
            "--reviewer-command",
            "no-such-program",
        ]);
        let found = found.json();
        assert_eq!(
            found["rationale"],
            "reviewer command cannot be started: No such file or directory (os error 2)"
        );
        assert_eq!(found["subagent_run"]["returncode"], Value::Null);
        assert_eq!(found["subagent_run"]["stdout_redacted"], false, "it said nothing");
    });
}

#[test]
fn every_engine_tells_how_a_reviewer_ended() {
    for engine in Engine::of_system() {
        let world = &World::on_sqlite();
        ready(world);
        for (script, reason, code) in [
            ("kill -KILL $$", "was ended by signal 9", json!(null)),
            ("kill -TERM $$", "was ended by signal 15", json!(null)),
            ("kill -ALRM $$", "was ended by signal 14", json!(null)),
            ("exit 143", "exited 143", json!(143)),
            ("echo x; exit 127", "exited 127", json!(127)),
        ] {
            let environment = Environment { sandboxes: Some(vec![*engine]), ..world.environment() };
            let found = review(world, environment, &[], script).json();
            if found["subagent_run"]["sandbox"]["enabled"] == false {
                eprintln!("SKIPPED {}: {}", engine.as_str(), found["rationale"]);
                break;
            }
            let name = engine.as_str();
            assert_eq!(found["rationale"], format!("reviewer command {reason}"), "{name}: {script}");
            assert_eq!(found["subagent_run"]["returncode"], code, "{name}: {script}");
        }
    }
}

#[test]
fn when_time_is_up_everything_that_was_started_is_ended() {
    {
        for engine in Engine::of_system() {
            let world = &World::on_sqlite();
            ready(world);
            let trace = world.dir().join("trace");
            std::fs::create_dir(&trace).unwrap();
            // One that stays in the group, one that leaves it, each telling that it lives.
            let tell = format!("while :; do date +%s%N >> {}/$1; sleep 0.02; done", trace.display());
            let script =
                format!("tell() {{ {tell}; }}\ntell group & setsid sh -c '{tell}' sh session &\nsleep 100",);
            let began = Instant::now();
            let environment = Environment { sandboxes: Some(vec![*engine]), ..world.environment() };
            let found = review(world, environment, &["--timeout", "0.2"], &script).json();
            if found["subagent_run"]["sandbox"]["enabled"] == false {
                eprintln!("SKIPPED {}: {}", engine.as_str(), found["rationale"]);
                continue;
            }
            assert_eq!(found["rationale"], "reviewer command timed out after 1s", "{}", engine.as_str());
            assert_eq!(found["verdict"], "stop");
            assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
            let last = || {
                ["group", "session"].map(|who| std::fs::read_to_string(trace.join(who)).unwrap_or_default())
            };
            let then = last();
            assert!(then.iter().all(|text| !text.is_empty()), "{}: nobody lived", engine.as_str());
            std::thread::sleep(Duration::from_millis(200));
            assert_eq!(last(), then, "{}: somebody lives on", engine.as_str());
        }
    }
}

#[test]
fn without_a_sandbox_nothing_is_run() {
    on_both_engines(|world| {
        ready(world);
        let environment = Environment { sandboxes: Some(vec![Engine::SandboxExec]), ..world.environment() };
        let mark = world.dir().join("ran");
        let script = format!("touch {}", mark.display());
        if cfg!(not(target_os = "macos")) {
            let found = review(world, environment.clone(), &[], &script).json();
            assert_eq!(found["subagent_run"]["sandbox"]["engine"], "sandbox-exec");
            assert_eq!(
                found["subagent_run"]["sandbox"]["setup_error"],
                "sandbox-exec: sandbox-exec not available"
            );
            assert_eq!(found["subagent_run"]["sandbox"]["enabled"], false);
            assert_eq!(found["verdict"], "stop");
        }
        let none = Environment { sandboxes: Some(Vec::new()), ..environment };
        let found = review(world, none, &[], &script).json();
        assert_eq!(found["subagent_run"]["sandbox"]["engine"], "none");
        assert!(!mark.exists());
    });
}

#[test]
fn the_next_sandbox_is_taken_when_one_cannot_be_set_up() {
    on_sqlite(|world| {
        ready(world);
        let mut engines = vec![Engine::SandboxExec];
        engines.extend(Engine::of_system().iter().filter(|engine| **engine != Engine::SandboxExec));
        let environment = Environment { sandboxes: Some(engines), ..world.environment() };
        let found = review(world, environment, &[], GOOD).json();
        assert_ne!(found["subagent_run"]["sandbox"]["engine"], "sandbox-exec");
        assert_eq!(found["verdict"], "proceed");
    });
}

#[test]
fn a_ledger_with_another_name_is_not_shown_to_anybody() {
    on_sqlite(|world| {
        ready(world);
        std::fs::hard_link(world.file(), world.dir().join("copy.db")).unwrap();
        let found = reviewed(world, GOOD);
        let reason = found["subagent_run"]["sandbox"]["setup_error"].as_str().unwrap();
        assert!(reason.contains("ledger.db has other names (hard links)"), "{reason}");
        assert_eq!(
            (&found["verdict"], &found["subagent_run"]["sandbox"]["enabled"]),
            (&json!("stop"), &json!(false))
        );
    });
}

#[test]
fn nobody_waits_for_the_ledger_while_a_reviewer_runs() {
    on_both_engines(|world| {
        ready(world);
        // Nothing can be made beside the ledger itself.
        let mark = world.dir().join("free/runs");
        std::fs::create_dir(world.dir().join("free")).unwrap();
        let script = format!("touch {0}; while [ -e {0} ]; do sleep 0.01; done; {GOOD}", mark.display());
        std::thread::scope(|scope| {
            let reviewer = scope.spawn(|| reviewed(world, &script));
            conveyor_testkit::wait::until(Duration::from_secs(10), "the reviewer", || mark.exists());
            propose(world, "worker", "k", "{\"later\": true}");
            std::fs::remove_file(&mark).unwrap();
            let found = reviewer.join().unwrap();
            assert_eq!(found["verdict"], "proceed", "{found:#}");
            // It is a review of what it read, not of what came meanwhile.
            assert_eq!(found["worker_continuation_id"], 1);
        });
    });
}

#[test]
fn a_verdict_outlives_the_connection_that_it_was_asked_for_on() {
    on_both_engines(|world| {
        if world.is_sqlite() {
            return;
        }
        ready(world);
        let free = world.dir().join("free");
        std::fs::create_dir(&free).unwrap();
        let mark = free.join("runs");
        let script = format!("touch {0}; while [ -e {0} ]; do sleep 0.01; done; {GOOD}", mark.display());
        let ledger = format!("{}&application_name=reviewer_{}", world.ledger(), std::process::id());
        std::thread::scope(|scope| {
            let reviewer = scope.spawn(|| review_on(world, &ledger, world.environment(), &[], &script));
            conveyor_testkit::wait::until(Duration::from_secs(10), "the reviewer", || mark.exists());
            let ended = world.scalar(&format!(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'reviewer_{}'",
                std::process::id()
            ));
            assert_eq!(ended, "1");
            std::fs::remove_file(&mark).unwrap();
            let ran = reviewer.join().unwrap();
            assert_eq!(ran.json()["verdict"], "proceed");
            assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
            assert!(ran.stderr.starts_with("warning: "), "{}", ran.stderr);
        });
        assert_eq!(world.scalar("select count(*) from continuation_reviews"), "1");
    });
}

#[test]
fn a_reviewer_does_not_outlive_conveyor() {
    let world = &World::on_sqlite();
    ready(world);
    let free = world.dir().join("free");
    std::fs::create_dir(&free).unwrap();
    for engine in Engine::of_system() {
        let trace = free.join(engine.as_str());
        let temporary = tempfile::tempdir().unwrap();
        let private = || {
            let entries = std::fs::read_dir(&temporary).unwrap().flatten();
            entries
                .filter(|entry| entry.file_name().to_string_lossy().starts_with("conveyor-sandbox-"))
                .count()
        };
        let script = format!("setsid sh -c 'while :; do date >> {}; sleep 0.02; done'", trace.display());
        let file = world.dir().join("reviewer.sh");
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        let mut conveyor = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "reviewer::conveyor_that_is_killed", "--ignored"])
            .env("CONVEYOR_TEST_REVIEW", world.dir())
            .env("CONVEYOR_TEST_SANDBOX", engine.as_str())
            .env("TMPDIR", temporary.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let size = || std::fs::metadata(&trace).map_or(0, |found| found.len());
        let ended = std::cell::Cell::new(false);
        conveyor_testkit::wait::until(Duration::from_secs(20), "the reviewer", || {
            ended.set(conveyor.try_wait().unwrap().is_some());
            size() > 0 || ended.get()
        });
        if ended.get() && size() == 0 {
            eprintln!("SKIPPED {}, which cannot be set up", engine.as_str());
            continue;
        }
        assert_eq!(private(), 2, "its own directory, and one for the self-test");
        conveyor.kill().unwrap();
        conveyor.wait().unwrap();
        let quiet = || {
            let then = size();
            std::thread::sleep(Duration::from_millis(150));
            size() == then
        };
        conveyor_testkit::wait::until(Duration::from_secs(10), "the reviewer's end", quiet);
        conveyor_testkit::wait::until(Duration::from_secs(10), "its directories' end", || private() == 0);
    }
}

/// Not a test of its own: the process that [`a_reviewer_does_not_outlive_conveyor`] kills.
#[test]
#[ignore = "it is killed by another test"]
#[allow(clippy::disallowed_methods, reason = "how the other test tells it what to do")]
fn conveyor_that_is_killed() {
    let Ok(place) = std::env::var("CONVEYOR_TEST_REVIEW") else { return };
    let wanted = std::env::var("CONVEYOR_TEST_SANDBOX").unwrap();
    let engine = Engine::of_system().iter().find(|engine| engine.as_str() == wanted).unwrap();
    let world = World::on_sqlite();
    let environment = Environment { sandboxes: Some(vec![*engine]), ..world.environment() };
    let ledger = format!("{place}/ledger.db");
    let reviewer = format!("{place}/reviewer.sh");
    world.run_with(
        environment,
        &[
            "continuation-reviewer",
            "demo",
            "--path",
            &ledger,
            "--correlation-id",
            "k",
            "--reviewer-session-id",
            "r1",
            "--manager-session-id",
            "m1",
            "--reviewer-command",
            &reviewer,
        ],
    );
}

#[test]
fn refusals() {
    on_both_engines(|world| {
        ready(world);
        propose(world, "worker", "alone", "{}");
        let base = ["--correlation-id", "k", "--reviewer-session-id", "r", "--manager-session-id", "m"];
        let with = |task: &'static str, rest: &[&'static str]| {
            let mut words = vec!["continuation-reviewer", task];
            words.extend(base);
            words.extend(rest);
            words
        };
        let mut lines = vec![
            world.refused(&["continuation-reviewer", "demo"]),
            world.refused(&with("demo", &["--timeout", "0"])),
            world.refused(&with("demo", &["--manager-session-id", "r"])),
            world.refused(&with("nobody", &[])),
            world.refused(&with("demo", &["--correlation-id", "alone"])),
            world.refused(&with("demo", &[])),
        ];
        let ledger = world.ledger();
        let mut nothing = with("demo", &["--path"]);
        nothing.extend([ledger.as_str(), "--reviewer-command", "--"]);
        let ran = world.run_plain(&nothing);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
        lines.push(ran.stderr.trim_end().to_owned());
        world.sql("update manager_configs set permissions_json = '{}'");
        lines.push(world.refused(&with("demo", &["--dry-run"])));
        insta::assert_snapshot!("reviewer_refusals", lines.join("\n"));
    });
}
