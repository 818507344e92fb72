//! Where legacy workers are looked for: a state root, the terminals, and a ledger that is opened
//! only when something needs it.

use std::path::{Path, PathBuf};

use conveyor_agents::tmux::Tmux;
use conveyor_model::Timestamp;
use conveyor_store::{Access, Db, Location, OpenOptions, StoreError, Tx};

use serde_json::{Map, Value};

use super::append_event;
use crate::{Cx, Result};

/// A state root and what belongs to it.
pub struct Place {
    root: PathBuf,
    tmux: Tmux,
    location: Location,
    options: OpenOptions,
    cwd: PathBuf,
    parent_pid: i64,
    opened: Option<Cx>,
    /// The inner `None`: there is no ledger that could be looked at.
    looking: Option<Option<Db>>,
}

impl Place {
    /// A state root with the ledger at `location`, neither of which needs to exist.
    #[must_use]
    pub fn new(
        root: PathBuf,
        tmux: Tmux,
        (location, options): (Location, OpenOptions),
        cwd: PathBuf,
        parent_pid: i64,
    ) -> Self {
        Self { root, tmux, location, options, cwd, parent_pid, opened: None, looking: None }
    }

    /// The state root.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory that the user works in.
    #[must_use]
    pub fn cwd(&self) -> &Path {
        &self.cwd
    }

    /// The terminals.
    #[must_use]
    pub fn tmux(&self) -> &Tmux {
        &self.tmux
    }

    /// The current moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.options.clock.now()
    }

    /// Appends an event to the log of a worker or session, with its moment and type.
    pub(crate) fn log(&self, name: &str, event_type: &str, mut facts: Value) -> Result<()> {
        facts["time"] = self.now().to_s_text().into();
        facts["type"] = event_type.into();
        let path = self.root.join(name).join("events.jsonl");
        append_event(&path, facts.as_object().unwrap_or(&Map::new()))
    }

    /// The ledger, opened to be written; made or upgraded if need be.
    ///
    /// # Errors
    /// The ledger cannot be opened.
    pub fn cx(&mut self) -> Result<&mut Cx> {
        let cx = match self.opened.take() {
            Some(cx) => cx,
            None => Cx {
                db: Db::open(&self.location, Access::Write, self.options.clone())?,
                cwd: self.cwd.clone(),
                parent_pid: self.parent_pid,
                tmux: self.tmux.clone(),
            },
        };
        Ok(self.opened.insert(cx))
    }

    /// Reads in the ledger if there is one; `None` when there is not, or when reading fails for
    /// whatever reason. Nothing is made or upgraded.
    pub(crate) fn look<T>(&mut self, work: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError>) -> Option<T> {
        if let Some(cx) = &mut self.opened {
            return cx.db.read(work).ok();
        }
        let (location, options) = (&self.location, &self.options);
        let looking =
            self.looking.get_or_insert_with(|| Db::open(location, Access::Look, options.clone()).ok());
        looking.as_mut()?.read(work).ok()
    }
}
