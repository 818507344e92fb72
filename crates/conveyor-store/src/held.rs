//! Telemetry that a transaction has recorded and not yet written.

/// An event as it goes into its table.
pub(crate) struct HeldEvent {
    pub(crate) id: String,
    pub(crate) run_id: Option<String>,
    pub(crate) task_id: Option<String>,
    pub(crate) timestamp: String,
    pub(crate) actor: &'static str,
    pub(crate) event_type: String,
    pub(crate) severity: &'static str,
    pub(crate) summary: String,
    pub(crate) correlation: String,
    pub(crate) attributes: String,
}

/// The events of a transaction, in order. Those of a unit that is undone are forgotten, and those
/// that were written inside it are written again.
#[derive(Default)]
pub(crate) struct Held {
    events: Vec<HeldEvent>,
    /// How many of them, from the front, are in the database.
    written: usize,
    /// How many savepoints are open.
    depth: usize,
}

/// Where a unit began.
pub(crate) struct Mark {
    events: usize,
    written: usize,
}

/// Events are written before the end of a transaction when there are so many.
const MOST: usize = 1024;

impl Held {
    pub(crate) fn push(&mut self, event: HeldEvent) {
        self.events.push(event);
    }

    /// Whether it is time to write. A savepoint is waited out: it is short.
    pub(crate) fn is_full(&self) -> bool {
        self.depth == 0 && self.events.len() >= MOST
    }

    pub(crate) fn unwritten(&self) -> &[HeldEvent] {
        self.events.get(self.written..).unwrap_or_default()
    }

    /// Everything has been written.
    pub(crate) fn note_written(&mut self) {
        if self.depth == 0 {
            // Nothing can undo it but the end of the transaction.
            self.events.clear();
        }
        self.written = self.events.len();
    }

    pub(crate) fn begin_unit(&mut self) -> Mark {
        self.depth += 1;
        Mark { events: self.events.len(), written: self.written }
    }

    pub(crate) fn keep_unit(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    pub(crate) fn undo_unit(&mut self, mark: Mark) {
        self.depth = self.depth.saturating_sub(1);
        self.events.truncate(mark.events);
        self.written = mark.written;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str) -> HeldEvent {
        HeldEvent {
            id: id.into(),
            run_id: None,
            task_id: None,
            timestamp: String::new(),
            actor: "dispatch",
            event_type: String::new(),
            severity: "info",
            summary: String::new(),
            correlation: String::new(),
            attributes: String::new(),
        }
    }

    fn unwritten(held: &Held) -> Vec<&str> {
        held.unwritten().iter().map(|event| event.id.as_str()).collect()
    }

    #[test]
    fn an_undone_unit_takes_its_events_along_and_no_others() {
        let mut held = Held::default();
        held.push(event("before"));
        let mark = held.begin_unit();
        held.push(event("inside"));
        // Written inside the savepoint: undone with it, the earlier one too.
        held.note_written();
        assert!(unwritten(&held).is_empty());
        held.undo_unit(mark);
        assert_eq!(unwritten(&held), ["before"]);
        held.begin_unit();
        held.push(event("kept"));
        held.keep_unit();
        assert_eq!(unwritten(&held), ["before", "kept"]);
        held.note_written();
        assert!(held.unwritten().is_empty() && !held.is_full());
    }
}
