use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::Processes;

/// Processes as `ps` and `lsof` tell of them, for systems without `/proc`. `ps` runs once, when it
/// is first needed; `lsof` once for each process whose files are asked for.
///
/// The tree comes from `ps` rather than `pgrep -P`, which on macOS hides its own ancestors: a
/// command that an agent runs is below that agent.
#[derive(Debug, Default)]
pub struct Programs {
    table: OnceCell<BTreeMap<u32, Process>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Process {
    parent: u32,
    command_line: String,
}

impl Programs {
    /// The processes of this machine.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn table(&self) -> io::Result<&BTreeMap<u32, Process>> {
        if let Some(table) = self.table.get() {
            return Ok(table);
        }
        let output = run("ps", &["-axww", "-o", "pid=", "-o", "ppid=", "-o", "command="])?;
        Ok(self.table.get_or_init(|| parse_table(&String::from_utf8_lossy(&output))))
    }

    fn process(&self, pid: u32) -> io::Result<&Process> {
        self.table()?.get(&pid).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Processes for Programs {
    fn command_line(&self, pid: u32) -> io::Result<String> {
        self.process(pid).map(|process| process.command_line.clone())
    }

    fn open_files(&self, pid: u32) -> io::Result<Vec<PathBuf>> {
        self.process(pid)?;
        // lsof exits with 1 when anything at all could not be listed; what it printed still holds.
        // -n and -P keep it from asking name servers.
        let output = run("lsof", &["-nPw", "-Fn", "-p", &pid.to_string()])?;
        Ok(parse_names(&output))
    }

    fn children(&self, pid: u32) -> io::Result<Vec<u32>> {
        Ok(self.table()?.iter().filter(|(_, process)| process.parent == pid).map(|(pid, _)| *pid).collect())
    }
}

fn run(program: &str, arguments: &[&str]) -> io::Result<Vec<u8>> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output();
    output
        .map(|output| output.stdout)
        .map_err(|error| io::Error::other(format!("cannot run {program}: {error}")))
}

/// Lines of `pid ppid command line`; others (a command line with a newline in it) are passed over.
fn parse_table(text: &str) -> BTreeMap<u32, Process> {
    let row = |line: &str| {
        let (pid, rest) = line.trim_start().split_once(char::is_whitespace)?;
        let (parent, command_line) = rest.trim_start().split_once(char::is_whitespace).unwrap_or((rest, ""));
        let process =
            Process { parent: parent.trim().parse().ok()?, command_line: command_line.trim().to_owned() };
        Some((pid.parse().ok()?, process))
    };
    text.lines().filter_map(row).collect()
}

/// The paths in `lsof -Fn` output, in which each line begins with a letter that says what it is.
fn parse_names(output: &[u8]) -> Vec<PathBuf> {
    output
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.strip_prefix(b"n"))
        .filter(|name| name.starts_with(b"/"))
        .map(|name| OsString::from_vec(unescape(name)).into())
        .collect()
}

/// lsof writes bytes that it holds to be unprintable as `\xHH`, and a backslash as two.
fn unescape(name: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, tail)) = rest.split_first() {
        let (byte, next) = match tail {
            [b'\\', next @ ..] if *first == b'\\' => (b'\\', next),
            [b'x', high, low, next @ ..]
                if *first == b'\\' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (nibble(*high) << 4 | nibble(*low), next)
            }
            next => (*first, next),
        };
        bytes.push(byte);
        rest = next;
    }
    bytes
}

fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_keeps_spaces_in_command_lines() {
        let table = parse_table("    1     0 /sbin/init\n  712     1 codex  --cd /a b\nstray\n  713   712\n");
        assert_eq!(table.keys().copied().collect::<Vec<_>>(), [1, 712, 713]);
        assert_eq!(table[&712], Process { parent: 1, command_line: "codex  --cd /a b".into() });
        assert_eq!(table[&713], Process { parent: 712, command_line: String::new() });
    }

    #[test]
    fn names_are_absolute_paths_with_escapes_undone() {
        let output = b"p12\nfcwd\nn/srv/demo\nf3\nn/a b/sessions/rollout-\\xc3\\xa9\\\\.jsonl\nf4\nnpipe\nf5\nn/x\\q\n";
        let names = parse_names(output);
        let expected = ["/srv/demo", "/a b/sessions/rollout-é\\.jsonl", "/x\\q"];
        assert_eq!(names, expected.map(PathBuf::from));
    }
}
