//! The PostgreSQL engine: logging in, and running statements.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use conveyor_model::Clock;
use postgres::config::SslMode as Mode;
use postgres::fallible_iterator::FallibleIterator;

use crate::db::{Access, OpenOptions};
use crate::location::{ServerUrl, SslMode, Tls};
use crate::pooled::{self, Pooled};
use crate::value::{Param, Row, RowSource};
use crate::{BUSY_TIMEOUT, StoreError, schema};

/// After so many milliseconds of silence inside a writing transaction the server ends it. Less than
/// what others wait for its locks.
const FROZEN_MS: u32 = 5000;

pub(crate) struct PgConnection {
    client: postgres::Client,
    statements: HashMap<String, postgres::Statement>,
    location: String,
    channel: String,
    /// Set where a pooler stands between the server and us.
    pooled: Option<Pooled>,
    /// The server's process for this connection, once it listens.
    own_process: Option<i32>,
}

impl PgConnection {
    pub(crate) fn open(
        url: &ServerUrl,
        location: String,
        access: Access,
        options: &OpenOptions,
    ) -> Result<Self, StoreError> {
        let mut config = url.config.clone();
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(BUSY_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("conveyor");
        }
        if config.get_password().is_none()
            && let Some(password) = find_password(&config, url, options)
        {
            config.password(password);
        }
        let dial = dialler(&config, &url.tls)?;
        let (mut client, pooled) = pooled::log_in(&config, (&url.options, &url.schema), &dial, &location)?;
        if access != Access::Look {
            schema::postgres::prepare(&mut client, &url.schema, &location, options.clock.as_ref())?;
        }
        let channel = format!("conveyor_{}", url.schema);
        Ok(Self { client, statements: HashMap::new(), location, channel, pooled, own_process: None })
    }

    pub(crate) fn begin(&mut self, writing: bool, clock: &dyn Clock) -> Result<(), StoreError> {
        // One round trip.
        let mut sql = match writing {
            // A program that is frozen in the middle must not keep its locks.
            true => format!("begin; set local idle_in_transaction_session_timeout = {FROZEN_MS}"),
            false => "begin isolation level repeatable read read only".to_owned(),
        };
        if let Some(pooled) = &self.pooled {
            sql = format!("{sql}; {}", pooled.settings());
        }
        self.execute_batch(&sql)?;
        if clock.is_manual() {
            self.execute_batch(&format!("set local conveyor.now_ms = '{}'", clock.now().as_millis()))?;
        }
        Ok(())
    }

    pub(crate) fn commit(&mut self, signal: bool) -> Result<(), StoreError> {
        if signal {
            self.execute("select pg_notify($1, '')", &[Param::from(self.channel.clone())])?;
        }
        self.forget_statements();
        self.execute_batch("commit")
    }

    pub(crate) fn rollback(&mut self) {
        self.forget_statements();
        // A broken connection has rolled back by itself.
        let _ = self.client.batch_execute("rollback");
    }

    /// Behind a pooler the next transaction may be on another server process: what was prepared on
    /// this one is taken away while it is still ours.
    fn forget_statements(&mut self) {
        if self.pooled.is_some() {
            self.statements.clear();
        }
    }

    pub(crate) fn execute_batch(&mut self, sql: &str) -> Result<(), StoreError> {
        self.client.batch_execute(sql).map_err(|e| StoreError::from_postgres(&e, &self.location))
    }

