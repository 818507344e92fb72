//! A server, as its URL and the environment name it.

use std::path::PathBuf;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::ServerDefaults;
use super::parts::{Parts, malformed};
use crate::StoreError;
use crate::settings;

/// How the connection to a server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS when the server offers it.
    Prefer,
    /// Always TLS.
    Require,
    /// Always TLS, certificate checked, host name not.
    VerifyCa,
    /// Always TLS, certificate and host name checked.
    VerifyFull,
}

/// TLS as the URL and the environment want it. Without a root certificate, modes below `verify-ca`
/// check no certificate, as libpq does.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) mode: SslMode,
    /// `sslrootcert`: the roots to trust in place of the system's.
    pub(crate) roots: Option<PathBuf>,
    /// `sslcert` and `sslkey`.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
}

/// A `postgres://` URL, taken apart.
#[derive(Clone, Debug)]
pub struct ServerUrl {
    pub(crate) config: postgres::Config,
    pub(crate) tls: Tls,
    pub(crate) schema: String,
    /// `options`: settings of the session, which a pooler may refuse.
    pub(crate) options: String,
    /// `passfile`: in place of the environment's.
    pub(crate) password_file: Option<PathBuf>,
    pub(super) shown: String,
}

/// The schema that holds the tables when the URL names no `search_path`.
const DEFAULT_SCHEMA: &str = "conveyor";

/// Where a server on this machine listens, when nothing says so.
const DEFAULT_SOCKET: &str = "/var/run/postgresql";

/// What the client library understands.
const PASSED: [&str; 16] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "load_balance_hosts",
    "port",
    "sslnegotiation",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// What asks for nothing that would be missed.
const HARMLESS: [(&str, &[&str]); 5] = [
    ("client_encoding", &["UTF8", "utf8", "UTF-8", "utf-8", "auto"]),
    ("gssencmode", &["disable", "prefer"]),
    ("sslcompression", &["0", "1"]),
    ("sslsni", &["1"]),
    ("fallback_application_name", &[]),
];

/// What is no part of a server's name, and stays out of the commands that are generated for others.
const NOT_SHOWN: [&str; 2] = ["application_name", "connect_timeout"];

/// What is escaped in the value of a parameter.
const IN_VALUE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'+')
    .add(b'/')
    .add(b'=')
    .add(b'?')
    .add(b'@');

impl ServerUrl {
    pub(super) fn parse(url: &str, defaults: &ServerDefaults) -> Result<Self, StoreError> {
        let mut parts = Parts::of(url)?;
        defaults.refuse_unknown()?;
        fill_in(&mut parts, defaults);
        let shown = match parts.query.is_empty() {
            true => parts.base,
            false => format!("{}?{}", parts.base, parts.query.join("&")),
        };
        let mut read = Reading::default();
        for (key, value) in parts.parameters {
            read.take(key, value).map_err(|error| match error {
                Refused::Value(key) => {
                    let name = defaults
                        .variable(&key)
                        .map_or(key, |name| format!("the environment variable {name}"));
                    malformed(format!("{name} has a value that is not understood"))
                }
                Refused::Parameter(key) => malformed(format!("the parameter {key:?} is not understood")),
            })?;
        }
        let tls = read.tls()?;
        let mut config: postgres::Config =
            read.passed.parse().map_err(|_| malformed("it is not understood"))?;
        if let Some(password) = parts.password {
            config.password(password);
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            config.host_path(DEFAULT_SOCKET);
        }
        let schema = settings::search_path(&read.options).unwrap_or_else(|| DEFAULT_SCHEMA.into());
        let (options, password_file) = (read.options, read.password_file);
        Ok(Self { config, tls, schema, options, password_file, shown })
    }
}

/// Adds what the URL leaves open and the environment says; also to what is shown, because whoever
/// runs a generated command need not have the same environment.
fn fill_in(parts: &mut Parts, defaults: &ServerDefaults) {
    for (parameter, value) in defaults.parameters() {
        if parts.parameters.iter().any(|(known, _)| known == parameter) {
            continue;
        }
        parts.parameters.push((parameter.to_owned(), value.to_owned()));
        if !NOT_SHOWN.contains(&parameter) {
            parts.query.push(format!("{parameter}={}", utf8_percent_encode(value, IN_VALUE)));
        }
    }
}

/// The parameters, sorted by who uses them.
#[derive(Default)]
struct Reading {
    mode: Option<SslMode>,
    roots: Option<String>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    password_file: Option<PathBuf>,
    options: String,
    /// For the client library, in the form in which values cannot be taken for anything else.
    passed: String,
}

/// Why a parameter is refused: by its value, or altogether.
enum Refused {
    Value(String),
    Parameter(String),
}

impl Reading {
    fn take(&mut self, key: String, value: String) -> Result<(), Refused> {
        match key.as_str() {
            "sslmode" => self.mode = Some(ssl_mode(&value).ok_or(Refused::Value(key))?),
            "sslrootcert" => self.roots = Some(value),
            "sslcert" => self.certificate = Some(value.into()),
            "sslkey" => self.key = Some(value.into()),
            "options" => self.options = value,
            "passfile" => self.password_file = Some(value.into()),
            passed if PASSED.contains(&passed) => {
                let pair = format!("{key}='{}' ", value.replace('\\', "\\\\").replace('\'', "\\'"));
                if pair.parse::<postgres::Config>().is_err() {
                    return Err(Refused::Value(key));
                }
                self.passed.push_str(&pair);
            }
            other => {
                let known = HARMLESS.iter().find(|(name, _)| *name == other);
                let (_, harmless) = known.ok_or_else(|| Refused::Parameter(key.clone()))?;
                if !harmless.is_empty() && !harmless.contains(&value.as_str()) {
                    return Err(Refused::Value(key));
                }
            }
        }
        Ok(())
    }

    fn tls(&mut self) -> Result<Tls, StoreError> {
        // libpq's word for the roots that the system trusts.
        let system = self.roots.take_if(|roots| roots == "system").is_some();
        let mode = match (self.mode, system) {
            (None, true) => SslMode::VerifyFull,
            (Some(mode), true) if mode != SslMode::VerifyFull => {
                return Err(malformed("sslrootcert=system needs sslmode=verify-full"));
            }
            (mode, _) => mode.unwrap_or(SslMode::Prefer),
        };
        let client = match (self.certificate.take(), self.key.take()) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(malformed("sslcert and sslkey need each other")),
        };
        Ok(Tls { mode, roots: self.roots.take().map(Into::into), client })
    }
}

fn ssl_mode(mode: &str) -> Option<SslMode> {
    Some(match mode {
        "disable" => SslMode::Disable,
        "prefer" | "allow" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        _ => return None,
    })
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
