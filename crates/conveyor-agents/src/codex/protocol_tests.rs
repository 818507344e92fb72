use serde_json::json;

use super::*;

#[test]
fn unknown_words_of_newer_servers_are_read_as_unknown() {
    let status = |value| serde_json::from_value::<Status>(value).unwrap();
    assert_eq!(status(json!({"type": "dreaming"})), Status::Unknown);
    let flags = vec![Flag::WaitingOnApproval, Flag::Unknown];
    let active = json!({"type": "active", "activeFlags": ["waitingOnApproval", "waitingOnRain"]});
    assert_eq!(status(active), Status::Active { active_flags: flags });
    let item: Item = serde_json::from_value(json!({"type": "hologram", "id": "x"})).unwrap();
    assert!(item.user_text().is_none());
    let turn: Turn = serde_json::from_value(json!({"id": "t", "status": "paused", "items": []})).unwrap();
    assert_eq!(turn.status, TurnStatus::Unknown);
}

#[test]
fn a_user_message_is_the_sum_of_its_texts() {
    let message = json!({"type": "userMessage", "id": "i", "clientId": "cv-1",
        "content": [{"type": "text", "text": "a"}, {"type": "image", "url": "x"}, {"type": "text", "text": "b"}]});
    assert_eq!(serde_json::from_value::<Item>(message).unwrap().user_text().as_deref(), Some("ab"));
}

#[test]
fn limits_are_told_from_other_failures() {
    let is_limit = |info: serde_json::Value| {
        TurnError { message: String::new(), codex_error_info: Some(info) }.is_limit()
    };
    assert!(is_limit(json!("usageLimitExceeded")));
    assert!(is_limit(json!({"responseTooManyFailedAttempts": {"httpStatusCode": 429}})));
    assert!(!is_limit(json!({"responseTooManyFailedAttempts": {"httpStatusCode": 503}})));
    assert!(!is_limit(json!("internalServerError")));
    assert!(!TurnError { message: String::new(), codex_error_info: None }.is_limit());
}

#[test]
fn helpers_are_never_sessions() {
    let thread = |source: serde_json::Value, ephemeral: bool| -> Thread {
        serde_json::from_value(json!({"id": "t", "preview": "", "cwd": "/", "status": {"type": "idle"},
            "createdAt": 1, "ephemeral": ephemeral, "threadSource": source, "cliVersion": "1"}))
        .unwrap()
    };
    assert!(!thread(json!(null), false).is_helper());
    assert!(!thread(json!("user"), false).is_helper());
    assert!(!thread(json!("conveyor"), false).is_helper());
    assert!(thread(json!("title"), false).is_helper());
    assert!(thread(json!("user"), true).is_helper());
}
