//! The first record, and each way in which it can be wrong.

use std::path::Path;

use conveyor_agents::rollout::{MAX_LINE, session_meta};

use crate::real_rollouts;

#[test]
fn real_rollouts_name_their_session() {
    let path = &real_rollouts()[0];
    let meta = session_meta(path).expect("a session");
    assert_eq!(meta.id, "01a20909-70cd-7d52-8815-bf0405ec057c");
    assert_eq!(meta.cwd.as_deref(), Some("/home/dev/project"));
    assert_eq!(meta.timestamp.as_deref(), Some("2026-11-23T15:32:23.411Z"));
    assert_eq!(meta.originator.as_deref(), Some("codex_exec"));
    assert_eq!(meta.cli_version.as_deref(), Some("0.169.0"));
    for path in real_rollouts() {
        let meta = session_meta(&path).expect("a session");
        assert!(path.to_string_lossy().contains(&meta.id));
    }
}

#[test]
fn only_the_id_is_mandatory() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("rollout.jsonl");
    // Without newline: Codex may be about to write it.
    std::fs::write(&path, r#"{"type":"session_meta","payload":{"id":"s","cwd":7}}"#).expect("written");
    let meta = session_meta(&path).expect("a session");
    assert_eq!((meta.id.as_str(), meta.cwd, meta.timestamp), ("s", None, None));
}

#[test]
fn every_failure_says_what_is_wrong_with_which_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("rollout.jsonl");
    let message = |path: &Path| {
        let message = session_meta(path).expect_err("a failure").to_string();
        assert!(message.contains(path.to_str().expect("text")), "{message}");
        assert!(!message.contains('\n'), "{message}");
        message
    };
    assert!(message(&path).ends_with("does not exist"));
    assert!(message(directory.path()).ends_with("is not a regular file but a directory"));
    let long = " ".repeat(MAX_LINE + 1) + "{}\n";
    let cases: [(&[u8], &str); 12] = [
        (b"", "is empty"),
        (b"\n{}\n", "has an empty first line"),
        (b" \r\n{}\n", "has an empty first line"),
        (b"{\"type\":\"session_meta\"", "is not JSON: "),
        (b"{\"type\":\"session_meta\",\"x\":\"\xff\"}\n", "is not JSON: "),
        (b"[1]\n", "is not session_meta but a value that is no object"),
        (b"{\"type\":7}\n", "is not session_meta but a record without type"),
        (b"{\"type\":\"event_msg\"}\n", "is not session_meta but \"event_msg\""),
        (b"{\"type\":\"session_meta\",\"payload\":[]}\n", "payload of "),
        (b"{\"type\":\"session_meta\",\"payload\":{}}\n", "has no usable id: it is missing"),
        (b"{\"type\":\"session_meta\",\"payload\":{\"id\":7}}\n", "has no usable id: it is not a string"),
        (long.as_bytes(), "is longer than 8 MiB"),
    ];
    for (contents, expected) in cases {
        std::fs::write(&path, contents).expect("written");
        let message = message(&path);
        assert!(message.contains(expected), "{message}");
    }
}
