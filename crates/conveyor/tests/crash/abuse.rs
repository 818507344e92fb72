//! Files that are no ledger, damaged ledgers, and places that cannot be written: refused in one
//! line and left as they are, or used without loss.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::process::{self, PROGRAM, Process, Ran};
use crate::world::{Direction, World};

/// A reading, a writing and a watching command.
const COMMANDS: [&[&str]; 3] = [
    &["tasks"],
    &["tasks", "--create", "t", "--goal", "g"],
    &["dispatch", "--watch", "--watch-iterations", "1"],
];

fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("conveyor-crash-").tempdir().unwrap()
}

fn run_on(ledger: &Path, arguments: &[&str]) -> Ran {
    run_through(&[], ledger, arguments)
}

/// Runs the program on a file, started by another program where one is given.
fn run_through(through: &[&str], ledger: &Path, arguments: &[&str]) -> Ran {
    let directory = ledger.parent().unwrap();
    let mut command = match through {
        [] => process::command(Path::new(PROGRAM), directory),
        [wrapper, rest @ ..] => {
            let mut command = process::command(Path::new(wrapper), directory);
            command.args(rest).arg(PROGRAM);
            command
        }
    };
    command.args(arguments).arg("--path").arg(ledger);
    Process::start(command, arguments[0], arguments.join(" ")).finish()
}

/// Everything in a directory, file by file; but not the empty log and the shared memory beside a
/// database in write-ahead mode, without which SQLite cannot even look into it.
fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<(PathBuf, Vec<u8>)> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(&path).unwrap_or_default()))
        .filter(|(path, bytes)| {
            let beside = |ending: &str| path.to_str().unwrap().ends_with(ending);
            !(beside("-shm") || (beside("-wal") && bytes.is_empty()))
        })
        .collect();
    files.sort();
    files
}

/// Every command refuses the file with such a line, and nothing changes.
#[track_caller]
fn refused_unchanged(ledger: &Path, said: &str) {
    let directory = ledger.parent().unwrap();
    let before = contents(directory);
    for arguments in COMMANDS {
        let line = run_on(ledger, arguments).refusal();
        assert!(line.contains(said), "{line:?} does not contain {said:?}");
        assert!(line.contains(ledger.to_str().unwrap()), "{line:?} does not name the file");
        assert!(contents(directory) == before, "{arguments:?} changed something: {line}");
    }
}

#[test]
fn an_empty_file_becomes_a_ledger_with_its_mode() {
    let dir = directory();
    let file = dir.path().join("ledger.db");
    std::fs::write(&file, "").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    run_on(&file, COMMANDS[1]).expect_ok();
    assert!(run_on(&file, &["tasks", "--json"]).stdout.contains("\"t\""));
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let dir = directory();
    let file = dir.path().join("ledger.db");
    for content in
        ["no database, but long enough to have a header of a hundred bytes".repeat(40), "no\n".into()]
    {
        std::fs::write(&file, content).unwrap();
        refused_unchanged(&file, "not a database");
    }
}

#[test]
fn a_database_of_another_program_is_refused() {
    for mode in ["delete", "wal"] {
        let dir = directory();
        let file = dir.path().join("ledger.db");
        let raw = rusqlite::Connection::open(&file).unwrap();
        raw.execute_batch(&format!("pragma journal_mode = {mode}; create table songs (title text)")).unwrap();
        drop(raw);
        refused_unchanged(&file, "not a Conveyor database");
    }
}

#[test]
fn a_ledger_of_a_newer_version_is_refused() {
    let dir = directory();
    let file = dir.path().join("ledger.db");
    run_on(&file, &["tasks"]).expect_ok();
    rusqlite::Connection::open(&file).unwrap().execute_batch("pragma user_version = 99").unwrap();
    refused_unchanged(&file, "schema version 99");
}

#[test]
fn a_directory_is_refused() {
    let dir = directory();
    let place = dir.path().join("ledger.db");
    std::fs::create_dir(&place).unwrap();
    refused_unchanged(&place, "not a regular file");
}

#[test]
fn a_ledger_that_lost_its_end_is_not_made_worse() {
    let world = World::sqlite();
    let (dir, whole) = worked_on(&world);
    let file = dir.path().join("ledger.db");
    // Half of the last page, the last page, half of the file.
    for lost in [2048, 4096, whole.len() / 2] {
        let mut refusals = 0;
        for arguments in [&["tasks"][..], &["commands"], &["db-doctor"], COMMANDS[1], COMMANDS[2]] {
            let _ = std::fs::remove_file(dir.path().join("ledger.db-wal"));
            std::fs::write(&file, &whole[..whole.len() - lost]).unwrap();
            let before = std::fs::read(&file).unwrap();
            let ran = run_on(&file, arguments);
            // What lies before the tear may go on working.
            if ran.status.code() == Some(2) {
                let line = ran.refusal();
                assert!(line.contains("malformed"), "{line}");
                assert!(std::fs::read(&file).unwrap() == before, "{arguments:?} changed something: {line}");
                refusals += 1;
            } else {
                assert!(ran.status.code().is_some_and(|code| code < 2), "{}", ran.told());
            }
        }
        assert!(lost < 4096 || refusals > 0, "the loss of {lost} bytes was never noticed");
    }
}

