//! Whether the manager may have a command executed that requires a permission.

use conveyor_model::{Actor, Severity};
use conveyor_store::commands::{Claim, Claimable};
use conveyor_store::telemetry::{self, Emit};
use conveyor_store::{Tx, manager_configs};
use serde_json::json;

use super::elements::PermissionCheck;
use crate::Result;

/// Looks whether a command's required permission is granted, without recording it. `None` when the
/// command requires nothing.
pub(super) fn look(tx: &mut Tx<'_>, command: &Claimable, task_id: &str) -> Result<Option<PermissionCheck>> {
    let Some(required) = &command.required_permission else { return Ok(None) };
    let granted = manager_configs::permissions(tx, task_id)?;
    Ok(Some(PermissionCheck {
        allowed: granted.as_ref().is_some_and(|granted| granted.allows(required)),
        configured: granted.is_some(),
        required_permission: required.clone(),
    }))
}

/// Checks a command's required permission against the task's manager configuration and records
/// the check. `None` when the command requires nothing.
pub(super) fn check(
    tx: &mut Tx<'_>,
    command: &Claimable,
    claim: &Claim,
    task_id: &str,
) -> Result<Option<PermissionCheck>> {
    let Some(required) = &command.required_permission else { return Ok(None) };
    let Some(check) = look(tx, command, task_id)? else { return Ok(None) };
    let verdict = if check.allowed { "granted" } else { "denied" };
    let event = Emit::info(
        Actor::Dispatch,
        "dispatch_command_permission_checked",
        format!("Permission for command {} was {verdict}.", command.command_type),
        json!({
            "command_id": command.id,
            "command_type": command.command_type,
            "correlation_id": claim.correlation_id,
            "required_permission": required,
        }),
        json!({
            "allowed": check.allowed,
            "configured": check.configured,
            "required_permission": required,
        }),
    );
    let severity = if check.allowed { Severity::Info } else { Severity::Warning };
    telemetry::emit(tx, &event.of_task(Some(task_id)).severity(severity))?;
    Ok(Some(check))
}
