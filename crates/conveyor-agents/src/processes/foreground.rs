//! Which program has a terminal in its hands.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// A process of the group that a terminal's keys go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForegroundProcess {
    /// The process.
    pub pid: u32,
    /// The names it can be known by: of its executable and, where that is an interpreter, of its
    /// script. Without directories and without the endings of scripts.
    pub names: Vec<String>,
}

/// The processes of the foreground group of the terminal that a process runs in, in ascending
/// order; none when it has no terminal.
///
/// # Errors
/// No such process, or the system refuses to tell.
pub fn foreground(pid: u32) -> io::Result<Vec<ForegroundProcess>> {
    if Path::new("/proc/self/stat").exists() { of_proc(pid) } else { of_ps(pid) }
}

fn of_proc(pid: u32) -> io::Result<Vec<ForegroundProcess>> {
    let Some((_, group)) = groups(&fs::read(format!("/proc/{pid}/stat"))?) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(member) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // One that has ended meanwhile has nothing in its hands.
        let Ok(stat) = fs::read(format!("/proc/{member}/stat")) else { continue };
        if groups(&stat).is_some_and(|(own, _)| own == group) {
            let line = fs::read(format!("/proc/{member}/cmdline")).unwrap_or_default();
            let words: Vec<String> = line
                .split(|byte| *byte == 0)
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect();
            found.push(ForegroundProcess { pid: member, names: names(&words) });
        }
    }
    found.sort_by_key(|process| process.pid);
    Ok(found)
}

/// Of a `stat` file: the process's own group, and the group in the foreground of its terminal.
fn groups(stat: &[u8]) -> Option<(i64, i64)> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = std::str::from_utf8(&stat[end + 1..]).ok()?.split_ascii_whitespace();
    let own = fields.nth(2)?.parse().ok()?;
    let foreground: i64 = fields.nth(2)?.parse().ok()?;
    (foreground > 0).then_some((own, foreground))
}

fn of_ps(pid: u32) -> io::Result<Vec<ForegroundProcess>> {
    let output = Command::new("ps")
        .args(["-axww", "-o", "pid=", "-o", "pgid=", "-o", "tpgid=", "-o", "command="])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()?;
    Ok(of_table(pid, &String::from_utf8_lossy(&output.stdout)))
}

fn of_table(pid: u32, table: &str) -> Vec<ForegroundProcess> {
    let rows: Vec<(u32, i64, i64, Vec<String>)> = table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let pid = fields.next()?.parse().ok()?;
            let (own, foreground) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            Some((pid, own, foreground, fields.map(ToOwned::to_owned).collect()))
        })
        .collect();
    let Some(group) = rows.iter().find(|row| row.0 == pid).map(|row| row.2).filter(|group| *group > 0) else {
        return Vec::new();
    };
    let members = rows.iter().filter(|row| row.1 == group);
    members.map(|row| ForegroundProcess { pid: row.0, names: names(&row.3) }).collect()
}

/// Programs that run scripts: then the script's name counts, too.
const INTERPRETERS: [&str; 12] =
    ["node", "nodejs", "bun", "deno", "python", "python3", "ruby", "perl", "sh", "bash", "dash", "zsh"];

/// The names that the words of a command line say.
fn names(words: &[String]) -> Vec<String> {
    let Some(program) = words.first().map(|word| base(word)).filter(|name| !name.is_empty()) else {
        return Vec::new();
    };
    // A login shell puts a hyphen before its name.
    let program = program.trim_start_matches('-').to_owned();
    let mut names = vec![program.clone()];
    if INTERPRETERS.contains(&program.as_str()) {
        let script = words[1..].iter().find(|word| !word.is_empty() && !word.starts_with('-'));
        // What follows `-c` is no script but a program text.
        if let Some(script) = script.filter(|_| !words[1..].iter().any(|word| word == "-c" || word == "-e")) {
            names.push(base(script));
        }
    }
    names
}

fn base(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let ending = [".js", ".mjs", ".cjs", ".py", ".sh"].into_iter().find_map(|end| name.strip_suffix(end));
    ending.unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(line: &str) -> Vec<String> {
        names(&line.split(' ').map(ToOwned::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn programs_are_known_by_executable_and_script() {
        assert_eq!(named("/opt/codex resume 1"), ["codex"]);
        assert_eq!(named("node /x/.bin/codex --yolo"), ["node", "codex"]);
        assert_eq!(named("node --no-warnings /x/bin/codex.js"), ["node", "codex"]);
        assert_eq!(named("-bash"), ["bash"]);
        assert_eq!(named("sh -c codex"), ["sh"], "a program text is no script");
        assert_eq!(named("vim codex"), ["vim"], "an argument is no script");
        assert!(named("").is_empty());
    }

    #[test]
    fn the_groups_stand_behind_any_program_name() {
        assert_eq!(groups(b"12 (a) 9 (b) S 7 12 12 34816 77 0"), Some((12, 77)));
        assert_eq!(groups(b"12 (a) S 7 12 12 0 -1 0"), None, "no terminal");
        assert_eq!(groups(b"12 (a"), None);
    }

    #[test]
    fn a_table_of_ps_is_read() {
        let table = " 10 10 20 -zsh\n 20 20 20 node /x/codex\n 21 20 20 /v/codex app\n 30 30 30 vi\n";
        let found = of_table(10, table);
        assert_eq!(found.iter().map(|process| process.pid).collect::<Vec<_>>(), [20, 21]);
        assert_eq!(found[0].names, ["node", "codex"]);
        assert!(of_table(99, table).is_empty());
    }
}
