use conveyor_model::json::object;
use conveyor_store::manager_configs::ManagerConfig;

use super::*;

fn facts<'a>() -> ManagerFacts<'a> {
    ManagerFacts {
        cwd: "/srv/my project",
        ledger: "/srv/my project/it's.db",
        manager: "demo-manager",
        task: Some("demo"),
        goal: Some("Make the tests pass"),
        worker: Some("demo-worker"),
        config: None,
    }
}

fn config(tools: &[&str]) -> ManagerConfig {
    ManagerConfig {
        acceptance_criteria: vec![],
        created_at: String::new(),
        epilogues: vec![],
        guidelines: vec![],
        nudge_on_completion: "ask-operator".into(),
        objective: None,
        permissions: object("{}"),
        recipe_name: None,
        reference_paths: vec![],
        require_acks: false,
        revision: 1,
        supervision_mode: "guided".into(),
        task_id: "task-1".into(),
        tools: tools.iter().map(|&tool| tool.into()).collect(),
        updated_at: String::new(),
    }
}

/// Checks that the parts stand in the text in this order.
#[track_caller]
fn in_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let Some(at) = rest.find(part) else { panic!("{part:?} is missing or out of order in:\n{text}") };
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn a_manager_without_a_contract_is_told_to_ask_for_one() {
    let text = manager_bootstrap(&facts());
    let path = r#"--path '/srv/my project/it'"'"'s.db'"#;
    in_order(
        &text,
        &[
            "Codex manager session for Agent Conveyor",
            "Working directory: /srv/my project\n",
            "Manager session: demo-manager\n",
            "Task: demo\n",
            "Task goal: Make the tests pass\n",
            "Worker session: demo-worker\n",
            "supervise the worker, not to implement",
            &format!("\nconveyor manager-config demo --questions {path}\n"),
            "Ask the user these questions in this chat",
            &format!("\nconveyor manager-config demo {path}\n"),
            "Only when a human sits at the terminal",
            &format!("\nconveyor manager-config demo --interactive {path}\n"),
            "Before the first cycle",
            &format!("\nconveyor manager-ack demo --from-stdin {path} <<'JSON'\n"),
            r#"{"manager_session":"demo-manager","supervision_contract":"…","task":"demo","will_not_edit_project_files":true}"#,
            "\nJSON\n",
            "Before you nudge the worker or finish the task",
            &format!("\nconveyor worker-ack demo --json {path}\n"),
            &format!("\nconveyor cycle demo {path}\n"),
            "manager_context.manager_config before you nudge",
            "manager_context.acceptance_criteria in every cycle",
            "must-have",
            "follow-up",
            "accepted criteria that are still open",
            r#"conveyor criteria demo --satisfy <id> --proof "…" --evidence-json '{"status":"pass","command":"…","summary":"…"}' --path"#,
            "satisfied, deferred or rejected",
            r#"conveyor finish-task demo --reason "Accepted criteria satisfied" --require-criteria-audit --path"#,
            "only through Conveyor's session and task commands",
            "Do not edit project files, unless",
        ],
    );
}

#[test]
fn a_manager_with_a_contract_starts_by_looking_at_it() {
    let with_tools = config(&["pytest", "gh"]);
    let text = manager_bootstrap(&ManagerFacts { config: Some(&with_tools), ..facts() });
    in_order(
        &text,
        &[
            "already recorded",
            "conveyor cycle demo --path",
            "manager_context.manager_config",
            "Ask the user only if",
            "Tools to expect: pytest, gh.",
            "conveyor manager-ack demo --from-stdin",
            "Supervision loop",
        ],
    );
    assert!(!text.contains("--questions") && !text.contains("manager_session"), "{text}");
    let without_tools = config(&[]);
    let text = manager_bootstrap(&ManagerFacts { config: Some(&without_tools), ..facts() });
    assert!(!text.contains("Tools to expect"), "{text}");
}

#[test]
fn what_is_not_known_yet_is_said() {
    let text = manager_bootstrap(&ManagerFacts { task: None, goal: None, worker: None, ..facts() });
    in_order(
        &text,
        &[
            "Task: none yet",
            "Task goal: no goal yet",
            "Worker session: none yet",
            "conveyor manager-config <task> --questions --path",
            r#""task":"<task>""#,
            "conveyor finish-task <task> --reason",
        ],
    );
}

#[test]
fn every_command_of_a_manager_names_the_ledger() {
    let contract = config(&["pytest"]);
    for config in [None, Some(&contract)] {
        for task in [None, Some("demo"), Some("it's")] {
            let facts = ManagerFacts { config, task, ..facts() };
            let text = manager_bootstrap(&facts);
            let commands: Vec<&str> = text.lines().filter(|line| line.starts_with("conveyor ")).collect();
            assert!(commands.len() >= 7, "{text}");
            for command in commands {
                assert!(command.contains(r#" --path '/srv/my project/it'"'"'s.db'"#), "{command}");
                assert_eq!(command.contains(r#" 'it'"'"'s' "#), task == Some("it's"), "{command}");
            }
            assert!(!text.contains("PATH="), "{text}");
            assert_eq!(text, manager_bootstrap(&facts), "one text for one set of facts");
        }
    }
}

#[test]
fn a_worker_acknowledges_first_and_does_not_finish() {
    let text = worker("Fix the parser.\nKeep the API.", "it's", "/x.db");
    in_order(
        &text,
        &[
            "Fix the parser.\nKeep the API.\n\n",
            "Before you edit or implement anything",
            r#"conveyor worker-ack 'it'"'"'s' --from-stdin --path '/x.db' <<'JSON'"#,
            r#""expected_tools":["#,
            r#""goal_restatement":"#,
            r#""open_questions":["#,
            r#""proposed_criteria":{"follow_up":["…"],"must_have":["…"]}"#,
            r#""ready_to_start":true"#,
            "\nJSON\n",
            "the files you changed",
            "verified",
            "Do not call finish-task",
            "manager",
        ],
    );
}
