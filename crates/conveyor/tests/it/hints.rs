//! Being told of writes to rollouts, instead of looking at all of them again and again.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use conveyor_core::Cx;
use conveyor_core::ingest::{Follower, Pass};
use conveyor_store::{Changes, Wake};
use conveyor_testkit::wait;

use crate::follow::context;
use crate::harness::{World, on_both_engines, on_sqlite};
use crate::rollouts::{append, message, meta, register, stored};

const LIMIT: Duration = Duration::from_secs(60);

/// A process that waits for writes and looks at no file of itself.
struct Told {
    cx: Cx,
    changes: Changes,
    follower: Follower,
    said: Vec<String>,
}

impl Told {
    fn new(world: &World) -> Self {
        let mut cx = context(world);
        let changes = cx.db.observe_changes().unwrap();
        let mut told = Self { cx, changes, follower: Follower::new(), said: Vec::new() };
        told.take_up();
        told
    }

    fn pass(&mut self, same: bool) -> Pass {
        let said = &mut self.said;
        let warn = &mut |line: &str| said.push(line.to_owned());
        self.follower.follow(&mut self.cx, self.changes.files(), same, warn).unwrap()
    }

    /// Takes the bound sessions up anew and reads all there is.
    fn take_up(&mut self) -> u64 {
        let first = self.pass(false);
        first.new_events + self.read_on(first)
    }

    fn read_on(&mut self, mut pass: Pass) -> u64 {
        let mut events = 0;
        while pass.more {
            pass = self.pass(true);
            events += pass.new_events;
        }
        events
    }

    /// Waits until it was told of so many new events; looks at what it was told of, only.
    fn hears(&mut self, events: u64) {
        let end = Instant::now() + LIMIT;
        let mut heard = 0;
        while heard < events {
            let wake = self.cx.db.wait_for_change(&mut self.changes, end, &mut || false).unwrap();
            assert_ne!(wake, Wake::TimedOut, "{heard} of {events} events were told of");
            let pass = self.pass(true);
            heard += pass.new_events + self.read_on(pass);
        }
        assert_eq!(heard, events);
    }

    /// Whether the next pass looks at any file, after all that the system has told until now.
    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        while self.cx.db.wait_for_change(&mut self.changes, now, &mut || false).unwrap() != Wake::TimedOut {
            self.follower.notice(self.changes.files());
        }
        self.follower.is_due()
    }
}

/// A bound task whose worker writes to this file.
fn bound_to(world: &World, task: &str, path: &Path) {
    world.bind(task);
    world.sql(&format!(
        "update sessions set codex_session_path = '{}' where name = '{task}-worker'",
        path.display()
    ));
    append(&world.dir().join(format!("{task}-manager.jsonl")), "");
}

fn begun(world: &World, task: &str, path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    append(path, meta(task));
    bound_to(world, task, path);
}

