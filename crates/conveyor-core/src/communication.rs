//! How a session is reached: derived from its row, never stored.

use conveyor_model::records::Session;
use conveyor_model::shell::quote;
use conveyor_model::{DeliveryMode, Role};
use serde::Serialize;

use crate::app_loop::direct_inbox_command;

/// How a session receives messages. Whether anybody lives there plays no part: a dead tmux session
/// still counts as push.
#[derive(Debug, Serialize)]
pub struct Communication {
    /// Whether it can fetch from its inbox.
    pub can_receive_pull: bool,
    /// Whether messages can be typed into its terminal.
    pub can_receive_push: bool,
    /// What a dispatcher does with its messages.
    pub delivery_mode: DeliveryMode,
    /// What told the kind.
    pub detection_source: &'static str,
    /// The command that fetches the next message, where the task is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll_command: Option<String>,
    /// The same for any task, with the placeholder `<task>`.
    pub poll_command_template: String,
    /// `push` or `pull`.
    pub receive_style: &'static str,
    /// Whether it gets nothing unless it polls.
    pub requires_polling: bool,
    /// `tmux`, `codex_app` or `no_tmux`.
    pub session_kind: &'static str,
    /// The terminal, if there is one.
    pub tmux_session: Option<String>,
}

impl Communication {
    /// How this session is reached, on the ledger that commands name by `ledger`.
    #[must_use]
    pub fn of(session: &Session, ledger: &str) -> Self {
        let known = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let codex = known(&session.codex_session_path) || known(&session.codex_session_id);
        let tmux = session.tmux();
        let (session_kind, detection_source) = match (tmux, codex) {
            (Some(_), _) => ("tmux", "tmux_session"),
            (None, true) => ("codex_app", "codex_session_without_tmux"),
            (None, false) => ("no_tmux", "missing_tmux_session"),
        };
        let push = tmux.is_some();
        Self {
            can_receive_pull: true,
            can_receive_push: push,
            delivery_mode: if push { DeliveryMode::Push } else { DeliveryMode::PullRequired },
            detection_source,
            poll_command: None,
            poll_command_template: poll_command_template(role_of(session), ledger),
            receive_style: if push { "push" } else { "pull" },
            requires_polling: !push,
            session_kind,
            tmux_session: tmux.map(ToOwned::to_owned),
        }
    }

    /// The same with the poll command for a task.
    #[must_use]
    pub fn for_task(mut self, session: &Session, task: &str, ledger: &str) -> Self {
        self.poll_command = Some(direct_inbox_command(task, role_of(session), ledger));
        self
    }
}

fn role_of(session: &Session) -> Role {
    // The ledger admits no other role; a damaged row is treated as the side that only reads.
    Role::from_text(&session.role).unwrap_or(Role::Worker)
}

fn poll_command_template(role: Role, ledger: &str) -> String {
    format!("conveyor {role}-inbox <task> --consume-next --wait --timeout 60 --path {} --json", quote(ledger))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(tmux: Option<&str>, path: Option<&str>, codex_id: Option<&str>) -> Session {
        let text = |value: Option<&str>| value.map(ToOwned::to_owned);
        Session {
            id: "session-1".into(),
            name: "w".into(),
            role: "worker".into(),
            identity_token: "t".into(),
            tmux_session: text(tmux),
            tmux_pane_id: None,
            codex_session_path: text(path),
            codex_session_id: text(codex_id),
            codex_app_thread_id: None,
            codex_app_thread_title: None,
            pid: Some(1),
            cwd: String::new(),
            registered_at: String::new(),
            last_heartbeat_at: None,
            state: "gone".into(),
            last_ingest_offset: None,
        }
    }

    #[test]
    fn the_kind_follows_what_is_known() {
        let kind = |tmux, path, id| {
            let found = Communication::of(&session(tmux, path, id), "/x.db");
            (found.session_kind, found.delivery_mode.as_str(), found.requires_polling)
        };
        assert_eq!(kind(Some("codex-w"), Some("/r"), None), ("tmux", "push", false));
        assert_eq!(kind(Some(""), Some("/r"), None), ("codex_app", "pull_required", true));
        assert_eq!(kind(None, None, Some("codex-1")), ("codex_app", "pull_required", true));
        assert_eq!(kind(None, Some(""), None), ("no_tmux", "pull_required", true));
    }

    #[test]
    fn template_and_command_differ_in_the_task_alone() {
        let session = session(None, None, None);
        let found = Communication::of(&session, "/my x.db").for_task(&session, "it's", "/my x.db");
        let filled = found.poll_command_template.replace("<task>", &quote("it's"));
        assert_eq!(found.poll_command, Some(filled));
    }
}
