//! The victim: a project with its ledger, rollouts, servers, and Conveyor that has it reviewed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};

use conveyor::{Environment, Host};
use conveyor_core::continuation::Engine;
use conveyor_core::{RandomIds, SystemClock};
use conveyor_testkit::TmuxServer;
use serde_json::{Value, json};

use crate::attacker;
use crate::plan::{Attempt, Outcome, Plan};

const MARKER: &str = "CONVEYOR_ATTACK_MARKER";
const UNPRIVILEGED: u32 = 65_534;

pub fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("@attacker") => {
            let plan = Arc::new(serde_json::from_str::<Plan>(&arguments[2]).expect("a plan"));
            attacker::main(&plan);
        }
        Some("@stage") => stage(Path::new(&arguments[2])),
        // Cargo's own way to ask for the names of tests.
        Some("--list") => println!("attack: test"),
        // Names of other tests.
        Some(_) if !is_wanted(&arguments[1..]) => {}
        _ => std::process::exit(i32::from(run_stages() != ExitCode::SUCCESS)),
    }
}

/// Whether the filters of a command line, if there are any, let these tests be run.
fn is_wanted(arguments: &[String]) -> bool {
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    filters.is_empty() || filters.iter().any(|filter| "attack".contains(filter.as_str()))
}

/// The stages run in processes of their own, whose environment holds a secret from the beginning.
fn run_stages() -> ExitCode {
    let results = tempfile::Builder::new().prefix("conveyor-attack-").tempdir().unwrap();
    fs::set_permissions(results.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let mut users = vec![("own user", None)];
    if rustix::process::getuid().is_root() {
        users.push(("unprivileged user", Some(UNPRIVILEGED)));
    }
    let mut report = BTreeMap::new();
    for (name, user) in users {
        let file = results.path().join(name.replace(' ', "-"));
        let program = std::env::current_exe().unwrap();
        // The super-user gets mounts of its own, to have a second way to everything.
        let mut stage = Command::new(if user.is_none() && can_mount() { "unshare" } else { "env" });
        if user.is_none() && can_mount() {
            stage.args(["-m", "--"]);
        }
        stage.arg(&program).arg("@stage").arg(&file).env(MARKER, "the-secret-of-the-parent");
        if let Some(user) = user {
            stage.uid(user).gid(user).env("HOME", results.path());
        }
        match stage.status() {
            Ok(status) if status.success() => {}
            // What `env` says when somebody may not enter the directory of this program.
            Ok(status) if user.is_some() && status.code() == Some(126) => {
                eprintln!("attack: SKIPPED as {name}, who may not run this program");
                continue;
            }
            Ok(status) => panic!("the attacks as {name}: {status}"),
            Err(error) => panic!("{error}"),
        }
        let found: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        report.insert(name, found);
    }
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("reviewer-attacks.json");
    fs::write(&place, serde_json::to_string_pretty(&report).unwrap()).unwrap();
    ExitCode::SUCCESS
}

/// Also the super-user may not everywhere.
fn can_mount() -> bool {
    let mut probe = Command::new("unshare");
    probe.args(["-m", "--", "true"]).stderr(Stdio::null());
    rustix::process::getuid().is_root() && probe.status().is_ok_and(|status| status.success())
}

/// Attacks every engine once and writes what came of it.
fn stage(report: &Path) {
    let documented = include_str!("../../../../docs/reviewer.md");
    let (mut found, mut undocumented) = (BTreeMap::new(), BTreeSet::new());
    found.insert("none", json!(control()));
    for engine in [Engine::Landlock, Engine::Bubblewrap, Engine::Namespaces] {
        let victim = Victim::new();
        let before = victim.state();
        let review = victim.review(engine);
        let sandbox = &review["subagent_run"]["sandbox"];
        if sandbox["enabled"] == false {
            let reason = sandbox["setup_error"].as_str().unwrap();
            // An engine that stands and leaks is no engine that is missing.
            assert!(!reason.contains("self-test"), "{}: {reason}", engine.as_str());
            eprintln!("attack: SKIPPED {reason}");
            found.insert(engine.as_str(), json!({ "skipped": sandbox["setup_error"] }));
            continue;
        }
        assert_eq!(review["verdict"], "proceed", "{review:#}");
        assert_eq!(sandbox["engine"], engine.as_str());
        // What the reviewer claimed for itself does not count.
        assert_eq!(review["subagent_run"]["manager_rollout_access"], false);
        assert_eq!(review["subagent_run"]["status"], "succeeded");
        let attempts: Vec<Attempt> = serde_json::from_str(review["addendum"].as_str().unwrap()).unwrap();
        let breaches: Vec<_> = attempts.iter().filter(|one| one.outcome == Outcome::Breach).collect();
        assert!(breaches.is_empty(), "{}: {breaches:#?}", engine.as_str());
        assert_eq!(victim.state(), before, "{}: something has changed", engine.as_str());
        assert!(attempts.len() > 80, "only {} attacks", attempts.len());
        for attempt in &attempts {
            let what = attempt.name.split_once(": ").unwrap().1;
            if !documented.contains(what) {
                undocumented.insert(attempt.name.clone());
            }
            if attempt.outcome == Outcome::NotTried {
                eprintln!("attack: not tried: {}: {}", attempt.name, attempt.detail);
            }
        }
        eprintln!("attack: {}: {} attacks, none got anything", engine.as_str(), attempts.len());
        found.insert(engine.as_str(), json!(attempts));
    }
    let tried = found.values().filter(|result| result.is_array()).count();
    assert!(tried > 1, "no sandbox can be set up on this machine");
    fs::write(report, serde_json::to_string(&found).unwrap()).unwrap();
    assert!(undocumented.is_empty(), "docs/reviewer.md does not name {undocumented:#?}");
}

/// What the attacks do without a sandbox: they succeed, so that their failure proves something.
fn control() -> Vec<Attempt> {
    let victim = Victim::new();
    let mut attacker = Command::new(std::env::current_exe().unwrap())
        .args(["@attacker", &serde_json::to_string(&victim.plan()).unwrap()])
        .current_dir(victim.place.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    attacker.stdin.take().unwrap().write_all(b"{\"allowed_context\": [], \"task\": 1}").unwrap();
    let output = attacker.wait_with_output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let attempts: Vec<Attempt> = serde_json::from_str(answer["addendum"].as_str().unwrap()).unwrap();
    for name in [
        "context: anything beyond what is permitted",
        "environment: variables of Conveyor's",
        "privileges: any left, or to be won",
        "ledger: read",
        "ledger: read as an SQLite database",
        "rollout of the worker: read by a new hard link",
        "rollout of the manager: read by a descriptor without rights, opened again",
        "state root: read everything below",
        "Conveyor: environment",
        "every process: environment",
        "every process: its root directory",
        "tmux server: connect",
        "agent's server: connect",
        "abstract socket: connect",
        "datagram socket: send",
        "datagram socket: send from a pair",
    ] {
        let attempt = attempts.iter().find(|one| one.name == name).expect(name);
        assert_eq!(attempt.outcome, Outcome::Breach, "without a sandbox: {attempt:?}");
    }
    assert!(!victim.ledger().exists(), "without a sandbox the ledger is not removed");
    attempts
}

struct Victim {
    place: tempfile::TempDir,
    tmux: TmuxServer,
    _listeners: (UnixListener, UnixDatagram, UnixListener),
    tcp: TcpListener,
    abstract_name: String,
    /// Left open on purpose, also in children.
    _leaked: fs::File,
}

impl Victim {
    fn new() -> Self {
        let place = tempfile::Builder::new().prefix("conveyor-victim-").tempdir().unwrap();
        let abstract_name = format!("conveyor-attack-{}", std::process::id());
        let project = place.path().join("project");
        fs::create_dir_all(project.join("state")).unwrap();
        fs::create_dir(place.path().join("rollouts")).unwrap();
        let listeners = (
            UnixListener::bind(place.path().join("app-server")).unwrap(),
            UnixDatagram::bind(place.path().join("log")).unwrap(),
            UnixListener::bind_addr(&SocketAddr::from_abstract_name(&abstract_name).unwrap()).unwrap(),
        );
        for (file, text) in [
            ("project/state/secret", "secret of the state root"),
            ("rollouts/worker.jsonl", "secret of the worker"),
            ("rollouts/manager.jsonl", "secret of the manager"),
            ("rollouts/former.jsonl", "secret of the worker before it was cleared"),
        ] {
            fs::write(place.path().join(file), text).unwrap();
        }
        let leaked = fs::File::open(place.path().join("rollouts/worker.jsonl")).unwrap();
        rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
        let tmux = TmuxServer::new();
        // Not the shell of the user, who may have none.
        tmux.tmux(["new-session", "-d", "-s", "victim", "sleep", "600"]);
        let tcp = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let victim = Self { place, tmux, _listeners: listeners, tcp, abstract_name, _leaked: leaked };
        victim.fill();
        if can_mount() {
            victim.mount_again();
        }
        victim
    }

    /// A second way to the project, by a mount.
    fn mount_again(&self) {
        fs::create_dir(self.alias()).unwrap();
        let project = self.place.path().join("project");
        let mounted = Command::new("mount").arg("--bind").arg(project).arg(self.alias()).status().unwrap();
        assert!(mounted.success(), "a directory of our own cannot be mounted");
    }

    fn alias(&self) -> PathBuf {
        self.place.path().join("alias")
    }

    fn ledger(&self) -> PathBuf {
        self.place.path().join("project/ledger.db")
    }

    /// A task with both sides, both proposals, and the permission to have them reviewed.
    fn fill(&self) {
        self.conveyor(None, "", &["tasks", "--create", "demo", "--goal", "Do it"]);
        let database = rusqlite::Connection::open(self.ledger()).unwrap();
        let task: String = database.query_row("select id from tasks", [], |row| row.get(0)).unwrap();
        let session = |role: &str| {
            let rollout = self.place.path().join(format!("rollouts/{role}.jsonl"));
            format!(
                "insert into sessions (id, name, role, identity_token, codex_session_path, cwd, registered_at, state) \
                 values ('{role}', '{role}', '{role}', 'token-{role}', '{}', '{}', '2026-01-01T00:00:00Z', 'active');",
                rollout.display(),
                self.place.path().join("project").display()
            )
        };
        // The binding has ended: sessions of the past are denied, too.
        database
            .execute_batch(&format!(
                "{} {} insert into conveyor_former_rollouts (session_id, path, left_at) \
                 values ('worker', '{}', '2026-01-01T00:00:00Z'); \
                 insert into bindings (id, task_id, worker_session_id, manager_session_id, state, created_at) \
                 values ('b', '{task}', 'worker', 'manager', 'ended', '2026-01-01T00:00:00Z'); \
                 insert into manager_configs (task_id, supervision_mode, guidelines_json, acceptance_criteria_json, \
                 reference_paths_json, permissions_json, created_at, updated_at) values ('{task}', 'guided', '[]', \
                 '[]', '[]', '{{\"context\":[\"spawn_reviewer\"]}}', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z');",
                session("worker"),
                session("manager"),
                self.place.path().join("rollouts/former.jsonl").display()
            ))
            .unwrap();
        for role in ["worker", "manager"] {
            let submit = ["continuation", "demo", "--submit", role, "--from-stdin", "--correlation-id", "k"];
            self.conveyor(None, "{\"next\": 1}", &submit);
        }
    }

    fn review(&self, engine: Engine) -> Value {
        // Keeps the siblings of the ledger in place.
        let held = rusqlite::Connection::open(self.ledger()).unwrap();
        held.query_row("select count(*) from tasks", [], |row| row.get::<_, i64>(0)).unwrap();
        let plan = serde_json::to_string(&self.plan()).unwrap();
        let attacker = std::env::current_exe().unwrap();
        let arguments = [
            "continuation-reviewer",
            "demo",
            "--correlation-id",
            "k",
            "--reviewer-session-id",
            "r",
            "--manager-session-id",
            "m",
            "--reviewer-command",
            "--",
            attacker.to_str().unwrap(),
            "@attacker",
            &plan,
        ];
        serde_json::from_str(&self.conveyor(Some(engine), "", &arguments)).unwrap()
    }

    fn plan(&self) -> Plan {
        let place = fs::canonicalize(self.place.path()).unwrap();
        let file = |path: &str| place.join(path);
        let files = [
            ("ledger", "project/ledger.db"),
            ("ledger-wal", "project/ledger.db-wal"),
            ("ledger-shm", "project/ledger.db-shm"),
            ("rollout of the worker", "rollouts/worker.jsonl"),
            ("rollout of the manager", "rollouts/manager.jsonl"),
            ("rollout that the worker has left", "rollouts/former.jsonl"),
            ("file of the state root", "project/state/secret"),
        ];
        let mut files = files.map(|(name, path)| (name.to_owned(), file(path))).to_vec();
        if self.alias().exists() {
            files.push(("ledger by another mount".into(), file("alias/ledger.db")));
            files.push(("file of the state root by another mount".into(), file("alias/state/secret")));
        }
        Plan {
            files,
            absent: vec![file("project/ledger.db-journal")],
            state_root: file("project/state"),
            project: file("project"),
            outside: vec![
                i32::try_from(std::process::id()).unwrap(),
                std::os::unix::process::parent_id() as i32,
            ],
            tmux: self.tmux.dir().join(format!("tmux-{}/default", rustix::process::getuid().as_raw())),
            stream: file("app-server"),
            datagram: file("log"),
            abstract_name: self.abstract_name.clone(),
            port: self.tcp.local_addr().unwrap().port(),
            marker: MARKER.to_owned(),
        }
    }

    /// Everything on disk but the ledger's own life: names, objects, contents.
    fn state(&self) -> BTreeMap<PathBuf, (u64, Vec<u8>)> {
        let mut found = BTreeMap::new();
        let mut directories = vec![self.place.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap().flatten() {
                let (path, kind) = (entry.path(), entry.file_type().unwrap());
                if kind.is_dir() {
                    directories.push(path);
                } else if kind.is_file() {
                    let inode = fs::metadata(&path).unwrap().ino();
                    let is_ledger =
                        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ledger.db"));
                    // What SQLite holds is judged by SQLite.
                    let content = if is_ledger { Vec::new() } else { fs::read(&path).unwrap() };
                    let volatile = path.extension().is_some_and(|end| end == "db-wal" || end == "db-shm");
                    if !volatile {
                        found.insert(path, (inode, content));
                    }
                }
            }
        }
        let database = rusqlite::Connection::open(self.ledger()).unwrap();
        let sound: String = database.query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok");
        let goal: String = database.query_row("select goal from tasks", [], |row| row.get(0)).unwrap();
        assert_eq!(goal, "Do it");
        found
    }

    fn conveyor(&self, engine: Option<Engine>, input: &str, arguments: &[&str]) -> String {
        let (stdout, stderr) = (Buffer::default(), Buffer::default());
        let environment = Environment {
            state_root: Some(self.place.path().join("project/state").display().to_string()),
            passed_on: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".into())],
            launcher: Some(env!("CARGO_BIN_EXE_conveyor").into()),
            sandboxes: engine.map(|engine| vec![engine]),
            ..Environment::default()
        };
        let mut host = Host {
            environment,
            cwd: Ok(self.place.path().join("project")),
            parent_pid: 1,
            clock: Arc::new(SystemClock),
            ids: Arc::new(RandomIds),
            stdin: Box::new(std::io::Cursor::new(input.as_bytes().to_vec())),
            stdout: Box::new(stdout.clone()),
            stderr: Box::new(stderr.clone()),
            stdout_is_terminal: false,
            stdout_takes_colour: false,
            stderr_is_terminal: false,
        };
        let ledger = self.ledger();
        let mut words = vec!["conveyor", arguments[0], "--path", ledger.to_str().unwrap()];
        words.extend(&arguments[1..]);
        let words: Vec<std::ffi::OsString> = words.into_iter().map(Into::into).collect();
        let code = conveyor::run(&words, &mut host);
        assert_eq!(code, 0, "{}", stderr.text());
        stdout.text()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        if self.alias().exists() {
            // Before the files are removed, each under one name.
            let _ = Command::new("umount").arg("-l").arg(self.alias()).stderr(Stdio::null()).status();
        }
    }
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
