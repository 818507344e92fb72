//! One pass of a dispatcher: end lapsed claims, execute queued commands, route completions.

use std::collections::{BTreeSet, HashSet};

use conveyor_model::IdPrefix;
use conveyor_store::{Tx, commands, completions as events, deliveries, lapses, notifications, parked};

use super::agenda::Completions;
use super::completions::{self, dedupe_key};
use super::elements::{COMPLETION, Element, PlannedCommand, PlannedCompletion};
use super::routing::{self, Batch};
use super::{BATCH, Request, Stop, Terminals, push, recovery};
use crate::{Cx, Error, Result, fault};

/// What a pass did.
#[derive(Default)]
pub(super) struct Passed {
    pub(super) elements: Vec<Element>,
    /// Completions may be left that the next pass is to look for again.
    pub(super) is_unfinished: bool,
}

/// Runs one pass, which looks for these completions. Of the history of sessions that are `behind`
/// nothing is routed yet: only its newest completion is, and that is not known.
pub(super) fn run(
    cx: &mut Cx,
    request: &Request,
    stop: &Stop,
    completions: &Completions,
    behind: &BTreeSet<String>,
    terminals: &mut Terminals,
) -> Result<Passed> {
    if request.dry_run {
        let elements = cx.db.read(|tx| plan(tx, request))?;
        return Ok(Passed { elements, is_unfinished: false });
    }
    let mut pass =
        Pass { request, elements: Vec::new(), counted: 0, terminals: Vec::new(), is_unfinished: false };
    // A look first: a pass that finds nothing must not write, nor wait for the write lock.
    let work = cx.db.read(|tx| look(tx, request, completions))?;
    if let Terminals::Beside(lane) = terminals {
        pass.add(lane.collect()?);
    }
    pass.knock(work.unsettled);
    if !work.is_waiting {
        pass.attend(cx, stop, terminals)?;
        return Ok(pass.end());
    }
    fault::point("dispatch.looked");
    pass.recover(cx)?;
    pass.execute(cx, stop)?;
    if request.routes_completions() {
        pass.is_unfinished = completions::route(cx, &mut pass, stop, completions, behind)?;
    }
    pass.attend(cx, stop, terminals)?;
    Ok(pass.end())
}

/// The elements of a pass and what is left of its limit.
pub(super) struct Pass<'r> {
    pub(super) request: &'r Request,
    elements: Vec<Element>,
    counted: usize,
    /// Sessions to whose terminals something is to be typed, in the order in which that was found.
    terminals: Vec<String>,
    is_unfinished: bool,
}

impl Pass<'_> {
    fn end(self) -> Passed {
        Passed { elements: self.elements, is_unfinished: self.is_unfinished }
    }

    /// How many more elements may count.
    pub(super) fn remaining(&self) -> usize {
        self.request.limit.max(1).saturating_sub(self.counted)
    }

    /// Takes the elements of a committed batch.
    pub(super) fn add(&mut self, elements: Vec<Element>) {
        self.counted += elements.iter().filter(|element| element.counts()).count();
        self.elements.extend(elements);
    }

    /// Has the terminals of these sessions attended to at the end of the pass.
    pub(super) fn knock(&mut self, sessions: Vec<String>) {
        for session_id in sessions {
            if !self.terminals.contains(&session_id) {
                self.terminals.push(session_id);
            }
        }
    }

    fn attend(&mut self, cx: &mut Cx, stop: &Stop, terminals: &mut Terminals) -> Result<()> {
        let sessions = std::mem::take(&mut self.terminals);
        if let Terminals::Beside(lane) = terminals {
            if !sessions.is_empty() || lane.has_waiting() {
                lane.attend(cx, self.request, sessions)?;
            }
            return Ok(());
        }
        for session_id in sessions {
            if stop.is_requested() {
                // It was put off so that nobody else takes it up; now that is nobody's.
                cx.db.write(|tx| parked::release(tx, &session_id))?;
                continue;
            }
            let most = self.remaining();
            self.add(push::attend(cx, self.request, &session_id, most)?);
        }
        Ok(())
    }

    fn recover(&mut self, cx: &mut Cx) -> Result<()> {
        let types = self.request.command_types();
        let (dispatcher, limit) = (&self.request.dispatcher_id, self.remaining().min(BATCH));
        let recovered = cx.db.write(|tx| recovery::recover(tx, &types, dispatcher, limit))?;
        self.add(recovered);
        fault::point("dispatch.recovered");
        Ok(())
    }

    fn execute(&mut self, cx: &mut Cx, stop: &Stop) -> Result<()> {
        let types = self.request.command_types();
        if types.is_empty() {
            return Ok(());
        }
        // Tasks that another dispatcher holds right now; it will do their items.
        let mut held = Vec::new();
        while self.remaining() > 0 && !stop.is_requested() {
            let limit = self.remaining().min(BATCH);
            fault::point("dispatch.before_batch");
            let batch: Batch = cx.db.write(|tx| routing::batch(tx, self.request, &types, limit, &held))?;
            fault::point("dispatch.after_batch");
            let progress = batch.looked_at > 0 && (batch.handled > 0 || !batch.held.is_empty());
            self.add(batch.elements);
            self.knock(batch.terminals);
            held.extend(batch.held);
            if !progress {
                break;
            }
        }
        Ok(())
    }
}

