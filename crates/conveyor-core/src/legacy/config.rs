use std::path::{Path, PathBuf};

use conveyor_model::WorkerState;
use conveyor_model::records::Object;
use conveyor_store::workers::Facts;

use super::files::{check_name, read_object};
use crate::Result;

/// The configuration of a legacy worker; its file makes a directory one. Unknown keys are kept.
#[derive(Clone, Debug)]
pub struct Config(Object);

impl Config {
    /// The configuration of the worker of this name, if there is one.
    ///
    /// # Errors
    /// A name from which no path may be made, or a file that holds something else.
    pub fn of(root: &Path, name: &str) -> Result<Option<Self>> {
        check_name(name)?;
        Ok(read_object(&Self::path(root, name))?.map(Self))
    }

    /// A configuration that was read.
    #[must_use]
    pub fn from_object(object: Object) -> Self {
        Self(object)
    }

    /// Where the configuration of a worker is.
    #[must_use]
    pub fn path(root: &Path, name: &str) -> PathBuf {
        root.join(name).join("config.json")
    }

    /// A text of the configuration; an empty one counts as none.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str().filter(|text| !text.is_empty())
    }

    /// A number of the configuration.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<i64> {
        self.0.get(key)?.as_i64()
    }

    /// The terminal's name as it is recorded, else the usual one.
    #[must_use]
    pub fn tmux_session(&self, name: &str) -> String {
        self.text("tmux_session").map_or_else(|| tmux_session_of(name), ToOwned::to_owned)
    }

    /// What the ledger records about the worker. `tmux_session` outlives the call's facts.
    #[must_use]
    pub fn facts<'a>(&'a self, name: &'a str, tmux_session: &'a str, state: WorkerState) -> Facts<'a> {
        Facts {
            name,
            tmux_session,
            tmux_pane_id: self.text("tmux_pane_id"),
            identity_token: self.text("identity_token"),
            cwd: self.text("cwd").unwrap_or_default(),
            state,
        }
    }
}

/// The terminal of the legacy worker of this name.
#[must_use]
pub(crate) fn tmux_session_of(name: &str) -> String {
    format!("codex-{name}")
}
