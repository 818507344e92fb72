//! Codex through its app-server: the one process that holds all threads of a Codex home.
//!
//! Measured with `@openai/codex` 0.169.0 and 0.171.0. The server listens on a Unix socket below the home and
//! speaks WebSocket with one JSON-RPC message per text frame. Everything here blocks, has a
//! deadline, and starts no thread but for a program's output; one connection is one [`Client`].
//!
//! | want | have |
//! | --- | --- |
//! | a server | [`Codex::start_server`], [`Client::connect`] |
//! | which thread it is | [`identify`] |
//! | its state | [`probe`] |
//! | a turn | [`deliver`], and the proof of it: [`locate`], [`locate_text`] |
//! | no turn | [`interrupt`] |
//! | a new thread in a terminal | [`Trust`], [`create`], [`Codex::attach`] |
//! | which terminal shows a thread | [`panes_of_thread`], [`agent_process`] |
//! | which version runs there | [`running_version`] |
//! | what it may do | [`NewThread`], later [`Client::thread_permissions_set`] |

mod client;
mod connection;
mod ending;
mod error;
mod events;
mod identify;
mod program;
mod protocol;
mod state;
mod terminal;
mod trust;
mod turns;
mod version;
mod websocket;

pub use client::{Client, Methods, NewThread, Permissions, is_listening};
pub use ending::{Ongoing, THREAD_VARIABLE, end_work, lacking_to_end, workers_of};
pub use error::{CodexError, Refusal};
pub use events::Event;
pub use identify::{Candidate, Evidence, Hint, identify};
pub use program::{AT_SERVER, Attachment, Codex, Features, ServerStart, WITHOUT_UPDATE, Words, create};
pub use protocol::{
    Approval, BackgroundTerminal, Flag, Goal, Item, ItemEntry, Page, Queued, Sandbox, Status, Thread, Turn,
    TurnError, TurnStatus,
};
pub use state::{Reading, State, probe};
pub use terminal::{agent_process, panes_of_thread};
pub use trust::{Trust, TrustLevel};
pub use turns::{
    Accepted, Interrupted, Location, Message, deliver, interrupt, locate, locate_text, wait_for_end,
};

pub use version::{Version, running_version};

#[cfg(test)]
mod schema_tests;
