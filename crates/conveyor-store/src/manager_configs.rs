//! The supervision contract of a task: what it asks of the manager and what the manager may do.

use conveyor_model::json;
use conveyor_model::permissions::Permissions;
use conveyor_model::records::Object;
use serde::Serialize;
use serde_json::{Value, json as value};

use crate::{Row, StoreError, Tx, lacking, params};

/// A task's manager configuration; permissions in today's form, however old the row is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct ManagerConfig {
    pub acceptance_criteria: Vec<String>,
    pub created_at: String,
    pub epilogues: Vec<String>,
    pub guidelines: Vec<String>,
    pub nudge_on_completion: String,
    pub objective: Option<String>,
    pub permissions: Object,
    pub recipe_name: Option<String>,
    pub reference_paths: Vec<String>,
    pub require_acks: bool,
    pub revision: i64,
    pub supervision_mode: String,
    pub task_id: String,
    pub tools: Vec<String>,
    pub updated_at: String,
}

fn from_row(row: &Row<'_>) -> Result<ManagerConfig, StoreError> {
    Ok(ManagerConfig {
        acceptance_criteria: json::texts(&row.text(0)?),
        created_at: row.text(1)?,
        epilogues: json::texts(&row.text(2)?),
        guidelines: json::texts(&row.text(3)?),
        nudge_on_completion: row.text(4)?,
        objective: row.opt_text(5)?,
        permissions: Permissions::from_stored(&row.object(6)?).to_stored(),
        recipe_name: row.opt_text(7)?,
        reference_paths: json::texts(&row.text(8)?),
        require_acks: row.boolean(9)?,
        revision: row.int(10)?,
        supervision_mode: row.text(11)?,
        task_id: row.text(12)?,
        tools: json::texts(&row.text(13)?),
        updated_at: row.text(14)?,
    })
}

/// The configuration of a task, if it has one.
///
/// # Errors
/// A failing statement.
pub fn of_task(tx: &mut Tx<'_>, task_id: &str) -> Result<Option<ManagerConfig>, StoreError> {
    tx.first(
        "select acceptance_criteria_json, created_at, epilogues_json, guidelines_json, nudge_on_completion, \
         objective, permissions_json, recipe_name, reference_paths_json, require_acks, revision, \
         supervision_mode, task_id, tools_json, updated_at from manager_configs where task_id = $1",
        params![task_id],
        from_row,
    )
}

/// Whether the contract of a task lets the gates of `finish-task` hold without being asked for.
///
/// # Errors
/// A failing statement.
pub fn enforces_gates(tx: &mut Tx<'_>, task_id: &str) -> Result<bool, StoreError> {
    if !lacking::has_all(tx, &["manager_configs.enforce_gates"])? {
        return Ok(false);
    }
    let sql = "select enforce_gates from manager_configs where task_id = $1";
    Ok(tx.first(sql, params![task_id], |row| row.boolean(0))?.unwrap_or(false))
}

/// Writes a configuration in the place of the task's earlier one, if it has one. The task must be
/// held, and the ledger opened for writing.
///
/// # Errors
/// A failing statement.
pub fn save(tx: &mut Tx<'_>, config: &ManagerConfig, enforce_gates: bool) -> Result<(), StoreError> {
    let list = |texts: &[String]| json::compact(&value!(texts));
    tx.execute(
        "insert into manager_configs (task_id, recipe_name, supervision_mode, objective, guidelines_json, \
         acceptance_criteria_json, reference_paths_json, permissions_json, tools_json, epilogues_json, \
         nudge_on_completion, require_acks, enforce_gates, revision, created_at, updated_at) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) \
         on conflict (task_id) do update set recipe_name = excluded.recipe_name, \
         supervision_mode = excluded.supervision_mode, objective = excluded.objective, \
         guidelines_json = excluded.guidelines_json, acceptance_criteria_json = excluded.acceptance_criteria_json, \
         reference_paths_json = excluded.reference_paths_json, permissions_json = excluded.permissions_json, \
         tools_json = excluded.tools_json, epilogues_json = excluded.epilogues_json, \
         nudge_on_completion = excluded.nudge_on_completion, require_acks = excluded.require_acks, \
         enforce_gates = excluded.enforce_gates, revision = excluded.revision, updated_at = excluded.updated_at",
        params![
            &config.task_id,
            &config.recipe_name,
            &config.supervision_mode,
            &config.objective,
            list(&config.guidelines),
            list(&config.acceptance_criteria),
            list(&config.reference_paths),
            json::compact(&Value::Object(config.permissions.clone())),
            list(&config.tools),
            list(&config.epilogues),
            &config.nudge_on_completion,
            config.require_acks,
            enforce_gates,
            config.revision,
            &config.created_at,
            &config.updated_at
        ],
    )?;
    Ok(())
}

/// The revision of a task's configuration, if it has one.
///
/// # Errors
/// A failing statement.
pub fn revision(tx: &mut Tx<'_>, task_id: &str) -> Result<Option<i64>, StoreError> {
    tx.first("select revision from manager_configs where task_id = $1", params![task_id], |row| row.int(0))
}

/// The permissions that a task's manager configuration grants; `None` without a configuration.
///
/// # Errors
/// A failing statement.
pub fn permissions(tx: &mut Tx<'_>, task_id: &str) -> Result<Option<Permissions>, StoreError> {
    tx.first("select permissions_json from manager_configs where task_id = $1", params![task_id], |row| {
        Ok(Permissions::from_stored(&row.object(0)?))
    })
}
