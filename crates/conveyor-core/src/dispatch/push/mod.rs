//! Messages for receivers in terminals.
//!
//! A message is handed over to a row of `deliveries`, where it waits (`waiting`); its command is
//! not claimed. Then its receiver's terminal is looked at, outside any transaction (`gate`). Only if
//! it takes a message now, the command is claimed, and the text typed and proven (`send`). A message
//! whose sender died, or whose proof did not come, is looked for in the receiver's own record and
//! never typed again (`lookup`).

mod frame;
mod gate;
mod lane;
mod lookup;
mod outcome;
mod send;
mod waiting;

use conveyor_model::CommandType;
use conveyor_store::commands::{self, Claimable};
use conveyor_store::notifications::{self, Waiting};
use conveyor_store::parked::{self, Parked};

use super::Request;
use super::elements::Element;
use crate::typing::session::Live;
use crate::{Cx, Result};

pub(super) use lane::Lane;
pub(super) use waiting::{hand_over, hand_over_completion, refusal};

/// How long a receiver that works, or one behind another message, is left alone unless something
/// happens; for so long an older dispatcher at least must not touch the message.
const SHORTLY: i64 = 15;

/// How long any other receiver that takes no message is left alone, in seconds.
const LATER: i64 = 60;

/// How long one whose quota is used up is left alone.
const MUCH_LATER: i64 = 15 * 60;

/// How long the claim on a message that is being typed holds at least, in seconds: longer than
/// typing and its proof take.
const TYPING: i64 = 60;

/// A message that waits for a terminal.
struct Item {
    parked: Parked,
    carried: Carried,
}

/// What it executes.
enum Carried {
    Command(Box<Claimable>),
    Completion(Box<Waiting>),
}

impl Item {
    /// When it was sent, as stored.
    fn created_at(&self) -> &str {
        match &self.carried {
            Carried::Command(command) => command.order().0,
            Carried::Completion(waiting) => &waiting.created_at,
        }
    }

    fn is_wanted(&self, request: &Request) -> bool {
        match &self.carried {
            Carried::Command(command) => request.command_types().contains(&command.command_type),
            Carried::Completion(_) => request.routes_completions(),
        }
    }

    /// Whether it comes from the side that is supervised.
    fn is_report(&self) -> bool {
        match &self.carried {
            Carried::Command(command) => command.command_type == CommandType::NotifyManager,
            Carried::Completion(_) => true,
        }
    }
}

/// Does what can be done for one receiver in a terminal: finds out what became of an earlier
/// message, then types the next one, if the terminal takes it and the pass may still do something.
/// Without a guard nothing needs to be proven, and all are typed one after the other, at most `most`.
pub(super) fn attend(cx: &mut Cx, request: &Request, session_id: &str, most: usize) -> Result<Vec<Element>> {
    let mut elements = Vec::new();
    let Some(mut live) = Live::of_id(cx, session_id, request.guard)? else {
        // It is in no terminal any more: what waits for it goes into its inbox.
        cx.db.write(|tx| parked::release(tx, session_id))?;
        return Ok(elements);
    };
    let settled = lookup::settle(cx, request, &mut live)?;
    elements.extend(settled.element);
    let Some(mut item) = next(cx, session_id)?.filter(|item| item.is_wanted(request)) else {
        return Ok(elements);
    };
    if let Some(detail) = settled.in_the_way {
        let closed = gate::Closed { reason: "order", detail, seconds: SHORTLY };
        elements.extend(cx.db.write(|tx| {
            waiting::put_off_after_look(tx, &request.dispatcher_id, &live.session, &item, &closed)
        })?);
        return Ok(elements);
    }
    loop {
        let before = elements.len();
        elements.extend(send::send(cx, request, &mut live, &item, elements.len() < most)?);
        let is_settled = elements.len() > before && !request.guard.strict;
        match is_settled.then(|| next(cx, session_id)).transpose()?.flatten() {
            Some(following) if following.parked.id != item.parked.id && following.is_wanted(request) => {
                item = following;
            }
            _ => return Ok(elements),
        }
    }
}

/// The first message that waits for a session. What was settled otherwise meanwhile waits no more.
fn next(cx: &mut Cx, session_id: &str) -> Result<Option<Item>> {
    loop {
        let found = cx.db.read(|tx| {
            let Some(parked) = parked::first(tx, session_id)? else { return Ok::<_, crate::Error>(None) };
            let carried = match (&parked.command_id, parked.notification_id) {
                (Some(id), _) => {
                    commands::unclaimed(tx, id)?.map(|command| Carried::Command(Box::new(command)))
                }
                (None, Some(id)) => notifications::pending_completion(tx, id)?
                    .map(|waiting| Carried::Completion(Box::new(waiting))),
                (None, None) => None,
            };
            Ok(Some((parked, carried)))
        })?;
        match found {
            None => return Ok(None),
            Some((parked, Some(carried))) => return Ok(Some(Item { parked, carried })),
            Some((parked, None)) => cx.db.write(|tx| parked::cancel(tx, &parked.id, "settled_otherwise"))?,
        }
    }
}
