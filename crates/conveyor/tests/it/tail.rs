//! `tail`.

use crate::harness::on_both_engines;
use crate::rollouts::{append, message, meta, recorded, register, session_with};

#[test]
fn newest_first_without_texts() {
    on_both_engines(|world| {
        let agent =
            r#"{"type":"event_msg","payload":{"type":"task_complete","last_agent_message":"a\nb","n":1}}"#;
        session_with(world, &[meta("s"), message("hello\\nthere"), agent.to_owned() + "\n"]);
        world.json(&["ingest", "w"]);
        insta::assert_snapshot!("tail", world.run(&["tail", "w"]).stdout);
        insta::assert_snapshot!(
            "tail_one",
            world.run(&["tail", "w", "--limit", "1", "--include-content"]).stdout
        );
        let subtype = ["tail", "w", "--subtype", "user_message", "--limit", "2", "--json"];
        assert_eq!(world.json(&subtype).as_array().unwrap().len(), 1);
        for nothing in [&["tail", "w", "--limit", "0"][..], &["tail", "w", "--subtype", "user"]] {
            assert_eq!(world.run(nothing).stdout, "[]\n");
        }
        let record = "select attributes_json from telemetry_events where event_type = 'codex_events_tail_read' \
                      order by rowid desc limit 1";
        assert_eq!(world.scalar(record), r#"{"limit":50,"returned_count":0,"subtype":"user"}"#);
    });
}

#[test]
fn only_the_newest_are_shown() {
    on_both_engines(|world| {
        let path = session_with(world, &[meta("s")]);
        for number in 0..60 {
            append(&path, message(&number.to_string()));
        }
        world.json(&["ingest", "w"]);
        let shown = world.json(&["tail", "w", "--include-content"]);
        let shown = shown.as_array().unwrap();
        assert_eq!(shown.len(), 50, "the default limit");
        assert_eq!(
            (&shown[0]["payload"]["message"], &shown[49]["payload"]["message"]),
            (&"59".into(), &"10".into())
        );
    });
}

#[test]
fn no_text_of_a_recorded_rollout_comes_through() {
    on_both_engines(|world| {
        for (number, path) in recorded().iter().enumerate() {
            let name = format!("w{number}");
            register(world, &name, Some(path));
            world.json(&["ingest", &name]);
            let shown = world.run(&["tail", &name, "--limit", "1000"]).stdout;
            for text in
                ["please do the thing", "total 12", "echo one", "ls -la", "files listed", "now the server"]
            {
                assert!(!shown.contains(text), "{text:?} of {}", path.display());
            }
        }
    });
}

#[test]
fn refusals() {
    on_both_engines(|world| {
        register(world, "w", None);
        insta::assert_snapshot!("tail_unknown", world.refused(&["tail", "nobody"]));
        insta::assert_snapshot!("tail_limit", world.refused(&["tail", "w", "--limit", "-1"]));
        insta::assert_snapshot!("tail_surplus", world.refused(&["tail", "w", "x"]));
    });
}
