//! The context of an operation: handles to the ledger and the outside, built once.

use std::path::PathBuf;

use conveyor_agents::tmux::Tmux;
use conveyor_model::{Clock, Ids, Timestamp};
use conveyor_store::Db;

use crate::Result;

/// What an operation may reach. Built once, by the program or by a test.
pub struct Cx {
    /// The ledger.
    pub db: Db,
    /// The directory the user works in.
    pub cwd: PathBuf,
    /// The process that called us; recorded for sessions without a process of their own.
    pub parent_pid: i64,
    /// The terminals.
    pub tmux: Tmux,
}

impl Cx {
    /// The same for a thread of its own, with a connection of its own.
    ///
    /// # Errors
    /// The ledger cannot be opened.
    pub fn another(&self) -> Result<Self> {
        let Self { cwd, parent_pid, tmux, .. } = self;
        Ok(Self { db: self.db.another()?, cwd: cwd.clone(), parent_pid: *parent_pid, tmux: tmux.clone() })
    }

    /// The ledger's place as generated commands name it: absolute path, or URL without password.
    #[must_use]
    pub fn ledger(&self) -> String {
        self.db.location().to_string()
    }

    /// The current moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.db.clock().now()
    }
}

/// The machine's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
    }
}

/// Random version-4 UUIDs from the operating system.
pub struct RandomIds;

impl Ids for RandomIds {
    #[allow(clippy::disallowed_methods, reason = "the one place that makes random ids")]
    fn uuid(&self) -> String {
        uuid::Uuid::new_v4().to_string()
    }
}
