//! The first text that a spawned manager or worker reads. Whoever reads one knows nothing else, so
//! every command in it is complete: it names the ledger and can be run from any directory.

use conveyor_model::shell::{quote, quote_if_needed};
use conveyor_store::manager_configs::ManagerConfig;
use serde_json::json;

/// What a manager is told about its surroundings.
pub struct ManagerFacts<'a> {
    /// The directory that it works in.
    pub cwd: &'a str,
    /// The ledger as generated commands name it: an absolute path, or a URL without password.
    pub ledger: &'a str,
    /// The name of its session.
    pub manager: &'a str,
    /// Its task; without one the commands carry the placeholder `<task>`.
    pub task: Option<&'a str>,
    /// What the task is for.
    pub goal: Option<&'a str>,
    /// The session that it supervises.
    pub worker: Option<&'a str>,
    /// The stored contract of its task.
    pub config: Option<&'a ManagerConfig>,
}

/// The first prompt of a manager: who it is, how it sets itself up, how it supervises.
#[must_use]
pub fn manager_bootstrap(facts: &ManagerFacts<'_>) -> String {
    let lines =
        Lines { task: facts.task.map_or("<task>".into(), quote_if_needed), ledger: quote(facts.ledger) };
    let mut sections = vec![introduction(facts)];
    sections.push(match facts.config {
        None => interview(&lines),
        Some(config) => recorded(&lines, config),
    });
    sections.push(acknowledgement(&lines, facts));
    sections.push(supervision(&lines));
    sections.join("\n\n")
}

/// The first prompt of a worker: its job, then how it begins and ends under supervision.
#[must_use]
pub fn worker(task_prompt: &str, task: &str, ledger: &str) -> String {
    let lines = Lines { task: quote_if_needed(task), ledger: quote(ledger) };
    let example = json!({
        "expected_tools": ["…"],
        "goal_restatement": "…",
        "open_questions": [],
        "proposed_criteria": { "follow_up": ["…"], "must_have": ["…"] },
        "ready_to_start": true,
    });
    format!(
        "{task_prompt}\n\n\
         You work on this under a manager, as the worker of Conveyor task {name}.\n\n\
         Before you edit or implement anything, acknowledge the task in your own words:\n\
         {acknowledge}\n\
         {example}\n\
         JSON\n\n\
         When you are done, leave a concise final reply: the files you changed, and the commands that verified them \
         with their results. Do not call finish-task: satisfying criteria and closing the task belong to the manager.",
        name = lines.task,
        acknowledge = lines.command("worker-ack", "--from-stdin") + " <<'JSON'",
    )
}

/// Writes command lines about one task on one ledger.
struct Lines {
    /// The task, as a word for the shell.
    task: String,
    /// The ledger, as a word for the shell.
    ledger: String,
}

impl Lines {
    fn command(&self, name: &str, options: &str) -> String {
        let space = if options.is_empty() { "" } else { " " };
        format!("conveyor {name} {}{space}{options} --path {}", self.task, self.ledger)
    }
}

fn introduction(facts: &ManagerFacts<'_>) -> String {
    let stored = |text: Option<&str>, without: &str| text.unwrap_or(without).to_owned();
    format!(
        "You are a Codex manager session for Agent Conveyor.\n\
         Working directory: {}\n\
         Manager session: {}\n\
         Task: {}\n\
         Task goal: {}\n\
         Worker session: {}\n\
         Your role is to supervise the worker, not to implement.",
        facts.cwd,
        facts.manager,
        stored(facts.task, "none yet; put its name where the commands below say <task>"),
        stored(facts.goal, "no goal yet"),
        stored(facts.worker, "none yet"),
    )
}

/// The set-up of a task without a contract.
fn interview(lines: &Lines) -> String {
    format!(
        "Initial setup\n\
         1. Get the questions that define this task's contract:\n\
         {questions}\n\
         2. Ask the user these questions in this chat.\n\
         3. Save the answers, each with the option of its name (its --help lists them):\n\
         {save}\n\
         Only when a human sits at the terminal may the command ask by itself instead:\n\
         {interactive}",
        questions = lines.command("manager-config", "--questions"),
        save = lines.command("manager-config", ""),
        interactive = lines.command("manager-config", "--interactive"),
    )
}

/// The set-up of a task with a contract.
fn recorded(lines: &Lines, config: &ManagerConfig) -> String {
    let tools = if config.tools.is_empty() {
        String::new()
    } else {
        format!("\nTools to expect: {}.", config.tools.join(", "))
    };
    format!(
        "Initial setup\n\
         This task's contract is already recorded. Once you have acknowledged it (below), start with\n\
         {cycle}\n\
         and look at manager_context.manager_config in its output. Ask the user only if that is missing or does not \
         suit the task.{tools}",
        cycle = lines.command("cycle", ""),
    )
}

fn acknowledgement(lines: &Lines, facts: &ManagerFacts<'_>) -> String {
    let mut example = json!({
        "supervision_contract": "…",
        "task": facts.task.unwrap_or("<task>"),
        "will_not_edit_project_files": true,
    });
    if facts.config.is_none() {
        example["manager_session"] = json!(facts.manager);
    }
    format!(
        "Acknowledgement\n\
         Before the first cycle, record in your own words the contract you supervise under:\n\
         {record} <<'JSON'\n\
         {example}\n\
         JSON\n\
         Before you nudge the worker or finish the task, read what the worker acknowledged:\n\
         {inspect}",
        record = lines.command("manager-ack", "--from-stdin"),
        inspect = lines.command("worker-ack", "--json"),
    )
}

fn supervision(lines: &Lines) -> String {
    let satisfy = lines.command(
        "criteria",
        r#"--satisfy <id> --proof "…" --evidence-json '{"status":"pass","command":"…","summary":"…"}'"#,
    );
    let finish =
        lines.command("finish-task", r#"--reason "Accepted criteria satisfied" --require-criteria-audit"#);
    format!(
        "Supervision loop\n\
         - Start every observation with\n\
         {cycle}\n\
         - Read manager_context.manager_config before you nudge.\n\
         - Acceptance criteria are living state: look at manager_context.acceptance_criteria in every cycle. When edge \
         cases, tests, polish or limits of scope come up, ask the worker which are must-have and which are follow-up.\n\
         - Send the worker one instruction at a time:\n\
         {nudge}\n\
         - Before you finish, compare what the worker reported with the accepted criteria that are still open. Record \
         evidence for each one that is proven:\n\
         {satisfy}\n\
         - When every accepted criterion is satisfied, deferred or rejected, close the task:\n\
         {finish}\n\
         - Reach the worker only through Conveyor's session and task commands. Do not edit project files, unless the \
         user explicitly asks this manager to change Agent Conveyor itself.",
        cycle = lines.command("cycle", ""),
        nudge = lines.command("enqueue-nudge-worker", r#"--message "…""#),
    )
}

#[cfg(test)]
mod tests;
