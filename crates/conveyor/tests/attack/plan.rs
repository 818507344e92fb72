//! What an attacker is told, and what it tells of each attack.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Everything that an attacker could wish to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The files that must stay out of reach.
    pub files: Vec<(String, PathBuf)>,
    /// Names at which nothing may appear.
    pub absent: Vec<PathBuf>,
    /// The directory of Conveyor's state.
    pub state_root: PathBuf,
    /// The directory that holds everything, which could be moved away.
    pub project: PathBuf,
    /// Processes outside: Conveyor itself, with the ledger open, and whoever started it.
    pub outside: Vec<i32>,
    /// A tmux server's socket.
    pub tmux: PathBuf,
    /// Sockets like those of an agent's server: of a stream, of datagrams.
    pub stream: PathBuf,
    pub datagram: PathBuf,
    /// The name of an abstract socket.
    pub abstract_name: String,
    /// A TCP port, which is to be reachable.
    pub port: u16,
    /// What the environment of processes outside contains.
    pub marker: String,
}

/// What became of an attack.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// What was tried.
    pub name: String,
    pub outcome: Outcome,
    /// What the system said, or what was got.
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The system refused it.
    Refused,
    /// No error, and nothing got; whether it had an effect is seen from outside.
    Nothing,
    /// Nothing to get: what must hold does.
    Holds,
    /// It got something.
    Breach,
    /// The program that it needs is not installed.
    NotTried,
}
