//! Terminals beside the queue: while a watch goes on, each receiver in a terminal has a thread of its
//! own, so that none holds up another one, nor messages for inboxes.

use std::collections::{BTreeMap, BTreeSet};
use std::thread::JoinHandle;

use super::attend;
use crate::dispatch::Request;
use crate::dispatch::elements::Element;
use crate::{Cx, Error, Result};

/// So many terminals are attended to at once.
const MOST: usize = 16;

/// So many messages go to one terminal before its thread can be stopped.
const IN_A_ROW: usize = 16;

/// The receivers that are being attended to.
#[derive(Default)]
pub(in crate::dispatch) struct Lane {
    /// By session id.
    busy: BTreeMap<String, JoinHandle<Result<Vec<Element>>>>,
    /// Who is to be attended to as soon as that is possible.
    waiting: BTreeSet<String>,
}

impl Lane {
    /// Attends to these receivers from now on.
    pub(in crate::dispatch) fn attend(
        &mut self,
        cx: &Cx,
        request: &Request,
        sessions: Vec<String>,
    ) -> Result<()> {
        self.waiting.extend(sessions);
        let free: Vec<String> =
            self.waiting.iter().filter(|id| !self.busy.contains_key(*id)).cloned().collect();
        for session_id in free {
            if self.busy.len() >= MOST {
                break;
            }
            self.waiting.remove(&session_id);
            let (mut own, request, id) = (cx.another()?, request.clone(), session_id.clone());
            let thread = std::thread::Builder::new()
                .name("terminal".into())
                .spawn(move || attend(&mut own, &request, &id, IN_A_ROW))?;
            self.busy.insert(session_id, thread);
        }
        Ok(())
    }

    /// What those said who are done.
    pub(in crate::dispatch) fn collect(&mut self) -> Result<Vec<Element>> {
        let done: Vec<String> = self
            .busy
            .iter()
            .filter(|(_, thread)| thread.is_finished())
            .map(|(session_id, _)| session_id.clone())
            .collect();
        let mut elements = Vec::new();
        for session_id in done {
            if let Some(thread) = self.busy.remove(&session_id) {
                elements.extend(said(thread)?);
            }
        }
        Ok(elements)
    }

    /// Whether somebody is still to be attended to, for whom there was no place.
    pub(in crate::dispatch) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Waits until all are done.
    pub(in crate::dispatch) fn finish(self) -> Result<Vec<Element>> {
        let mut elements = Vec::new();
        for thread in self.busy.into_values() {
            elements.extend(said(thread)?);
        }
        Ok(elements)
    }
}

/// What a thread said. A ledger that could not be reached for a while is no reason to end the watch:
/// what was begun is looked for later.
fn said(thread: JoinHandle<Result<Vec<Element>>>) -> Result<Vec<Element>> {
    match thread.join() {
        Ok(Err(Error::Store(error))) if error.is_transient() => Ok(Vec::new()),
        Ok(outcome) => outcome,
        // As if the process had died there.
        Err(_) => Ok(Vec::new()),
    }
}
