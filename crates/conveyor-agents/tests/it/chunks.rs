//! How the bytes arrive never changes what is read.

use std::io::{Cursor, Write};
use std::path::Path;

use conveyor_agents::rollout::{self, Reader, Skip};

use crate::{Numbers, drain, read_bytes, real_rollouts};

/// Lines of every kind, in a random order, perhaps with an unfinished one at the end.
fn random_rollout(numbers: &mut Numbers) -> Vec<u8> {
    let real = std::fs::read(&real_rollouts()[4]).expect("bytes");
    let real: Vec<&[u8]> = real.split_inclusive(|byte| *byte == b'\n').collect();
    let odd: [&[u8]; 6] = [b"\n", b"\r\n", b"{}\n", b"\xff\n", b"{\"type\":\"t\"}\r\n", b"{\"type\":\n"];
    let mut bytes = Vec::new();
    for _ in 0..numbers.below(12) {
        let kind = if numbers.below(2) == 0 { &odd[..] } else { &real[..] };
        bytes.extend_from_slice(kind[numbers.below(kind.len())]);
    }
    if numbers.below(2) == 0 {
        bytes.extend_from_slice(b"{\"type\":\"unfinished\"}");
    }
    bytes
}

#[test]
fn chunk_boundaries_change_nothing() {
    let mut numbers = Numbers(0xc0ffee);
    for _ in 0..200 {
        let bytes = random_rollout(&mut numbers);
        let whole = read_bytes(&bytes);
        let chunk = 1 + numbers.below(300);
        let reader = Reader::new(Cursor::new(&bytes), Path::new("memory"), 0).expect("a reader");
        assert_eq!(drain(&mut reader.with_chunk(chunk)), whole, "chunks of {chunk}");
    }
}

#[test]
fn stopping_after_any_line_loses_and_repeats_nothing() {
    let mut numbers = Numbers(0xbeef);
    for _ in 0..100 {
        let bytes = random_rollout(&mut numbers);
        let (whole, end) = read_bytes(&bytes);
        for stop in &whole {
            let mut reader =
                Reader::new(Cursor::new(&bytes), Path::new("memory"), stop.end).expect("a reader");
            let (rest, position) = drain(&mut reader);
            assert_eq!(position, end);
            assert!(rest.iter().eq(whole.iter().filter(|line| line.offset >= stop.end)));
        }
    }
}

#[test]
fn a_reader_goes_on_when_the_file_grows() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("rollout.jsonl");
    let mut writer = std::fs::File::create(&path).expect("created");
    writer.write_all(b"{\"type\":\"a\"}\n{\"type\"").expect("written");
    let file = rollout::open(&path).expect("open");
    let mut reader = file.reader(0).expect("a reader");
    let (seen, position) = drain(&mut reader);
    assert_eq!((seen.len(), position), (1, 13));
    assert_eq!(drain(&mut reader), (vec![], 13));
    writer.write_all(b":\"b\"}\n").expect("written");
    let (seen, position) = drain(&mut reader);
    assert_eq!((seen[0].offset, seen[0].event().event_type.as_str(), position), (13, "b", 26));
}

#[test]
fn the_longest_line_is_read_and_a_longer_one_is_not() {
    let frame = br#"{"type":"t","payload":{"z":"","a":1}}"#.len();
    let line = |length: usize| {
        let text = "x".repeat(length - frame);
        format!("{{\"type\":\"t\",\"payload\":{{\"z\":\"{text}\",\"a\":1}}}}\n")
    };
    let bytes = line(rollout::MAX_LINE) + &line(rollout::MAX_LINE + 1) + &line(100);
    let (seen, position) = read_bytes(bytes.as_bytes());
    assert_eq!(position, bytes.len() as u64);
    assert!(seen[0].event().payload_json.starts_with("{\"a\":1,\"z\":\"xxx"));
    assert_eq!(seen[0].event().payload_json.len(), rollout::MAX_LINE - r#"{"type":"t","payload":}"#.len());
    assert_eq!(seen[1].content, Err(Skip::TooLong));
    assert_eq!(seen[1].end - seen[1].offset, rollout::MAX_LINE as u64 + 2);
    assert_eq!(seen[2].event().event_type, "t");
}
