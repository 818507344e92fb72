//! The first message of a started session: given to its server, and proven to be in the thread
//! like any other.

use std::path::Path;
use std::time::{Duration, Instant};

use conveyor_agents::codex::{self, Client, CodexError, Location, Message};
use conveyor_model::{DeliveryPurpose, DeliveryStage};
use conveyor_store::deliveries::{self, NewDelivery, Outcome};
use serde_json::{Value, json};

use super::Spawned;
use crate::{Cx, Error, Result, digest};

/// How long the proof is waited for.
const UNTIL_SEEN: Duration = Duration::from_secs(5);

/// How often the thread is read meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

/// How long the server may take to let us in.
const CONNECT: Duration = Duration::from_secs(5);

/// A message to a session that was started just now.
#[derive(Clone, Copy, Debug)]
pub struct Bootstrap<'a> {
    /// The session.
    pub spawned: &'a Spawned,
    /// The home of its Codex.
    pub home: &'a Path,
    /// The task it is about.
    pub task_id: Option<&'a str>,
    /// The text.
    pub text: &'a str,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is in the thread.
    Seen,
    /// The session gets it otherwise, or there is none.
    NotDue,
    /// It was not sent; why.
    NotSent(String),
    /// It was sent, and it is not known whether it arrived.
    Unknown(String),
}

/// Sends it, if it is still due.
///
/// # Errors
/// A failing ledger.
pub fn send(cx: &mut Cx, message: &Bootstrap<'_>) -> Result<Sent> {
    let Some(thread_id) = message.spawned.thread_id.as_deref().filter(|_| message.spawned.awaits_prompt)
    else {
        return Ok(Sent::NotDue);
    };
    let new = NewDelivery {
        session_id: &message.spawned.session_id,
        task_id: message.task_id,
        notification_id: None,
        command_id: None,
        attempt_id: None,
        purpose: DeliveryPurpose::Bootstrap,
        incarnation: thread_id,
        body_sha256: &digest::of(message.text.as_bytes()),
        body_bytes: message.text.len(),
        external: json!({}),
        lease_by: &format!("start-{}", std::process::id()),
    };
    let Some((id, client_message_id)) = cx.db.write(|tx| deliveries::begin_start(tx, &new))? else {
        return Ok(Sent::NotSent("another message to it is on its way".into()));
    };
    let sent = hand_over(message, thread_id, &client_message_id);
    let (stage, reason, proof) = match &sent {
        Ok(turn_id) => {
            (DeliveryStage::Seen, None, json!({ "kind": "app-server", "ref": turn_id, "stage": "seen" }))
        }
        Err(Failed { unknown: true, .. }) => (DeliveryStage::Unknown, Some("no_proof"), Value::Null),
        Err(Failed { unknown: false, .. }) => (DeliveryStage::Failed, Some("not_sent"), Value::Null),
    };
    let error = sent.as_ref().err().map(|failed| failed.text.clone());
    cx.db.write(|tx| {
        let outcome = Outcome { stage, reason, error: error.as_deref(), proof: proof.clone() };
        deliveries::settle(tx, &id, DeliveryStage::Sending, &outcome)?;
        Ok::<_, Error>(())
    })?;
    Ok(match sent {
        Ok(_) => Sent::Seen,
        Err(Failed { unknown: true, text }) => Sent::Unknown(text),
        Err(Failed { unknown: false, text }) => Sent::NotSent(text),
    })
}

/// Why a message is not proven to have arrived.
struct Failed {
    /// Whether it may have.
    unknown: bool,
    text: String,
}

impl From<CodexError> for Failed {
    fn from(error: CodexError) -> Self {
        Self { unknown: error.is_fate_unknown(), text: error.to_string() }
    }
}

/// Gives the message to the server, and the turn in which it was seen.
fn hand_over(message: &Bootstrap<'_>, thread_id: &str, id: &str) -> Result<String, Failed> {
    let mut client = Client::connect(message.home, CONNECT)?;
    let sent = codex::deliver(&mut client, thread_id, Message { text: message.text, id }, false);
    match sent {
        Ok(_) => {}
        Err(error) if error.is_fate_unknown() => {
            client = Client::connect(message.home, CONNECT).map_err(unsure)?
        }
        Err(error) => return Err(error.into()),
    }
    let deadline = Instant::now() + UNTIL_SEEN;
    loop {
        match codex::locate(&mut client, thread_id, id).map_err(unsure)? {
            Location::Seen { turn_id, .. } => return Ok(turn_id),
            Location::Queued { .. } | Location::Absent { .. } if Instant::now() < deadline => {}
            Location::Queued { .. } | Location::Absent { .. } => {
                return Err(Failed { unknown: true, text: "the message is not in its thread yet".into() });
            }
        }
        std::thread::sleep(PAUSE);
    }
}

/// A failure after the message was given away.
fn unsure(error: CodexError) -> Failed {
    Failed { unknown: true, text: error.to_string() }
}
