//! Consuming the permission for a loop's next iteration advances the loop.

use std::collections::BTreeMap;

use conveyor_model::{Actor, CommandType, json};
use conveyor_store::inbox::SessionInboxItem;
use conveyor_store::telemetry::{self, Emit};
use conveyor_store::{Tx, runs};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::Result;

/// Advances the loop that a consumed item permits to go on. An item of another type, or one whose
/// data fit no run of its task, advances nothing; that is no error.
pub(super) fn advance(tx: &mut Tx<'_>, item: &SessionInboxItem) -> Result<()> {
    let Some((run_id, requested)) = requested_iteration(item) else { return Ok(()) };
    let Some(run) = runs::hold(tx, run_id)?.filter(|run| run.task_id == item.task_id) else { return Ok(()) };
    let Some(step) = Step::of(&run.metadata, requested) else { return Ok(()) };
    runs::set_metadata(tx, &run.id, &step.metadata)?;
    let correlation = json!({
        "command_id": item.command_id,
        "correlation_id": item.correlation_id,
        "notification_id": item.id,
        "run_id": run.id,
    });
    let attributes = json!({
        "consumed_by_session_id": item.consumed_by_session_id,
        "current_iteration": requested,
        "previous_iteration": step.previous,
        "requested_iteration": requested,
        "target_session_name": item.target_session_name,
    });
    let summary =
        format!("Advanced the loop to iteration {requested} for session {}.", item.target_session_name);
    let event =
        Emit::info(Actor::Dispatch, "ralph_loop_iteration_advanced", summary, correlation, attributes);
    telemetry::emit(tx, &Emit { run_id: Some(&run.id), ..event.of_task(Some(&item.task_id)) })?;
    Ok(())
}

fn requested_iteration(item: &SessionInboxItem) -> Option<(&str, i64)> {
    if item.signal_type != CommandType::ContinueIteration.as_str() {
        return None;
    }
    let wanted = item.payload.get("ralph_loop")?;
    Some((wanted.get("run_id")?.as_str()?, wanted.get("requested_iteration")?.as_i64()?))
}

/// One step of a loop.
struct Step {
    previous: i64,
    /// The run's metadata after the step.
    metadata: String,
}

impl Step {
    /// The step to iteration `requested`, if the loop stands before it and goes that far.
    fn of(metadata: &str, requested: i64) -> Option<Self> {
        // The values stay text, so that what is not ours comes out exactly as it went in.
        let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(metadata).ok()?;
        let previous = whole_number(fields.get("current_iteration")?)?;
        let last = whole_number(fields.get("max_iterations")?)?;
        if previous >= requested || requested > last {
            return None;
        }
        let current = RawValue::from_string(requested.to_string()).ok()?;
        fields.insert("current_iteration".into(), current);
        Some(Self { previous, metadata: serde_json::to_string(&fields).ok()? })
    }
}

/// A JSON number without fraction, or a text of digits as older writers left them.
fn whole_number(raw: &RawValue) -> Option<i64> {
    let mut value: Value = serde_json::from_str(raw.get()).ok()?;
    json::normalise_numbers(&mut value);
    match value {
        Value::String(text) => text.trim().parse().ok(),
        number => number.as_i64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(metadata: &str, requested: i64) -> Option<(i64, String)> {
        Step::of(metadata, requested).map(|step| (step.previous, step.metadata))
    }

    #[test]
    fn a_step_changes_nothing_but_the_current_iteration() {
        let metadata = r#"{"z":[1.0, 12345678901234567890123],"current_iteration":1,"max_iterations":3}"#;
        let after = r#"{"current_iteration":3,"max_iterations":3,"z":[1.0, 12345678901234567890123]}"#;
        assert_eq!(step(metadata, 3), Some((1, after.to_owned())));
    }

    #[test]
    fn bounds_may_be_numbers_in_any_spelling() {
        for bounds in [r#""1", "max_iterations": " 3 ""#, r#"1.0, "max_iterations": 3e0"#] {
            let metadata = format!(r#"{{"current_iteration": {bounds}}}"#);
            assert_eq!(step(&metadata, 2).map(|(previous, _)| previous), Some(1), "{metadata}");
        }
    }

    #[test]
    fn there_is_no_step_back_beyond_the_end_or_without_bounds() {
        let metadata = r#"{"current_iteration": 2, "max_iterations": 3}"#;
        assert_eq!(step(metadata, 2), None);
        assert_eq!(step(metadata, 4), None);
        for metadata in [
            r#"{"current_iteration": 1}"#,
            r#"{"max_iterations": 3}"#,
            r#"{"current_iteration": 1.5, "max_iterations": 3}"#,
            r#"{"current_iteration": null, "max_iterations": 3}"#,
            r#"{"current_iteration": true, "max_iterations": 3}"#,
            "[]",
            "broken",
        ] {
            assert_eq!(step(metadata, 2), None, "{metadata}");
        }
    }
}
