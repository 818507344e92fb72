//! The wire of a Codex server for tests: requests that the product never sends, and a server that
//! lacks methods.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;

use serde_json::{Value, json};

/// Where the server of a home listens: a link to its socket.
const SOCKET: &str = "app-server-control/app-server-control.sock";

/// Asks the server of a home once, over a connection of its own, and gives the result.
///
/// # Panics
/// When there is no server, or it refuses.
#[must_use]
pub fn ask(home: &Path, method: &str, params: &Value) -> Value {
    let socket = home.join(SOCKET).canonicalize().expect("a running server");
    let mut stream = UnixStream::connect(socket).expect("a running server");
    let opening = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    stream.write_all(opening.as_bytes()).expect("a server that reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a handshake");
        head.push(byte[0]);
    }
    let client = json!({"name": "test", "title": null, "version": "1"});
    let capabilities = json!({"experimentalApi": true});
    let initialize = json!({"clientInfo": client, "capabilities": capabilities});
    call(&mut stream, 1, "initialize", &initialize);
    send(&mut stream, &json!({"method": "initialized"}));
    call(&mut stream, 2, method, params)
}

fn call(stream: &mut UnixStream, id: u64, method: &str, params: &Value) -> Value {
    send(stream, &json!({"id": id, "method": method, "params": params}));
    loop {
        let mut answer = receive(stream);
        if answer["id"] == id && answer["method"].is_null() {
            assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
            return answer["result"].take();
        }
    }
}

/// A frame with a mask of zeros, which changes nothing.
fn send(stream: &mut UnixStream, message: &Value) {
    let text = message.to_string();
    let length = u16::try_from(text.len()).expect("a short message");
    let mut frame = vec![0x81, 0x80 | 126];
    frame.extend(length.to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    stream.write_all(&frame).expect("a server that reads");
}

fn receive(stream: &mut UnixStream) -> Value {
    let mut bytes = |count: usize| {
        let mut bytes = vec![0; count];
        stream.read_exact(&mut bytes).expect("an answer");
        bytes
    };
    let kind = bytes(2);
    let number = |bytes: Vec<u8>| bytes.into_iter().fold(0, |number, byte| number << 8 | usize::from(byte));
    let length = match kind[1] & 0x7f {
        126 => number(bytes(2)),
        127 => number(bytes(8)),
        short => usize::from(short),
    };
    let payload = bytes(length);
    serde_json::from_slice(&payload).unwrap_or_default()
}

/// Stands in front of the server of a home and gives other names to methods in what it says, as if
/// it had never known them. The real server is back when this is dropped.
#[derive(Debug)]
pub struct Forgetful {
    link: PathBuf,
    real: PathBuf,
    _dir: tempfile::TempDir,
}

impl Forgetful {
    /// A server that does not know this method.
    ///
    /// # Panics
    /// When no server runs.
    #[must_use]
    pub fn of(home: &Path, method: &'static str) -> Self {
        let link = home.join(SOCKET);
        let real = link.canonicalize().expect("a running server");
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("s");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let target = real.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, UnixStream::connect(&target)) else { return };
                let there = (clone(&client), clone(&server));
                thread::spawn(move || relay(there.0, there.1, ""));
                thread::spawn(move || relay(server, client, method));
            }
        });
        fs::remove_file(&link).expect("a link");
        std::os::unix::fs::symlink(&socket, &link).expect("a link");
        Self { link, real, _dir: dir }
    }
}

impl Drop for Forgetful {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.link);
        let _ = std::os::unix::fs::symlink(&self.real, &self.link);
    }
}

fn clone(stream: &UnixStream) -> UnixStream {
    stream.try_clone().expect("a descriptor")
}

/// Passes bytes on, with each `word` replaced by one of the same length. What may be the beginning of
/// the word waits for its end.
fn relay(mut from: UnixStream, mut to: UnixStream, word: &str) {
    let (word, other) = (word.as_bytes(), word.replace(|letter: char| letter != '/', "x").into_bytes());
    let mut kept: Vec<u8> = Vec::new();
    let mut chunk = [0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut chunk) {
        kept.extend(&chunk[..read]);
        let mut at = 0;
        while !word.is_empty() && at + word.len() <= kept.len() {
            if kept[at..].starts_with(word) {
                kept[at..at + word.len()].copy_from_slice(&other);
            }
            at += 1;
        }
        let open = (1..word.len()).rev().find(|length| kept.ends_with(&word[..*length])).unwrap_or(0);
        let ready = kept.len() - open;
        if to.write_all(&kept[..ready]).is_err() {
            break;
        }
        kept.drain(..ready);
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}
