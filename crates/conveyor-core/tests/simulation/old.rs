//! A dispatcher of the older program, which makes a transaction of each step: claim, notification,
//! delivery, end. It does not know the product's columns. It is well behaved otherwise: it goes on
//! only as long as its claim holds.

use conveyor_model::{Clock as _, Timestamp};
use conveyor_testkit::ManualClock;

use crate::ledger::{Cells, Raw};

/// Its identity.
pub const ID: &str = "old";

type Pause<'p> = &'p mut dyn FnMut(&str);

/// A claimed command.
struct Claimed {
    id: String,
    task: String,
    kind: String,
    correlation: String,
    payload: String,
    attempt: String,
    /// Whether an earlier claim lapsed.
    again: bool,
}

/// Where something goes.
struct Route {
    binding: String,
    source: String,
    target: String,
    by_typing: bool,
}

/// Claims a command and delivers it, as long as nobody kills it.
pub fn command(raw: &mut Raw, clock: &ManualClock, lease: i64, pause: Pause<'_>) {
    let Some(claimed) = claim(raw, clock, lease) else { return };
    pause("old.claimed");
    if claimed.again {
        // What an earlier claim left behind is nothing that this one would look for.
        return;
    }
    let held = format!(
        "exists (select 1 from command_attempts where id = {} and state = 'running')",
        claimed.attempt
    );
    raw.begin();
    let Some(route) = route(raw, &claimed.task, &claimed.kind) else {
        raw.run("commit");
        finish(raw, clock, &claimed, "failed", Some("no active binding"));
        return;
    };
    let key = format!("{}:{}:{}", route.binding, claimed.kind, claimed.id);
    let mode = if route.by_typing { "push" } else { "pull_required" };
    let now = clock.now().to_ms_text();
    raw.run(&format!(
        "insert into routed_notifications (task_id, binding_id, correlation_id, source_session_id, target_session_id, \
         signal_type, dedupe_key, command_id, created_at, delivery_mode, state, payload_json) \
         select '{}', '{}', '{}', '{}', '{}', '{}', '{key}', '{}', '{now}', '{mode}', 'pending', '{}' where {held}",
        claimed.task,
        route.binding,
        claimed.correlation,
        route.source,
        route.target,
        claimed.kind,
        claimed.id,
        claimed.payload,
    ));
    raw.run("commit");
    pause("old.inserted");
    if route.by_typing {
        raw.begin();
        raw.run(&format!(
            "update routed_notifications set side_effect_started = 1 where dedupe_key = '{key}' and state = 'pending' \
             and {held}"
        ));
        raw.run(&format!(
            "update command_attempts set side_effect_started = 1 where id = {} and state = 'running'",
            claimed.attempt
        ));
        raw.run("commit");
        pause("old.typing");
    }
    let now = clock.now().to_ms_text();
    let completed = i64::from(route.by_typing);
    raw.run(&format!(
        "update routed_notifications set state = 'delivered', delivered_at = '{now}', \
         side_effect_completed = {completed} where dedupe_key = '{key}' and state = 'pending' and {held}"
    ));
    if route.by_typing {
        // What was typed must not be left between delivery and end, where nobody could tell.
        finish(raw, clock, &claimed, "succeeded", None);
        return;
    }
    pause("old.delivered");
    finish(raw, clock, &claimed, "succeeded", None);
}

fn claim(raw: &mut Raw, clock: &ManualClock, lease: i64) -> Option<Claimed> {
    let now = clock.now();
    let (at, until) = (now.to_ms_text(), end_of(now, lease));
    raw.begin();
    let found: Option<Cells> = raw
        .rows(&format!(
            "select id, task_id, type, correlation_id, payload_json, lapses from commands where state = 'pending' \
             and type in ('notify_manager', 'nudge_worker') and (available_at is null or available_at <= '{at}') \
             and attempts < max_attempts order by created_at, id limit 1"
        ))
        .into_iter()
        .next();
    let claimed = found.map(|cells| {
        let text = |n: usize| cells[n].clone().unwrap();
        let (id, correlation) = (text(0), text(3));
        raw.run(&format!(
            "update commands set state = 'attempted', updated_at = '{at}', claimed_at = '{at}', claimed_by = '{ID}', \
             claim_expires_at = '{until}', attempts = attempts + 1 where id = '{id}' and state = 'pending'"
        ));
        raw.run(&format!(
            "insert into command_attempts (command_id, correlation_id, dispatcher_id, started_at, state) \
             values ('{id}', '{correlation}', '{ID}', '{at}', 'running')"
        ));
        let attempt = raw.cell("select max(id) from command_attempts").unwrap();
        Claimed {
            id,
            task: text(1),
            kind: text(2),
            correlation,
            payload: text(4),
            attempt,
            again: text(5) != "0",
        }
    });
    raw.run("commit");
    claimed
}

