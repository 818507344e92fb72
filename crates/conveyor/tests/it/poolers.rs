//! A ledger behind the real PgBouncer: it works as without, or is refused before anything is made.

use std::process::{Command, Stdio};
use std::time::Duration;

use conveyor_testkit::postgres::{PoolMode, Pooler, TestSchema, enabled, shared};
use conveyor_testkit::wait;
use serde_json::Value;

use crate::harness::World;

/// The settings with which poolers are found: refusing what they do not hand on, and passing over it.
const SETTINGS: [&str; 2] = ["", "ignore_startup_parameters = options,extra_float_digits"];

/// A task from its creation to a consumed message.
fn supervise(world: &World, ledger: &str) {
    let run = |words: &[&str]| -> Value {
        let mut all = words.to_vec();
        all.extend(["--path", ledger]);
        world.run_plain(&all).json()
    };
    run(&["create-disposable-binding", "demo", "--json"]);
    for number in 0..5 {
        run(&["enqueue-nudge-worker", "demo", "--message", &format!("do {number}"), "--json"]);
    }
    let routed = run(&["dispatch", "--once", "--json"]);
    assert_eq!(routed["processed_count"], 5, "{routed}");
    let item = run(&["worker-inbox", "demo", "--consume-next", "--json"]);
    assert_eq!(item["consumed"]["payload"]["message"], "do 0", "{item}");
    assert_eq!(run(&["tasks", "--json"]).as_array().unwrap().len(), 1);
    assert_eq!(run(&["db-doctor", "--json"])["ok"], true);
}

#[test]
fn a_ledger_behind_a_pooler_works_as_without_one() {
    if !enabled() {
        return;
    }
    for mode in [PoolMode::Session, PoolMode::Transaction] {
        for settings in SETTINGS {
            let pooler = Pooler::start(shared(), mode, 2, settings);
            let (schema, direct) = (TestSchema::new(), TestSchema::new());
            let (world, other) = (World::on_sqlite(), World::on_sqlite());
            supervise(&world, &pooler.url(&schema));
            supervise(&other, direct.url());
            let tables = |schema: &TestSchema| {
                let sql = "select string_agg(relname || relkind::text, ' ' order by relname) from pg_class \
                           where relnamespace = $1::text::regnamespace";
                schema.client().query_one(sql, &[&schema.name()]).unwrap().get::<_, String>(0)
            };
            assert_eq!(tables(&schema), tables(&direct), "{mode:?} {settings}");
            let elsewhere = "select count(*) from pg_class join pg_namespace on pg_namespace.oid = relnamespace \
                             where nspname in ('public', 'conveyor')";
            assert_eq!(schema.client().query_one(elsewhere, &[]).unwrap().get::<_, i64>(0), 0);
        }
    }
}

#[test]
fn two_ledgers_on_one_connection_of_a_pooler_do_not_mix() {
    if !enabled() {
        return;
    }
    for settings in SETTINGS {
        let pooler = Pooler::start(shared(), PoolMode::Transaction, 1, settings);
        let schemas = [TestSchema::new(), TestSchema::new(), TestSchema::new()];
        std::thread::scope(|scope| {
            for schema in &schemas {
                let url = pooler.url(schema);
                scope.spawn(move || supervise(&World::on_sqlite(), &url));
            }
        });
        for schema in &schemas {
            let count = |table: &str| -> i64 {
                schema.client().query_one(&format!("select count(*) from {table}"), &[]).unwrap().get(0)
            };
            assert_eq!((count("tasks"), count("sessions"), count("commands")), (1, 2, 5));
        }
    }
}

/// A process of the program on a ledger behind a pooler.
fn start(ledger: &str, directory: &std::path::Path, words: &[&str]) -> std::process::Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conveyor"));
    command.args(words).args(["--path", ledger]).current_dir(directory).env_clear().env("HOME", directory);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn who_waits_behind_a_pooler_hears_of_what_others_commit() {
    if !enabled() {
        return;
    }
    for mode in [PoolMode::Session, PoolMode::Transaction] {
        let pooler = Pooler::start(shared(), mode, 10, SETTINGS[1]);
        let schema = TestSchema::new();
        let url = pooler.url(&schema);
        let world = World::on_sqlite();
        let run = |words: &[&str]| {
            let mut all = words.to_vec();
            all.extend(["--path", &url]);
            world.run_plain(&all).json()
        };
        run(&["create-disposable-binding", "demo", "--json"]);
        // Neither looks again by itself for as long as the test may take.
        let dispatcher = start(&url, world.dir(), &["dispatch", "--watch", "--interval", "600", "--json"]);
        let reader = start(
            &url,
            world.dir(),
            &[
                "worker-inbox",
                "demo",
                "--consume-next",
                "--wait",
                "--timeout",
                "300",
                "--interval",
                "600",
                "--json",
            ],
        );
        let beats = "select count(*) from telemetry_events where event_type = 'dispatch_watch_heartbeat'";
        wait::until(Duration::from_secs(60), "a dispatcher that watches", || {
            schema.client().query_one(beats, &[]).unwrap().get::<_, i64>(0) > 0
        });
        run(&["enqueue-nudge-worker", "demo", "--message", "hello", "--json"]);
        let said = reader.wait_with_output().unwrap();
        let item: Value = serde_json::from_slice(&said.stdout).unwrap();
        assert_eq!(item["consumed"]["payload"]["message"], "hello", "{item}");
        let pid = rustix::process::Pid::from_raw(i32::try_from(dispatcher.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let said = dispatcher.wait_with_output().unwrap();
        assert!(said.status.success() && said.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));
    }
}

#[test]
fn a_pooler_that_cannot_be_worked_with_is_refused_by_its_setting() {
    if !enabled() {
        return;
    }
    let refused = |pooler: &Pooler, schema: &TestSchema, more: &str| {
        let world = World::on_sqlite();
        let url = pooler.url(schema) + more;
        let ran = world.run_plain(&["tasks", "--create", "demo", "--goal", "g", "--path", &url]);
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.lines().count()), (2, "", 1), "{}", ran.stderr);
        let made = "select count(*) from pg_namespace where nspname = $1";
        assert_eq!(schema.client().query_one(made, &[&schema.name()]).unwrap().get::<_, i64>(0), 0);
        ran.stderr
    };
    for settings in SETTINGS {
        let pooler = Pooler::start(shared(), PoolMode::Statement, 2, settings);
        let line = refused(&pooler, &TestSchema::new(), "");
        assert!(line.contains("pool_mode"), "{line}");
        let pooler = Pooler::start(shared(), PoolMode::Transaction, 2, settings);
        let line = refused(&pooler, &TestSchema::new(), "%20-d%203");
        assert!(line.contains("\"-d\"") && line.contains("options"), "{line}");
        let missing = pooler.url(&TestSchema::new()).replace("/postgres?", "/absent?");
        let ran = World::on_sqlite().run_plain(&["tasks", "--path", &missing]);
        assert!(ran.code == 2 && ran.stderr.contains("no such database"), "{}", ran.stderr);
    }
}
