//! Discovery over described processes, and over real ones.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use conveyor_agents::processes::{
    DiscoveryError, ProcFs, Processes, Programs, SharedServer, is_rollout_path, rollout_of_pid,
};

const A: &str = "/home/dev/.codex/sessions/2026/11/23/rollout-a.jsonl";
const B: &str = "/home/dev/.codex/sessions/2026/11/23/rollout-b.jsonl";
const C: &str = "/home/dev/.codex/sessions/2026/11/23/rollout-c.jsonl";

/// Processes made up for a test.
#[derive(Default)]
struct Described(BTreeMap<u32, (u32, String, io::Result<Vec<PathBuf>>)>);

impl Described {
    fn with(mut self, pid: u32, parent: u32, command_line: &str, files: &[&str]) -> Self {
        let files = files.iter().map(PathBuf::from).collect();
        self.0.insert(pid, (parent, command_line.into(), Ok(files)));
        self
    }

    fn with_secret(mut self, pid: u32, parent: u32) -> Self {
        self.0.insert(pid, (parent, "sudo".into(), Err(io::ErrorKind::PermissionDenied.into())));
        self
    }
}

impl Processes for Described {
    fn command_line(&self, pid: u32) -> io::Result<String> {
        self.0.get(&pid).map(|process| process.1.clone()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn open_files(&self, pid: u32) -> io::Result<Vec<PathBuf>> {
        match self.0.get(&pid).map(|process| &process.2) {
            Some(Ok(files)) => Ok(files.clone()),
            Some(Err(error)) => Err(error.kind().into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn children(&self, pid: u32) -> io::Result<Vec<u32>> {
        Ok(self.0.iter().filter(|(_, process)| process.0 == pid).map(|(pid, _)| *pid).collect())
    }
}

#[test]
fn one_rollout_anywhere_in_the_tree_is_found() {
    let shell = || Described::default().with(1, 0, "init", &[B]).with(10, 1, "bash", &["/dev/pts/0"]);
    let own = shell().with(11, 10, "codex", &[A, A]).with(12, 11, "sh", &[A]);
    // Held by the child of a child, inherited by a grandchild: one candidate.
    assert_eq!(rollout_of_pid(&own, 10).expect("found"), Path::new(A));
    assert_eq!(rollout_of_pid(&own, 11).expect("found"), Path::new(A));
    assert_eq!(rollout_of_pid(&own, 12).expect("found"), Path::new(A));
    // Nothing outside the process's own tree counts.
    assert!(matches!(rollout_of_pid(&shell(), 10), Err(DiscoveryError::NoRollout { .. })));
    // A process that cannot be looked into does not hide what is below it.
    let hidden = shell().with_secret(11, 10).with(12, 11, "codex", &[A]);
    assert_eq!(rollout_of_pid(&hidden, 10).expect("found"), Path::new(A));
}

#[test]
fn several_rollouts_are_listed() {
    let tree =
        Described::default().with(10, 1, "bash", &[]).with(11, 10, "codex", &[B]).with(12, 10, "codex", &[A]);
    let error = rollout_of_pid(&tree, 10).expect_err("several");
    assert!(matches!(&error, DiscoveryError::Several { candidates, .. } if candidates.len() == 2));
    let expected = format!(
        "pid 10 and its descendants hold 2 rollouts open ({B:?}, {A:?}); give the right one with --codex-session"
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn nothing_found_says_when_codex_writes_it() {
    let tree = Described::default().with(10, 1, "bash", &["/tmp/x.jsonl"]).with_secret(11, 10);
    let message = rollout_of_pid(&tree, 10).expect_err("nothing").to_string();
    assert!(
        message.starts_with("no rollout file open for pid 10 or its descendants (passed over: process 11: ")
    );
    assert!(
        message.contains("only after the first prompt") && message.contains("--codex-session"),
        "{message}"
    );
    for pid in [99, 0, -5, i64::from(u32::MAX) + 11] {
        let message = rollout_of_pid(&tree, pid).expect_err("no process").to_string();
        assert_eq!(message, format!("there is no process with pid {pid}"));
    }
    let message = rollout_of_pid(&tree, 11).expect_err("secret").to_string();
    assert!(
        message.starts_with("the open files of process 11 cannot be read: permission denied"),
        "{message}"
    );
}

#[test]
fn a_shared_server_proves_nothing() {
    let locks = ["/h/.codex/thread-writer-locks/1.lock", "/h/.codex/thread-writer-locks/2.lock"];
    let servers: [(&str, &[&str], SharedServer); 3] = [
        ("/opt/codex app-server --listen x", &[A], SharedServer::AppServer),
        ("codex", &[B, A], SharedServer::Rollouts(vec![A.into(), B.into()])),
        ("codex", &[A, locks[0], locks[1]], SharedServer::WriterLocks(2)),
    ];
    for (command_line, files, expected) in servers {
        let tree = || Described::default().with(10, 1, "bash", &[]).with(11, 10, command_line, files);
        // Given itself, it is refused.
        match rollout_of_pid(&tree(), 11) {
            Err(DiscoveryError::SharedServer { pid: 11, server }) => assert_eq!(server, expected),
            other => panic!("{other:?}"),
        }
        let message = rollout_of_pid(&tree(), 11).expect_err("a server").to_string();
        assert!(message.contains("shared server") && message.contains("--thread-id"), "{message}");
        // Below the given process, neither it nor anything below it counts.
        let below = tree().with(12, 11, "codex", &[C]);
        let message = rollout_of_pid(&below, 10).expect_err("nothing").to_string();
        assert!(message.contains("process 11: a shared server"), "{message}");
        let beside = below.with(13, 10, "codex", &[C]);
        assert_eq!(rollout_of_pid(&beside, 10).expect("found"), Path::new(C));
    }
    // One lock is what a session of its own has.
    let own = Described::default().with(10, 1, "codex", &[A, locks[0]]);
    assert_eq!(rollout_of_pid(&own, 10).expect("found"), Path::new(A));
}

#[test]
fn only_rollout_paths_count() {
    assert!(is_rollout_path(Path::new(A)));
    assert!(is_rollout_path(Path::new("/a b/sessions/rollout-é.jsonl")));
    for other in [
        "sessions/rollout-a.jsonl",
        "x/sessions/rollout-a.jsonl",
        "/x/rollout-a.jsonl",
        "/x/sessions/a.jsonl",
        "/x/sessions/rollout-a.json",
        "/x/sessions/rollout-a.jsonl (deleted)",
    ] {
        assert!(!is_rollout_path(Path::new(other)), "{other}");
    }
}

/// A real process that ends with the test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::piped()).spawn().expect("a process"))
    }

    fn pid(&self) -> i64 {
        self.0.id().into()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Both ways of asking this machine; `ps` and `lsof` only where they are installed.
fn machines() -> Vec<Box<dyn Processes>> {
    let installed =
        |program: &str| Command::new(program).arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let mut machines: Vec<Box<dyn Processes>> = Vec::new();
    if Path::new("/proc/self/fd").is_dir() {
        machines.push(Box::new(ProcFs::new()));
    }
    if installed("ps").is_ok() && installed("lsof").is_ok() {
        machines.push(Box::new(Programs::new()));
    }
    assert!(!machines.is_empty());
    machines
}

#[test]
fn real_processes_are_looked_into() {
    let directory = tempfile::tempdir().expect("a directory");
    let sessions = directory.path().canonicalize().expect("a path").join("with space é/sessions");
    fs::create_dir_all(&sessions).expect("a directory");
    let (one, two) = (sessions.join("rollout-1.jsonl"), sessions.join("rollout-2.jsonl"));
    let [first, second] = [&one, &two].map(|path| File::create(path).expect("created"));
    let sleep = |name: &str| {
        let mut command = Command::new("sleep");
        command.arg0(name).arg("60");
        command
    };
    let holding = Running::start(sleep("codex").stdin(first.try_clone().expect("a file")));
    let server = Running::start(sleep("codex app-server").stdin(first.try_clone().expect("a file")));
    let both = Running::start(
        sleep("codex").stdin(first.try_clone().expect("a file")).stderr(second.try_clone().expect("a file")),
    );
    let none = Running::start(sleep("codex").stdin(Stdio::null()));
    // A shell that does not hold it itself, with a child that does until the shell's input ends.
    let script = "exec 4<&0; (exec 3< \"$1\"; echo; read end <&4) & wait";
    let mut shell =
        Running::start(Command::new("sh").arg("-c").arg(script).arg("sh").arg(&two).stdin(Stdio::piped()));
    io::Read::read_exact(shell.0.stdout.as_mut().expect("piped"), &mut [0]).expect("started");

    for machine in machines() {
        let machine = machine.as_ref();
        assert_eq!(rollout_of_pid(machine, holding.pid()).expect("found"), one);
        assert!(matches!(
            rollout_of_pid(machine, server.pid()),
            Err(DiscoveryError::SharedServer { server: SharedServer::AppServer, .. })
        ));
        match rollout_of_pid(machine, both.pid()) {
            Err(DiscoveryError::SharedServer { server: SharedServer::Rollouts(paths), .. }) => {
                assert_eq!(paths, [one.clone(), two.clone()]);
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(rollout_of_pid(machine, none.pid()), Err(DiscoveryError::NoRollout { .. })));
        assert!(matches!(
            rollout_of_pid(machine, i64::from(u32::MAX)),
            Err(DiscoveryError::NoProcess { .. })
        ));
        assert_eq!(rollout_of_pid(machine, shell.pid()).expect("found"), two);
    }
}
