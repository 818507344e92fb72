//! Bringing the write-ahead log back into the file beside the connection that fills it.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::db::{Connection, Db};

/// When so many bytes have been stored since the log was last brought back as a whole, the writer
/// waits for that: only then does the log begin again at its front, and does not grow for ever.
const MOST_IN_LOG: u64 = 64 * 1024 * 1024;

/// After so long the writer pauses. Between its transactions there is next to no time otherwise, and
/// whoever waits as SQLite does by itself looks every tenth of a second only, some for five seconds.
const TURN: Duration = Duration::from_secs(2);

/// How long it pauses: longer than others sleep between two looks.
const PAUSE: Duration = Duration::from_millis(110);

/// Somebody who waits for the end of a round; nobody in particular.
type Asked = Option<SyncSender<()>>;

/// A thread that brings the write-ahead log back while [`Db::write_bulk`] fills it. It has a
/// connection of its own; other processes notice no more of it than of any checkpoint. Nothing
/// on a server.
///
/// Dropping it waits until the thread is done.
pub struct WriteBack {
    running: Option<Running>,
    /// Bytes stored since the log was last brought back as a whole.
    stored: u64,
    /// When the writer last paused.
    paused: Instant,
}

struct Running {
    asks: SyncSender<Asked>,
    thread: JoinHandle<()>,
}

impl WriteBack {
    /// Starts the thread for this ledger. Where that cannot be, each commit looks after the log
    /// itself as usual.
    #[must_use]
    pub fn beside(db: &Db) -> Self {
        let running = match &db.connection {
            Connection::Sqlite(connection) => Running::start(connection.path().to_owned()),
            Connection::Postgres(_) => None,
        };
        Self { running, stored: 0, paused: Instant::now() }
    }

    /// Whether the log is looked after here.
    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// So many bytes were committed.
    pub(crate) fn committed(&mut self, bytes: u64) {
        let Some(running) = &self.running else { return };
        self.stored += bytes;
        let alive = if self.stored > MOST_IN_LOG {
            self.stored = 0;
            let (done, wait) = sync_channel(1);
            running.asks.send(Some(done)).is_ok() && wait.recv().is_ok()
        } else {
            // While a round is running there is no need to ask for more than the next one.
            !matches!(running.asks.try_send(None), Err(TrySendError::Disconnected(_)))
        };
        if !alive {
            self.finish();
        }
        if self.paused.elapsed() >= TURN {
            std::thread::sleep(PAUSE);
            self.paused = Instant::now();
        }
    }

    fn finish(&mut self) {
        if let Some(Running { asks, thread }) = self.running.take() {
            drop(asks);
            // It failed, or it is done: the log is in order in either case, only longer.
            let _ = thread.join();
        }
    }
}

impl Drop for WriteBack {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Running {
    fn start(path: PathBuf) -> Option<Self> {
        let (asks, asked) = sync_channel(1);
        let work = move || {
            // Whoever asks sees the end of the channel.
            let _ = bring_back(&path, &asked);
        };
        let thread = std::thread::Builder::new().name("write-back".into()).spawn(work).ok()?;
        Some(Self { asks, thread })
    }
}

/// A round for each asking; a last one when nobody asks any more.
fn bring_back(path: &Path, asked: &Receiver<Asked>) -> rusqlite::Result<()> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = rusqlite::Connection::open_with_flags(path, flags)?;
    // Who reads or writes just now is not waited for.
    connection.busy_timeout(Duration::ZERO)?;
    let round = |how: &str| connection.query_row(&format!("pragma wal_checkpoint({how})"), [], |_| Ok(()));
    for waiting in asked {
        round("passive")?;
        if let Some(done) = waiting {
            // The writer may be gone.
            let _ = done.send(());
        }
    }
    // Otherwise the log would stay as long as it has become for as long as others have the file open.
    round("truncate")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use conveyor_testkit::{ManualClock, SequentialIds};

    use super::*;
    use crate::{Access, Durability, Location, OpenOptions, StoreError, Tx, params};

    fn open(path: &Path) -> Db {
        let options = OpenOptions {
            clock: Arc::new(ManualClock::at("2026-01-01T12:00:00Z")),
            ids: Arc::new(SequentialIds::new()),
            server_password: None,
            machine: conveyor_model::Machine::default(),
            password_file: None,
        };
        Db::open(&Location::File(path.to_owned()), Access::Write, options).unwrap()
    }

    /// What a transaction of bulk work changes about its connection.
    fn switches(db: &mut Db) -> Vec<i64> {
        ["foreign_keys", "ignore_check_constraints", "wal_autocheckpoint", "synchronous"]
            .map(|name| db.read(|tx| tx.one(&format!("pragma {name}"), &[], |row| row.int(0))).unwrap())
            .to_vec()
    }

