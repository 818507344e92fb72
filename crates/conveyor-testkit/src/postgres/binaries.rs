//! Where the server's programs are, and as whom they run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What every directory of server programs must contain.
const PROGRAMS: [&str; 3] = ["initdb", "pg_ctl", "postgres"];

/// The directory with `initdb`, `pg_ctl` and `postgres`: on PATH, named by `pg_config`, in the
/// distribution's version directories (the newest), or Homebrew's.
pub(super) fn find() -> Result<PathBuf, String> {
    on_path(std::env::var_os("PATH").unwrap_or_default().as_os_str())
        .or_else(from_pg_config)
        .or_else(|| newest(Path::new("/usr/lib/postgresql"), "", "bin"))
        .or_else(|| newest(Path::new("/opt/homebrew/opt"), "postgresql@", "bin"))
        .or_else(|| newest(Path::new("/usr/local/opt"), "postgresql@", "bin"))
        .ok_or_else(|| {
            format!(
                "PostgreSQL is needed for these tests: install the package `postgresql` (Debian, Ubuntu: \
                 `scripts/install-needs test`; macOS: `brew install postgresql@17`) or set {}=off",
                super::SWITCH_VARIABLE
            )
        })
}

fn is_complete(dir: &Path) -> bool {
    PROGRAMS.iter().all(|program| dir.join(program).is_file())
}

fn on_path(path: &std::ffi::OsStr) -> Option<PathBuf> {
    std::env::split_paths(path).find(|dir| dir.is_absolute() && is_complete(dir))
}

fn from_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").stdin(Stdio::null()).output().ok()?;
    let dir = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    is_complete(&dir).then_some(dir)
}

/// The complete directory of the highest version below `parent`, where versions are directories
/// named `prefix` and a number.
fn newest(parent: &Path, prefix: &str, below: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir(parent).ok()?.filter_map(|entry| {
        let name = entry.ok()?.file_name();
        let version: u32 = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
        let dir = parent.join(name).join(below);
        is_complete(&dir).then_some((version, dir))
    });
    versions.max().map(|(_, dir)| dir)
}

/// A user and a group that a process can switch to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// The account that runs the server: ours, except that PostgreSQL refuses root, which switches to
/// `postgres` or `nobody`.
pub(super) fn account() -> Result<Option<Account>, String> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let passwd =
        std::fs::read_to_string("/etc/passwd").map_err(|error| format!("reading /etc/passwd: {error}"))?;
    ["postgres", "nobody"].into_iter().find_map(|name| account_of(name, &passwd)).map(Some).ok_or_else(|| {
        "PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody` to run it as"
            .to_owned()
    })
}

fn account_of(name: &str, passwd: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let mut fields = fields.skip(1);
        Some(Account { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(dir: &Path, programs: &[&str]) {
        std::fs::create_dir_all(dir).unwrap();
        for program in programs {
            std::fs::write(dir.join(program), "").unwrap();
        }
    }

    #[test]
    fn the_newest_complete_version_is_taken() {
        let root = tempfile::tempdir().unwrap();
        make(&root.path().join("9/bin"), &PROGRAMS);
        make(&root.path().join("15/bin"), &PROGRAMS);
        make(&root.path().join("17/bin"), &["psql"]);
        make(&root.path().join("other/bin"), &PROGRAMS);
        assert_eq!(newest(root.path(), "", "bin"), Some(root.path().join("15/bin")));
        assert_eq!(newest(root.path(), "postgresql@", "bin"), None);
        assert_eq!(newest(&root.path().join("absent"), "", "bin"), None);
    }

    #[test]
    fn a_directory_on_path_must_hold_all_programs() {
        let root = tempfile::tempdir().unwrap();
        let (client, server) = (root.path().join("client"), root.path().join("server"));
        make(&client, &["psql", "pg_ctl"]);
        make(&server, &PROGRAMS);
        let path = std::env::join_paths([&client, &server]).unwrap();
        assert_eq!(on_path(&path), Some(server));
    }

    #[test]
    fn accounts_come_from_the_user_table() {
        let passwd = "root:x:0:0::/root:/bin/sh\npostgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(account_of("postgres", passwd), Some(Account { uid: 101, gid: 104 }));
        assert_eq!(account_of("nobody", passwd), None);
    }
}
