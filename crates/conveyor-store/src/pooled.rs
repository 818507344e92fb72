//! Logging in, and what differs where a pooler stands between a server and us.
//!
//! A pooler does not hand the session's settings on: it refuses them, or passes over them in silence.
//! It may also give each transaction another server process, so nothing may be kept in a session. Behind
//! one, therefore, each transaction brings its settings along, takes its prepared statements with it,
//! and commits of others are looked for instead of listened to.

use postgres::error::SqlState;
use postgres::{Client, Config, SimpleQueryMessage};

use crate::postgres::{Dial, quote_identifier};
use crate::settings::{self, Word};
use crate::{BUSY_TIMEOUT, StoreError};

/// A setting of a session that only we know: whoever finds it there has the session that was asked for.
const MARK: &str = "conveyor.session";

/// A connection through a pooler.
pub(crate) struct Pooled {
    settings: String,
    /// The server's transactions when they were looked at last.
    snapshot: Option<String>,
}

/// Logs in. One schema, one time zone, and the same patience with locks as on SQLite: as settings of
/// the session, or, where a pooler does not hand them on, of each transaction.
pub(crate) fn log_in(
    config: &Config,
    (given, schema): (&str, &str),
    dial: &Dial,
    location: &str,
) -> Result<(Client, Option<Pooled>), StoreError> {
    let ours = [
        ("search_path", quote_identifier(schema)),
        ("timezone", "UTC".to_owned()),
        ("lock_timeout", BUSY_TIMEOUT.as_millis().to_string()),
    ];
    // Compared with what comes back in the same moment; no id of anything.
    #[allow(clippy::disallowed_methods, reason = "a word that no pooler can know in advance")]
    let mark = uuid::Uuid::new_v4().simple().to_string();
    let mut options = given.to_owned();
    for (name, value) in
        ours.iter().map(|(name, value)| (*name, value.as_str())).chain([(MARK, mark.as_str())])
    {
        options.push_str(&format!(" -c {name}={}", escape_option(value)));
    }
    let wrap = |error: postgres::Error| StoreError::from_postgres(&error, location);
    let client = match dial(config.clone().options(&options)) {
        Ok(mut client) => {
            let found = value_of(&mut client, &format!("select current_setting('{MARK}', true)"));
            if found.map_err(wrap)? == Some(mark) {
                return Ok((client, None));
            }
            client
        }
        Err(error) if refuses_settings(&error) => dial(config).map_err(wrap)?,
        Err(error) => return Err(wrap(error)),
    };
    let pooled = Pooled::new(given, &ours)?;
    Ok((with_transactions(client, || dial(config).map_err(wrap), location)?, Some(pooled)))
}

/// Refuses a pooler that shares its connections out statement by statement, before anything is made.
/// It closes the connection at the first transaction, some without a word; so does a server that goes
/// away, but not twice.
fn with_transactions(
    mut client: Client,
    again: impl FnOnce() -> Result<Client, StoreError>,
    location: &str,
) -> Result<Client, StoreError> {
    fn try_one(client: &mut Client) -> Result<(), postgres::Error> {
        client.batch_execute("begin").and_then(|()| client.batch_execute("commit"))
    }
    if try_one(&mut client).is_ok() {
        return Ok(client);
    }
    client = again()?;
    match try_one(&mut client) {
        Ok(()) => Ok(client),
        Err(error) if error.as_db_error().is_none() => {
            let reason = format!(
                "the pooler at {location} does not let a transaction through: set its pool_mode to session or \
                 transaction"
            );
            Err(StoreError::Url { reason })
        }
        Err(error) => Err(StoreError::from_postgres(&error, location)),
    }
}

/// Poolers say this of settings that they do not hand on.
fn refuses_settings(error: &postgres::Error) -> bool {
    let refusals = [SqlState::PROTOCOL_VIOLATION, SqlState::FEATURE_NOT_SUPPORTED];
    error.code().is_some_and(|code| refusals.contains(code))
}

impl Pooled {
    fn new(given: &str, ours: &[(&str, String)]) -> Result<Self, StoreError> {
        let mut settings = Vec::new();
        for word in settings::words(given) {
            match word {
                Word::Setting(name, value) => settings.push((name, value)),
                Word::Other(word) => {
                    let reason = format!(
                        "the pooler in front of the server does not hand {word:?} on: give only settings, as \
                         `-c name=value`, in `options`"
                    );
                    return Err(StoreError::Url { reason });
                }
            }
        }
        settings.extend(ours.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let calls = settings.iter().map(|(name, value)| {
            format!("set_config({}, {}, true)", quote_literal(name), quote_literal(value))
        });
        let settings = format!("select {}", calls.collect::<Vec<_>>().join(", "));
        Ok(Self { settings, snapshot: None })
    }

    /// The statement that a transaction begins with.
    pub(crate) fn settings(&self) -> &str {
        &self.settings
    }

    /// Whether any transaction has ended since the last look. Listening needs a session.
    pub(crate) fn has_changed(&mut self, client: &mut Client, location: &str) -> Result<bool, StoreError> {
        let now = value_of(client, "select pg_current_snapshot()::text")
            .map_err(|error| StoreError::from_postgres(&error, location))?;
        Ok(std::mem::replace(&mut self.snapshot, now.clone()) != now)
    }
}

/// The only value of a query's first row.
fn value_of(client: &mut Client, query: &str) -> Result<Option<String>, postgres::Error> {
    let messages = client.simple_query(query)?;
    Ok(messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}

/// Spaces and backslashes inside one `-c` option are escaped for the server's option parser.
fn escape_option(value: &str) -> String {
    value.replace('\\', "\\\\").replace(' ', "\\ ")
}

/// A text as SQL, whatever the session thinks of backslashes.
fn quote_literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_transaction_brings_its_settings_along() {
        let ours = [("search_path", "\"it's\"".to_owned())];
        let pooled = Pooled::new("-c work_mem=4MB --geqo=off", &ours).unwrap();
        assert_eq!(
            pooled.settings(),
            "select set_config(E'work_mem', E'4MB', true), set_config(E'geqo', E'off', true), \
             set_config(E'search_path', E'\"it\\'s\"', true)"
        );
        assert!(Pooled::new("-d 3", &ours).is_err());
    }
}
