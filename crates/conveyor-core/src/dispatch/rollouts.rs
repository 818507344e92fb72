//! The rollouts of bound sessions, as the watching dispatcher follows them.

use super::Warn;
use super::pass::OwnEvents;
use crate::{Cx, Result};

/// What the dispatcher knows of the rollouts of all sessions in live bindings.
#[derive(Default)]
pub(super) struct Rollouts {
    own: OwnEvents,
}

impl Rollouts {
    /// Reads what is new in every rollout.
    pub(super) fn ingest_all(&mut self, _cx: &mut Cx, _warn: Warn<'_>) -> Result<()> {
        Ok(())
    }

    /// Whether a rollout has grown since it was read.
    pub(super) fn have_grown(&mut self) -> bool {
        false
    }

    /// The completions that this process itself read.
    pub(super) fn own_events(&self) -> &OwnEvents {
        &self.own
    }
}