/// What there is to do.
struct Work {
    /// Something waits in the queue or in the events.
    is_waiting: bool,
    /// Sessions for which it is to be found out what became of a typed message.
    unsettled: Vec<String>,
}

fn look(tx: &mut Tx<'_>, request: &Request, completions: &Completions) -> Result<Work> {
    let is_waiting = has_work(tx, request, completions)?;
    Ok(Work { is_waiting, unsettled: deliveries::unsettled_receivers(tx, BATCH)? })
}

fn has_work(tx: &mut Tx<'_>, request: &Request, completions: &Completions) -> Result<bool> {
    let types = request.command_types();
    if !commands::claimable(tx, &types, 1, &[])?.is_empty() || !lapses::lapsed(tx, &types, 1)?.is_empty() {
        return Ok(true);
    }
    if !request.routes_completions() {
        return Ok(false);
    }
    Ok(!events::unrouted(tx, 1, &[], completions.sessions())?.is_empty()
        || !notifications::retryable_completions(tx, 1)?.is_empty()
        || !notifications::half_done_completions(tx, 1)?.is_empty()
        || (*completions == Completions::All && !events::lagging_marks(tx)?.is_empty()))
}

/// What a pass would do.
fn plan(tx: &mut Tx<'_>, request: &Request) -> Result<Vec<Element>> {
    let limit = request.limit.max(1);
    let mut planned: Vec<Element> = commands::plannable(tx, &request.command_types(), limit)?
        .into_iter()
        .map(|command| {
            Element::PlannedCommand(PlannedCommand {
                command_id: command.id,
                command_type: command.command_type,
                correlation_id: command.correlation_id,
                dry_run: true,
                state: "planned",
                task: command.task_id,
            })
        })
        .collect();
    if planned.len() < limit && request.routes_completions() {
        let mut names = HashSet::new();
        for event in events::plannable(tx, limit - planned.len())? {
            let dedupe_key = dedupe_key(&event);
            if !names.insert(dedupe_key.clone()) {
                continue;
            }
            let manager = match &event.manager_session_id {
                Some(id) => conveyor_store::sessions::by_id(tx, id)?.map(|session| session.name),
                None => None,
            };
            planned.push(Element::PlannedCompletion(PlannedCompletion {
                binding_id: event.binding_id,
                correlation_id: tx.fresh_id(IdPrefix::Dispatch),
                dedupe_key,
                dry_run: true,
                signal_type: COMPLETION,
                source_event_id: event.event_id,
                state: "planned",
                target_session: manager,
                task: event.task_name,
            }));
        }
    }
    Ok::<_, Error>(planned)
}