/// A ledger with some content in a directory of its own, checkpointed; and its bytes.
fn worked_on(world: &World) -> (tempfile::TempDir, Vec<u8>) {
    world.bind("ada");
    for number in 1..=5 {
        world.enqueue("ada", Direction::ToWorker, number);
    }
    world.finish_work(&["ada"]);
    world.sql("pragma wal_checkpoint(truncate)");
    (directory(), std::fs::read(world.file()).unwrap())
}

#[test]
fn a_torn_log_keeps_what_was_committed_before_the_tear() {
    let world = World::sqlite();
    world.bind("ada");
    // A reader keeps the log from being given up when the last writer closes.
    let reader = rusqlite::Connection::open(world.file()).unwrap();
    let count = |raw: &rusqlite::Connection| -> i64 {
        raw.query_row("select count(*) from commands", [], |row| row.get(0)).unwrap()
    };
    count(&reader);
    let log = world.dir().join("ledger.db-wal");
    let mut ends = Vec::new();
    for number in 1..=6 {
        world.enqueue("ada", Direction::ToWorker, number);
        ends.push(usize::try_from(std::fs::metadata(&log).unwrap().len()).unwrap());
    }
    let (database, whole) = (std::fs::read(world.file()).unwrap(), std::fs::read(&log).unwrap());
    let copy = directory();
    let file = copy.path().join("ledger.db");
    // Cut at each commit, inside the frame before it, and inside the next one.
    for (kept, end) in ends.iter().enumerate() {
        for cut in [*end, end - 10, (end + 10).min(whole.len())] {
            let _ = std::fs::remove_file(copy.path().join("ledger.db-shm"));
            std::fs::write(&file, &database).unwrap();
            std::fs::write(copy.path().join("ledger.db-wal"), &whole[..cut]).unwrap();
            let expected = if cut < *end { kept } else { kept + 1 };
            let listed = run_on(&file, &["commands", "--json"]).json();
            assert_eq!(listed.as_array().unwrap().len(), expected, "cut at {cut} of {ends:?}");
            let raw = rusqlite::Connection::open(&file).unwrap();
            let said: String = raw.query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
            assert_eq!(said, "ok", "cut at {cut} of {ends:?}");
            run_on(&file, &["enqueue-nudge-worker", "ada", "--message", "after"]).expect_ok();
        }
    }
}

#[test]
fn a_full_disk_refuses_the_write_and_harms_nothing() {
    let world = World::sqlite();
    world.bind("ada");
    world.enqueue("ada", Direction::ToWorker, 1);
    let size = std::fs::metadata(world.file()).unwrap().len();
    let long = "x".repeat(100_000);
    // The signal of the limit is ignored, so that a write fails as on a full disk.
    let blocks = (size / 512 + 16).to_string();
    let limit = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    let through = ["sh", "-c", &limit, "sh"];
    let mut refusals = 0;
    for _ in 0..10 {
        let arguments = ["enqueue-nudge-worker", "ada", "--message", &long];
        let ran = run_through(&through, &world.file(), &arguments);
        if !ran.ok() {
            let line = ran.refusal();
            assert!(line.contains("disk"), "{line}");
            refusals += 1;
            break;
        }
    }
    assert_eq!(refusals, 1, "the limit was never met");
    let raw = rusqlite::Connection::open(world.file()).unwrap();
    let said: String = raw.query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(said, "ok");
    raw.execute_batch("delete from commands where length(payload_json) > 1000").unwrap();
    drop(raw);
    // With room again, the work goes on.
    world.enqueue("ada", Direction::ToWorker, 2);
    world.run(&["dispatch", "--once"]).expect_ok();
    world.consume_all("ada", Direction::ToWorker);
}

#[test]
fn a_place_that_cannot_be_written_is_refused() {
    let dir = directory();
    let inner = dir.path().join("locked");
    std::fs::create_dir(&inner).unwrap();
    let file = inner.join("ledger.db");
    run_on(&file, COMMANDS[1]).expect_ok();
    // The administrator may write anywhere; then the program runs as nobody.
    let is_root = rustix::process::geteuid().is_root();
    let through: &[&str] =
        if is_root { &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] } else { &[] };
    let open = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    if is_root {
        let probe = run_through(through, &dir.path().join("unused"), &["--version"]);
        if probe.status.code().is_none_or(|code| code >= 126) {
            eprintln!("read-only places are not tested: setpriv or {PROGRAM} cannot be used as nobody");
            return;
        }
    }
    open(dir.path(), 0o755);
    open(&inner, 0o555);
    open(&file, 0o444);
    let before = contents(&inner);
    for arguments in COMMANDS {
        let line = run_through(through, &file, arguments).refusal();
        assert!(line.contains("ledger.db"), "{line}");
        assert!(contents(&inner) == before, "{arguments:?} changed something: {line}");
        let new = run_through(through, &inner.join("new.db"), arguments).refusal();
        assert!(new.contains("new.db"), "{new}");
        assert!(contents(&inner) == before, "{arguments:?} made something: {new}");
    }
    open(&inner, 0o755);
}
