use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use super::*;

/// A home whose server answers each request as `answer` says, until it says nothing.
struct FakeServer {
    home: tempfile::TempDir,
    thread: thread::JoinHandle<Vec<Value>>,
}

impl FakeServer {
    fn new(answer: impl Fn(&Value) -> Vec<Value> + Send + 'static) -> Self {
        let home = tempfile::tempdir().unwrap();
        let socket = home.path().join(SOCKET);
        std::fs::create_dir(socket.parent().unwrap()).unwrap();
        let listener = UnixListener::bind(socket).unwrap();
        let own = home.path().to_str().unwrap().to_owned();
        let thread = thread::spawn(move || serve(listener.accept().unwrap().0, &own, answer));
        Self { home, thread }
    }

    fn client(&self) -> Client {
        Client::connect(self.home.path(), Duration::from_secs(10)).unwrap()
    }

    /// Everything that was sent to it.
    fn requests(self) -> Vec<Value> {
        self.thread.join().unwrap()
    }
}

fn serve(mut stream: UnixStream, home: &str, answer: impl Fn(&Value) -> Vec<Value>) -> Vec<Value> {
    stream.read_exact(&mut vec![0; websocket::OPENING.len()]).unwrap();
    stream.write_all(b"HTTP/1.1 101 \r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n").unwrap();
    let mut requests = Vec::new();
    while let Some(request) = read(&mut stream) {
        let answers = match request["method"].as_str() {
            Some("initialize") => {
                vec![json!({"id": request["id"], "result": {"codexHome": home, "userAgent": "x/1.2.3 (y)"}})]
            }
            Some("initialized") => Vec::new(),
            _ => answer(&request),
        };
        for answer in answers {
            // The server's frames are ours without the mask.
            let mut frame = websocket::text(answer.to_string().as_bytes());
            let mask = match frame[1] & 0x7f {
                126 => 4,
                127 => 10,
                _ => 2,
            };
            frame[1] &= 0x7f;
            frame.drain(mask..mask + 4);
            // A client that gave up is gone.
            let _ = stream.write_all(&frame);
        }
        requests.push(request);
    }
    requests
}

fn read(stream: &mut UnixStream) -> Option<Value> {
    let mut header = [0; 2];
    stream.read_exact(&mut header).ok()?;
    let mut length = usize::from(header[1] & 0x7f);
    if length == 126 {
        let mut long = [0; 2];
        stream.read_exact(&mut long).unwrap();
        length = usize::from(u16::from_be_bytes(long));
    }
    let mut frame = vec![0; 4 + length];
    stream.read_exact(&mut frame).unwrap();
    Some(serde_json::from_slice(&frame[4..]).unwrap())
}

fn result(request: &Value, result: &Value) -> Value {
    json!({"id": request["id"], "result": result})
}

fn refusal(request: &Value, code: i64, message: &str) -> Value {
    json!({"id": request["id"], "error": {"code": code, "message": message}})
}

#[test]
fn answers_find_their_requests_and_events_wait() {
    let server = FakeServer::new(|request| {
        vec![
            json!({"method": "thread/closed", "params": {"threadId": "t"}}),
            json!({"id": 0, "method": "item/fileChange/requestApproval", "params": {"threadId": "t"}}),
            json!({"id": 999, "result": {"data": ["of another request"]}}),
            result(request, &json!({"data": ["a"], "nextCursor": null})),
        ]
    });
    let mut client = server.client();
    assert_eq!(client.server_version(), Some("1.2.3"));
    assert_eq!(client.thread_loaded_list().unwrap(), ["a"]);
    let wait = Duration::from_millis(10);
    assert!(matches!(client.next_event(wait), Ok(Some(Event::ThreadClosed { .. }))));
    assert!(matches!(client.next_event(wait), Ok(Some(Event::Request { .. }))));
    assert!(matches!(client.next_event(wait), Ok(None)));
    drop(client);
    let requests = server.requests();
    assert_eq!(requests[0]["params"]["clientInfo"]["name"], "conveyor");
    assert_eq!(requests[1], json!({"method": "initialized"}));
    // Nobody answers the server's own request: that is for the people in front of the terminal.
    assert_eq!(requests.len(), 3);
}

#[test]
fn a_server_with_too_much_to_do_is_asked_again() {
    let busy = std::sync::atomic::AtomicU32::new(2);
    let server = FakeServer::new(move |request| {
        let left = busy.load(std::sync::atomic::Ordering::SeqCst);
        busy.store(left.saturating_sub(1), std::sync::atomic::Ordering::SeqCst);
        let refused = refusal(request, -32_001, "Server overloaded; retry later.");
        vec![if left > 0 { refused } else { result(request, &json!({})) }]
    });
    server.client().thread_name_set("t", "n").unwrap();
    assert_eq!(server.requests().len(), 5);

    let server = FakeServer::new(|request| vec![refusal(request, -32_001, "Server overloaded")]);
    let mut client = server.client();
    client.set_limit(Duration::from_millis(100));
    assert_eq!(client.thread_name_set("t", "n").unwrap_err().refusal(), Some(Refusal::Overloaded));
}

