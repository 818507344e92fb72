//! The operations of Conveyor: one function per operation, taking a request and giving a typed
//! reply. Nothing here prints, parses arguments, contains SQL, or reads a clock, an id source or
//! the environment except through the context [`Cx`].

mod addressing;
mod cx;
mod digest;
mod error;
#[cfg(not(feature = "fault-points"))]
mod fault;
#[cfg(feature = "fault-points")]
#[doc(hidden)]
pub mod fault;
mod outage;
mod project;
mod reference;
mod stopping;

pub mod app_loop;
pub mod bindings;
pub mod closing;
pub mod communication;
pub mod continuation;
pub mod contract;
pub mod criteria;
pub mod cycle;
pub mod decisions;
pub mod detaching;
pub mod discover;
pub mod dispatch;
pub mod disposable;
pub mod divergences;
pub mod doctor;
pub mod epilogue;
pub mod inbox;
pub mod ingest;
pub mod legacy;
pub mod mutation_audit;
pub mod pair;
pub mod prompts;
pub mod queue;
pub mod reconcile;
pub mod registration;
pub mod sessions;
pub mod skills;
pub mod spawn;
pub mod tail;
pub mod tasks;
pub mod terminal;
pub mod transcripts;
pub mod typing;
pub mod windows;

pub use conveyor_agents::machine;
pub use conveyor_agents::sandbox::launch as sandbox;
pub use conveyor_agents::tmux::{ServerChoice, Tmux};
pub use cx::{Cx, RandomIds, SystemClock};
pub use error::Error;

/// The result of an operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Receives the elements of a list one by one, so that no list is ever held in memory as a whole.
pub type Sink<'a, T> = &'a mut dyn FnMut(T) -> std::io::Result<()>;
