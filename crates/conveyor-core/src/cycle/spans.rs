//! The record of a cycle while it runs: a span for each phase, and how it began and ended.

use std::time::{Duration, Instant};

use conveyor_model::json::compact;
use conveyor_model::{Actor, Severity};
use conveyor_store::Tx;
use conveyor_store::cycles::{self, CycleState, Span};
use conveyor_store::telemetry::{self, Emit};
use serde_json::{Value, json};

use super::{KIND, Report, Subject};
use crate::{Error, Result};

/// The phases of a cycle, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    StartCycle,
    IngestRollout,
    InferWorkerState,
    CapturePaneSignal,
    LoadManagerContext,
    PersistCycleRow,
}

impl Phase {
    fn as_str(self) -> &'static str {
        match self {
            Self::StartCycle => "start_cycle",
            Self::IngestRollout => "ingest_rollout",
            Self::InferWorkerState => "infer_worker_state",
            Self::CapturePaneSignal => "capture_pane_signal",
            Self::LoadManagerContext => "load_manager_context",
            Self::PersistCycleRow => "persist_cycle_row",
        }
    }
}

/// Where a cycle is. A copy goes into each transaction, because that may run more than once.
#[derive(Clone)]
pub(super) struct Phases {
    /// The cycle's row.
    pub(super) cycle_id: i64,
    current: Phase,
    /// When the current phase began, by the ledger's clock: the end of the one before.
    started_at: String,
    begun: Instant,
    /// Phases that have ended and are not written yet: a transaction for each would cost more than
    /// the phases.
    ended: Vec<Ended>,
}

/// A phase that has succeeded.
#[derive(Clone)]
struct Ended {
    phase: Phase,
    started_at: String,
    completed_at: String,
    duration_ms: f64,
    attributes: Value,
}

impl Phases {
    /// Records that a cycle began, and with it the end of its first phase.
    pub(super) fn begin(tx: &mut Tx<'_>, subject: &Subject) -> Result<Self> {
        let (started_at, begun) = (tx.now()?.to_ms_text(), Instant::now());
        let cycle_id = cycles::begin(tx, &subject.task.id, &subject.started_at.to_s_text())?;
        let mut phases = Self { cycle_id, current: Phase::StartCycle, started_at, begun, ended: Vec::new() };
        let parties = json!({
            "binding_id": subject.binding_id,
            "manager_session": subject.manager.name,
            "worker_session": subject.worker.name,
        });
        let attributes = json!({ "busy_wait_seconds": subject.busy_wait_seconds, "cycle_id": cycle_id });
        let summary = format!("Cycle {cycle_id} began.");
        let event = Emit::info(Actor::Manager, "manager_cycle_started", summary, parties.clone(), attributes);
        telemetry::emit(tx, &of_subject(event, subject).in_whole_seconds())?;
        let mut attributes = parties;
        attributes["busy_wait_seconds"] = subject.busy_wait_seconds.into();
        phases.end(tx, subject, &attributes)?;
        Ok(phases)
    }

    /// The next phase begins.
    pub(super) fn enter(&mut self, phase: Phase) {
        self.current = phase;
    }

    /// The next phase begins; its work began then.
    pub(super) fn enter_since(&mut self, phase: Phase, begun: Instant) {
        self.current = phase;
        self.begun = begun;
    }

    /// The next phase begins; so much of its work has been done before.
    pub(super) fn enter_after(&mut self, phase: Phase, work: Duration) {
        self.current = phase;
        self.begun = self.begun.checked_sub(work).unwrap_or(self.begun);
    }

    /// The current phase has come to its end.
    pub(super) fn end(&mut self, tx: &mut Tx<'_>, subject: &Subject, attributes: &Value) -> Result<()> {
        self.end_as(tx, subject, "succeeded", attributes)
    }

    /// The current phase has succeeded; that is written with what comes next.
    pub(super) fn end_unwritten(&mut self, tx: &mut Tx<'_>, attributes: Value) -> Result<()> {
        let now = tx.now()?.to_ms_text();
        self.ended.push(Ended {
            phase: self.current,
            started_at: std::mem::replace(&mut self.started_at, now.clone()),
            completed_at: now,
            duration_ms: self.duration_ms(),
            attributes,
        });
        self.begun = Instant::now();
        Ok(())
    }

