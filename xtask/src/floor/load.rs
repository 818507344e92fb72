//! Reads a file of JSON lines into the table of events.

use std::fs::File;
use std::io::{BufRead as _, BufReader};

use serde_json::Value;

use crate::Outcome;

/// A transaction holds about so many bytes of the file.
const BATCH: usize = 4 * 1024 * 1024;

pub fn run(file: &str, rollout: &str, session: &str) -> Outcome {
    let connection = crate::open(file)?;
    connection.pragma_update(None, "cache_size", -16_384)?;
    let mut reader = BufReader::with_capacity(256 * 1024, File::open(rollout)?);
    let mut insert = connection.prepare(
        "insert into codex_events (session_id, timestamp, type, subtype, payload_json, byte_offset, ingested_at) \
         values (?1, ?2, ?3, ?4, ?5, ?6, ?2)",
    )?;
    let (mut line, mut offset, mut held) = (String::new(), 0, 0);
    loop {
        line.clear();
        let read = reader.read_line(&mut line)?;
        if held == 0 && read > 0 {
            connection.execute_batch("begin immediate")?;
        }
        if read > 0 {
            let value: Value = serde_json::from_str(&line)?;
            let payload = &value["payload"];
            insert.execute((
                session,
                value["timestamp"].as_str(),
                value["type"].as_str(),
                payload["type"].as_str(),
                payload.to_string(),
                offset,
            ))?;
            offset += i64::try_from(read)?;
            held += read;
        }
        if held > BATCH || (read == 0 && held > 0) {
            connection.execute_batch("commit")?;
            held = 0;
        }
        if read == 0 {
            return Ok(());
        }
    }
}
