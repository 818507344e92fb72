//! `enqueue-nudge-worker`, `enqueue-notify-manager`, `commands`.

use crate::harness::on_both_engines;

#[test]
fn enqueue_and_list() {
    on_both_engines(|world| {
        world.json(&["tasks", "--create", "demo", "--goal", "g"]);
        let nudge = ["enqueue-nudge-worker", "demo", "--message", "Run the tests"];
        insta::assert_snapshot!("enqueue_text", world.run(&nudge).stdout);
        let all = [
            "enqueue-notify-manager",
            "demo",
            "--message",
            "-5 failures left",
            "--required-permission",
            " allow_pr ",
            "--idempotency-key",
            "k1",
            "--correlation-id",
            "c1",
            "--json",
        ];
        insta::assert_snapshot!("enqueue_json", world.run(&all).stdout);
        insta::assert_snapshot!("commands_text", world.run(&["commands"]).stdout);
        insta::assert_snapshot!("commands_attempts_text", world.run(&["commands", "--attempts"]).stdout);
        insta::assert_snapshot!("commands_json", world.run(&["commands", "--attempts", "--json"]).stdout);
        insta::assert_snapshot!("enqueue_telemetry", world.telemetry());
    });
}

#[test]
fn filters_combine_and_an_empty_answer_is_no_error() {
    on_both_engines(|world| {
        world.json(&["tasks", "--create", "a", "--goal", "g"]);
        world.json(&["tasks", "--create", "b", "--goal", "g"]);
        for (command, task) in
            [("enqueue-nudge-worker", "a"), ("enqueue-notify-manager", "a"), ("enqueue-nudge-worker", "b")]
        {
            world.json(&[command, task, "--message", "m", "--json"]);
        }
        let count = |filter: &[&str]| {
            let mut arguments = vec!["commands", "--json"];
            arguments.extend(filter);
            world.json(&arguments).as_array().unwrap().len()
        };
        assert_eq!(count(&[]), 3);
        assert_eq!(count(&["--task", "a"]), 2);
        assert_eq!(count(&["--task", "a", "--type", "nudge_worker"]), 1);
        assert_eq!(count(&["--state", "pending", "--limit", "1"]), 3, "the limit does not restrict");
        assert_eq!(count(&["--state", "succeeded"]), 0);
        assert_eq!(count(&["--task", "nobody"]), 0);
        assert_eq!(count(&["--worker", "w"]), 0);
        assert_eq!(world.run(&["commands", "--task", "nobody"]).stdout, "");
    });
}

#[test]
fn refusals() {
    on_both_engines(|world| {
        world.json(&["tasks", "--create", "demo", "--goal", "g"]);
        world.json(&["enqueue-nudge-worker", "demo", "--message", "m", "--idempotency-key", "k", "--json"]);
        let nudge = |more: &[&str]| {
            let mut arguments = vec!["enqueue-nudge-worker"];
            arguments.extend(more);
            world.refused(&arguments)
        };
        insta::assert_snapshot!("enqueue_no_task", nudge(&["--message", "m"]));
        insta::assert_snapshot!("enqueue_no_message", nudge(&["demo"]));
        insta::assert_snapshot!("enqueue_blank", nudge(&["demo", "--message", "  "]));
        insta::assert_snapshot!("enqueue_unknown_task", nudge(&["nobody", "--message", "m"]));
        insta::assert_snapshot!(
            "enqueue_key_taken",
            nudge(&["demo", "--message", "m", "--idempotency-key", "k"])
        );
        insta::assert_snapshot!(
            "enqueue_permission",
            nudge(&["demo", "--message", "m", "--required-permission", "fly"])
        );
        insta::assert_snapshot!("enqueue_dry_run", nudge(&["demo", "--message", "m", "--dry-run"]));
        insta::assert_snapshot!("enqueue_loop_run", nudge(&["demo", "--message", "m", "--loop-run", "r"]));
        insta::assert_snapshot!("commands_state", world.refused(&["commands", "--state", "lost"]));
        insta::assert_snapshot!("commands_limit", world.refused(&["commands", "--limit", "-1"]));
        insta::assert_snapshot!("commands_positional", world.refused(&["commands", "demo"]));
    });
}

#[test]
fn a_refused_line_creates_no_ledger() {
    crate::harness::on_sqlite(|world| {
        world.refused(&["enqueue-nudge-worker", "demo", "--message", " "]);
        assert!(!world.file().exists());
    });
}
