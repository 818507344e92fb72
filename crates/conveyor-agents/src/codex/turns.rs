use std::time::{Duration, Instant};

use super::client::Client;
use super::error::{CodexError, Refusal};
use super::protocol::{Item, ItemEntry, Status, TurnStatus};
use super::state::{State, probe};

/// How often a state is read while it is waited for.
const PAUSE: Duration = Duration::from_millis(20);

/// After so long, a turn without a time of its end is believed to have none.
const DOUBT: Duration = Duration::from_millis(500);

/// A message to a thread.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The text, byte for byte.
    pub text: &'a str,
    /// Its id, never used before: the proof that it arrived.
    pub id: &'a str,
}

/// A message that the server took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The turn it is part of.
    pub turn_id: String,
    /// Whether a turn began a moment before and took the message in: it is still one delivery.
    pub steered: bool,
}

/// Starts a turn in an idle thread. `also_after_error` allows it after a failed turn, too.
///
/// # Errors
/// [`CodexError::NotReady`] when the thread is anything but idle; then nothing was sent.
pub fn deliver(
    client: &mut Client,
    thread_id: &str,
    message: Message<'_>,
    also_after_error: bool,
) -> Result<Accepted, CodexError> {
    let before = probe(client, thread_id)?;
    match before.state() {
        State::Idle => {}
        State::Error if also_after_error => {}
        state => return Err(CodexError::NotReady { state }),
    }
    let turn = client.turn_start(thread_id, message.text, message.id)?;
    // A turn that somebody started between the look and the message has its own message first.
    let items = match client.turns(thread_id, 1) {
        Ok(turns) => turns.into_iter().find(|found| found.id == turn.id).map(|turn| turn.items),
        // The message is on its way; what cannot be read now decides nothing.
        Err(_) => None,
    };
    let first = items.and_then(|items| items.into_iter().find_map(client_id));
    let steered = first.is_some_and(|first| first.as_deref() != Some(message.id));
    Ok(Accepted { turn_id: turn.id, steered })
}

/// The id of a user message; `None` for other items.
fn client_id(item: Item) -> Option<Option<String>> {
    match item {
        Item::UserMessage { client_id, .. } => Some(client_id),
        Item::Other => None,
    }
}

/// What became of a turn that was to be ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interrupted {
    /// It was told to end.
    Interrupted {
        /// The turn.
        turn_id: String,
    },
    /// There was none.
    NothingRunning,
    /// Another one runs than the one that was meant; it was left alone.
    Mismatch {
        /// The turn that runs.
        turn_id: String,
    },
}

/// Ends the running turn, or only the `expected` one.
///
/// # Errors
/// As every request. [`CodexError::NotFound`] when this home has no such thread.
pub fn interrupt(
    client: &mut Client,
    thread_id: &str,
    expected: Option<&str>,
) -> Result<Interrupted, CodexError> {
    // A turn may end and another begin between two looks, and is listed a moment after it began;
    // but not again and again.
    for _ in 0..25 {
        let reading = probe(client, thread_id)?;
        // After a server's death the file may still show a turn that runs in nothing.
        if !matches!(reading.thread.status, Status::Active { .. }) {
            return Ok(Interrupted::NothingRunning);
        }
        let Some(turn) = reading.running_turn() else {
            std::thread::sleep(PAUSE);
            continue;
        };
        let turn_id = turn.id.clone();
        if expected.is_some_and(|expected| expected != turn_id) {
            return Ok(Interrupted::Mismatch { turn_id });
        }
        match client.turn_interrupt(thread_id, &turn_id) {
            Ok(()) => return Ok(Interrupted::Interrupted { turn_id }),
            Err(error) => match (error.refusal(), &error) {
                (Some(Refusal::NothingRunning), _) | (_, CodexError::NotFound { .. }) => {
                    return Ok(Interrupted::NothingRunning);
                }
                (Some(Refusal::Race), _) => {}
                _ => return Err(error),
            },
        }
    }
    Err(CodexError::NotReady { state: State::Busy })
}

