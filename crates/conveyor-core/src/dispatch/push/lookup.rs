//! Finding out what became of a message whose sender died, or whose proof did not come in time. It is
//! looked for in the receiver's own record; it is never typed again.

use conveyor_agents::screen::Composer;
use conveyor_agents::tmux::PaneFacts;
use conveyor_model::DeliveryStage;
use conveyor_store::deliveries::{self, InFlight};
use conveyor_store::{Tx, commands, notifications};

use super::outcome::{Begun, Fate, Sent, conclude};
use super::{LATER, TYPING};
use crate::dispatch::Request;
use crate::dispatch::elements::Element;
use crate::typing::agent::Found;
use crate::typing::lock;
use crate::typing::session::{Live, UNPROVEN, failed, seen};
use crate::{Cx, Error, Result, fault};

/// After so many seconds a message is looked for again, as long as it is young.
const CHECKS: [i64; 4] = [2, 5, 10, 30];

/// What was found out.
#[derive(Default)]
pub(super) struct Settled {
    /// What there is to say.
    pub(super) element: Option<Element>,
    /// What still keeps the next message from being typed.
    pub(super) in_the_way: Option<String>,
}

/// Looks for the message to this receiver whose fate is open, if there is one and nobody is at it.
pub(super) fn settle(cx: &mut Cx, request: &Request, live: &mut Live) -> Result<Settled> {
    let mut settled = Settled::default();
    // Without its pane nobody types there, and only what was sent under this name is looked for.
    let facts = live.pane.tmux().pane(&live.pane.target()).ok();
    for open in cx.db.read(|tx| open(tx, live, facts.as_ref()))? {
        let is_own = open.session_id == live.session.id;
        // What another name's command waits for is found out with that command.
        let one = if is_own || !open.is_awaited {
            settle_one(cx, request, live, &open, facts.as_ref())?
        } else {
            let detail = format!("what became of an earlier message is not known (delivery {})", open.id);
            Settled { element: None, in_the_way: Some(detail) }
        };
        settled.element = settled.element.or(one.element);
        settled.in_the_way = settled.in_the_way.or(one.in_the_way);
    }
    Ok(settled)
}

/// The messages to a receiver's terminal whose fate is open, its own first.
fn open(tx: &mut Tx<'_>, live: &Live, facts: Option<&PaneFacts>) -> Result<Vec<InFlight>> {
    match facts {
        Some(facts) => live.in_flight(tx, facts),
        None => Ok(deliveries::in_flight_to(tx, &live.session.id)?.into_iter().collect()),
    }
}

fn settle_one(
    cx: &mut Cx,
    request: &Request,
    live: &mut Live,
    open: &InFlight,
    facts: Option<&PaneFacts>,
) -> Result<Settled> {
    if open.stage == DeliveryStage::Sending && !open.lapsed {
        let detail = format!("another message is being typed just now (delivery {})", open.id);
        return Ok(Settled { element: None, in_the_way: Some(detail) });
    }
    let found = live.find_again(cx, facts, open)?;
    let composer = match found {
        Found::Absent => live.composer(),
        _ => Composer::Unknown,
    };
    fault::point("push.searched");
    let settled = cx.db.write(|tx| decide(tx, request, live, open, &found, &composer))?;
    if settled.in_the_way.is_none()
        && let Some(facts) = facts
    {
        // A tmux that does not answer keeps the lock until it lapses.
        let _ = lock::settled(live.pane.tmux(), facts, &open.id);
    }
    Ok(settled)
}

fn decide(
    tx: &mut Tx<'_>,
    request: &Request,
    live: &Live,
    open: &InFlight,
    found: &Found,
    composer: &Composer,
) -> Result<Settled> {
    match found {
        Found::Seen { turn_id, via } => {
            if !deliveries::settle(tx, &open.id, open.stage, &seen(turn_id.as_deref(), via))? {
                return Ok(Settled::default());
            }
            let fate = Fate::Seen { turn_id: turn_id.as_deref(), after: None };
            Ok(Settled { element: awaited(tx, request, live, open, fate)?, in_the_way: None })
        }
        // Nobody asks for a proof.
        Found::Absent | Found::Unclear if !request.guard.strict && open.claim_lapsed => {
            let element = awaited(tx, request, live, open, Fate::Failed(UNPROVEN))?;
            deliveries::settle(tx, &open.id, open.stage, &failed("guard_off"))?;
            Ok(Settled { element, in_the_way: None })
        }
        // Its proof may still come.
        Found::Absent if open.is_awaited && !open.claim_lapsed => still_open(tx, open, None),
        Found::Absent => {
            let element = awaited(tx, request, live, open, Fate::Failed(UNPROVEN))?;
            if *composer == Composer::Empty {
                // Neither in the receiver's record nor in its composer: it is nowhere.
                deliveries::settle(tx, &open.id, open.stage, &failed("proven_absent"))?;
                return Ok(Settled { element, in_the_way: None });
            }
            still_open(tx, open, element)
        }
        Found::Unclear => {
            if let Some(command) = open.command_id.as_ref().filter(|_| open.is_awaited) {
                commands::renew(tx, command, TYPING)?;
            } else if let Some(notification) = open.notification_id.filter(|_| open.is_awaited) {
                notifications::hold(tx, notification, TYPING)?;
            }
            still_open(tx, open, None)
        }
    }
}

fn still_open(tx: &mut Tx<'_>, open: &InFlight, element: Option<Element>) -> Result<Settled> {
    let age = (tx.now()?.as_millis() - open.begun_ms) / 1000;
    let next = CHECKS.into_iter().find(|at| *at > age).map_or(LATER, |at| at - age);
    deliveries::look_again(tx, &open.id, open.stage, next)?;
    let detail = format!("what became of an earlier message is not known (delivery {})", open.id);
    Ok(Settled { element, in_the_way: Some(detail) })
}

/// Tells the command or notification that waits for the message's fate, if one does.
fn awaited(
    tx: &mut Tx<'_>,
    request: &Request,
    live: &Live,
    open: &InFlight,
    fate: Fate<'_>,
) -> Result<Option<Element>> {
    let Some(notification_id) = open.notification_id.filter(|_| open.is_awaited) else { return Ok(None) };
    let begun = match (&open.command_id, open.attempt_id) {
        (Some(command), Some(attempt)) => commands::claimed(tx, command, attempt)?
            .map(|(command, claim)| Begun::Command(Box::new(command), claim)),
        (None, _) => notifications::pending_completion(tx, notification_id)?
            .map(|waiting| Begun::Completion(Box::new(waiting))),
        (Some(_), None) => None,
    };
    let Some(begun) = begun else { return Ok::<_, Error>(None) };
    let sent = Sent {
        delivery_id: open.id.clone(),
        client_message_id: open.client_message_id.clone(),
        notification_id,
        begun,
        check: None,
        target: live.pane.name(),
        text: None,
        waited: true,
    };
    conclude(tx, request, &live.session, &sent, fate)
}
