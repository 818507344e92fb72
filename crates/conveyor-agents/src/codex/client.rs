use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::connection::{self, Connection, Trouble};
use super::error::{CodexError, Refusal};
use super::events::{Event, Events};
use super::protocol::{
    Approval, BackgroundTerminal, ConfigParams, DeletedAnswer, Empty, Goal, GoalAnswer, GoalParams, Id,
    InitializeAnswer, Input, ItemEntry, ListParams, NameParams, Page, PageParams, PartParams, Queued,
    QueuedParams, ResumeParams, Sandbox, SandboxPolicy, SettingsParams, Thread, ThreadAnswer, ThreadParams,
    ThreadStartParams, Turn, TurnAnswer, TurnParams, TurnStartParams, UnsubscribeAnswer, WorkspaceWrite,
};
use super::trust::TrustLevel;
use super::websocket;

/// Where the server of a home listens: a symbolic link to a socket in a private directory.
const SOCKET: &str = "app-server-control/app-server-control.sock";

/// What calls itself what; Codex writes the first client's name into all threads of a server.
const NAME: &str = "conveyor";

/// How long a request may take, unless the caller says otherwise.
const LIMIT: Duration = Duration::from_secs(5);

/// The methods without which nothing here works.
const NEEDED: [&str; 16] = [
    "config/read",
    "thread/compact/start",
    "thread/goal/get",
    "thread/items/list",
    "thread/list",
    "thread/loaded/list",
    "thread/name/set",
    "thread/queue/list",
    "thread/read",
    "thread/resume",
    "thread/settings/update",
    "thread/start",
    "thread/turns/list",
    "thread/unsubscribe",
    "turn/interrupt",
    "turn/start",
];

/// Whether a server listens for a home. One that is frozen does, although nobody can connect to it:
/// its threads may go on once it thaws.
#[must_use]
pub fn is_listening(home: &Path) -> bool {
    home.join(SOCKET).canonicalize().is_ok_and(|socket| connection::is_listening(&socket))
}

/// A connection to the server of one Codex home. Requests are answered in turn; what the server
/// tells in between waits as [`Event`]s.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    events: Events,
    last_id: u64,
    limit: Duration,
    user_agent: String,
}

/// What a new thread is to be like.
#[derive(Clone, Copy, Debug)]
pub struct NewThread<'a> {
    /// Its directory, absolute.
    pub cwd: &'a Path,
    /// What its commands may do. Anything but `ReadOnly` makes Codex trust the directory without
    /// asking anybody.
    pub sandbox: Sandbox,
    /// When it asks.
    pub approval: Approval,
    /// The model; the home's own when absent.
    pub model: Option<&'a str>,
}

/// What a thread may do from its next turn on.
#[derive(Clone, Copy, Debug)]
pub struct Permissions<'a> {
    /// What its commands may do.
    pub sandbox: Sandbox,
    /// When it asks.
    pub approval: Approval,
    /// Directories that may be written beside its own, in the sandbox `WorkspaceWrite`.
    pub writable: &'a [PathBuf],
}

/// What a server understands.
#[derive(Clone, Debug)]
pub struct Methods {
    known: BTreeSet<String>,
}