#[test]
fn silence_and_loss_leave_the_fate_open() {
    let server = FakeServer::new(|_| Vec::new());
    let mut client = server.client();
    client.set_limit(Duration::from_millis(50));
    let late = client.turn_start("t", "text", "cv-1").unwrap_err();
    assert!(matches!(late, CodexError::Timeout { sent: true, .. }) && late.is_fate_unknown());

    let server = FakeServer::new(|_| panic!("the server dies"));
    let mut client = server.client();
    let lost = client.turn_start("t", "text", "cv-1").unwrap_err();
    assert!(matches!(lost, CodexError::Lost { .. }) && lost.is_fate_unknown(), "{lost}");
    let down = client.turn_start("t", "text", "cv-2").unwrap_err();
    assert!(matches!(down, CodexError::NotReachable { .. }) && !down.is_fate_unknown(), "{down}");
}

#[test]
fn what_a_server_can_do_is_read_from_its_refusal() {
    let server = FakeServer::new(|request| {
        let text =
            "Invalid request: unknown variant `conveyor/methods`, expected one of `initialize`, `turn/start`";
        vec![refusal(request, -32_600, text)]
    });
    let missing = server.client().methods().unwrap().missing();
    assert!(missing.contains(&"thread/start") && !missing.contains(&"turn/start"));
}

#[test]
fn nonsense_is_an_error_and_never_a_panic() {
    let cases = [
        json!([]),
        json!("text"),
        json!(7),
        json!({"id": 2, "result": null}),
        json!({"id": 2, "result": {"thread": {"id": 7}}}),
        json!({"id": 2, "error": "a text"}),
        json!({"id": 2, "error": {"code": "x"}}),
        json!({"id": "2", "method": 7}),
        json!({"method": "thread/started"}),
    ];
    for case in cases {
        let server = FakeServer::new(move |_| vec![case.clone()]);
        let mut client = server.client();
        client.set_limit(Duration::from_millis(50));
        assert!(client.thread_read("t").is_err());
    }
}

#[test]
fn no_server_and_another_home_are_told() {
    let home = tempfile::tempdir().unwrap();
    let limit = Duration::from_secs(5);
    assert!(matches!(Client::connect(home.path(), limit), Err(CodexError::NotReachable { .. })));
    let dir = home.path().join("app-server-control");
    std::fs::create_dir(&dir).unwrap();
    std::os::unix::fs::symlink(home.path().join("gone"), home.path().join(SOCKET)).unwrap();
    assert!(matches!(Client::connect(home.path(), limit), Err(CodexError::NotReachable { .. })));

    let server = FakeServer::new(|_| Vec::new());
    std::fs::remove_file(home.path().join(SOCKET)).unwrap();
    std::os::unix::fs::symlink(server.home.path().join(SOCKET), home.path().join(SOCKET)).unwrap();
    assert!(matches!(Client::connect(home.path(), limit), Err(CodexError::Protocol { .. })));
}

#[test]
fn too_long_a_text_and_an_unnamed_turn_are_not_sent() {
    let server = FakeServer::new(|request| vec![result(request, &json!({}))]);
    let mut client = server.client();
    let text = "x".repeat(websocket::MAX_SENT);
    assert!(matches!(client.turn_start("t", &text, "cv-1"), Err(CodexError::Unsupported { .. })));
    assert!(client.turn_interrupt("t", "").is_err());
    drop(client);
    assert_eq!(server.requests().len(), 2);
}

/// The server takes an empty id for whatever there is: an empty turn for the one that runs.
#[test]
fn no_empty_id_leaves_the_house() {
    type Send = fn(&mut Client, &str) -> Result<(), CodexError>;
    let sent: [(&str, Send); 17] = [
        ("the thread's permissions", |client, id| {
            let permissions =
                Permissions { sandbox: Sandbox::ReadOnly, approval: Approval::Never, writable: &[] };
            client.thread_permissions_set(id, Path::new("/"), &permissions)
        }),
        ("the name's thread", |client, id| client.thread_name_set(id, "n")),
        ("the thread read", |client, id| client.thread_read(id).map(drop)),
        ("the thread resumed", |client, id| client.thread_resume(id).map(drop)),
        ("the turns' thread", |client, id| client.turns(id, 1).map(drop)),
        ("the items' thread", |client, id| client.items(id, None).map(drop)),
        ("the queue's thread", |client, id| client.queue(id).map(drop)),
        ("what is taken from a queue", |client, id| client.queue_delete("t", id).map(drop)),
        ("the commands' thread", |client, id| client.background_terminals(id).map(drop)),
        ("the thread whose commands end", Client::background_terminals_clean),
        ("the goal's thread", |client, id| client.goal(id).map(drop)),
        ("the resting goal's thread", Client::goal_pause),
        ("the message's thread", |client, id| client.turn_start(id, "hi", "m").map(drop)),
        ("the message", |client, id| client.turn_start("t", "hi", id).map(drop)),
        ("the turn", |client, id| client.turn_interrupt("t", id)),
        ("the thread let go", |client, id| client.thread_unsubscribe(id).map(drop)),
        ("the thread compacted", Client::thread_compact_start),
    ];
    let server = FakeServer::new(|request| vec![json!({"id": request["id"], "result": {}})]);
    let mut client = server.client();
    for (what, send) in sent {
        for empty in ["", " ", "\n"] {
            let refused = send(&mut client, empty);
            assert!(matches!(refused, Err(CodexError::Protocol { .. })), "{what}: {refused:?}");
        }
    }
    drop(client);
    let methods = server.requests().into_iter().map(|request| request["method"].clone());
    assert_eq!(methods.collect::<Vec<_>>(), ["initialize", "initialized"]);
}
