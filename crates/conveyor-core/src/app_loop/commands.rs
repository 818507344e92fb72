//! The command lines that replies and prompts tell their readers to run.

use conveyor_model::Role;
use conveyor_model::shell::quote;

/// What a session of an app runs over and over: renew the lease, learn what is next.
#[must_use]
pub fn poll_command(task: &str, role: Role, ledger: &str) -> String {
    format!("conveyor app-heartbeat {} --role {role} --path {} --json", quote(task), quote(ledger))
}

/// What takes the next message of one side of a task out of its inbox.
#[must_use]
pub fn direct_inbox_command(task: &str, role: Role, ledger: &str) -> String {
    format!(
        "conveyor {role}-inbox {} --consume-next --wait --timeout 60 --path {} --json",
        quote(task),
        quote(ledger)
    )
}

/// What keeps messages moving.
#[must_use]
pub fn dispatcher_command(dispatcher_id: &str, ledger: &str) -> String {
    format!("conveyor dispatch --watch --dispatcher-id {} --path {}", quote(dispatcher_id), quote(ledger))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_a_user_survives_a_shell() {
        assert_eq!(
            poll_command("it's", Role::Manager, "/srv/my demo/workerctl.db"),
            r#"conveyor app-heartbeat 'it'"'"'s' --role manager --path '/srv/my demo/workerctl.db' --json"#
        );
        assert_eq!(
            direct_inbox_command("demo", Role::Worker, "/x.db"),
            "conveyor worker-inbox 'demo' --consume-next --wait --timeout 60 --path '/x.db' --json"
        );
        assert_eq!(
            dispatcher_command("d", "postgres://db/x"),
            "conveyor dispatch --watch --dispatcher-id 'd' --path 'postgres://db/x'"
        );
    }
}
