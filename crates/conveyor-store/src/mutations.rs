//! What was done to a task and its sessions, or tried.

use conveyor_model::records::Object;

use crate::{StoreError, Tx, params};

/// A command that changed something, or tried to.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct Mutation {
    pub id: String,
    pub command_type: String,
    pub state: String,
    pub created_at: String,
    pub payload: Object,
    pub result: Object,
}

/// The commands of a task that have one of these types, oldest first.
///
/// # Errors
/// A failing statement.
pub fn of_task(tx: &mut Tx<'_>, task_id: &str, types: &[&str]) -> Result<Vec<Mutation>, StoreError> {
    // The types are constants of the program, never a user's words.
    let types: Vec<String> = types.iter().map(|kind| format!("'{kind}'")).collect();
    tx.all(
        &format!(
            "select id, type, state, created_at, payload_json, coalesce(result_json, '{{}}') from commands \
             where task_id = $1 and type in ({}) order by created_at, id",
            types.join(", ")
        ),
        params![task_id],
        |row| {
            Ok(Mutation {
                id: row.text(0)?,
                command_type: row.text(1)?,
                state: row.text(2)?,
                created_at: row.text(3)?,
                payload: row.object(4)?,
                result: row.object(5)?,
            })
        },
    )
}
