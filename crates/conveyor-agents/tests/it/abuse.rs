//! Files that no one should have: each has a defined outcome, none a panic or a wait.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::Path;

use conveyor_agents::rollout::{self, RolloutError, Skip};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::{drain, read, read_bytes, real_rollouts};

#[test]
fn what_is_no_regular_file_is_refused_without_opening_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let fifo = directory.path().join("fifo.jsonl");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
    let socket = directory.path().join("socket.jsonl");
    let _listener = UnixListener::bind(&socket).expect("a socket");
    let link = directory.path().join("link.jsonl");
    std::os::unix::fs::symlink(&fifo, &link).expect("a link");
    let cases = [
        (directory.path(), "directory"),
        (&fifo, "FIFO"),
        (&link, "FIFO"),
        (&socket, "socket"),
        (Path::new("/dev/null"), "device"),
    ];
    for (path, expected) in cases {
        assert_eq!(rollout::probe(path), None);
        match rollout::open(path) {
            Err(RolloutError::NotRegular { kind, .. }) => assert_eq!(kind, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn missing_and_unreadable_are_told_apart() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("missing.jsonl");
    assert!(matches!(rollout::open(&missing), Err(RolloutError::Missing { .. })));
    assert_eq!(rollout::probe(&missing), None);
    // Refused for everyone, root included.
    let below_a_file = real_rollouts()[0].join("rollout.jsonl");
    let nul = Path::new("a\0b");
    let circle = directory.path().join("circle.jsonl");
    std::os::unix::fs::symlink(&circle, &circle).expect("a link");
    for path in [&below_a_file, nul, &circle] {
        assert!(matches!(rollout::open(path), Err(RolloutError::Unreadable { .. })), "{path:?}");
        assert_eq!(rollout::probe(path), None);
    }
    let message = rollout::open(&below_a_file).expect_err("refused").to_string();
    assert!(message.contains("Not a directory"), "{message}");
    // Permissions do not bind root.
    if !rustix::process::geteuid().is_root() {
        let secret = directory.path().join("secret.jsonl");
        fs::write(&secret, "{}\n").expect("written");
        fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o000)).expect("mode");
        let message = rollout::open(&secret).expect_err("refused").to_string();
        assert!(message.contains("Permission denied"), "{message}");
    }
}

/// An object that is nested so many levels deep.
fn nested(levels: usize) -> String {
    format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1))
}

#[test]
fn the_deepest_payload_can_be_read_back() {
    let payload = nested(127);
    let event = crate::read_one(&format!("{{\"type\":\"t\",\"payload\":{payload}}}"));
    assert_eq!(event.payload_json, payload);
    assert!(serde_json::from_str::<serde_json::Value>(&payload).is_ok());
    assert!(serde_json::from_str::<serde_json::Value>(&nested(128)).is_err());
    // Where nothing is stored, depth does no harm.
    let line = format!("{{\"type\":\"t\",\"payload\":[{0}],\"other\":{0}}}", nested(100_000));
    assert_eq!(crate::read_one(&line).payload_json, "{}");
}

#[test]
fn lines_that_are_no_records_are_skipped_for_the_right_reason() {
    let deep = format!("{{\"type\":\"t\",\"payload\":{}}}", nested(128));
    let cases: [(&[u8], Skip); 16] = [
        (b"", Skip::NotJson),
        (b" \t\r", Skip::NotJson),
        (b"{\"type\":\"t\"", Skip::NotJson),
        (b"{\"type\":\"t\"} x", Skip::NotJson),
        (b"{\"type\":\"t\",}", Skip::NotJson),
        (b"{\"type\":\"a\0b\"}", Skip::NotJson),
        (b"\0\0\0\0", Skip::NotJson),
        (b"{\"type\":\"t\",\"payload\":{\"a\":1e999}}", Skip::NotJson),
        (b"{\"type\":\"t\",\"payload\":{\"a\":\"\\u12g4\"}}", Skip::NotJson),
        (deep.as_bytes(), Skip::NotJson),
        (b"{\"type\":\"a\xff\"}", Skip::NotUtf8),
        (b"{\"type\":\"t\",\"other\":\"\xc3\"}", Skip::NotUtf8),
        (b"{}", Skip::NotRecord),
        (b"{\"type\":null}", Skip::NotRecord),
        (b" [{\"type\":\"t\"}]", Skip::NotRecord),
        (b"\"type\"", Skip::NotRecord),
    ];
    for (line, expected) in cases {
        let bytes = [line, b"\n{\"type\":\"next\"}\n"].concat();
        let (seen, position) = read_bytes(&bytes);
        assert_eq!(seen[0].content, Err(expected), "{}", String::from_utf8_lossy(line));
        assert_eq!((seen[0].offset, seen[0].end), (0, line.len() as u64 + 1));
        assert_eq!(seen[1].event().event_type, "next");
        assert_eq!((seen[1].event().payload_json.as_str(), position), ("{}", bytes.len() as u64));
    }
}