    fn add_event(tx: &mut Tx<'_>, payload: &str) -> Result<(), StoreError> {
        tx.execute(
            "insert into codex_events (session_id, timestamp, type, payload_json, byte_offset, ingested_at) \
             values ('nobody', 't', 't', $1, 0, 't')",
            params![payload],
        )
        .map(drop)
    }

    #[test]
    fn a_connection_is_as_before_after_bulk_work_however_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let mut db = open(&dir.path().join("ledger.db"));
        let before = switches(&mut db);
        assert_eq!(before, [1, 0, 1000, 2]);
        let mut log = WriteBack::beside(&db);
        for durability in [Durability::Later, Durability::Full] {
            let inside = db.write_bulk(&mut log, durability, 1, |tx| {
                tx.one("pragma synchronous", &[], |row| row.int(0))
            });
            assert_eq!(inside.unwrap(), if durability == Durability::Full { 2 } else { 1 });
            assert_eq!(switches(&mut db), before);
            let failed = db.write_bulk(&mut log, durability, 1, |tx| {
                add_event(tx, "{}")?;
                tx.execute("this is no statement", &[])
            });
            assert!(failed.is_err());
            assert_eq!(switches(&mut db), before, "after a failure");
        }
        // While another process has the ledger for itself, not even the beginning succeeds.
        let other = rusqlite::Connection::open(dir.path().join("ledger.db")).unwrap();
        other.execute_batch("begin immediate").unwrap();
        let busy = db.write_bulk(&mut log, Durability::Later, 1, |tx| add_event(tx, "{}"));
        assert!(matches!(busy, Err(StoreError::Busy { .. })), "{busy:?}");
        assert_eq!(switches(&mut db), before, "after a conflict");
        other.execute_batch("rollback").unwrap();
        // What was not looked at inside is looked at again, in statements that were prepared inside.
        db.write_bulk(&mut log, Durability::Full, 1, |tx| add_event(tx, "no JSON")).unwrap();
        for payload in ["{}", "no JSON"] {
            assert!(db.write(|tx| add_event(tx, payload)).is_err(), "{payload}");
        }
        let stored = db.read(|tx| tx.one("select count(*) from codex_events", &[], |row| row.int(0)));
        assert_eq!(stored.unwrap(), 1, "of the failed units nothing stays");
    }

    #[test]
    fn others_who_look_seldom_get_their_turn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        let mut db = open(&path);
        let ended = AtomicBool::new(false);
        let longest = std::thread::scope(|scope| {
            let look = scope.spawn(|| {
                let other = rusqlite::Connection::open(&path).unwrap();
                other.busy_timeout(Duration::ZERO).unwrap();
                let (mut longest, mut free_since) = (Duration::ZERO, None);
                while !ended.load(Ordering::SeqCst) {
                    // Taken and given back at once: whether a writer would have got its turn.
                    if other.execute_batch("begin immediate").is_ok() {
                        other.execute_batch("rollback").unwrap();
                        longest = longest.max(free_since.get_or_insert_with(Instant::now).elapsed());
                    } else {
                        free_since = None;
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                longest
            });
            let mut log = WriteBack::beside(&db);
            let begun = Instant::now();
            while begun.elapsed() < TURN + Duration::from_secs(1) {
                db.write_bulk(&mut log, Durability::Later, 1, |tx| {
                    add_event(tx, "{}")?;
                    std::thread::sleep(Duration::from_millis(20));
                    Ok::<(), StoreError>(())
                })
                .unwrap();
            }
            ended.store(true, Ordering::SeqCst);
            look.join().unwrap()
        });
        assert!(longest >= PAUSE / 2, "{longest:?}");
    }

    #[test]
    fn the_log_is_brought_back_and_ends_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        let mut db = open(&path);
        let payload = format!("\"{}\"", "x".repeat(1024 * 1024));
        let mut log = WriteBack::beside(&db);
        assert!(log.is_running());
        let wal = dir.path().join("ledger.db-wal");
        let rounds = 3 * MOST_IN_LOG / (8 * 1024 * 1024);
        for _ in 0..rounds {
            db.write_bulk(&mut log, Durability::Later, 8 * 1024 * 1024, |tx| {
                (0..8).try_for_each(|_| add_event(tx, &payload))
            })
            .unwrap();
        }
        let longest = wal.metadata().unwrap().len();
        assert!(longest < 2 * MOST_IN_LOG, "{longest}");
        drop(log);
        assert_eq!(wal.metadata().unwrap().len(), 0);
        assert!(path.metadata().unwrap().len() > rounds * 8 * 1024 * 1024);
    }
}
