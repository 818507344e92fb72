//! The versions of Codex that tests run, and how a server of one meets terminals of the other.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Set to another version, the tests run it in the place of the newest pinned one.
const NEWEST_VARIABLE: &str = "CONVEYOR_TEST_CODEX_NEWEST";

/// The pinned versions, which `scripts/install-codex` and the product read from the same file.
const PINNED: &str = include_str!("../../../conveyor-agents/src/codex/tested-versions");

/// One of the installed versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The newest; the whole suite runs on it.
    Newest,
    /// An older one, as people have who do not update.
    Older,
}

impl Release {
    /// Its version, for instance `0.171.0`.
    ///
    /// # Panics
    /// When the file of pinned versions is not readable.
    #[must_use]
    pub fn version(self) -> &'static str {
        static NEWEST: OnceLock<String> = OnceLock::new();
        let pinned = |name: &str| {
            let line = PINNED.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.expect("a pinned version")
        };
        match self {
            Self::Newest => NEWEST
                .get_or_init(|| std::env::var(NEWEST_VARIABLE).unwrap_or_else(|_| pinned("newest").into())),
            Self::Older => pinned("older"),
        }
    }

    /// Where `scripts/install-codex` installs it.
    pub(super) fn prefix(self) -> PathBuf {
        super::target_dir().join("codex").join(self.version())
    }

    /// The installed `codex`, as npm puts it on people's PATH. `None` only when switched off.
    ///
    /// # Panics
    /// With one line that says what to run, when it is not installed.
    #[must_use]
    pub fn binary(self) -> Option<&'static Path> {
        static BINARIES: [OnceLock<PathBuf>; 2] = [OnceLock::new(), OnceLock::new()];
        if !super::enabled() {
            return None;
        }
        let binary = BINARIES[usize::from(self == Self::Older)].get_or_init(|| {
            let binary = self.prefix().join("node_modules/.bin/codex");
            assert!(
                binary.is_file(),
                "Codex {} is needed for these tests: run scripts/install-codex or set {}=off",
                self.version(),
                super::SWITCH_VARIABLE
            );
            binary
        });
        Some(binary)
    }
}

/// A server of one version with terminals of one version. They drift apart whenever people update:
/// the server is a private copy made by whichever Codex first started it in a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mixture {
    /// Whose server runs.
    pub server: Release,
    /// Which `codex` is on PATH and in the terminals.
    pub terminal: Release,
}

impl Mixture {
    /// Both the newest.
    pub const NEWEST: Self = Self { server: Release::Newest, terminal: Release::Newest };
    /// Both older.
    pub const OLDER: Self = Self { server: Release::Older, terminal: Release::Older };
    /// The program was updated, the server was not.
    pub const OLD_SERVER: Self = Self { server: Release::Older, terminal: Release::Newest };
    /// The server was updated, the program was not.
    pub const OLD_TERMINAL: Self = Self { server: Release::Newest, terminal: Release::Older };

    /// What the names of tests call the mixtures, with what they mean.
    #[must_use]
    pub fn legend() -> String {
        let all = [
            ("newest, and every test without a mixture in its name", Self::NEWEST),
            ("older", Self::OLDER),
            ("old_server", Self::OLD_SERVER),
            ("old_terminal", Self::OLD_TERMINAL),
        ];
        let line = |(name, mixture): (&str, Self)| {
            let (server, terminal) = (mixture.server.version(), mixture.terminal.version());
            format!("real Codex: {name}: server {server}, terminals {terminal}\n")
        };
        all.map(line).concat()
    }
}

/// A value for each mixture, made when it is first asked for: a home with its server, for instance.
#[derive(Debug)]
pub struct PerMixture<T>([OnceLock<T>; 4]);

impl<T> PerMixture<T> {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self([const { OnceLock::new() }; 4])
    }

    /// The one of a mixture.
    pub fn get(&self, mixture: Mixture, make: impl FnOnce() -> T) -> &T {
        let index = |release: Release| usize::from(release == Release::Older);
        self.0[2 * index(mixture.server) + index(mixture.terminal)].get_or_init(make)
    }
}

impl<T> Default for PerMixture<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes tests of functions that take a [`Mixture`]: one for each mixture, in modules whose names
/// say which. Once per module.
#[macro_export]
macro_rules! on_every_codex {
    ($($test:ident),+ $(,)?) => {
        mod newest {
            $(#[test] fn $test() { super::$test($crate::codex::Mixture::NEWEST); })+
        }
        mod older {
            $(#[test] fn $test() { super::$test($crate::codex::Mixture::OLDER); })+
        }
        mod old_server {
            $(#[test] fn $test() { super::$test($crate::codex::Mixture::OLD_SERVER); })+
        }
        mod old_terminal {
            $(#[test] fn $test() { super::$test($crate::codex::Mixture::OLD_TERMINAL); })+
        }
    };
}
