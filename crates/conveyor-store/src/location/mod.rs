//! Where a ledger is: a file, or a schema on a PostgreSQL server.

mod defaults;
mod parts;
mod url;

use std::fmt;
use std::path::PathBuf;

pub use defaults::ServerDefaults;
pub(crate) use url::Tls;
pub use url::{ServerUrl, SslMode};

use crate::StoreError;

/// How a server is named.
const FORM: &str = "postgres://[USER@]HOST[:PORT]/DATABASE";

/// The keywords by which a connection string in libpq's other form is recognised.
const KEYWORDS: [&str; 15] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "passfile",
    "password",
    "port",
    "service",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
    "user",
];

/// Where a ledger is.
#[derive(Clone, Debug)]
pub enum Location {
    /// An SQLite file, absolute.
    File(PathBuf),
    /// A schema on a PostgreSQL server.
    Server(Box<ServerUrl>),
}

impl Location {
    /// Takes the text that names a ledger for a server; `None` when it names a file. What looks like a
    /// server and is none that we know is never taken for a file.
    ///
    /// # Errors
    /// [`StoreError::Url`] for a URL that is malformed, of another kind of database, or asks for
    /// something unknown, and for a `keyword=value` string; the message never contains the password.
    pub fn server_named(text: &str, defaults: &ServerDefaults) -> Result<Option<Self>, StoreError> {
        let text = text.trim();
        if let Some(scheme) = scheme(text) {
            return match scheme.to_ascii_lowercase().as_str() {
                "postgres" | "postgresql" => Self::server_at(text, defaults).map(Some),
                _ => Err(unknown_scheme(scheme)),
            };
        }
        if is_ours_without_slashes(text) {
            let reason = format!("`://` is missing after the scheme: write {FORM}");
            return Err(StoreError::Url { reason });
        }
        if is_keyword_string(text) {
            let reason = format!("`keyword=value` words name no ledger: {}", forms());
            return Err(StoreError::Url { reason });
        }
        Ok(None)
    }

    /// Takes a `postgres://` URL apart, without anything from the environment.
    ///
    /// # Errors
    /// As [`Location::server_named`].
    pub fn server(url: &str) -> Result<Self, StoreError> {
        Self::server_at(url, &ServerDefaults::default())
    }

    fn server_at(url: &str, defaults: &ServerDefaults) -> Result<Self, StoreError> {
        ServerUrl::parse(url, defaults).map(|url| Self::Server(Box::new(url)))
    }

    /// The password in the URL, which its text does not show.
    #[must_use]
    pub fn password(&self) -> Option<String> {
        match self {
            Self::File(_) => None,
            Self::Server(url) => {
                url.config.get_password().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            }
        }
    }
}

impl fmt::Display for Location {
    /// The file path, or the URL without its password, complete with what the environment gave.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Server(url) => f.write_str(&url.shown),
        }
    }
}

/// What stands before `://`, where that is a scheme. A quotation mark that an environment file left
/// around a URL, and the several parts of `jdbc:postgresql`, make it no path.
fn scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once("://")?;
    let bare = scheme.trim_start_matches(['"', '\'', '<']);
    let is_scheme = bare.starts_with(|first: char| first.is_ascii_alphabetic())
        && bare.chars().all(|letter| letter.is_ascii_alphanumeric() || "+-._:".contains(letter));
    is_scheme.then_some(scheme)
}

fn is_ours_without_slashes(text: &str) -> bool {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    scheme.is_some_and(|scheme| ["postgres", "postgresql"].contains(&scheme.as_str()))
}

fn is_keyword_string(text: &str) -> bool {
    let mut words = text.split_whitespace().peekable();
    let mut first = true;
    while let Some(word) = words.next() {
        let (name, has_sign) = match word.split_once('=') {
            Some((name, _)) => (name, true),
            None => (word, words.peek().is_some_and(|next| next.starts_with('='))),
        };
        let is_name = name.chars().all(|letter| letter.is_ascii_alphabetic() || letter == '_');
        if first && !(is_name && has_sign) {
            return false;
        }
        if has_sign && KEYWORDS.contains(&name.to_ascii_lowercase().as_str()) {
            return true;
        }
        first = false;
    }
    false
}

fn unknown_scheme(scheme: &str) -> StoreError {
    StoreError::Url { reason: format!("the scheme {scheme:?} names no ledger: {}", forms()) }
}

fn forms() -> String {
    format!("give a file, or a server as {FORM}; a file of such a name is given as ./NAME")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Result<Option<Location>, String> {
        Location::server_named(text, &ServerDefaults::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_server_is_named_by_its_scheme_in_any_case_and_between_blanks() {
        for text in ["postgres://h/d", "POSTGRES://h/d", " \tPostgreSQL://h/d\r\n"] {
            assert!(matches!(named(text), Ok(Some(Location::Server(_)))), "{text:?}");
        }
    }

    #[test]
    fn what_looks_like_a_server_is_no_file() {
        for text in [
            "postgre://ann:s3cret@h/d",
            "mysql://ann:s3cret@h/d",
            "  sqlite:///tmp/x.db",
            "jdbc:postgresql://h/d?password=s3cret",
            "postgresql+psycopg2://ann:s3cret@h/d",
            "\"postgres://ann:s3cret@h/d\"",
            "'postgres://ann:s3cret@h/d'",
            "postgres:ann:s3cret@h/d",
            "Postgres:/h/d",
            "file://x",
            "host=h dbname=d password=s3cret",
            " dbname = d",
            "keepalives=1 password=s3cret",
            "PASSWORD=s3cret",
        ] {
            let refused = named(text).expect_err(text);
            assert!(!refused.contains("s3cret"), "{refused}");
            assert!(refused.contains("postgres://"), "{refused}");
        }
    }

    #[test]
    fn a_path_is_a_path() {
        for text in [
            "./mysql://x",
            "/tmp/postgres://x",
            "a b://x",
            "1://x",
            "://x",
            "ledger.db",
            "postgres",
            "host",
            "./host=h",
            "/srv/user=ann/x.db",
            "a=b.db",
            "my host=h",
            "C:x",
        ] {
            assert!(matches!(named(text), Ok(None)), "{text:?}");
        }
    }
}
