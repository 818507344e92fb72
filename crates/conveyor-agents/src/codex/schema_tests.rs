//! Our messages against the schema that the installed Codex gives out.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use conveyor_testkit::codex::binary;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::protocol::*;

/// The schema files of the second version of the protocol, by name.
fn schemas() -> Option<&'static BTreeMap<String, Value>> {
    static SCHEMAS: OnceLock<Option<BTreeMap<String, Value>>> = OnceLock::new();
    SCHEMAS.get_or_init(|| Some(generate(binary()?))).as_ref()
}

fn generate(codex: &Path) -> BTreeMap<String, Value> {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = std::process::Command::new(codex);
    command.args(["app-server", "generate-json-schema", "--experimental", "--out"]).arg(dir.path());
    let status = command.env("CODEX_HOME", dir.path()).status().expect("an installed codex");
    assert!(status.success());
    let files = ["v1", "v2"].map(|version| std::fs::read_dir(dir.path().join(version)).expect("schemas"));
    let schema = |path: &Path| {
        let text = std::fs::read(path).expect("a schema");
        serde_json::from_slice(&text).expect("JSON")
    };
    let files = files.into_iter().flatten().map(|entry| entry.expect("an entry").path());
    files
        .map(|path| (path.file_stem().expect("a name").to_string_lossy().into_owned(), schema(&path)))
        .collect()
}

/// What is wrong with a value, if anything is. Every key must be known, because the server would
/// ignore a misspelt one.
fn check(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.trim_start_matches("#/definitions/");
        return check(root, &root["definitions"][name], value);
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        check(root, part, value)?;
    }
    let variants = ["anyOf", "oneOf"].iter().find_map(|word| schema[word].as_array());
    if let Some(variants) = variants
        && !variants.iter().any(|variant| check(root, variant, value).is_ok())
    {
        return Err(format!("{value} is none of {}", json!(variants)));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return Err(format!("{value} is none of {}", json!(words)));
    }
    let types = match &schema["type"] {
        Value::Null => Vec::new(),
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    if !types.is_empty() && !types.iter().any(|name| is_of_type(name, value)) {
        return Err(format!("{value} is not of type {types:?}"));
    }
    if let (Some(items), Some(schema)) = (value.as_array(), schema.get("items")) {
        items.iter().try_for_each(|item| check(root, schema, item))?;
    }
    let (Some(object), Some(properties)) = (value.as_object(), schema["properties"].as_object()) else {
        return Ok(());
    };
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(missing) = required.into_iter().find(|name| !object.contains_key(*name)) {
        return Err(format!("{missing} is missing in {value}"));
    }
    object.iter().try_for_each(|(name, value)| {
        let schema = properties.get(name).ok_or_else(|| format!("{name} is unknown"))?;
        check(root, schema, value).map_err(|reason| format!("{name}: {reason}"))
    })
}

fn is_of_type(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => value.is_null(),
    }
}

/// A value that fits a schema and has only what is required.
fn least(root: &Value, schema: &Value) -> Value {
    if let Some(name) = schema["$ref"].as_str() {
        return least(root, &root["definitions"][name.trim_start_matches("#/definitions/")]);
    }
    if let Some(word) = schema["enum"].get(0) {
        return word.clone();
    }
    for word in ["allOf", "anyOf", "oneOf"] {
        if let Some(variant) = schema[word].get(0) {
            return least(root, variant);
        }
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    match kind {
        Some("object") => {
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let entry = |name: &str| (name.to_owned(), least(root, &schema["properties"][name]));
            Value::Object(required.map(entry).collect::<Map<_, _>>())
        }
        Some("array") => {
            // One entry, so that its fields are looked at.
            schema.get("items").map_or(json!([]), |items| json!([least(root, items)]))
        }
        Some("string") => json!("x"),
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(true),
        _ => Value::Null,
    }
}

/// The schemas that are asked for by name, or the test's end when Codex is switched off.
fn schema<'s>(schemas: &'s BTreeMap<String, Value>, name: &str) -> &'s Value {
    schemas.get(name).unwrap_or_else(|| panic!("no schema {name}"))
}

