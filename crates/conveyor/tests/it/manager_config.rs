//! `manager-config`, `manager-recipes`, `manager-permission`.

use std::sync::Arc;

use conveyor_core::contract::config::{self, ConfigFlags};
use conveyor_core::{Error, RandomIds};
use conveyor_store::{Access, Db, Location, OpenOptions, tasks};
use serde_json::{Value, json};

use crate::declarations::{eight_at_once, events};
use crate::harness::{World, on_both_engines, on_sqlite};

const CONFIG: &[&str] = &["manager-config", "demo"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [CONFIG, more].concat()
}

#[test]
fn a_configuration_is_made_shown_and_changed() {
    on_both_engines(|world| {
        world.bind("demo");
        world.advance(1_500);
        insta::assert_json_snapshot!("config_default", world.json(CONFIG));
        world.advance(1_000);
        assert_eq!(world.json(CONFIG)["updated_at"], "2026-06-11T12:00:01Z", "showing is no write");
        let first = world.json(&with(&[
            "--permit",
            "allow_pr",
            "--permit",
            "worker_compact_clear",
            "--permit",
            "fly",
            "--tool",
            " pytest ",
            "--tool",
            "pytest",
            "--tool",
            "gh",
            "--epilogue",
            "record-handoff",
            "--guideline",
            " g ",
            "--guideline",
            " g ",
            "--mode",
            "strict",
            "--permissions-json",
            r#"{"context": ["fetch_prs", "x"], "repo": 1, "worker_session.clear": false, "nonsense": 1}"#,
        ]));
        insta::assert_json_snapshot!("config_first", first);
        let before = world.dump();
        insta::assert_json_snapshot!(
            "config_questions",
            world.json(&with(&["--questions", "--mode", "light"]))
        );
        assert_eq!(world.dump(), before, "questions change nothing");
        world.advance(1_000);
        let same = world.json(&with(&["--mode", "strict", "--tool", "pytest", "--tool", "gh"]));
        assert_eq!((&same["revision"], &same["updated_at"]), (&json!(2), &json!("2026-06-11T12:00:03Z")));
        assert_eq!(same["guidelines"], json!([" g ", " g "]), "neither trimmed nor made one");
        let changed = world.json(&with(&["--objective", "o", "--acceptance", "a", "--require-acks"]));
        assert_eq!((&changed["revision"], &changed["require_acks"]), (&json!(3), &json!(true)));
        assert_eq!(changed["created_at"], "2026-06-11T12:00:01Z");
        insta::assert_snapshot!("config_events", events(world));
        assert_eq!(world.telemetry(), "");
        assert_eq!(world.scalar("select count(*) from acceptance_criteria"), "0");
    });
}

#[test]
fn recipes_are_named_and_strict_ones_enforce_the_gates() {
    on_both_engines(|world| {
        world.bind("demo");
        let guided = world.json(&with(&["--recipe", "What's  Next"]));
        assert_eq!(
            (&guided["recipe_name"], &guided["enforce_gates"], &guided["permissions"]["repo"]),
            (&json!("nudge-whats-next"), &json!(false), &json!([]))
        );
        let strict = world.json(&with(&["--recipe", "ralph loop"]));
        assert_eq!(
            (&strict["recipe_name"], &strict["enforce_gates"], &strict["supervision_mode"]),
            (&json!("pr-ci-merge-ralph-loop"), &json!(true), &json!("guided"))
        );
        let custom = world.json(&with(&["--recipe", "custom"]));
        assert_eq!((&custom["recipe_name"], &custom["enforce_gates"]), (&json!(null), &json!(true)));
        world.json(&["tasks", "--create", "other", "--goal", "g"]);
        assert_eq!(world.json(&["manager-config", "other", "--enforce-gates"])["enforce_gates"], true);
    });
}

#[test]
fn the_command_of_every_recipe_gives_a_task_its_contract() {
    on_both_engines(|world| {
        world.bind("demo");
        let listed = world.run_plain(&["manager-recipes", "--list", "--json"]).json();
        for recipe in listed["recipes"].as_array().unwrap() {
            let words: Vec<&str> = recipe["manager_config_command"]
                .as_array()
                .unwrap()
                .iter()
                .map(|w| w.as_str().unwrap())
                .collect();
            assert_eq!(words[..3], ["conveyor", "manager-config", "<task>"]);
            world.json(&["tasks", "--create", recipe["name"].as_str().unwrap(), "--goal", "g"]);
            let mut words = words[1..].to_vec();
            words[1] = recipe["name"].as_str().unwrap();
            let config = world.json(&words);
            for (given, stored) in [
                ("mode", "supervision_mode"),
                ("tools", "tools"),
                ("epilogues", "epilogues"),
                ("name", "recipe_name"),
            ] {
                assert_eq!(recipe[given], config[stored], "{words:?}");
            }
            for permission in recipe["permissions"].as_array().unwrap() {
                let (category, action) = permission.as_str().unwrap().split_once('.').unwrap();
                assert!(config["permissions"][category].as_array().unwrap().contains(&json!(action)));
            }
            assert_eq!(config["enforce_gates"], recipe["mode"] == "strict");
            assert_eq!(config.get("warnings"), None);
        }
    });
}

