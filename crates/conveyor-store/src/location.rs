//! Where a ledger is: a file, or a schema on a PostgreSQL server.

use std::fmt;
use std::path::PathBuf;

use crate::StoreError;

/// Where a ledger is.
#[derive(Clone, Debug)]
pub enum Location {
    /// An SQLite file, absolute.
    File(PathBuf),
    /// A schema on a PostgreSQL server.
    Server(Box<ServerUrl>),
}

/// How the connection to a server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS when the server offers it; the certificate is not checked.
    Prefer,
    /// Always TLS; the certificate is not checked (as libpq does without a root certificate).
    Require,
    /// Always TLS, certificate and host name checked.
    VerifyFull,
}

/// A `postgres://` URL, taken apart.
#[derive(Clone, Debug)]
pub struct ServerUrl {
    pub(crate) config: postgres::Config,
    pub(crate) ssl: SslMode,
    pub(crate) schema: String,
    shown: String,
}

/// The schema that holds the tables when the URL names no `search_path`.
const DEFAULT_SCHEMA: &str = "conveyor";

impl Location {
    /// Whether a `--path` text names a server rather than a file.
    #[must_use]
    pub fn is_server_url(text: &str) -> bool {
        text.starts_with("postgres://") || text.starts_with("postgresql://")
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

    /// Takes a `postgres://` URL apart.
    ///
    /// # Errors
    /// [`StoreError::Url`] when it is malformed or asks for something unknown; the message never
    /// contains the password.
    pub fn server(url: &str) -> Result<Self, StoreError> {
        ServerUrl::parse(url).map(|url| Self::Server(Box::new(url)))
    }
}

impl fmt::Display for Location {
    /// The file path, or the URL without its password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Server(url) => f.write_str(&url.shown),
        }
    }
}

impl ServerUrl {
    fn parse(url: &str) -> Result<Self, StoreError> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut ssl = SslMode::Prefer;
        let (mut passed, mut shown_query) = (Vec::new(), Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("sslmode", mode) => {
                    ssl = parse_ssl_mode(mode)?;
                    shown_query.push(pair);
                }
                ("password", _) => passed.push(pair),
                _ => {
                    passed.push(pair);
                    shown_query.push(pair);
                }
            }
        }
        let mut config: postgres::Config = with_query(base, &passed)
            .parse()
            .map_err(|error: postgres::Error| StoreError::Url { reason: cause_of(&error) })?;
        if config.get_hosts().is_empty() {
            config.host_path("/var/run/postgresql");
        }
        let schema = search_path(config.get_options().unwrap_or("")).unwrap_or_else(|| DEFAULT_SCHEMA.into());
        Ok(Self { config, ssl, schema, shown: with_query(&without_password(base), &shown_query) })
    }
}

fn cause_of(error: &postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn parse_ssl_mode(mode: &str) -> Result<SslMode, StoreError> {
    match mode {
        "disable" => Ok(SslMode::Disable),
        "prefer" | "allow" => Ok(SslMode::Prefer),
        "require" => Ok(SslMode::Require),
        "verify-full" => Ok(SslMode::VerifyFull),
        _ => Err(StoreError::Url {
            reason: format!("sslmode must be disable, prefer, require or verify-full, not {mode:?}"),
        }),
    }
}

fn with_query(base: &str, pairs: &[&str]) -> String {
    if pairs.is_empty() { base.to_owned() } else { format!("{base}?{}", pairs.join("&")) }
}

fn without_password(base: &str) -> String {
    let Some((scheme, rest)) = base.split_once("://") else { return base.to_owned() };
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    let Some((user_info, host)) = authority.rsplit_once('@') else { return base.to_owned() };
    let user = user_info.split(':').next().unwrap_or("");
    format!("{scheme}://{user}@{host}{path}")
}

/// The first schema of a `search_path` among a connection's `-c name=value` options.
fn search_path(options: &str) -> Option<String> {
    let mut words = options.split_whitespace();
    while let Some(word) = words.next() {
        let setting = match word {
            "-c" => words.next()?,
            _ => word.strip_prefix("-c").or_else(|| word.strip_prefix("--"))?,
        };
        if let Some(path) = setting.strip_prefix("search_path=") {
            let first = path.split(',').next().unwrap_or("").trim().trim_matches('"');
            return (!first.is_empty()).then(|| first.to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> ServerUrl {
        ServerUrl::parse(url).unwrap()
    }

    #[test]
    fn a_password_is_never_shown() {
        let url = server("postgres://ann:s3cret@db.example:5433/ledger?password=other&sslmode=require");
        assert_eq!(url.shown, "postgres://ann@db.example:5433/ledger?sslmode=require");
        assert_eq!(url.ssl, SslMode::Require);
        assert_eq!(server("postgres://db/ledger").shown, "postgres://db/ledger");
        let odd = ServerUrl::parse("postgres://ann:s3cret@host:notaport/x").unwrap_err().to_string();
        assert!(!odd.contains("s3cret"), "{odd}");
    }

    #[test]
    fn the_schema_comes_from_the_search_path() {
        assert_eq!(server("postgres:///x").schema, "conveyor");
        assert_eq!(server("postgres:///x?options=-c%20search_path%3Dteam_a").schema, "team_a");
        assert_eq!(server("postgres:///x?options=-csearch_path%3Dteam_a,public").schema, "team_a");
    }

    #[test]
    fn unknown_ssl_modes_are_refused() {
        assert!(ServerUrl::parse("postgres:///x?sslmode=maybe").is_err());
    }
}
