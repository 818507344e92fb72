//! What a worker is doing, inferred from its rollout.

/// A step in the life of a turn. The newest one of a session decides its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnEvent {
    /// A turn runs: the worker is busy.
    Started,
    /// The turn came to its end: the worker is idle.
    Completed,
    /// The turn was broken off: the worker is idle too.
    Aborted,
}

/// The subtypes of `event_msg` that [`turn_event`] knows, for queries that look for the newest.
pub const TURN_SUBTYPES: [&str; 4] = ["task_started", "user_message", "task_complete", "turn_aborted"];

impl TurnEvent {
    /// Whether a turn runs after this event.
    #[must_use]
    pub fn is_busy(self) -> bool {
        self == Self::Started
    }
}

/// The step that an event is, if it is one. Both layouts are understood: the old one, in which a
/// prompt appears as `user_message`, and today's, in which it appears as an `item_completed` with
/// a user message inside. The latter is no step of its own, because today's Codex writes
/// `task_started` before it, and an item may still be completed after its turn was aborted.
#[must_use]
pub fn turn_event(event_type: &str, subtype: Option<&str>) -> Option<TurnEvent> {
    if event_type != "event_msg" {
        return None;
    }
    match subtype? {
        "task_started" | "user_message" => Some(TurnEvent::Started),
        "task_complete" => Some(TurnEvent::Completed),
        "turn_aborted" => Some(TurnEvent::Aborted),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listed_subtypes_are_the_known_ones() {
        assert!(TURN_SUBTYPES.iter().all(|subtype| turn_event("event_msg", Some(subtype)).is_some()));
        for other in [Some("item_completed"), Some("agent_message"), Some("token_count"), None] {
            assert_eq!(turn_event("event_msg", other), None);
        }
        assert_eq!(turn_event("response_item", Some("task_complete")), None);
    }

    #[test]
    fn an_aborted_turn_leaves_the_worker_idle() {
        let busy = |subtype| turn_event("event_msg", Some(subtype)).map(TurnEvent::is_busy);
        assert_eq!(busy("task_started"), Some(true));
        assert_eq!(busy("user_message"), Some(true));
        assert_eq!(busy("task_complete"), Some(false));
        assert_eq!(busy("turn_aborted"), Some(false));
    }
}