fn directory(world: &World, name: &str) -> PathBuf {
    let path = world.dir().join(name);
    fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn a_line_is_told_of_and_nothing_else_is_looked_at() {
    on_both_engines(|world| {
        let (ada, bob) = (world.dir().join("a/ada.jsonl"), world.dir().join("b/bob.jsonl"));
        begun(world, "ada", &ada);
        begun(world, "bob", &bob);
        let mut told = Told::new(world);
        assert!(!told.is_due());
        append(&ada, message("one"));
        told.hears(1);
        assert_eq!(stored(world, "ada-worker").len(), 2);
        append(&world.dir().join("a/other.jsonl"), message("nobody's"));
        assert!(!told.is_due(), "a file of nobody in the same directory");
        append(&bob, "{\"type\":");
        assert!(told.is_due());
        assert_eq!(told.pass(true), Pass::default(), "half a line");
        assert!(!told.is_due(), "reading makes no hints");
        append(&bob, "\"x\"}\n");
        told.hears(1);
        assert_eq!(told.said, [""; 0]);
    });
}

#[test]
fn writers_are_told_apart_and_a_burst_is_told_of_whole() {
    on_sqlite(|world| {
        let paths: Vec<PathBuf> =
            (0..12).map(|n| world.dir().join(format!("d{}/s{n}.jsonl", n % 3))).collect();
        for (n, path) in paths.iter().enumerate() {
            begun(world, &format!("t{n}"), path);
        }
        let mut told = Told::new(world);
        for _ in 0..20 {
            paths.iter().for_each(|path| append(path, message("x")));
        }
        told.hears(12 * 20);
        assert!(!told.is_due());
    });
}

#[test]
fn a_directory_is_watched_by_its_real_path() {
    on_sqlite(|world| {
        let real = directory(world, "real");
        symlink(&real, world.dir().join("link")).unwrap();
        begun(world, "ada", &world.dir().join("link/ada.jsonl"));
        // The file itself is a link, over another one.
        append(&real.join("bob.jsonl"), meta("bob"));
        symlink("../real/bob.jsonl", directory(world, "elsewhere").join("bob")).unwrap();
        symlink("elsewhere/bob", world.dir().join("bob.jsonl")).unwrap();
        bound_to(world, "bob", &world.dir().join("bob.jsonl"));
        let mut told = Told::new(world);
        append(&real.join("ada.jsonl"), message("one"));
        told.hears(1);
        append(&real.join("bob.jsonl"), message("one"));
        told.hears(1);
        assert_eq!(stored(world, "bob-worker").len(), 2);
        // The first of the links comes to lead elsewhere: to a copy that has gone on.
        fs::copy(real.join("bob.jsonl"), world.dir().join("copy.jsonl")).unwrap();
        append(&world.dir().join("copy.jsonl"), message("two"));
        symlink("copy.jsonl", world.dir().join("new")).unwrap();
        fs::rename(world.dir().join("new"), world.dir().join("bob.jsonl")).unwrap();
        told.hears(1);
        append(&world.dir().join("copy.jsonl"), message("three"));
        told.hears(1);
        append(&real.join("bob.jsonl"), message("not read any more"));
        assert!(!told.is_due());
    });
}

#[test]
fn files_and_directories_may_come_later() {
    on_sqlite(|world| {
        let (near, far) = (world.dir().join("near.jsonl"), world.dir().join("2026/12/01/far.jsonl"));
        bound_to(world, "near", &near);
        bound_to(world, "far", &far);
        // Behind a link to what is not there yet.
        symlink("mounted/later", world.dir().join("home")).unwrap();
        bound_to(world, "odd", &world.dir().join("home/odd.jsonl"));
        let mut told = Told::new(world);
        assert_eq!(told.said, [""; 0]);
        append(&near, meta("near"));
        told.hears(1);
        fs::create_dir(world.dir().join("2026")).unwrap();
        fs::create_dir_all(far.parent().unwrap()).unwrap();
        append(&far, meta("far"));
        told.hears(1);
        append(&far, message("one"));
        told.hears(1);
        fs::create_dir_all(world.dir().join("mounted/later")).unwrap();
        append(&world.dir().join("mounted/later/odd.jsonl"), meta("odd"));
        told.hears(1);
    });
}

#[test]
fn a_file_that_is_moved_deleted_or_made_anew_is_followed() {
    on_sqlite(|world| {
        let path = world.dir().join("sessions/ada.jsonl");
        begun(world, "ada", &path);
        let mut told = Told::new(world);
        // Written beside and put in its place.
        fs::copy(&path, world.dir().join("sessions/new")).unwrap();
        append(&world.dir().join("sessions/new"), message("one"));
        fs::rename(world.dir().join("sessions/new"), &path).unwrap();
        told.hears(1);
        append(&path, message("two"));
        told.hears(1);
        // Moved away, with what was written to it there, and back.
        let archive = directory(world, "archive").join("ada.jsonl");
        fs::rename(&path, &archive).unwrap();
        assert!(told.is_due());
        let pass = told.pass(true);
        assert_eq!((pass.refused, told.read_on(pass)), (1, 0));
        append(&archive, message("three"));
        assert!(!told.is_due());
        fs::rename(&archive, &path).unwrap();
        told.hears(1);
        // Its directory is moved away, and made anew.
        fs::rename(world.dir().join("sessions"), world.dir().join("before")).unwrap();
        fs::create_dir(world.dir().join("sessions")).unwrap();
        fs::copy(world.dir().join("before/ada.jsonl"), &path).unwrap();
        append(&path, message("four"));
        told.hears(1);
        append(&world.dir().join("before/ada.jsonl"), message("of another one"));
        assert!(!told.is_due());
        // Its directory is deleted, and made anew.
        let text = fs::read(&path).unwrap();
        fs::remove_dir_all(world.dir().join("sessions")).unwrap();
        fs::create_dir(world.dir().join("sessions")).unwrap();
        append(&path, text);
        append(&path, message("five"));
        told.hears(1);
        assert_eq!(stored(world, "ada-worker").len(), 6);
        assert_eq!(told.said, [""; 0]);
    });
}

#[test]
fn sessions_that_begin_end_or_change_their_file_are_taken_up() {
    on_both_engines(|world| {
        let (ada, bob) = (world.dir().join("a/ada.jsonl"), world.dir().join("b/bob.jsonl"));
        begun(world, "ada", &ada);
        let mut told = Told::new(world);
        begun(world, "bob", &bob);
        assert_eq!(told.take_up(), 1);
        append(&bob, message("one"));
        told.hears(1);
        let other = directory(world, "c").join("other.jsonl");
        append(&other, meta("other"));
        register(world, "ada-worker", Some(&other));
        assert_eq!(told.take_up(), 1);
        append(&other, message("one"));
        told.hears(1);
        append(&ada, message("not read any more"));
        assert!(!told.is_due(), "its directory is not watched any more");
        world.sql("update bindings set state = 'ended', ended_at = 't' where id = 'binding-bob'");
        assert_eq!(told.take_up(), 0);
        append(&bob, message("bound no more"));
        assert!(!told.is_due());
    });
}

#[test]
fn where_hints_were_dropped_all_files_are_looked_at_once() {
    on_sqlite(|world| {
        let (ada, bob) = (world.dir().join("a/ada.jsonl"), world.dir().join("b/bob.jsonl"));
        begun(world, "ada", &ada);
        begun(world, "bob", &bob);
        let mut told = Told::new(world);
        let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let (here, there) = (world.dir().join("a/x"), world.dir().join("a/y"));
        fs::write(&here, "").unwrap();
        // Each makes two events.
        for _ in 0..=most.trim().parse::<usize>().unwrap() / 4 {
            fs::rename(&here, &there).unwrap();
            fs::rename(&there, &here).unwrap();
        }
        append(&bob, message("for which there was no place"));
        told.hears(1);
        append(&ada, message("and on"));
        told.hears(1);
        assert!(!told.is_due());
    });
}

#[test]
fn what_nobody_is_told_of_is_found_within_seconds() {
    on_sqlite(|world| {
        // Another name of the same file; a link among the directories that comes to lead elsewhere.
        let (ada, bob) = (world.dir().join("a/ada.jsonl"), world.dir().join("link/bob.jsonl"));
        begun(world, "ada", &ada);
        fs::hard_link(&ada, directory(world, "other").join("name")).unwrap();
        directory(world, "one");
        symlink("one", world.dir().join("link")).unwrap();
        begun(world, "bob", &bob);
        let mut told = Told::new(world);
        append(&world.dir().join("other/name"), message("one"));
        fs::copy(&bob, directory(world, "two").join("bob.jsonl")).unwrap();
        append(&world.dir().join("two/bob.jsonl"), message("one"));
        symlink("two", world.dir().join("new")).unwrap();
        fs::rename(world.dir().join("new"), world.dir().join("link")).unwrap();
        assert!(!told.is_due());
        let start = Instant::now();
        wait::until(LIMIT, "a look at all files", || told.follower.has_news());
        assert!(start.elapsed() <= Duration::from_secs(5), "{:?}", start.elapsed());
        let pass = told.pass(true);
        assert_eq!(pass.new_events + told.read_on(pass), 2);
        append(&bob, message("two"));
        told.hears(1);
    });
}

#[test]
fn another_process_that_reads_the_same_rollout_is_no_trouble() {
    on_both_engines(|world| {
        let path = world.dir().join("a/ada.jsonl");
        begun(world, "ada", &path);
        let (mut one, mut two) = (Told::new(world), Told::new(world));
        let mut lines = 1;
        for n in 0..5 {
            append(&path, message(&format!("for one of them, {n}")));
            one.hears(1);
            assert!(two.is_due());
            let pass = two.pass(true);
            assert_eq!(pass.new_events + two.read_on(pass), 0);
            append(&path, message(&format!("for the other one, {n}")));
            two.hears(1);
            assert!(one.is_due());
            let pass = one.pass(true);
            assert_eq!(pass.new_events + one.read_on(pass), 0);
            lines += 2;
        }
        assert_eq!(stored(world, "ada-worker").len(), lines);
    });
}