/// Waits until a turn has ended and the thread is not active with it any more; gives how it ended,
/// or `None` when the time is over.
///
/// # Errors
/// As every request.
pub fn wait_for_end(
    client: &mut Client,
    thread_id: &str,
    turn_id: &str,
    limit: Duration,
) -> Result<Option<TurnStatus>, CodexError> {
    let deadline = Instant::now() + limit;
    let mut doubtful_since = None;
    loop {
        // A turn is listed a moment after it was started, and later ones may follow it.
        let turns = client.turns(thread_id, 20)?;
        let turn = turns.iter().find(|turn| turn.id == turn_id && turn.status != TurnStatus::InProgress);
        let is_last = turns.first().is_some_and(|last| last.id == turn_id);
        let active = matches!(client.thread_read(thread_id)?.status, Status::Active { .. });
        match turn.filter(|_| !(is_last && active)) {
            Some(turn) if turn.has_ended() => return Ok(Some(turn.status)),
            Some(turn) => {
                let since = *doubtful_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= DOUBT {
                    return Ok(Some(turn.status));
                }
            }
            None => doubtful_since = None,
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Where a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In the thread's own record.
    Seen {
        /// The turn it is part of.
        turn_id: String,
        /// Its item.
        item_id: String,
        /// When, in milliseconds.
        at_ms: Option<i64>,
    },
    /// In Codex's queue for the thread.
    Queued {
        /// Its place in the queue.
        queued_id: String,
    },
    /// Nowhere.
    Absent {
        /// Whether the whole record was read. Otherwise nothing follows from it.
        complete: bool,
    },
}

/// So many pages of 100 items are read at most, newest first.
const PAGES: usize = 200;

/// Looks for a message by its id, in the record and in the queue.
///
/// # Errors
/// As every request. [`CodexError::NotFound`] when this home has no such thread.
pub fn locate(client: &mut Client, thread_id: &str, message_id: &str) -> Result<Location, CodexError> {
    // The queue first: what leaves it meanwhile is then found in the record.
    let queue = client.queue(thread_id)?;
    let found = search(client, thread_id, |entry| match &entry.item {
        Item::UserMessage { client_id, .. } if client_id.as_deref() == Some(message_id) => Look::Found,
        _ => Look::On,
    })?;
    let queued = queue.into_iter().find(|queued| queued.client_user_message_id == message_id);
    Ok(match (found, queued) {
        (Location::Absent { .. }, Some(queued)) => Location::Queued { queued_id: queued.id },
        (found, _) => found,
    })
}

/// Looks for the first message after a moment (in milliseconds) whose text is equal but for white
/// space: the proof of a text that was typed.
///
/// # Errors
/// As every request. [`CodexError::NotFound`] when this home has no such thread.
pub fn locate_text(
    client: &mut Client,
    thread_id: &str,
    text: &str,
    since_ms: i64,
) -> Result<Location, CodexError> {
    let wanted = normalised(text);
    search(client, thread_id, |entry| {
        if entry.started_at_ms.is_some_and(|at| at < since_ms) {
            return Look::Enough;
        }
        let is_it = entry.item.user_text().is_some_and(|text| normalised(&text) == wanted);
        if is_it { Look::Found } else { Look::On }
    })
}

fn normalised(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

enum Look {
    /// It is this one, unless an earlier one fits, too.
    Found,
    /// It is not this one.
    On,
    /// It is neither this one nor an earlier one.
    Enough,
}

/// Goes through the items of a thread from the newest to the oldest and gives the oldest that fits.
fn search(
    client: &mut Client,
    thread_id: &str,
    look: impl Fn(&ItemEntry) -> Look,
) -> Result<Location, CodexError> {
    let mut found = None;
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES {
        let page = match client.items(thread_id, cursor.as_deref()) {
            // There is no record yet that could be read to its end.
            Err(error) if error.refusal() == Some(Refusal::Fresh) => {
                return Ok(Location::Absent { complete: false });
            }
            page => page?,
        };
        for entry in page.data {
            match look(&entry) {
                Look::On => {}
                Look::Found => found = seen(entry),
                Look::Enough => return Ok(found.unwrap_or(Location::Absent { complete: true })),
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(found.unwrap_or(Location::Absent { complete: true }));
        }
    }
    Ok(found.unwrap_or(Location::Absent { complete: false }))
}

fn seen(entry: ItemEntry) -> Option<Location> {
    let ItemEntry { turn_id, item, started_at_ms } = entry;
    match item {
        Item::UserMessage { id, .. } => Some(Location::Seen { turn_id, item_id: id, at_ms: started_at_ms }),
        Item::Other => None,
    }
}
