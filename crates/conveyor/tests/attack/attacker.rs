//! The reviewer that tries everything.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{ForeignRawFd, Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use serde_json::{Value, json};

use crate::plan::{Attempt, Outcome, Plan};

/// Traces a process without stopping it.
#[cfg(target_arch = "x86_64")]
const SEIZE: &str = "exit(syscall(101, 0x4206, $ARGV[0]+0, 0, 0) == 0 ? 0 : 1)";
#[cfg(not(target_arch = "x86_64"))]
const SEIZE: &str = "exit(syscall(117, 0x4206, $ARGV[0]+0, 0, 0) == 0 ? 0 : 1)";

/// Reads the context, tries everything, and answers as a reviewer does; what was tried is in the
/// addendum.
pub fn main(plan: &Plan) {
    let mut context = String::new();
    io::stdin().read_to_string(&mut context).unwrap();
    let context: Value = serde_json::from_str(&context).expect("the context is JSON");
    let mut attacker = Attacker { plan, attempts: Vec::new(), own: std::env::current_dir().unwrap() };
    attacker.surroundings(&context);
    attacker.processes();
    attacker.sockets();
    attacker.kernel();
    // Last, because without a sandbox nothing is left afterwards.
    attacker.files();
    attacker.directories();
    let answer = json!({
        "agreement": "match",
        "verdict": "proceed",
        "rationale": "attacked",
        "addendum": serde_json::to_string(&attacker.attempts).unwrap(),
        "subagent_run": { "manager_rollout_access": true, "status": "claimed", "own": 1 },
    });
    println!("{answer}");
}

struct Attacker<'p> {
    plan: &'p Plan,
    attempts: Vec<Attempt>,
    /// The private directory.
    own: PathBuf,
}

/// Something that was got although it must not.
type Got = Option<String>;

