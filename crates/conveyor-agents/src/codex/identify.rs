use std::path::Path;

use super::client::Client;
use super::error::{CodexError, Refusal};
use super::protocol::Thread;

/// What is known about a thread that is looked for.
#[derive(Clone, Copy, Debug)]
pub enum Hint<'a> {
    /// Its id, from the user or from the agent's own environment.
    ThreadId(&'a str),
    /// Its rollout.
    Rollout(&'a Path),
    /// Its exact name.
    Name(&'a str),
    /// A text that occurs in its first message and nowhere else.
    Marker(&'a str),
}

/// A thread that fits, and why.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The thread.
    pub thread: Thread,
    /// What proves it.
    pub evidence: Evidence,
}

/// What proves that a thread is the one that is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The server knows the id.
    ThreadId,
    /// The server knows the id that the rollout begins with, and writes to that file.
    Rollout,
    /// The name is equal.
    Name,
    /// The first message contains the marker.
    Marker,
}

/// All threads that fit a hint; one is a proof, several are none. Helpers of Codex never fit.
///
/// # Errors
/// As every request; a rollout that cannot be read is [`CodexError::NotFound`].
pub fn identify(client: &mut Client, hint: Hint<'_>) -> Result<Vec<Candidate>, CodexError> {
    // An empty text is part of every other: it identifies nothing.
    if let Hint::Name(text) | Hint::Marker(text) = hint
        && text.trim().is_empty()
    {
        return Ok(Vec::new());
    }
    let mut found = match hint {
        Hint::ThreadId(id) => of(known(client, id)?, Evidence::ThreadId),
        Hint::Rollout(path) => {
            let meta = crate::rollout::session_meta(path)
                .map_err(|error| CodexError::NotFound { text: error.to_string() })?;
            let thread = known(client, &meta.id)?;
            // A copy of a rollout begins with the same id.
            of(thread.filter(|thread| is_its_file(thread, path)), Evidence::Rollout)
        }
        Hint::Name(name) => every(client, |thread| thread.name.as_deref() == Some(name), Evidence::Name)?,
        Hint::Marker(marker) => every(client, |thread| thread.preview.contains(marker), Evidence::Marker)?,
    };
    found.retain(|candidate| !candidate.thread.is_helper());
    Ok(found)
}

fn of(thread: Option<Thread>, evidence: Evidence) -> Vec<Candidate> {
    thread.into_iter().map(|thread| Candidate { thread, evidence }).collect()
}

/// The thread of this id, if the home has it.
fn known(client: &mut Client, id: &str) -> Result<Option<Thread>, CodexError> {
    if id.trim().is_empty() {
        return Ok(None);
    }
    match client.thread_read(id) {
        Ok(thread) => Ok(Some(thread)),
        Err(CodexError::NotFound { .. }) => Ok(None),
        Err(error) if error.refusal() == Some(Refusal::Fresh) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_its_file(thread: &Thread, path: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    let own = thread.path.as_deref().and_then(|own| real(Path::new(own)));
    own.is_some() && own == real(path)
}

/// So many pages of 100 saved threads are looked at; with more of them nothing is proven.
const PAGES: usize = 1_000;

/// Goes through the loaded threads, among which are those without a message yet, and the saved ones.
fn every(
    client: &mut Client,
    fits: impl Fn(&Thread) -> bool,
    evidence: Evidence,
) -> Result<Vec<Candidate>, CodexError> {
    let mut found: Vec<Candidate> = Vec::new();
    let add = |thread: Thread, found: &mut Vec<Candidate>| {
        let is_new = found.iter().all(|candidate| candidate.thread.id != thread.id);
        if is_new && fits(&thread) {
            found.push(Candidate { thread, evidence });
        }
    };
    for id in client.thread_loaded_list()? {
        // A thread that was unloaded meanwhile is among the saved ones.
        if let Some(thread) = known(client, &id)? {
            add(thread, &mut found);
        }
    }
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES {
        let page = client.thread_list(cursor.as_deref())?;
        for thread in page.data {
            add(thread, &mut found);
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(found);
        }
    }
    Err(CodexError::protocol("the list of threads has no end"))
}