    pub(crate) fn execute(&mut self, sql: &str, params: &[Param<'_>]) -> Result<u64, StoreError> {
        self.execute_with(sql, &params.iter().collect::<Vec<_>>())
    }

    pub(crate) fn execute_with(&mut self, sql: &str, params: &[&Param<'_>]) -> Result<u64, StoreError> {
        let statement = self.prepare(sql)?;
        let params: Vec<_> = params.iter().map(|p| *p as &(dyn postgres::types::ToSql + Sync)).collect();
        self.client.execute(&statement, &params).map_err(|e| StoreError::from_postgres(&e, &self.location))
    }

    pub(crate) fn each<E: From<StoreError>>(
        &mut self,
        sql: &str,
        params: &[Param<'_>],
        each: &mut dyn FnMut(&Row<'_>) -> Result<(), E>,
        conflict: &mut bool,
    ) -> Result<(), E> {
        let statement =
            self.prepare(sql).inspect_err(|e| *conflict |= matches!(e, StoreError::Conflict(_)))?;
        let location = &self.location;
        let mut wrap = |error: postgres::Error| {
            let error = StoreError::from_postgres(&error, location);
            *conflict |= matches!(error, StoreError::Conflict(_));
            error
        };
        let mut rows = self.client.query_raw(&statement, params).map_err(&mut wrap)?;
        while let Some(row) = rows.next().map_err(&mut wrap)? {
            each(&Row(RowSource::Postgres(&row)))?;
        }
        Ok(())
    }

    /// Begins to receive the wake-ups of other connections.
    pub(crate) fn listen(&mut self) -> Result<(), StoreError> {
        if let Some(pooled) = &mut self.pooled {
            return pooled.has_changed(&mut self.client, &self.location).map(drop);
        }
        let channel = quote_identifier(&self.channel);
        self.execute_batch(&format!("listen {channel}"))?;
        let found = self.client.query_one("select pg_backend_pid()", &[]);
        let row = found.map_err(|e| StoreError::from_postgres(&e, &self.location))?;
        self.own_process = row.try_get(0).ok();
        Ok(())
    }

    /// Whether a pooler stands in between, so that commits are looked for.
    pub(crate) fn is_pooled(&self) -> bool {
        self.pooled.is_some()
    }

    /// Whether anything was committed since the last look, by whomever; behind a pooler only.
    pub(crate) fn has_changed(&mut self) -> Result<bool, StoreError> {
        match &mut self.pooled {
            Some(pooled) => pooled.has_changed(&mut self.client, &self.location),
            None => Ok(false),
        }
    }

    /// Waits for a wake-up of another connection; `false` when `timeout` passed without one. What this
    /// connection itself committed wakes nobody here, as on SQLite.
    pub(crate) fn wait_for_wakeup(&mut self, timeout: Duration) -> Result<bool, StoreError> {
        if self.client.is_closed() {
            let reason = "the connection was closed by the server".into();
            return Err(StoreError::Unreachable { location: self.location.clone(), reason });
        }
        let (own, location) = (self.own_process, &self.location);
        let is_foreign = |notification: postgres::Notification| Some(notification.process_id()) != own;
        let failed = |e: postgres::Error| StoreError::from_postgres(&e, location);
        let mut notifications = self.client.notifications();
        let first = notifications.timeout_iter(timeout).next().map_err(failed)?;
        let mut woken = first.is_some_and(is_foreign);
        // Several commits make one wake-up.
        while let Some(notification) = notifications.iter().next().map_err(failed)? {
            woken |= is_foreign(notification);
        }
        Ok(woken)
    }

    fn prepare(&mut self, sql: &str) -> Result<postgres::Statement, StoreError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement =
            self.client.prepare(sql).map_err(|e| StoreError::from_postgres(&e, &self.location))?;
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

/// A schema or channel name as SQL text.
pub(crate) fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Makes connections as the URL wants them protected.
pub(crate) type Dial = dyn Fn(&postgres::Config) -> Result<postgres::Client, postgres::Error>;

fn dialler(config: &postgres::Config, tls: &Tls) -> Result<Box<Dial>, StoreError> {
    let only_sockets = config.get_hostaddrs().is_empty()
        && config.get_hosts().iter().all(|host| matches!(host, postgres::config::Host::Unix(_)));
    if only_sockets || tls.mode == SslMode::Disable {
        return Ok(Box::new(|config| with_mode(config, Mode::Disable).connect(postgres::NoTls)));
    }
    dialler_with_tls(tls)
}

fn with_mode(config: &postgres::Config, mode: Mode) -> postgres::Config {
    let mut config = config.clone();
    config.ssl_mode(mode);
    config
}

#[cfg(feature = "tls")]
fn dialler_with_tls(tls: &Tls) -> Result<Box<Dial>, StoreError> {
    let mode = if tls.mode == SslMode::Prefer { Mode::Prefer } else { Mode::Require };
    let connector = crate::tls::connector(tls)?;
    Ok(Box::new(move |config| with_mode(config, mode).connect(connector.clone())))
}

#[cfg(not(feature = "tls"))]
fn dialler_with_tls(tls: &Tls) -> Result<Box<Dial>, StoreError> {
    if tls.mode != SslMode::Prefer || tls.roots.is_some() {
        return Err(StoreError::Url {
            reason: "this program was built without TLS; use sslmode=disable".into(),
        });
    }
    Ok(Box::new(|config| with_mode(config, Mode::Disable).connect(postgres::NoTls)))
}

fn find_password(config: &postgres::Config, url: &ServerUrl, options: &OpenOptions) -> Option<String> {
    if let Some(password) = &options.server_password {
        return Some(password.clone());
    }
    password_from_file(url.password_file.as_deref().or(options.password_file.as_deref())?, config)
}

/// Looks a password up in a libpq password file (`host:port:database:user:password` lines, `*`
/// matches anything, `\` escapes). A file that others may read is ignored, as libpq does.
fn password_from_file(path: &Path, config: &postgres::Config) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    let meta = std::fs::metadata(path).ok()?;
    if !meta.is_file() || meta.permissions().mode() & 0o077 != 0 {
        return None;
    }
    let host = config.get_hosts().first().map(|host| match host {
        postgres::config::Host::Tcp(name) => name.clone(),
        postgres::config::Host::Unix(_) => "localhost".to_owned(),
    })?;
    let user = config.get_user().unwrap_or("");
    let wanted = [
        host,
        config.get_ports().first().copied().unwrap_or(5432).to_string(),
        config.get_dbname().unwrap_or(user).to_owned(),
        user.to_owned(),
    ];
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = split_fields(line);
        let [pattern @ .., password] = fields.as_slice() else { return None };
        let fits = pattern.len() == wanted.len()
            && pattern.iter().zip(&wanted).all(|(pattern, value)| pattern == "*" || pattern == value);
        fits.then(|| password.clone())
    })
}

fn split_fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        let kept = match letter {
            ':' if fields.len() < 5 => {
                fields.push(String::new());
                continue;
            }
            '\\' => letters.next(),
            other => Some(other),
        };
        if let (Some(field), Some(kept)) = (fields.last_mut(), kept) {
            field.push(kept);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_password_file_is_read_like_libpq_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgpass");
        std::fs::write(&path, "# comment\nother:5432:x:ann:no\ndb:*:ledger:ann:se\\:cret\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let config: postgres::Config = "postgres://ann@db/ledger".parse().unwrap();
        assert_eq!(password_from_file(&path, &config).as_deref(), Some("se:cret"));
        let stranger: postgres::Config = "postgres://bob@db/ledger".parse().unwrap();
        assert_eq!(password_from_file(&path, &stranger), None);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(password_from_file(&path, &config), None, "readable by others: ignored");
    }

    #[test]
    fn identifiers_are_quoted() {
        assert_eq!(quote_identifier("team\"a"), "\"team\"\"a\"");
    }
}