impl Methods {
    /// What is needed and not there; empty for a server that can be written to.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        self.lacking(&NEEDED)
    }

    /// Which of these methods it does not understand.
    #[must_use]
    pub fn lacking(&self, methods: &[&'static str]) -> Vec<&'static str> {
        methods.iter().copied().filter(|method| !self.known.contains(*method)).collect()
    }
}

impl Client {
    /// Connects to the server of a home and introduces itself.
    ///
    /// # Errors
    /// [`CodexError::NotReachable`] when no server listens (a link that leads nowhere, a socket
    /// that refuses) or it is frozen; [`CodexError::Protocol`] when it is another home's or no
    /// app-server.
    pub fn connect(home: &Path, limit: Duration) -> Result<Self, CodexError> {
        let deadline = Instant::now() + limit;
        let unreachable = |reason: String| CodexError::NotReachable { reason };
        // Resolved here, because the link's own path may be longer than a socket's may be.
        let socket =
            home.join(SOCKET).canonicalize().map_err(|_| unreachable("no server is running".into()))?;
        let connection = Connection::open(&socket, deadline).map_err(|trouble| match trouble {
            Trouble::Late => unreachable(format!("the server did not accept within {limit:?}")),
            Trouble::Broken(reason) => unreachable(reason),
            Trouble::Garbage(text) => CodexError::Protocol { text },
        })?;
        let mut client =
            Self { connection, events: Events::default(), last_id: 0, limit, user_agent: String::new() };
        client.introduce(home)?;
        client.limit = LIMIT;
        Ok(client)
    }

    fn introduce(&mut self, home: &Path) -> Result<(), CodexError> {
        let capabilities = json!({
            "experimentalApi": true,
            "requestAttestation": false,
            "optOutNotificationMethods": ["item/agentMessage/delta"],
        });
        let version = env!("CARGO_PKG_VERSION");
        let client_info = json!({"name": NAME, "title": null, "version": version});
        let params = json!({"clientInfo": client_info, "capabilities": capabilities});
        let answer: InitializeAnswer = self.call("initialize", &params)?;
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        if real(Path::new(&answer.codex_home)) != real(home) {
            let text = format!("the server belongs to another home, {:?}", answer.codex_home);
            return Err(CodexError::Protocol { text });
        }
        self.user_agent = answer.user_agent;
        let message = json!({"method": "initialized"}).to_string();
        self.send("initialized", message.as_bytes(), Instant::now() + self.limit)
    }

    /// Sets how long each of the following requests may take; at first 5 s.
    pub fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// The version that the server says it is, for instance `0.169.0`.
    #[must_use]
    pub fn server_version(&self) -> Option<&str> {
        // `<first client>/<version> (<system>) …`
        self.user_agent.split_once('/')?.1.split_whitespace().next()
    }

    /// The next thing the server tells; `None` when nothing came within the time.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn next_event(&mut self, wait: Duration) -> Result<Option<Event>, CodexError> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(event) = self.events.pop() {
                return Ok(Some(event));
            }
            match self.connection.receive(deadline) {
                // An answer that comes now is to a request that was given up.
                Ok(message) => drop(self.take_in(&message)?),
                Err(Trouble::Late) => return Ok(None),
                Err(Trouble::Broken(reason)) => return Err(CodexError::NotReachable { reason }),
                Err(Trouble::Garbage(text)) => return Err(CodexError::Protocol { text }),
            }
        }
    }

    /// How many events were dropped because nobody looked.
    #[must_use]
    pub fn missed_events(&self) -> u64 {
        self.events.missed()
    }

    /// The process of the server, where the system tells.
    #[must_use]
    pub fn server_pid(&self) -> Option<u32> {
        self.connection.peer()
    }

    /// What the server understands: a call of nonsense is answered with the list of what is sense.
    ///
    /// # Errors
    /// As every request.
    pub fn methods(&mut self) -> Result<Methods, CodexError> {
        match self.call::<_, Value>("conveyor/methods", &json!({})) {
            Err(CodexError::Refused { cause: Refusal::Protocol, text, .. }) => {
                let list = text.split_once("expected one of").map_or("", |(_, list)| list);
                let known = list.split('`').skip(1).step_by(2).map(str::to_owned).collect();
                Ok(Methods { known })
            }
            Err(error) => Err(error),
            Ok(_) => Err(CodexError::protocol("a method of no meaning was understood")),
        }
    }

    /// Makes a thread and subscribes to it. It has no rollout before it is named or has a turn.
    ///
    /// # Errors
    /// As every request.
    pub fn thread_start(&mut self, new: &NewThread<'_>) -> Result<Thread, CodexError> {
        let params = ThreadStartParams {
            cwd: utf8(new.cwd)?,
            sandbox: new.sandbox,
            approval_policy: new.approval,
            model: new.model,
            thread_source: NAME,
        };
        Ok(self.call::<_, ThreadAnswer>("thread/start", &params)?.thread)
    }

    /// Sets what a loaded thread may do. A terminal's `--sandbox`, `--ask-for-approval` and
    /// `--add-dir` change nothing in a thread that is loaded already, and unlike a new thread this
    /// makes Codex trust no directory. `cwd` is the thread's directory, whose configuration says
    /// the rest.
    ///
    /// # Errors
    /// [`CodexError::NotFound`] when the thread is not loaded.
    pub fn thread_permissions_set(
        &mut self,
        thread_id: &str,
        cwd: &Path,
        permissions: &Permissions<'_>,
    ) -> Result<(), CodexError> {
        let sandbox_policy = match permissions.sandbox {
            Sandbox::ReadOnly => SandboxPolicy::ReadOnly,
            Sandbox::DangerFullAccess => SandboxPolicy::DangerFullAccess,
            Sandbox::WorkspaceWrite => {
                let section = self.config(utf8(cwd)?)?["sandbox_workspace_write"].take();
                // The section is absent as a rule.
                let section: Option<WorkspaceWrite> = serde_json::from_value(section)
                    .map_err(|error| CodexError::protocol(format!("sandbox_workspace_write: {error}")))?;
                let mut policy = section.unwrap_or_default();
                for dir in permissions.writable {
                    policy.writable_roots.push(utf8(dir)?.to_owned());
                }
                SandboxPolicy::WorkspaceWrite(policy)
            }
        };
        let params = SettingsParams {
            thread_id: Id(thread_id),
            approval_policy: permissions.approval,
            sandbox_policy,
        };
        self.call::<_, Empty>("thread/settings/update", &params).map(drop)
    }

    /// Names a thread, which also writes its rollout.
    ///
    /// # Errors
    /// As every request.
    pub fn thread_name_set(&mut self, thread_id: &str, name: &str) -> Result<(), CodexError> {
        self.call::<_, Empty>("thread/name/set", &NameParams { thread_id: Id(thread_id), name }).map(drop)
    }

    /// Reads a thread; never loads it.
    ///
    /// # Errors
    /// [`CodexError::NotFound`] when this home has no such thread.
    pub fn thread_read(&mut self, thread_id: &str) -> Result<Thread, CodexError> {
        Ok(self.call::<_, ThreadAnswer>("thread/read", &ThreadParams { thread_id: Id(thread_id) })?.thread)
    }

    /// Loads a thread if necessary and subscribes to it.
    ///
    /// # Errors
    /// [`Refusal::OwnedElsewhere`] when another process has it; [`Refusal::Fresh`] when it has no
    /// rollout yet.
    pub fn thread_resume(&mut self, thread_id: &str) -> Result<Thread, CodexError> {
        let params = ResumeParams { thread_id: Id(thread_id), exclude_turns: true };
        Ok(self.call::<_, ThreadAnswer>("thread/resume", &params)?.thread)
    }

    /// The saved threads, newest first. Threads without a user message are not among them.
    ///
    /// # Errors
    /// As every request.
    pub fn thread_list(&mut self, cursor: Option<&str>) -> Result<Page<Thread>, CodexError> {
        self.call("thread/list", &ListParams { limit: 100, cursor })
    }

    /// The ids of all threads that the server holds.
    ///
    /// # Errors
    /// As every request.
    pub fn thread_loaded_list(&mut self) -> Result<Vec<String>, CodexError> {
        self.every(|client, cursor| client.call("thread/loaded/list", &ListParams { limit: 200, cursor }))
    }

    /// The last turns of a thread, newest first, each with its user message.
    ///
    /// # Errors
    /// [`Refusal::Fresh`] when the thread has no rollout yet.
    pub fn turns(&mut self, thread_id: &str, limit: u32) -> Result<Vec<Turn>, CodexError> {
        let params = PageParams { thread_id: Id(thread_id), limit, sort_direction: "desc", cursor: None };
        Ok(self.call::<_, Page<Turn>>("thread/turns/list", &params)?.data)
    }

    /// A page of the items of a thread, newest first.
    ///
    /// # Errors
    /// [`Refusal::Fresh`] when the thread has no rollout yet.
    pub fn items(&mut self, thread_id: &str, cursor: Option<&str>) -> Result<Page<ItemEntry>, CodexError> {
        let params = PageParams { thread_id: Id(thread_id), limit: 100, sort_direction: "desc", cursor };
        self.call("thread/items/list", &params)
    }

    /// What waits in Codex's own queue for a thread.
    ///
    /// # Errors
    /// As every request.
    pub fn queue(&mut self, thread_id: &str) -> Result<Vec<Queued>, CodexError> {
        self.every(|client, cursor| {
            client.call("thread/queue/list", &PartParams { thread_id: Id(thread_id), cursor })
        })
    }

    /// Takes a message out of Codex's own queue. `false` when it is not there any more.
    ///
    /// # Errors
    /// As every request.
    pub fn queue_delete(&mut self, thread_id: &str, queued_id: &str) -> Result<bool, CodexError> {
        let params = QueuedParams { thread_id: Id(thread_id), queued_submission_id: Id(queued_id) };
        Ok(self.call::<_, DeletedAnswer>("thread/queue/delete", &params)?.deleted)
    }

    /// The commands of a thread that still run.
    ///
    /// # Errors
    /// As every request.
    pub fn background_terminals(&mut self, thread_id: &str) -> Result<Vec<BackgroundTerminal>, CodexError> {
        self.every(|client, cursor| {
            client.call("thread/backgroundTerminals/list", &PartParams { thread_id: Id(thread_id), cursor })
        })
    }

    /// Ends the commands of a thread that still run.
    ///
    /// # Errors
    /// As every request.
    pub fn background_terminals_clean(&mut self, thread_id: &str) -> Result<(), CodexError> {
        let params = ThreadParams { thread_id: Id(thread_id) };
        self.call::<_, Empty>("thread/backgroundTerminals/clean", &params).map(drop)
    }

    /// The goal that Codex pursues in a thread by itself.
    ///
    /// # Errors
    /// As every request.
    pub fn goal(&mut self, thread_id: &str) -> Result<Option<Goal>, CodexError> {
        Ok(self.call::<_, GoalAnswer>("thread/goal/get", &ThreadParams { thread_id: Id(thread_id) })?.goal)
    }

    /// Lets a goal rest: no turn is started for it until somebody takes it up again.
    ///
    /// # Errors
    /// As every request.
    pub fn goal_pause(&mut self, thread_id: &str) -> Result<(), CodexError> {
        let params = GoalParams { thread_id: Id(thread_id), status: "paused" };
        self.call::<_, GoalAnswer>("thread/goal/set", &params).map(drop)
    }

    /// Starts a turn. In a thread that is busy this steers the running turn instead, whose id comes
    /// back.
    ///
    /// # Errors
    /// [`CodexError::NotFound`] when the thread is not loaded.
    pub fn turn_start(&mut self, thread_id: &str, text: &str, message_id: &str) -> Result<Turn, CodexError> {
        let params = TurnStartParams {
            thread_id: Id(thread_id),
            input: [Input { text, text_elements: [] }],
            client_user_message_id: Id(message_id),
            turn_trigger: NAME,
        };
        Ok(self.call::<_, TurnAnswer>("turn/start", &params)?.turn)
    }

    /// Ends a turn; an open request of it is withdrawn.
    ///
    /// # Errors
    /// [`Refusal::NothingRunning`], [`Refusal::Race`] when another turn runs.
    pub fn turn_interrupt(&mut self, thread_id: &str, turn_id: &str) -> Result<(), CodexError> {
        let params = TurnParams { thread_id: Id(thread_id), turn_id: Id(turn_id) };
        self.call::<_, Empty>("turn/interrupt", &params).map(drop)
    }

    /// Lets go of a thread. `false` when it was not subscribed to.
    ///
    /// # Errors
    /// As every request.
    pub fn thread_unsubscribe(&mut self, thread_id: &str) -> Result<bool, CodexError> {
        let answer: UnsubscribeAnswer =
            self.call("thread/unsubscribe", &ThreadParams { thread_id: Id(thread_id) })?;
        Ok(answer.status == "unsubscribed")
    }

    /// Begins to replace the conversation by a summary: a turn without a user message.
    ///
    /// # Errors
    /// [`CodexError::NotFound`] when the thread is not loaded.
    pub fn thread_compact_start(&mut self, thread_id: &str) -> Result<(), CodexError> {
        self.call::<_, Empty>("thread/compact/start", &ThreadParams { thread_id: Id(thread_id) }).map(drop)
    }

    /// The home's projects for a session in this directory, with what the user decided about each.
    ///
    /// # Errors
    /// As every request.
    pub fn projects(&mut self, cwd: &str) -> Result<BTreeMap<PathBuf, TrustLevel>, CodexError> {
        let projects = self.config(cwd)?["projects"].take();
        let Value::Object(projects) = projects else { return Ok(BTreeMap::new()) };
        let level = |project: &Value| match project["trust_level"].as_str() {
            Some("trusted") => Some(TrustLevel::Trusted),
            Some(_) => Some(TrustLevel::Untrusted),
            None => None,
        };
        Ok(projects.iter().filter_map(|(path, project)| Some((path.into(), level(project)?))).collect())
    }

    fn config(&mut self, cwd: &str) -> Result<Value, CodexError> {
        let mut answer: Value = self.call("config/read", &ConfigParams { cwd })?;
        Ok(answer["config"].take())
    }

    /// All parts of a list.
    fn every<T>(
        &mut self,
        mut part: impl FnMut(&mut Self, Option<&str>) -> Result<Page<T>, CodexError>,
    ) -> Result<Vec<T>, CodexError> {
        let mut entries: Vec<T> = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..1_000 {
            let page = part(self, cursor.as_deref())?;
            entries.extend(page.data);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(entries);
            }
        }
        Err(CodexError::protocol("a list of the server has no end"))
    }

    /// One request and its answer. A server that has too much to do is asked again until the
    /// limit; it has then done nothing.
    fn call<P: Serialize, R: DeserializeOwned>(
        &mut self,
        method: &'static str,
        params: &P,
    ) -> Result<R, CodexError> {
        let deadline = Instant::now() + self.limit;
        let mut pause = Duration::from_millis(20);
        loop {
            let overloaded = match self.call_once(method, params, deadline) {
                Err(error) if error.refusal() == Some(Refusal::Overloaded) => error,
                Err(error) => return Err(error),
                Ok(result) => {
                    return serde_json::from_value(result)
                        .map_err(|error| CodexError::protocol(format!("{method}: {error}")));
                }
            };
            if Instant::now() + pause >= deadline {
                return Err(overloaded);
            }
            std::thread::sleep(pause);
            pause *= 2;
        }
    }

    fn call_once<P: Serialize>(
        &mut self,
        method: &'static str,
        params: &P,
        deadline: Instant,
    ) -> Result<Value, CodexError> {
        self.last_id += 1;
        let id = self.last_id;
        let request = Request { id, method, params };
        let message =
            serde_json::to_vec(&request).map_err(|error| CodexError::protocol(error.to_string()))?;
        self.send(method, &message, deadline)?;
        loop {
            let message = self.connection.receive(deadline).map_err(|trouble| match trouble {
                Trouble::Late => CodexError::Timeout { method, limit: self.limit, sent: true },
                Trouble::Broken(reason) | Trouble::Garbage(reason) => CodexError::Lost { method, reason },
            })?;
            if let Some((answered, result)) = self.take_in(&message)?
                && answered == id
            {
                return result.map_err(|(code, text)| CodexError::refused(method, code, text));
            }
        }
    }

    fn send(&mut self, method: &'static str, message: &[u8], deadline: Instant) -> Result<(), CodexError> {
        if message.len() > websocket::MAX_SENT {
            let text = format!("a message of more than {} MiB", websocket::MAX_SENT / 1024 / 1024);
            return Err(CodexError::Unsupported { text });
        }
        self.connection.send(message, deadline).map_err(|trouble| match trouble {
            Trouble::Late => CodexError::Timeout { method, limit: self.limit, sent: false },
            // Part of a frame is no message.
            Trouble::Broken(reason) | Trouble::Garbage(reason) => CodexError::NotReachable { reason },
        })
    }

    /// Sorts a message: an answer is given back with its id, an event is kept.
    fn take_in(&mut self, message: &[u8]) -> Result<Option<(u64, Answer)>, CodexError> {
        let mut message: Value = serde_json::from_slice(message)
            .map_err(|error| CodexError::protocol(format!("a message that is not JSON: {error}")))?;
        if let Some(method) = message["method"].as_str().map(str::to_owned) {
            let is_request = !message["id"].is_null();
            if let Some(event) = Event::read(&method, is_request, message["params"].take()) {
                self.events.push(event);
            }
            return Ok(None);
        }
        let Some(id) = message["id"].as_u64() else { return Ok(None) };
        let answer = match message["error"].take() {
            Value::Null => Ok(message["result"].take()),
            error => {
                let text = error["message"].as_str().unwrap_or("no reason given");
                Err((error["code"].as_i64().unwrap_or_default(), text.to_owned()))
            }
        };
        Ok(Some((id, answer)))
    }
}

fn utf8(path: &Path) -> Result<&str, CodexError> {
    path.to_str().ok_or_else(|| CodexError::Unsupported { text: format!("the path {path:?} is not UTF-8") })
}

/// The result, or code and text of the refusal.
type Answer = Result<Value, (i64, String)>;

/// JSON-RPC 2.0 without its version.
#[derive(Serialize)]
struct Request<'a, P> {
    id: u64,
    method: &'a str,
    params: &'a P,
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
