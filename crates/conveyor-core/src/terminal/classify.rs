use conveyor_agents::screen::{self, Activity, BusyWait};
use serde::Serialize;

/// What a text tells, if it were a screen.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Classified {
    /// What keeps its agent from going on.
    pub busy_wait: Option<BusyWait>,
    /// From which age on silence is remarkable.
    pub busy_wait_seconds: i64,
    /// How far the agent's start has come.
    pub startup: &'static str,
    /// Why.
    pub startup_reason: &'static str,
    /// The age that was assumed.
    pub status_age_seconds: i64,
}

/// What a text tells, if it were the visible screen of an agent that reported so long ago.
#[must_use]
pub fn classify(text: &str, status_age_seconds: i64, busy_wait_seconds: i64) -> Classified {
    let activity =
        Activity { status_age_seconds: Some(status_age_seconds), busy_wait_seconds, recent_events: 0 };
    let startup = screen::startup(text);
    Classified {
        busy_wait: screen::busy_wait(text, &activity),
        busy_wait_seconds,
        startup: startup.state.as_str(),
        startup_reason: startup.reason,
        status_age_seconds,
    }
}