    /// Writes the phases that have ended.
    fn write_ended(&self, tx: &mut Tx<'_>, subject: &Subject) -> Result<()> {
        for ended in &self.ended {
            let span = Span {
                started_at: &ended.started_at,
                completed_at: Some(&ended.completed_at),
                duration_ms: ended.duration_ms,
                ..self.span(subject, ended.phase.as_str(), "succeeded", ended.attributes.clone(), None)
            };
            cycles::insert_span(tx, &span)?;
        }
        Ok(())
    }

    /// The current phase has ended in the given state.
    pub(super) fn end_as(
        &mut self,
        tx: &mut Tx<'_>,
        subject: &Subject,
        state: &str,
        attributes: &Value,
    ) -> Result<()> {
        self.write_ended(tx, subject)?;
        self.ended.clear();
        let span = self.span(subject, self.current.as_str(), state, attributes.clone(), None);
        cycles::insert_span(tx, &span)?;
        self.started_at = tx.now()?.to_ms_text();
        self.begun = Instant::now();
        Ok(())
    }

    /// How long the current phase has lasted, with three decimals: whole microseconds.
    fn duration_ms(&self) -> f64 {
        f64::from(u32::try_from(self.begun.elapsed().as_micros()).unwrap_or(u32::MAX)) / 1000.0
    }

    fn span<'a>(
        &'a self,
        subject: &'a Subject,
        phase: &'a str,
        state: &'a str,
        attributes: Value,
        error_type: Option<&'a str>,
    ) -> Span<'a> {
        Span {
            cycle_id: self.cycle_id,
            task_id: &subject.task.id,
            run_id: subject.run.as_ref().map(|run| run.id.as_str()),
            phase,
            started_at: &self.started_at,
            completed_at: None,
            duration_ms: self.duration_ms(),
            state,
            attributes,
            error_type,
        }
    }

    /// Records that the cycle failed in the current phase.
    pub(super) fn fail(&self, tx: &mut Tx<'_>, subject: &Subject, error: &Error) -> Result<()> {
        self.write_ended(tx, subject)?;
        let id = self.cycle_id;
        let error_type = error.audit_type();
        let text = error.to_string();
        let failed = self.span(subject, self.current.as_str(), "failed", json!({}), Some(error_type));
        cycles::insert_span(tx, &failed)?;
        let status = json!({
            "binding_id": subject.binding_id,
            "error_type": error_type,
            "failure_phase": "cycle",
            "kind": KIND,
            "manager_session": subject.manager.name,
            "task": subject.given,
            "worker_session": subject.worker.name,
        });
        cycles::end(tx, id, CycleState::Failed, &compact(&status), Some(&text))?;
        let attributes = json!({ "error": text, "failure_phase": "cycle" });
        let whole = self.span(subject, "cycle_failed", "failed", attributes, Some(error_type));
        cycles::insert_span(tx, &whole)?;
        let attributes = json!({ "error_type": error_type, "failure_phase": "cycle" });
        let summary = format!("Cycle {id} failed.");
        let correlation = correlation(subject, id);
        let event = Emit::info(Actor::Manager, "manager_cycle_failed", summary, correlation, attributes);
        telemetry::emit(tx, &of_subject(event, subject).severity(Severity::Error))?;
        Ok(())
    }
}

/// Records that the cycle observed what it was to observe.
pub(super) fn succeeded(tx: &mut Tx<'_>, subject: &Subject, cycle_id: i64, report: &Report) -> Result<()> {
    let attributes = json!({
        "ingest": report.ingest,
        "last_event_subtype": report.last_event_subtype,
        "manager_alive": report.manager_alive,
        "notable_pane_pattern": report.notable_pane_pattern,
        "state": report.state,
        "task_completed": report.task_completed,
        "worker_alive": report.worker_alive,
    });
    let summary = format!("Cycle {cycle_id} observed session {}.", subject.worker.name);
    let correlation = correlation(subject, cycle_id);
    let event = Emit::info(Actor::Manager, "manager_cycle_succeeded", summary, correlation, attributes);
    telemetry::emit(tx, &of_subject(event, subject))?;
    Ok(())
}

fn of_subject<'a>(event: Emit<'a>, subject: &'a Subject) -> Emit<'a> {
    event.of_task(Some(&subject.task.id)).of_run(subject.run.as_ref().map(|run| run.id.as_str()))
}

fn correlation(subject: &Subject, cycle_id: i64) -> Value {
    json!({
        "binding_id": subject.binding_id,
        "cycle_id": cycle_id,
        "manager_session": subject.manager.name,
        "worker_session": subject.worker.name,
    })
}
