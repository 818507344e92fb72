//! A scripted model on loopback: the Responses API with streamed answers, as far as Codex 0.169
//! uses it, so that tests run the real Codex binary without an account or a network.
//!
//! A [`Script`] says what the model answers to which user text; [`Model`] serves it and records
//! every request. `Reply::held` keeps a turn running until the test lets it go.
//!
//! ```no_run
//! use conveyor_testkit::model_server::{Model, Reply, Script};
//!
//! let model = Model::start(
//!     Script::new()
//!         .on("list the files", [Reply::shell("ls"), Reply::text("that is all")])
//!         .on("delete it", [Reply::escalated("rm important", "May I?"), Reply::text("gone")])
//!         .on("take your time", [Reply::text("done at last").held("nap")]),
//! );
//! // … start Codex with `model.base_url()`, begin the turn …
//! model.release("nap");
//! ```

mod http;
mod reply;
mod request;
mod script;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use reply::Reply;
pub use request::{Kind, Request};
pub use script::Script;

/// A model server of one test or of one test binary. It ends when it is dropped; a held turn is
/// cut off then.
#[derive(Debug)]
pub struct Model {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

/// What the serving threads and the test look at together.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    script: Script,
    requests: Vec<Request>,
    released: BTreeSet<String>,
    stopped: bool,
}

impl Model {
    /// Starts serving on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When no port is to be had.
    #[must_use]
    pub fn start(script: Script) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on loopback");
        let address = listener.local_addr().expect("the port of a bound listener");
        let state = State { script, requests: Vec::new(), released: BTreeSet::new(), stopped: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let serving = Arc::clone(&shared);
        let listener = std::thread::spawn(move || accept(&listener, &serving));
        Self { address, shared, listener: Some(listener) }
    }

    /// What `base_url` of the model provider has to be.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Adds rules; they come before the ones that are already there, so that a test can answer its
    /// own texts on a shared server.
    pub fn add(&self, script: Script) {
        self.shared.lock().script.put_before(script);
    }

    /// Lets the turns go on that are or will be held under this name.
    pub fn release(&self, name: &str) {
        self.shared.lock().released.insert(name.to_owned());
        self.shared.changed.notify_all();
    }

    /// Every request so far, in order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    /// The requests whose last user text contains `text`.
    #[must_use]
    pub fn requests_about(&self, text: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.is_about(text)).collect()
    }

    /// Waits until `count` requests whose last user text contains `text` have arrived.
    ///
    /// # Panics
    /// When they did not come within `limit`; the message says what came instead.
    #[track_caller]
    pub fn wait_for(&self, text: &str, count: usize, limit: Duration) -> Vec<Request> {
        let end = Instant::now() + limit;
        let mut state = self.shared.lock();
        loop {
            let found: Vec<_> = state.requests.iter().filter(|request| request.is_about(text)).collect();
            if found.len() >= count {
                return found.into_iter().cloned().collect();
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let came: Vec<_> = state.requests.iter().map(|request| &request.user_text).collect();
                panic!("waited {limit:?} in vain for {count} requests about {text:?}; came: {came:?}");
            }
            state = self.shared.changed.wait_timeout(state, left).expect("an unpoisoned lock").0;
        }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
        // The listener sits in accept; a visitor lets it look at the flag.
        drop(TcpStream::connect(self.address));
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that failed while it held the lock must not hide its own message.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits until the name is released. `false` when the other side went away, or the server
    /// ends.
    fn held(&self, name: &str, stream: &TcpStream) -> bool {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return false;
            }
            if state.released.contains(name) {
                return true;
            }
            if http::is_closed(stream) {
                return false;
            }
            // Nothing tells of a closed connection but a look at it.
            let waited = self.changed.wait_timeout(state, Duration::from_millis(20));
            state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.lock().stopped {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = Arc::clone(shared);
        // One thread for each request; they end with their connection, or with the server.
        std::thread::spawn(move || {
            let _ = serve(&stream, &shared);
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
}

/// Answers the one request of a connection.
fn serve(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    let message = http::read(stream)?;
    if message.method != "POST" || !message.path.ends_with("/responses") {
        // Codex asks for a list of models now and then and does without.
        return http::write_json(stream, 404, &serde_json::json!({"error": {"message": "not here"}}));
    }
    let Some(request) = Request::read(&message) else {
        return http::write_json(stream, 400, &serde_json::json!({"error": {"message": "not JSON"}}));
    };
    let (index, reply) = {
        let mut state = shared.lock();
        let reply = state.script.answer(&request);
        state.requests.push(request);
        (state.requests.len() - 1, reply)
    };
    shared.changed.notify_all();
    // Writing fails once the other side is gone.
    let complete = reply.send(stream, index, |name| shared.held(name, stream));
    if !complete.unwrap_or(false) {
        shared.lock().requests[index].abandoned = true;
        shared.changed.notify_all();
    }
    Ok(())
}

#[cfg(test)]
mod tests;