fn end_of(now: Timestamp, lease: i64) -> String {
    now.plus_millis(lease * 1000).to_s_text()
}

fn route(raw: &mut Raw, task: &str, kind: &str) -> Option<Route> {
    let (source, target) = match kind {
        "nudge_worker" => ("manager_session_id", "worker_session_id"),
        _ => ("worker_session_id", "manager_session_id"),
    };
    let found = raw.rows(&format!(
        "select b.id, b.{source}, b.{target}, coalesce(s.tmux_session, '') from bindings b \
         join sessions s on s.id = b.{target} where b.task_id = '{task}' and b.state in ('active', 'ending')"
    ));
    let cells = found.into_iter().next()?;
    let text = |n: usize| cells[n].clone().unwrap();
    Some(Route { binding: text(0), source: text(1), target: text(2), by_typing: !text(3).is_empty() })
}

/// Ends an attempt that is still its own.
fn finish(raw: &mut Raw, clock: &ManualClock, claimed: &Claimed, state: &str, error: Option<&str>) {
    let now = clock.now().to_ms_text();
    let error = error.map_or("null".to_owned(), |error| format!("'{error}'"));
    let (id, attempt) = (&claimed.id, &claimed.attempt);
    raw.begin();
    raw.run(&format!(
        "update commands set state = '{state}', updated_at = '{now}', result_json = '{{}}', error = {error} \
         where id = '{id}' and exists (select 1 from command_attempts where id = {attempt} and state = 'running')"
    ));
    raw.run(&format!(
        "update command_attempts set state = '{state}', finished_at = '{now}', result_json = '{{}}', error = {error} \
         where id = {attempt} and state = 'running'"
    ));
    raw.run("commit");
}

/// Takes up the oldest completion that nobody has routed and delivers it, as long as nobody kills it.
pub fn completion(raw: &mut Raw, clock: &ManualClock, lease: i64, pause: Pause<'_>) {
    let now = clock.now();
    let (at, until) = (now.to_ms_text(), end_of(now, lease));
    raw.begin();
    let found = raw
        .rows(
            "select e.id, e.timestamp, b.id, b.task_id, b.worker_session_id, b.manager_session_id, \
             coalesce(m.tmux_session, '') from codex_events e join bindings b on b.worker_session_id = e.session_id \
             join sessions m on m.id = b.manager_session_id where b.state in ('active', 'ending') \
             and e.subtype = 'task_complete' \
             and not exists (select 1 from routed_notifications n where n.source_event_id = e.id) \
             order by e.id limit 1",
        )
        .into_iter()
        .next();
    let Some(cells) = found else {
        raw.run("commit");
        return;
    };
    let text = |n: usize| cells[n].clone().unwrap();
    let (event, binding, worker) = (text(0), text(2), text(4));
    let key = format!("{binding}:worker_task_complete:{worker}:{event}");
    let by_typing = !text(6).is_empty();
    let mode = if by_typing { "push" } else { "pull_required" };
    raw.run(&format!(
        "insert into routed_notifications (task_id, binding_id, correlation_id, source_session_id, target_session_id, \
         signal_type, source_event_id, source_event_timestamp, dedupe_key, created_at, delivery_mode, state, \
         payload_json, claimed_by, claimed_at, claim_expires_at) values ('{}', '{binding}', 'dispatch-{event}', \
         '{worker}', '{}', 'worker_task_complete', {event}, '{}', '{key}', '{at}', '{mode}', 'pending', \
         '{{\"message\":\"done\"}}', '{ID}', '{at}', '{until}')",
        text(3),
        text(5),
        text(1),
    ));
    raw.run("commit");
    pause("old.detected");
    let held = |clock: &ManualClock| {
        format!(
            "dedupe_key = '{key}' and state = 'pending' and claimed_by = '{ID}' and claim_expires_at > '{}'",
            clock.now().to_ms_text()
        )
    };
    if by_typing {
        raw.run(&format!("update routed_notifications set side_effect_started = 1 where {}", held(clock)));
        pause("old.typing_completion");
    }
    let done = i64::from(by_typing);
    raw.run(&format!(
        "update routed_notifications set state = 'delivered', delivered_at = '{}', side_effect_completed = {done} \
         where side_effect_started = {done} and {}",
        clock.now().to_ms_text(),
        held(clock),
    ));
}
