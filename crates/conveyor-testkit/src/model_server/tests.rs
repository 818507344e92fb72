use std::io::{Read as _, Write as _};

use serde_json::json;

use super::*;

fn post(model: &Model, body: &str, metadata: &str) -> TcpStream {
    let mut stream = TcpStream::connect(model.address).unwrap();
    let head = format!(
        "POST /v1/responses HTTP/1.1\r\nhost: x\r\nX-Codex-Turn-Metadata: {metadata}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).unwrap();
    stream
}

fn ask(model: &Model, input: &serde_json::Value) -> String {
    let mut answer = String::new();
    post(model, &json!({"input": input}).to_string(), "{}").read_to_string(&mut answer).unwrap();
    answer
}

fn user(text: &str) -> serde_json::Value {
    json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]})
}

const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn steps_follow_the_outputs_of_tools_and_every_turn_ends() {
    let model = Model::start(Script::new().on("list", [Reply::shell("ls -l"), Reply::text("two files")]));
    let first = ask(&model, &json!([user("please list"), user("<environment_context>")]));
    assert!(first.contains("event: response.completed\n"), "{first}");
    assert!(first.contains(r#""arguments":"{\"cmd\":\"ls -l\""#), "{first}");
    let output = json!({"type": "function_call_output", "output": "a b"});
    assert!(ask(&model, &json!([user("please list"), output])).contains("two files"));
    assert!(ask(&model, &json!([user("please list"), output, output])).contains("done"));
    assert!(ask(&model, &json!([user("something else")])).contains("done"));
    let steps: Vec<_> = model.requests_about("list").iter().map(|request| request.step).collect();
    assert_eq!(steps, [0, 1, 2]);
    assert_eq!(model.requests()[1].outputs, ["a b"]);
}

#[test]
fn a_rule_for_one_turn_is_used_up() {
    let rules = Script::new().once("go", [Reply::server_error("broken")]).on("go", [Reply::text("went")]);
    let model = Model::start(rules);
    assert!(ask(&model, &json!([user("go")])).starts_with("HTTP/1.1 500 "));
    assert!(ask(&model, &json!([user("go")])).contains("went"));
    model.add(Script::new().on("go", [Reply::usage_limit(60)]));
    let refused = ask(&model, &json!([user("go")]));
    assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains(r#""resets_in_seconds":60"#));
}

#[test]
fn a_held_turn_waits_and_its_end_is_noticed() {
    let model = Model::start(Script::new().on("slow", [Reply::text("late").held("gate")]));
    let body = json!({"input": [user("slow")]}).to_string();
    drop(post(&model, &body, "{}"));
    crate::wait::until(LIMIT, "an abandoned request", || {
        model.requests().first().is_some_and(|request| request.abandoned)
    });
    let mut second = post(&model, &body, r#"{"thread_id": "t"}"#);
    assert_eq!(model.wait_for("slow", 2, LIMIT)[1].thread_id.as_deref(), Some("t"));
    model.release("gate");
    let mut answer = String::new();
    second.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("late") && answer.contains("response.completed"), "{answer}");
}

#[test]
fn compaction_and_helpers_are_told_from_turns() {
    let model =
        Model::start(Script::new().on("hello", [Reply::text("hi")]).on_compaction(Reply::cut("short")));
    let body = json!({"input": [user("hello")]}).to_string();
    let kinds = [
        (r#"{"request_kind": "turn", "thread_source": "user"}"#, Kind::Turn, "hi"),
        (r#"{"request_kind": "compaction"}"#, Kind::Compaction, "short"),
        (r#"{"request_kind": "turn", "thread_source": "title"}"#, Kind::Helper, "A title"),
    ];
    for (metadata, kind, expected) in kinds {
        let mut answer = String::new();
        post(&model, &body, metadata).read_to_string(&mut answer).unwrap();
        assert!(answer.contains(expected), "{answer}");
        assert_eq!(model.requests().last().unwrap().kind, kind);
        assert_eq!(answer.contains("response.completed"), kind != Kind::Compaction);
    }
}

#[test]
fn what_is_not_for_the_model_is_refused() {
    let model = Model::start(Script::new());
    let mut answer = String::new();
    let mut stream = TcpStream::connect(model.address).unwrap();
    stream.write_all(b"GET /v1/models HTTP/1.1\r\n\r\n").unwrap();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 "));
    answer.clear();
    post(&model, "{", "{}").read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "));
    assert!(model.requests().is_empty());
}
