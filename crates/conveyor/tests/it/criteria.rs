//! `criteria`, `criteria-plan`.

use serde_json::{Value, json};

use crate::declarations::{eight_at_once, events};
use crate::harness::{World, on_both_engines};

fn criteria(world: &World, arguments: &[&str]) -> Value {
    world.json(&[&["criteria", "demo"], arguments].concat())
}

fn refused(world: &World, arguments: &[&str]) -> String {
    world.refused(&[&["criteria", "demo"], arguments].concat())
}

const ADD: [&str; 5] = ["--add", "--source", "worker_proposed", "--criterion", "A works"];

#[test]
fn the_life_of_a_criterion() {
    on_both_engines(|world| {
        world.bind("demo");
        world.bind("other");
        insta::assert_json_snapshot!("criteria_none", criteria(world, &["--list"]));
        let added = criteria(
            world,
            &[&ADD[..], &["--rationale", "r", "--evidence-json", r#"{"b": 1.0, "a": {}}"#]].concat(),
        );
        insta::assert_json_snapshot!("criteria_added", added);
        let before = world.dump();
        let again = criteria(world, &[&ADD[..], &["--status", "accepted", "--proof", "p"]].concat());
        assert_eq!(again["affected_criterion"], added["affected_criterion"], "it stays as it is");
        assert_eq!(world.dump(), before);
        let second = criteria(
            world,
            &["--add", "--source", "user_requested", "--criterion", "A works", "--status", "accepted"],
        );
        assert_eq!(second["affected_criterion"]["id"], 2, "another source is another criterion");
        world.advance(1_035);
        let evidence = r#"{"evidence_type": "adversarial_check"}"#;
        let satisfied = criteria(world, &["--satisfy", "1", "--proof", "p1", "--evidence-json", evidence]);
        insta::assert_json_snapshot!("criteria_satisfied", satisfied);
        let kept = criteria(world, &["--accept", "1"]);
        let row = &kept["affected_criterion"];
        assert_eq!((&row["proof"], &row["rationale"]), (&json!("p1"), &json!("r")));
        assert_eq!(row["evidence"]["evidence_type"], "adversarial_check");
        let emptied = criteria(world, &["--reject", "1", "--rationale", "noise", "--evidence-json", "{}"]);
        assert_eq!(emptied["affected_criterion"]["evidence"], json!({}));
        criteria(world, &["--defer", "2"]);
        let listed = criteria(world, &["--list", "--status", "deferred", "--status", "proposed"]);
        assert_eq!(listed["criteria"].as_array().unwrap().len(), 1);
        assert_eq!(listed["summary"]["rejected"], 1, "all are counted");
        insta::assert_snapshot!("criteria_events", events(world));
        insta::assert_snapshot!("criteria_telemetry", world.telemetry());
        assert_eq!(world.json(&["criteria", "other", "--list"])["criteria"], json!([]));
        assert_eq!(
            world.refused(&["criteria", "other", "--accept", "1"]),
            "unknown acceptance criterion for task \"other\": 1: see `conveyor criteria 'other' --list --path '[LEDGER]'` for its criteria"
        );
    });
}

#[test]
fn a_long_criterion_is_one_like_others() {
    on_both_engines(|world| {
        world.bind("demo");
        // Longer than a page of an index, and not to be compressed.
        let long: String = (0..6_000_u32)
            .map(|n| char::from(b'!' + (n.wrapping_mul(2_654_435_761) >> 16) as u8 % 90))
            .collect();
        let text = format!("x{long}");
        let add = ["--add", "--source", "final_audit", "--criterion", &text];
        assert_eq!(criteria(world, &add)["affected_criterion"]["criterion"], text);
        assert_eq!(criteria(world, &add)["criteria"].as_array().unwrap().len(), 1);
    });
}

#[test]
fn of_eight_that_add_at_once_none_is_lost_and_none_doubled() {
    on_both_engines(|world| {
        world.bind("demo");
        let same = eight_at_once(|_| criteria(world, &ADD));
        assert!(same.iter().all(|one| one["affected_criterion"] == same[0]["affected_criterion"]));
        assert_eq!(
            world.scalar("select count(*) from events where type = 'acceptance_criterion_added'"),
            "1"
        );
        let mut ids: Vec<i64> = eight_at_once(|number| {
            let text = number.to_string();
            criteria(world, &["--add", "--source", "user_requested", "--criterion", &text])
        })
        .iter()
        .map(|one| one["affected_criterion"]["id"].as_i64().unwrap())
        .collect();
        ids.sort_unstable();
        assert_eq!(ids, [2, 3, 4, 5, 6, 7, 8, 9], "ids have no gaps, whoever lost against whom");
        eight_at_once(|number| criteria(world, &["--satisfy", "1", "--proof", &number.to_string()]));
        let updates = "select count(*) from events where type = 'acceptance_criterion_updated'";
        assert_eq!(world.scalar(updates), "8");
        // Every update saw the one before it: the history is one chain.
        let chain = world.column(
            "select payload_json from events where type = 'acceptance_criterion_updated' order by id",
        );
        let chain: Vec<Value> = chain.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        for pair in chain.windows(2) {
            assert_eq!(pair[1]["previous_proof"], pair[0]["proof"]);
        }
        assert_eq!(criteria(world, &["--list"])["criteria"][0]["proof"], chain[7]["proof"]);
    });
}

#[test]
fn refusals() {
    on_both_engines(|world| {
        world.bind("demo");
        criteria(world, &ADD);
        let said = [
            world.refused(&["criteria"]),
            refused(world, &[]),
            refused(world, &["--list", "--accept", "1"]),
            refused(world, &["--accept", "1", "--reject", "1"]),
            world.refused(&["criteria", "nope", "--list"]),
            refused(world, &["--add"]),
            refused(world, &["--add", "--criterion", "x"]),
            refused(world, &["--add", "--criterion", "x", "--source", "config"]),
            refused(world, &[&ADD[..], &["--status", "done"]].concat()),
            refused(world, &[&ADD[..], &["--status", "accepted", "--status", "deferred"]].concat()),
            refused(world, &[&ADD[..], &["--evidence-json", "3"]].concat()),
            refused(world, &[&ADD[..], &["--evidence-json", "{\"a\""]].concat()),
            refused(world, &["--accept", "x"]),
            refused(world, &["--accept", "9"]),
            refused(world, &["--accept", "1", "--status", "accepted"]),
            refused(world, &["--accept", "1", "--criterion", "x"]),
            refused(world, &["--list", "--proof", "p"]),
            refused(world, &["--list", "--status", "open"]),
            refused(world, &["--list", "--dry-run"]),
        ];
        insta::assert_snapshot!("criteria_refusals", said.join("\n"));
    });
}

const ANSWER: &str = "Here is my split.\n\n### Must-have criteria:\n1. cargo test\n   passes\n2. `it's done`\n\n\
                      Follow-ups\n- [ ] document the flag\n- `--json`\n- -v is quiet\n- none\n";

#[test]
fn a_worker_s_answer_becomes_commands() {
    on_both_engines(|world| {
        world.bind("demo");
        let before = world.dump();
        let planned = world.run(&["criteria-plan", "demo", "--from-text", ANSWER, "--json"]);
        insta::assert_snapshot!("plan_json", world.normal(&planned.stdout));
        let text = world.run(&["criteria-plan", "demo", "--from-text", ANSWER]).stdout;
        insta::assert_snapshot!("plan_text", world.normal(&text));
        std::fs::write(world.dir().join("answer.md"), ANSWER).unwrap();
        for (document, arguments) in
            [(ANSWER, &["--from-stdin"][..]), ("", &["--from-worker-response", "~/answer.md"])]
        {
            let same = world.run_fed(document, &[&["criteria-plan", "demo"], arguments].concat());
            assert_eq!(same.stdout, text);
        }
        let unclear = world.run(&["criteria-plan", "demo", "--from-text", "- a\n- b"]);
        let empty = world.run(&["criteria-plan", "demo", "--from-text", "Accepted:\nnothing"]);
        assert_eq!((unclear.code, empty.code), (0, 0));
        insta::assert_snapshot!("plan_warnings", unclear.stdout + &empty.stdout);
        assert_eq!(world.dump(), before, "nothing is written");
        // What is suggested works.
        for suggestion in planned.json()["suggestions"].as_array().unwrap() {
            let command = suggestion["command"].as_array().unwrap();
            let words: Vec<&str> = command[1..].iter().map(|word| word.as_str().unwrap()).collect();
            let added = if world.is_sqlite() {
                world.run_plain(&words)
            } else {
                world.run(&words[..words.len() - 2])
            };
            assert_eq!(added.json()["affected_criterion"]["criterion"], suggestion["criterion"]);
        }
        assert_eq!(world.json(&["criteria", "demo", "--list"])["summary"]["deferred"], 3);
        std::fs::write(world.dir().join("latin1"), b"\xe4").unwrap();
        let said = [
            world.refused(&["criteria-plan", "demo"]),
            world.refused(&["criteria-plan", "demo", "--from-text", "x", "--from-stdin"]),
            world.refused(&["criteria-plan", "nope", "--from-text", "x"]),
            world.refused(&["criteria-plan", "demo", "--from-worker-response", "missing.md"]),
            world.refused(&["criteria-plan", "demo", "--from-worker-response", "latin1"]),
            world.refused(&["criteria-plan", "demo", "--from-text", "x", "--status", "accepted"]),
        ];
        insta::assert_snapshot!("plan_refusals", world.normal(&said.join("\n")));
    });
}
