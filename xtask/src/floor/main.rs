//! The yardsticks of the benchmark: the least code that does the same work on the same file, with
//! the same pragmas. Nothing here checks, records or recovers anything.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a developer's tool: it prints, and it reads the clock directly"
)]

mod load;
mod queue;

use std::process::ExitCode;
use std::time::Instant;

use rusqlite::{Connection, OpenFlags};

/// Whatever went wrong; the benchmark shows it and stops.
type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["open", file] => open_and_look(file),
        ["write", file] => open_and_write(file),
        ["commits", file, count] => commits(file, count),
        ["queue", file, limit] => queue::run(file, limit),
        ["load", file, rollout, session] => load::run(file, rollout, session),
        _ => Err("usage: floor open|write|commits|queue|load FILE …".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floor: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The file with our pragmas; durability stays at the default, FULL.
fn open(file: &str) -> Outcome<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    Ok(connection)
}

/// One query, served by an index.
fn open_and_look(file: &str) -> Outcome {
    let connection = open(file)?;
    let sql = "select id from tasks where name = ?1 order by created_at limit 1";
    let id: String = connection.query_row(sql, ["task-00001"], |row| row.get(0))?;
    println!("{id}");
    Ok(())
}

/// One insert, committed.
fn open_and_write(file: &str) -> Outcome {
    let connection = open(file)?;
    insert(&connection, &mut Random::new())?;
    Ok(())
}

/// Prints the median time of a commit with one insert, in seconds.
fn commits(file: &str, count: &str) -> Outcome {
    let connection = open(file)?;
    let mut random = Random::new();
    let mut times = Vec::new();
    for _ in 0..count.parse::<usize>()? {
        let start = Instant::now();
        insert(&connection, &mut random)?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).ok_or("no commits were asked for")?;
    println!("{}", median.as_secs_f64());
    Ok(())
}

/// A command that no dispatcher takes.
fn insert(connection: &Connection, random: &mut Random) -> Outcome {
    connection.prepare_cached("begin immediate")?.execute([])?;
    let id = random.id("command");
    connection
        .prepare_cached(
            "insert into commands (id, idempotency_key, created_at, updated_at, task_id, correlation_id, \
             type, state, payload_json) values (?1, ?1, ?2, ?2, 'id-task-00001', ?3, 'benchmark', 'pending', ?4)",
        )?
        .execute((&id, "2026-06-01T12:00:00.000Z", random.id("dispatch"), r#"{"message":"Please go on."}"#))?;
    connection.prepare_cached("commit")?.execute([])?;
    Ok(())
}

/// Random enough for ids: what matters is where they fall in an index.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let seed =
            (now.as_secs() << 30) ^ u64::from(now.subsec_nanos()) ^ (u64::from(std::process::id()) << 40);
        Self(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// An id of the same length and shape as the product's.
    fn id(&mut self, prefix: &str) -> String {
        let (high, low) = (self.next(), self.next());
        format!(
            "{prefix}-{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            high >> 32,
            high & 0xffff,
            (high >> 16) & 0xfff,
            low >> 52,
            low & 0xffff_ffff_ffff
        )
    }
}
