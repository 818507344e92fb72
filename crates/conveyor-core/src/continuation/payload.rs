//! What a reviewer answers, checked.

use conveyor_model::records::Object;
use conveyor_model::{Agreement, Verdict as Word};
use serde_json::Value;

use crate::{Error, Result};

/// A review that keeps the rules.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) agreement: Agreement,
    pub(super) verdict: Word,
    pub(super) rationale: String,
    pub(super) addendum: Option<String>,
    pub(super) subagent_run: Object,
}

/// What a review cannot do without, in the order in which messages name it.
const REQUIRED: [&str; 4] = ["agreement", "rationale", "subagent_run", "verdict"];

impl Verdict {
    /// Checks a review; other keys than the known ones are ignored.
    pub(super) fn read(payload: &Object) -> Result<Self> {
        let missing: Vec<&str> = REQUIRED.into_iter().filter(|key| !payload.contains_key(*key)).collect();
        if !missing.is_empty() {
            return Err(Error::invalid(format!(
                "continuation review payload missing required field(s): {}",
                missing.join(", ")
            )));
        }
        let Some(Value::Object(subagent_run)) = payload.get("subagent_run") else {
            return Err(Error::invalid("continuation review subagent_run must be a JSON object"));
        };
        let agreement = word(payload, "agreement", Agreement::TEXTS, Agreement::from_text)?;
        let verdict = word(payload, "verdict", Word::TEXTS, Word::from_text)?;
        check_separation(subagent_run)?;
        Ok(Self {
            agreement,
            verdict,
            rationale: match &payload["rationale"] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            },
            addendum: payload.get("addendum").and_then(Value::as_str).map(ToOwned::to_owned),
            subagent_run: subagent_run.clone(),
        })
    }
}

fn word<T>(payload: &Object, key: &str, allowed: &[&str], read: impl Fn(&str) -> Option<T>) -> Result<T> {
    payload.get(key).and_then(Value::as_str).and_then(read).ok_or_else(|| {
        Error::invalid(format!("continuation review {key} must be one of {}", allowed.join(", ")))
    })
}

/// A reviewer that is the manager, or reads what the manager reads, is none.
fn check_separation(run: &Object) -> Result<()> {
    let label = |key: &str| -> Result<&str> {
        run.get(key).and_then(Value::as_str).filter(|label| !label.is_empty()).ok_or_else(|| {
            Error::invalid(format!("continuation review subagent_run.{key} must be a text that is not empty"))
        })
    };
    let (reviewer, manager) = (label("reviewer_session_id")?, label("manager_session_id")?);
    check_distinct(reviewer, manager)?;
    if run.get("manager_rollout_access") != Some(&Value::Bool(false)) {
        return Err(Error::invalid("reviewer subagent must record manager_rollout_access=false"));
    }
    Ok(())
}

pub(super) fn check_distinct(reviewer: &str, manager: &str) -> Result<()> {
    if reviewer == manager {
        return Err(Error::invalid("reviewer subagent session must be distinct from manager session"));
    }
    Ok(())
}
