use std::collections::VecDeque;

use serde_json::Value;

use super::protocol::{Status, Thread, Turn};

/// What a server tells its clients without being asked. Threads and their states are told to
/// everybody, turns and requests to those who are subscribed to the thread.
#[derive(Clone, Debug)]
pub enum Event {
    /// A thread was made or loaded.
    ThreadStarted(Box<Thread>),
    /// A thread's state changed.
    StatusChanged {
        /// The thread.
        thread_id: String,
        /// Its new state.
        status: Status,
    },
    /// The server no longer holds a thread.
    ThreadClosed {
        /// The thread.
        thread_id: String,
    },
    /// A turn began.
    TurnStarted {
        /// The thread.
        thread_id: String,
        /// The turn.
        turn: Turn,
    },
    /// A turn ended.
    TurnCompleted {
        /// The thread.
        thread_id: String,
        /// The turn.
        turn: Turn,
    },
    /// The server asks its user something; whoever is subscribed may answer, and we never do.
    Request {
        /// The thread.
        thread_id: String,
        /// What kind of question, for instance `item/commandExecution/requestApproval`.
        method: String,
        /// All that belongs to it.
        params: Value,
    },
}

impl Event {
    /// Reads a notification, or a request of the server. `None` for what is of no interest here
    /// and for what cannot be read.
    pub(super) fn read(method: &str, is_request: bool, mut params: Value) -> Option<Self> {
        let thread_id = params["threadId"].as_str().map(str::to_owned);
        if is_request {
            return Some(Self::Request { thread_id: thread_id?, method: method.to_owned(), params });
        }
        let mut part = |name: &str| params.get_mut(name).map(Value::take);
        Some(match method {
            "thread/started" => Self::ThreadStarted(Box::new(parse(part("thread")?)?)),
            "thread/status/changed" => {
                Self::StatusChanged { status: parse(part("status")?)?, thread_id: thread_id? }
            }
            "thread/closed" => Self::ThreadClosed { thread_id: thread_id? },
            "turn/started" => Self::TurnStarted { turn: parse(part("turn")?)?, thread_id: thread_id? },
            "turn/completed" => Self::TurnCompleted { turn: parse(part("turn")?)?, thread_id: thread_id? },
            _ => return None,
        })
    }
}

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> Option<T> {
    serde_json::from_value(value).ok()
}

/// Events that nobody has looked at yet.
#[derive(Debug, Default)]
pub(super) struct Events {
    waiting: VecDeque<Event>,
    missed: u64,
}

impl Events {
    /// So many are kept for a client that makes requests and never looks at events.
    const MOST: usize = 10_000;

    pub(super) fn push(&mut self, event: Event) {
        if self.waiting.len() == Self::MOST {
            self.waiting.pop_front();
            self.missed += 1;
        }
        self.waiting.push_back(event);
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        self.waiting.pop_front()
    }

    pub(super) fn missed(&self) -> u64 {
        self.missed
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_read_and_others_passed_over() {
        let changed =
            json!({"threadId": "t", "status": {"type": "active", "activeFlags": ["waitingOnApproval"]}});
        let event = Event::read("thread/status/changed", false, changed);
        assert!(matches!(event, Some(Event::StatusChanged { status: Status::Active { .. }, .. })));
        let turn = json!({"threadId": "t", "turn": {"id": "u", "status": "interrupted", "items": []}});
        assert!(matches!(Event::read("turn/completed", false, turn), Some(Event::TurnCompleted { .. })));
        let asked = Event::read("item/commandExecution/requestApproval", true, json!({"threadId": "t"}));
        assert!(matches!(asked, Some(Event::Request { .. })));
        assert!(Event::read("thread/started", false, json!({"thread": 7})).is_none());
        assert!(Event::read("thread/started", false, Value::Null).is_none());
        assert!(Event::read("skills/changed", false, json!({})).is_none());
    }

    #[test]
    fn a_client_that_never_looks_keeps_the_newest() {
        let mut events = Events::default();
        for number in 0..Events::MOST + 2 {
            events.push(Event::ThreadClosed { thread_id: number.to_string() });
        }
        assert_eq!(events.missed(), 2);
        assert!(matches!(events.pop(), Some(Event::ThreadClosed { thread_id }) if thread_id == "2"));
    }
}