#[test]
fn what_is_sent_is_what_the_server_takes() {
    let Some(schemas) = schemas() else { return };
    let takes = |name: &str, params: Value| {
        let schema = schema(schemas, name);
        check(schema, schema, &params).unwrap_or_else(|reason| panic!("{name}: {reason}"));
    };
    for sandbox in [Sandbox::ReadOnly, Sandbox::WorkspaceWrite, Sandbox::DangerFullAccess] {
        for approval_policy in [Approval::Untrusted, Approval::OnRequest, Approval::Never] {
            let model = Some("m");
            let params =
                ThreadStartParams { cwd: "/", sandbox, approval_policy, model, thread_source: "conveyor" };
            takes("ThreadStartParams", json!(params));
        }
    }
    let thread_id = Id("t");
    for method in [
        "ThreadRead",
        "ThreadUnsubscribe",
        "ThreadCompactStart",
        "ThreadGoalGet",
        "ThreadBackgroundTerminalsClean",
    ] {
        takes(&format!("{method}Params"), json!(ThreadParams { thread_id }));
    }
    for method in ["ThreadQueueList", "ThreadBackgroundTerminalsList"] {
        takes(&format!("{method}Params"), json!(PartParams { thread_id, cursor: Some("c") }));
    }
    takes("ThreadQueueDeleteParams", json!(QueuedParams { thread_id, queued_submission_id: Id("q") }));
    takes("ThreadGoalSetParams", json!(GoalParams { thread_id, status: "paused" }));
    let roots = WorkspaceWrite { writable_roots: vec!["/x".into()], ..WorkspaceWrite::default() };
    let policies =
        [SandboxPolicy::ReadOnly, SandboxPolicy::WorkspaceWrite(roots), SandboxPolicy::DangerFullAccess];
    for sandbox_policy in policies {
        let params = SettingsParams { thread_id, approval_policy: Approval::Never, sandbox_policy };
        takes("ThreadSettingsUpdateParams", json!(params));
    }
    takes("ThreadSetNameParams", json!(NameParams { thread_id, name: "n" }));
    takes("ThreadResumeParams", json!(ResumeParams { thread_id, exclude_turns: true }));
    for method in ["ThreadTurnsList", "ThreadItemsList"] {
        let params = PageParams { thread_id, limit: 1, sort_direction: "desc", cursor: Some("c") };
        takes(&format!("{method}Params"), json!(params));
    }
    for method in ["ThreadList", "ThreadLoadedList"] {
        takes(&format!("{method}Params"), json!(ListParams { limit: 1, cursor: Some("c") }));
    }
    let input = [Input { text: "x", text_elements: [] }];
    let params =
        TurnStartParams { thread_id, input, client_user_message_id: Id("c"), turn_trigger: "conveyor" };
    takes("TurnStartParams", json!(params));
    takes("TurnInterruptParams", json!(TurnParams { thread_id, turn_id: Id("u") }));
    takes("ConfigReadParams", json!(ConfigParams { cwd: "/" }));
}

#[test]
fn the_least_that_the_server_may_answer_is_enough() {
    fn reads<T: DeserializeOwned>(schemas: &BTreeMap<String, Value>, name: &str) {
        let schema = schema(schemas, name);
        let answer = least(schema, schema);
        let read = serde_json::from_value::<T>(answer.clone());
        read.unwrap_or_else(|error| panic!("{name}: {error} in {answer}"));
    }
    let Some(schemas) = schemas() else { return };
    for name in
        ["ThreadStartResponse", "ThreadReadResponse", "ThreadResumeResponse", "ThreadStartedNotification"]
    {
        reads::<ThreadAnswer>(schemas, name);
    }
    for name in ["TurnStartResponse", "TurnStartedNotification", "TurnCompletedNotification"] {
        reads::<TurnAnswer>(schemas, name);
    }
    reads::<Page<Thread>>(schemas, "ThreadListResponse");
    reads::<Page<String>>(schemas, "ThreadLoadedListResponse");
    reads::<Page<Turn>>(schemas, "ThreadTurnsListResponse");
    reads::<Page<ItemEntry>>(schemas, "ThreadItemsListResponse");
    reads::<Page<Queued>>(schemas, "ThreadQueueListResponse");
    reads::<Page<BackgroundTerminal>>(schemas, "ThreadBackgroundTerminalsListResponse");
    reads::<DeletedAnswer>(schemas, "ThreadQueueDeleteResponse");
    reads::<GoalAnswer>(schemas, "ThreadGoalGetResponse");
    reads::<GoalAnswer>(schemas, "ThreadGoalSetResponse");
    reads::<UnsubscribeAnswer>(schemas, "ThreadUnsubscribeResponse");
    reads::<InitializeAnswer>(schemas, "InitializeResponse");
    for name in [
        "ThreadSettingsUpdateResponse",
        "ThreadSetNameResponse",
        "TurnInterruptResponse",
        "ThreadCompactStartResponse",
        "ThreadBackgroundTerminalsCleanResponse",
    ] {
        reads::<Empty>(schemas, name);
    }
}

#[test]
fn the_optional_fields_that_are_read_exist() {
    let Some(schemas) = schemas() else { return };
    let read = schema(schemas, "ThreadReadResponse");
    let fields = [
        ("Thread", &["name", "path", "threadSource", "parentThreadId"][..]),
        ("Turn", &["error", "startedAt", "completedAt"]),
        ("TurnError", &["codexErrorInfo"]),
    ];
    for (name, fields) in fields {
        let properties = &read["definitions"][name]["properties"];
        for field in fields {
            assert!(properties.get(field).is_some(), "{name} has no {field}");
        }
    }
    let config = schema(schemas, "ConfigReadResponse");
    let written = &config["definitions"]["SandboxWorkspaceWrite"]["properties"];
    for field in ["writable_roots", "network_access", "exclude_tmpdir_env_var", "exclude_slash_tmp"] {
        assert!(written.get(field).is_some(), "sandbox_workspace_write has no {field}");
    }
    let words = |schema: &Value| schema["enum"].as_array().cloned().unwrap_or_default();
    let flags = words(&read["definitions"]["ThreadActiveFlag"]);
    assert_eq!(flags, [json!("waitingOnApproval"), json!("waitingOnUserInput")]);
    assert_eq!(words(&read["definitions"]["TurnStatus"]).len(), 4);
    let items = read["definitions"]["ThreadItem"]["oneOf"].as_array().unwrap();
    let message = items.iter().find(|item| item["properties"]["type"]["enum"][0] == "userMessage").unwrap();
    assert!(message["properties"].get("clientId").is_some());
    let infos = read["definitions"]["CodexErrorInfo"].to_string();
    for info in ["usageLimitExceeded", "rateLimitExceeded", "responseTooManyFailedAttempts", "httpStatusCode"]
    {
        assert!(infos.contains(info), "{info}");
    }
}