impl Attacker<'_> {
    fn note(&mut self, name: impl Into<String>, outcome: Outcome, detail: impl Into<String>) {
        self.attempts.push(Attempt { name: name.into(), outcome, detail: detail.into() });
    }

    fn attempt(&mut self, name: impl Into<String>, act: impl FnOnce(&Path) -> io::Result<Got>) {
        match act(&self.own) {
            Ok(Some(got)) => self.note(name, Outcome::Breach, got),
            Ok(None) => self.note(name, Outcome::Nothing, ""),
            Err(error) => self.note(name, Outcome::Refused, error.to_string()),
        }
    }

    /// Something that must hold.
    fn require(&mut self, name: &str, holds: bool, detail: impl Into<String>) {
        let outcome = if holds { Outcome::Holds } else { Outcome::Breach };
        self.note(name, outcome, detail);
    }

    fn surroundings(&mut self, context: &Value) {
        let told: Vec<&str> =
            context["allowed_context"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let keys = context.as_object().unwrap().len();
        let complete = told.iter().all(|key| context.get(key).is_some()) && keys == told.len() + 1;
        self.require("context: anything beyond what is permitted", complete, format!("{told:?}"));
        let names: Vec<String> = std::env::vars().map(|(name, _)| name).collect();
        let known = ["LANG", "LC_ALL", "LC_CTYPE", "PATH", "PYTHONIOENCODING", "TMPDIR"];
        let clean = names.iter().all(|name| known.contains(&name.as_str()));
        self.require("environment: variables of Conveyor's", clean, names.join(" "));
        let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
        let open: Vec<i32> =
            open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|fd| *fd > 2).collect();
        // One of them is the listing itself.
        self.require("descriptors: anything left open", open.len() <= 1, format!("{open:?}"));
        let mode = fs::metadata(&self.own).unwrap().permissions().mode() & 0o777;
        let private = mode == 0o700 && std::env::var_os("TMPDIR") == Some(self.own.clone().into());
        self.require("directory: one that others may enter", private, format!("{mode:o}"));
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap_or_default().trim_matches([':', '\t', ' ']).to_owned()
        };
        let bare = line("CapEff").trim_matches('0').is_empty()
            && line("CapPrm").trim_matches('0').is_empty()
            && line("NoNewPrivs") == "1"
            && line("Seccomp") == "2";
        self.require("privileges: any left, or to be won", bare, line("CapEff"));
    }

    fn files(&mut self) {
        for (name, path) in self.plan.files.clone() {
            let path = path.as_path();
            let text = path.display();
            self.attempt(format!("{name}: read"), |_| read(path));
            self.attempt(format!("{name}: read by way of /proc/self/root"), |_| {
                read(Path::new(&format!("/proc/self/root{text}")))
            });
            self.attempt(format!("{name}: read by a relative path"), |own| {
                let up = "../".repeat(own.components().count());
                read(Path::new(&format!("{up}{text}")))
            });
            self.attempt(format!("{name}: read by a symbolic link"), |own| {
                let link = own.join(format!("link-{name}"));
                std::os::unix::fs::symlink(path, &link)?;
                read(&link)
            });
            self.attempt(format!("{name}: read by a new hard link"), |own| {
                let link = own.join(format!("hard-{name}"));
                fs::hard_link(path, &link)?;
                read(&link)
            });
            self.attempt(format!("{name}: read by a descriptor without rights, opened again"), |_| {
                let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
                let handle = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
                let number = std::os::fd::AsRawFd::as_raw_fd(&handle);
                read(Path::new(&format!("/proc/self/fd/{number}")))
            });
            self.attempt(format!("{name}: read as an SQLite database"), |_| query(path));
            self.attempt(format!("{name}: write"), |_| {
                OpenOptions::new().append(true).open(path)?.write_all(b"attack")?;
                Ok(None)
            });
            self.attempt(format!("{name}: truncate on opening"), |_| {
                OpenOptions::new().write(true).truncate(true).open(path)?;
                Ok(None)
            });
            // Without opening it, which std cannot do.
            self.program(
                &format!("{name}: truncate by name"),
                "perl",
                &["-e", "truncate($ARGV[0], 1) or die $!", path.to_str().unwrap()],
            );
            self.attempt(format!("{name}: replace"), |own| {
                fs::write(own.join("new"), "attack")?;
                fs::rename(own.join("new"), path).map(|()| None)
            });
            self.attempt(format!("{name}: rename"), |_| {
                fs::rename(path, path.with_extension("gone")).map(|()| None)
            });
            self.attempt(format!("{name}: move into the private directory"), |own| {
                fs::rename(path, own.join("moved"))?;
                read(&own.join("moved"))
            });
            self.attempt(format!("{name}: remove"), |_| fs::remove_file(path).map(|()| None));
        }
        for path in self.plan.absent.clone() {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            self.attempt(format!("{name}: create what SQLite would play back"), |_| {
                fs::write(&path, "attack").map(|()| None)
            });
        }
    }

    fn directories(&mut self) {
        let root = self.plan.state_root.clone();
        self.attempt("state root: read everything below", |_| read_below(&root));
        self.attempt("state root: create a file", |_| fs::write(root.join("planted"), "x").map(|()| None));
        self.attempt("state root: create a directory", |_| fs::create_dir(root.join("made")).map(|()| None));
        self.attempt("state root: rename", |_| fs::rename(&root, root.with_extension("gone")).map(|()| None));
        self.attempt("state root: remove", |_| {
            let entries: Vec<_> = fs::read_dir(&root)?.flatten().collect();
            entries.iter().try_for_each(|entry| fs::remove_file(entry.path()))?;
            fs::remove_dir(&root).map(|()| None)
        });
        let project = self.plan.project.clone();
        self.attempt("project: move away with everything in it", |_| {
            fs::rename(&project, project.with_extension("gone")).map(|()| None)
        });
        self.attempt("project: exchange for a directory of one's own", |own| {
            fs::create_dir_all(own.join("false"))?;
            let flags = rustix::fs::RenameFlags::EXCHANGE;
            rustix::fs::renameat_with(rustix::fs::CWD, own.join("false"), rustix::fs::CWD, &project, flags)?;
            Ok(None)
        });
    }

    fn processes(&mut self) {
        let files = self.plan.files.clone();
        let secret = &files[0].1;
        let marker = self.plan.marker.clone();
        for (who, pid) in ["Conveyor", "the keeper"].into_iter().zip(self.plan.outside.clone()) {
            let of = |part: &str| PathBuf::from(format!("/proc/{pid}/{part}"));
            self.attempt(format!("{who}: environment"), |_| {
                Ok(fs::read_to_string(of("environ"))?.contains(&marker).then(|| "its variables".into()))
            });
            self.attempt(format!("{who}: names of its open files"), |_| {
                let links = (0..64).map(|number| fs::read_link(of(&format!("fd/{number}"))));
                let mut first = None;
                for link in links {
                    match link {
                        Ok(target) => return Ok(Some(target.display().to_string())),
                        Err(error) => {
                            first.get_or_insert(error);
                        }
                    }
                }
                Err(first.unwrap())
            });
            self.attempt(format!("{who}: each open file"), |_| {
                let opened = (0..64).find_map(|number| read(&of(&format!("fd/{number}"))).ok().flatten());
                opened.map_or(Err(io::ErrorKind::PermissionDenied.into()), |got| Ok(Some(got)))
            });
            self.attempt(format!("{who}: its root directory"), |_| {
                read(&of(&format!("root{}", secret.display())))
            });
            self.attempt(format!("{who}: its current directory"), |_| {
                fs::read_dir(of("cwd/."))?;
                Ok(Some("a list of it".into()))
            });
            self.attempt(format!("{who}: memory"), |_| {
                File::open(of("mem"))?;
                Ok(Some("opened".into()))
            });
            self.attempt(format!("{who}: a map of its memory"), |_| {
                let maps = fs::read_to_string(of("maps"))?;
                Ok((!maps.is_empty()).then_some(maps))
            });
            self.attempt(format!("{who}: take over its descriptors"), |_| steal(pid));
            self.program(&format!("{who}: trace"), "perl", &["-e", SEIZE, &pid.to_string()]);
            self.program(
                &format!("{who}: enter its namespaces"),
                "nsenter",
                &["-t", &pid.to_string(), "-m", "cat", secret.to_str().unwrap()],
            );
        }
        self.attempt("every process: environment", |_| {
            let found = pids().find(|pid| {
                fs::read(format!("/proc/{pid}/environ"))
                    .is_ok_and(|text| String::from_utf8_lossy(&text).contains(&marker))
            });
            Ok(found.map(|pid| pid.to_string()))
        });
        self.attempt("every process: its root directory", |_| {
            let found = pids().find_map(|pid| {
                read(Path::new(&format!("/proc/{pid}/root{}", secret.display()))).ok().flatten()
            });
            Ok(found)
        });
    }

    fn sockets(&mut self) {
        let plan = self.plan.clone();
        let connected = |path: &Path| UnixStream::connect(path).map(|_| Some("connected".to_owned()));
        self.attempt("tmux server: connect", |_| connected(&plan.tmux));
        self.program(
            "tmux server: give it a command",
            "tmux",
            &["-S", plan.tmux.to_str().unwrap(), "list-sessions"],
        );
        self.attempt("agent's server: connect", |_| connected(&plan.stream));
        self.attempt("abstract socket: connect", |_| {
            let address = SocketAddr::from_abstract_name(&plan.abstract_name)?;
            UnixStream::connect_addr(&address).map(|_| Some("connected".into()))
        });
        self.attempt("datagram socket: send", |_| {
            UnixDatagram::unbound()?.send_to(b"attack", &plan.datagram).map(|_| Some("sent".into()))
        });
        self.attempt("datagram socket: send from a pair", |_| {
            UnixDatagram::pair()?.0.send_to(b"attack", &plan.datagram).map(|_| Some("sent".into()))
        });
        self.attempt("stream socket: turn one of a pair to the agent's server", |_| {
            let (one, _other) = UnixStream::pair()?;
            let address = rustix::net::SocketAddrUnix::new(&plan.stream)?;
            rustix::net::connect(&one, &address)?;
            Ok(Some("connected".into()))
        });
        let reached = std::net::TcpStream::connect(("127.0.0.1", plan.port));
        let detail = reached.as_ref().map_or_else(ToString::to_string, |_| "connected".into());
        self.require("network: TCP, which must work", reached.is_ok(), detail);
    }

    fn kernel(&mut self) {
        self.attempt("terminal: open the one that Conveyor was started in", |_| {
            OpenOptions::new().write(true).open("/dev/tty")?;
            Ok(Some("opened".into()))
        });
        self.program(
            "terminal: push a key into it",
            "perl",
            &["-e", "my $got = 0; for (glob '/dev/pts/[0-9]*') { open(T, '+<', $_) && ioctl(T, 0x5412, 'x') && $got++ } exit($got ? 0 : 1)"],
        );
        let secret = self.plan.files[0].1.to_str().unwrap().to_owned();
        let root = self.plan.state_root.to_str().unwrap().to_owned();
        self.program(
            "kernel: set up io_uring",
            "perl",
            &["-e", "my $p = \"\\0\" x 120; exit(syscall(425, 8, $p) >= 0 ? 0 : 1)"],
        );
        if cfg!(target_arch = "x86_64") {
            self.program(
                "kernel: a Unix socket by the second numbering",
                "perl",
                &["-e", "exit(syscall(0x40000029, 1, 1, 0) >= 0 ? 0 : 1)"],
            );
        }
        self.program("mounts: take the cover of the state root away", "umount", &["-l", &root]);
        self.program("mounts: take the cover of the ledger away", "umount", &["-l", &secret]);
        let inside = format!("umount -l '{secret}' || umount -l '{root}' || mount --bind /proc/1/root /mnt");
        self.program("mounts: in namespaces of one's own", "unshare", &["-Urm", "sh", "-c", &inside]);
        self.attempt("disks: read below the files", |_| {
            let disks = fs::read_dir("/dev")?.flatten();
            let disks = disks.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_block_device()));
            Ok(disks.filter_map(|disk| read(&disk.path()).ok().flatten()).next())
        });
        self.attempt("kernel: change a setting of the system", |_| {
            OpenOptions::new().write(true).open("/proc/sys/kernel/core_pattern")?;
            Ok(Some("opened for writing".into()))
        });
    }

    /// An attack by a program; it succeeds when that does.
    fn program(&mut self, name: &str, program: &str, arguments: &[&str]) {
        match Command::new(program).args(arguments).output() {
            Ok(output) if output.status.success() => {
                let outcome = if name.contains("truncate") { Outcome::Nothing } else { Outcome::Breach };
                self.note(name, outcome, String::from_utf8_lossy(&output.stdout));
            }
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                self.note(name, Outcome::Refused, said.lines().next().unwrap_or_default());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.note(name, Outcome::NotTried, format!("{program} is not installed"));
            }
            Err(error) => self.note(name, Outcome::Refused, error.to_string()),
        }
    }
}