#[test]
fn any_damaged_byte_is_survived() {
    let bytes = fs::read(&real_rollouts()[2]).expect("bytes");
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
    let mut numbers = crate::Numbers(0xdead);
    for _ in 0..500 {
        let mut damaged = bytes.clone();
        let at = numbers.below(damaged.len());
        damaged[at] = u8::try_from(numbers.below(256)).expect("a byte");
        let (seen, position) = read_bytes(&damaged);
        assert!(seen.len().abs_diff(lines) <= 1);
        assert!(position <= damaged.len() as u64);
    }
}

#[test]
fn a_rollout_cut_anywhere_gives_the_lines_before_the_cut() {
    let bytes = fs::read(&real_rollouts()[2]).expect("bytes");
    let (whole, _) = read_bytes(&bytes);
    for cut in 0..=bytes.len() {
        let (seen, position) = read_bytes(&bytes[..cut]);
        let complete = whole.iter().filter(|line| line.end <= cut as u64).count();
        assert_eq!(seen, whole[..complete]);
        assert_eq!(position, whole[..complete].last().map_or(0, |line| line.end));
    }
}

#[test]
fn a_line_of_64_mib_is_passed_over() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("rollout.jsonl");
    let mut file = fs::File::create(&path).expect("created");
    file.write_all(b"{\"type\":\"before\"}\n{\"type\":\"huge\",\"payload\":{\"a\":\"").expect("written");
    let mebibyte = vec![b'x'; 1 << 20];
    (0..64).for_each(|_| file.write_all(&mebibyte).expect("written"));
    // As long as it is not ended, it may still become anything; nothing after it is read.
    assert_eq!(read(&path).1, 18);
    let opened = rollout::open(&path).expect("open");
    let mut growing = opened.reader(18).expect("a reader");
    assert_eq!(drain(&mut growing), (vec![], 18));
    file.write_all(b"\"}}\n{\"type\":\"after\"}\n").expect("written");

    let (seen, position) = read(&path);
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[1].content, Err(Skip::TooLong));
    assert!(seen[1].end - seen[1].offset > 64 << 20);
    assert_eq!(seen[2].event().event_type, "after");
    assert_eq!(position, fs::metadata(&path).expect("metadata").len());
    assert_eq!(drain(&mut growing), (seen[1..].to_vec(), position));
    // A first line like this identifies nothing.
    file.set_len(0).expect("emptied");
    fs::write(&path, [&mebibyte[..]; 9].concat()).expect("written");
    assert_eq!(rollout::open(&path).expect("open").identity().expect("an identity").digest, None);
}

#[test]
fn a_file_that_shrinks_vanishes_or_is_replaced_ends_the_reading() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("rollout.jsonl");
    fs::copy(&real_rollouts()[0], &path).expect("a copy");
    let before = rollout::probe(&path).expect("a file");
    let file = rollout::open(&path).expect("open");
    assert_eq!(file.probe(), before);
    assert_eq!((file.size(), file.path()), (before.size, path.as_path()));

    // Deleted while read: the open file stays whole.
    let mut reader = file.reader(0).expect("a reader").with_chunk(100);
    reader.next_line().expect("readable").expect("a line");
    fs::remove_file(&path).expect("removed");
    assert_eq!(rollout::probe(&path), None);
    assert_eq!(drain(&mut reader).1, before.size);

    // Replaced by a shorter one: the probe shows it, and an offset beyond the end reads nothing.
    fs::write(&path, "{\"type\":\"t\"}\n").expect("written");
    let after = rollout::probe(&path).expect("a file");
    assert_ne!(after, before);
    assert!(after.size < before.size);
    let file = rollout::open(&path).expect("open");
    assert_eq!(drain(&mut file.reader(before.size).expect("a reader")), (vec![], before.size));

    // Cut short while read: what was not read yet is gone, nothing else.
    let mut reader = file.reader(0).expect("a reader").with_chunk(4);
    fs::File::options().write(true).open(&path).expect("open").set_len(0).expect("emptied");
    assert_eq!(drain(&mut reader), (vec![], 0));
}

#[test]
fn an_unfinished_first_line_has_no_digest_yet() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("rollout.jsonl");
    for contents in ["", "{\"type\":\"session_meta\""] {
        fs::write(&path, contents).expect("written");
        let identity = rollout::open(&path).expect("open").identity().expect("an identity");
        assert_eq!(identity.digest, None);
    }
    fs::write(&path, "\n").expect("written");
    assert!(rollout::open(&path).expect("open").identity().expect("an identity").digest.is_some());
}