#[test]
fn old_rows_are_understood() {
    on_both_engines(|world| {
        world.bind("demo");
        let at = "2026-06-11T11:00:00Z";
        world.sql(&format!(
            "insert into manager_configs (task_id, supervision_mode, guidelines_json, acceptance_criteria_json, \
             reference_paths_json, permissions_json, created_at, updated_at) values \
             ('task-demo', 'light', '[]', '[]', '[]', '{{\"allow_pr\": true, \"junk\": 1}}', '{at}', '{at}')"
        ));
        // Our column is not there yet, and who only reads does not make it.
        assert_eq!(world.json(&["epilogue", "demo", "--status"])["configured_steps"], json!([]));
        assert_eq!(world.json(CONFIG)["permissions"]["repo"], json!(["open_pr"]));
        let same = world.json(&with(&["--allow-pr"]));
        assert_eq!((&same["revision"], &same["supervision_mode"]), (&json!(1), &json!("light")));
        assert_eq!(world.json(&with(&["--allow-merge-green"]))["revision"], 2);
    });
}

#[test]
fn of_eight_that_configure_at_once_none_is_lost() {
    on_both_engines(|world| {
        world.bind("demo");
        let names = [
            "repo.open_pr",
            "repo.push_branch",
            "context.fetch_prs",
            "context.fetch_issues",
            "worker_session.stop",
            "worker_session.clear",
            "verification.run_cargo",
            "communication.notify_operator",
        ];
        let made = eight_at_once(|number| world.json(&with(&["--permit", names[number]])));
        let mut revisions: Vec<i64> = made.iter().map(|one| one["revision"].as_i64().unwrap()).collect();
        revisions.sort_unstable();
        assert_eq!(revisions, [1, 2, 3, 4, 5, 6, 7, 8], "each change has a revision of its own");
        let config = world.json(CONFIG);
        let granted = config["permissions"].as_object().unwrap().values();
        assert_eq!(granted.map(|actions| actions.as_array().unwrap().len()).sum::<usize>(), 8);
        assert_eq!(world.scalar("select count(*) from events where type = 'manager_config_recorded'"), "8");
    });
}

fn interview(world: &World, answers: &str) -> crate::harness::Ran {
    world.run_fed(answers, &with(&["--interactive"]))
}