/// The first bytes of a file; `None` when it is empty, as what covers a file is.
fn read(path: &Path) -> io::Result<Got> {
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
    let file =
        std::os::unix::fs::OpenOptionsExt::custom_flags(OpenOptions::new().read(true), flags).open(path)?;
    let kind = file.metadata()?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(64).read_to_end(&mut bytes)?;
    Ok((!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned()))
}

fn read_below(directory: &Path) -> io::Result<Got> {
    for entry in fs::read_dir(directory)?.flatten() {
        let found = if entry.path().is_dir() { read_below(&entry.path()) } else { read(&entry.path()) };
        if let Ok(Some(got)) = found {
            return Ok(Some(got));
        }
    }
    Ok(None)
}

fn query(path: &Path) -> io::Result<Got> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let database = rusqlite::Connection::open_with_flags(path, flags).map_err(io::Error::other)?;
    let count = database.query_row("select count(*) from sqlite_master", [], |row| row.get::<_, i64>(0));
    match count {
        // A cover is an empty database.
        Ok(0) => Ok(None),
        Ok(count) => Ok(Some(format!("{count} tables and indexes"))),
        Err(error) => Err(io::Error::other(error)),
    }
}

fn steal(pid: i32) -> io::Result<Got> {
    let handle = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty())?;
    let mut last = io::ErrorKind::PermissionDenied.into();
    for number in 0..64 {
        match pidfd_getfd(&handle, ForeignRawFd::from(number), PidfdGetfdFlags::empty()) {
            Ok(_) => return Ok(Some(format!("descriptor {number}"))),
            Err(error) => last = io::Error::from(error),
        }
    }
    Err(last)
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