#[test]
fn a_person_is_asked() {
    on_both_engines(|world| {
        world.bind("demo");
        world.json(&with(&["--allow-pr", "--permit", "context.fetch_prs", "--guideline", "old"]));
        let answers = "Ralph Loop\nSTRICT\nShip it\n\nall, tests pass\nno warnings\n\n\nNO\ny\nmaybe\nTRUE\ncargo\n\n\
                       draft-pr\nfly\nrun-tools\n\nauto-review\nYes\n";
        let ran = interview(world, answers);
        insta::assert_snapshot!("interview_asked", ran.stderr);
        insta::assert_json_snapshot!("interview_saved", ran.json());
        // Empty lines keep everything, also half of what a question is about.
        let again = interview(world, &"\n".repeat(14)).json();
        assert_eq!(again["revision"], 2);
        assert_eq!(again["acceptance_criteria"], json!(["all, tests pass", "no warnings"]));
        let relaxed = interview(world, &("\n".repeat(12) + "n\n")).json();
        assert_eq!((&relaxed["revision"], &relaxed["require_acks"]), (&json!(3), &json!(false)));
        world.json(&with(&["--permissions-json", r#"{"worker_session":["compact"]}"#]));
        let asked = interview(world, &"\n".repeat(14));
        assert!(asked.stderr.contains("[only worker_session.compact]:"), "{}", asked.stderr);
        assert_eq!(asked.json()["revision"], 4);
        assert_eq!(asked.json()["permissions"]["worker_session"], json!(["compact"]));
        // A list can be emptied.
        let emptied = interview(world, &("\n\n\n\n-\n".to_owned() + &"\n".repeat(10))).json();
        assert_eq!((&emptied["revision"], &emptied["acceptance_criteria"]), (&json!(5), &json!([])));
        assert_eq!(emptied["tools"], json!(["cargo"]));
    });
}

#[test]
fn a_person_who_keeps_a_value_keeps_what_others_have_made_of_it() {
    on_both_engines(|world| {
        world.bind("demo");
        world.json(CONFIG);
        let granted = ["--allow-pr", "--permit", "repo.push_branch", "--require-acks", "--mode", "strict"];
        let others = || drop(world.json(&with(&granted)));
        let saved = world.run_fed_late(&"\n".repeat(14), &with(&["--interactive"]), others).json();
        assert_eq!(saved["revision"], 2);
        assert_eq!((&saved["require_acks"], &saved["supervision_mode"]), (&json!(true), &json!("strict")));
        assert_eq!(saved["permissions"]["repo"], json!(["open_pr", "push_branch"]));
    });
}

#[test]
fn an_interview_that_is_broken_off_saves_nothing() {
    on_both_engines(|world| {
        world.bind("demo");
        world.json(CONFIG);
        let before = world.dump();
        for answers in ["", "custom\nstrict\nobjective", "no such\nrecipe\nat all\n", &"\n".repeat(12)] {
            let ran = interview(world, answers);
            assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{answers:?}");
            assert!(ran.stderr.ends_with("nothing was saved\n"), "{}", ran.stderr);
            assert_eq!(world.dump(), before);
        }
        let refused = world.run_fed("x\n", &["manager-config", "nope", "--interactive"]);
        assert_eq!((refused.code, refused.stderr.lines().count()), (2, 1), "before anything is asked");
    });
}

#[test]
fn recipes() {
    on_sqlite(|world| {
        let text = |arguments: &[&str]| world.run_plain(&[&["manager-recipes"], arguments].concat());
        insta::assert_snapshot!("recipes_list", text(&["--list"]).stdout);
        let elsewhere = world.dir().join("nowhere/x.db").display().to_string();
        assert_eq!(
            text(&["--list", "--path", &elsewhere]).stdout,
            text(&["--list"]).stdout,
            "accepted, not needed"
        );
        insta::assert_json_snapshot!("recipes_list_json", text(&["--list", "--json"]).json());
        insta::assert_snapshot!("recipes_show", text(&["--show", "  Nudge   Whats Next"]).stdout);
        insta::assert_snapshot!("recipes_show_loop", text(&["--show", "visual polish"]).stdout);
        let shown = text(&["--show", "goalbuddy", "--json"]).json();
        assert_eq!(shown["recipe"]["name"], "goalbuddy-conveyor");
        let said: Vec<String> = [
            text(&[]),
            text(&["--list", "--show", "goalbuddy"]),
            text(&["--show", "custom"]),
            text(&["--show", "x"]),
            text(&["goalbuddy"]),
            text(&["--list", "--dry-run"]),
        ]
        .into_iter()
        .map(|ran| {
            assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
            ran.stderr
        })
        .collect();
        insta::assert_snapshot!("recipes_refusals", said.concat());
        assert!(!world.file().exists(), "no ledger is opened");
    });
}

fn ask(world: &World, arguments: &[&str]) -> (u8, Value) {
    let ran = world.run(&[&["manager-permission", "demo"], arguments].concat());
    (ran.code, serde_json::from_str(&ran.stdout).unwrap())
}

#[test]
fn permissions_are_asked_for() {
    on_both_engines(|world| {
        world.bind("demo");
        let (code, answer) = ask(world, &["whatever", "--require", "--require-handoff"]);
        assert_eq!(code, 1);
        insta::assert_json_snapshot!("permission_no_config", answer);
        world.json(&with(&["--permit", "worker_session.compact", "--allow-pr"]));
        let (code, answer) = ask(world, &["repo.open_pr", "--require"]);
        assert_eq!(code, 0);
        insta::assert_json_snapshot!("permission_granted", answer);
        for (arguments, code, allowed, reasons) in [
            (&["create_pr"][..], 0, true, json!([])),
            (&["worker_compact_clear"], 0, false, json!(["permission_not_enabled"])),
            (&["worker_compact_clear", "--require"], 1, false, json!(["permission_not_enabled"])),
            (
                &["worker_session.compact", "--require", "--require-handoff"],
                1,
                false,
                json!(["missing_worker_handoff"]),
            ),
            (&["repo", "--list", "--require-handoff", "--require"], 0, true, json!([])),
        ] {
            let (exit, answer) = ask(world, arguments);
            assert_eq!(
                (exit, &answer["allowed"], &answer["reasons"]),
                (code, &json!(allowed), &reasons),
                "{arguments:?}"
            );
        }
        assert_eq!(ask(world, &["repo", "--list"]).1["listed_permissions"], json!(["open_pr"]));
        world.json(&["handoff", "demo", "--summary", "s"]);
        let (code, answer) = ask(world, &["worker_session.compact", "--require", "--require-handoff"]);
        assert_eq!((code, &answer["handoff_id"]), (0, &json!(1)));
        insta::assert_snapshot!("permission_telemetry", world.telemetry());
        insta::assert_snapshot!(
            "permission_event",
            world.scalar("select payload_json from events where type = 'manager_permission_checked' order by id limit 1")
        );
        let said = [
            world.refused(&["manager-permission", "demo"]),
            world.refused(&["manager-permission", "nope", "repo.open_pr"]),
            world.refused(&["manager-permission", "demo", "repo"]),
            world.refused(&["manager-permission", "demo", "repo.fly"]),
            world.refused(&["manager-permission", "demo", "repo.open_pr", "--list"]),
            world.refused(&["manager-permission", "demo", "repo.open_pr", "--dry-run"]),
        ];
        insta::assert_snapshot!("permission_refusals", said.join("\n"));
    });
}

#[test]
fn refusals() {
    on_both_engines(|world| {
        world.bind("demo");
        let said = [
            world.refused(&["manager-config"]),
            world.refused(&["manager-config", "nope"]),
            world.refused(&["manager-config", "nope", "--questions"]),
            world.refused(&with(&["--mode", "lax"])),
            world.refused(&with(&["--recipe", "x"])),
            world.refused(&with(&["--epilogue", "draft-pr", "--epilogue", "fly"])),
            world.refused(&with(&["--nudge-on-completion", "on"])),
            world.refused(&with(&["--permissions-json", "[]"])),
            world.refused(&with(&["--permissions-json", "{"])),
            world.refused(&with(&["--permissions-json", "{}", "--interactive"])),
            world.refused(&with(&["--dry-run"])),
            world.refused(&with(&["--from-stdin"])),
            world.refused(&with(&["--objective", ""])),
        ];
        insta::assert_snapshot!("config_refusals", said.join("\n"));
    });
}

fn db(world: &World) -> Db {
    let ledger = world.ledger();
    let location =
        if world.is_sqlite() { Location::File(world.file()) } else { Location::server(&ledger).unwrap() };
    let clock = world.clock.clone();
    let options = OpenOptions {
        clock,
        ids: Arc::new(RandomIds),
        machine: conveyor_model::Machine::default(),
        server_password: None,
        password_file: None,
    };
    Db::open(&location, Access::Write, options).unwrap()
}

#[test]
fn a_pair_gets_its_contract_in_one_transaction() {
    on_both_engines(|world| {
        world.bind("demo");
        world.json(&[
            "criteria",
            "demo",
            "--add",
            "--criterion",
            "known",
            "--source",
            "user_requested",
            "--status",
            "rejected",
        ]);
        let mut db = db(world);
        let mut seed = |flags: &ConfigFlags| {
            db.write(|tx| {
                let task = tasks::find(tx, "demo")?.unwrap();
                config::seed(tx, &task, flags, &json!({ "source": "pair", "task": "demo" }))
            })
        };
        let acceptance = [" new ", "known", "", "new", "other"].map(str::to_owned).to_vec();
        let flags =
            ConfigFlags { acceptance: Some(acceptance), require_acks: Some(true), ..ConfigFlags::default() };
        let made = seed(&flags).unwrap();
        assert_eq!((made.written, made.criteria), (true, 2));
        let kept = seed(&ConfigFlags::default()).unwrap();
        assert_eq!((kept.written, kept.criteria), (false, 0));
        let bad = ConfigFlags { recipe: Some("x".into()), ..ConfigFlags::default() };
        assert!(matches!(seed(&bad), Err(Error::Invalid(_))) && bad.check().is_err());
        assert_eq!(world.json(CONFIG)["recipe_name"], "custom");
        let none = ConfigFlags { recipe: Some("custom".into()), ..ConfigFlags::default() };
        assert!(seed(&none).unwrap().written);
        assert_eq!(world.json(CONFIG)["recipe_name"], json!(null));
        insta::assert_json_snapshot!("seeded_criteria", world.json(&["criteria", "demo", "--list"]));
        insta::assert_snapshot!("seeded_events", events(world));
        insta::assert_snapshot!("seeded_telemetry", world.telemetry());
    });
}
