//! A `postgres://` URL as text: its parts, decoded. Stricter than libpq where a password that was not
//! percent-encoded could be taken for something else and be shown.

use percent_encoding::percent_decode_str;

use crate::StoreError;

/// The parts of a URL.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Everything before the query, without the password.
    pub(super) base: String,
    pub(super) password: Option<String>,
    /// What base and query say, as parameters, but for the password.
    pub(super) parameters: Vec<(String, String)>,
    /// The query as given, without passwords.
    pub(super) query: Vec<String>,
}

pub(super) fn malformed(reason: impl Into<String>) -> StoreError {
    StoreError::Url { reason: reason.into() }
}

impl Parts {
    /// Takes a URL with one of our schemes apart.
    pub(super) fn of(url: &str) -> Result<Self, StoreError> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| malformed("`://` is missing"))?;
        let (before_query, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = match before_query.split_once('/') {
            Some((authority, path)) => (authority, Some(path)),
            None => (before_query, None),
        };
        refuse_bare_password(rest, authority, path.unwrap_or(""))?;
        let mut parts = Self::default();
        let (user_info, hosts) = match authority.split_once('@') {
            Some((user_info, hosts)) => (Some(user_info), hosts),
            None => (None, authority),
        };
        let mut shown = format!("{}://", scheme.to_ascii_lowercase());
        if let Some(user_info) = user_info {
            let (user, password) = match user_info.split_once(':') {
                Some((user, password)) => (user, Some(password)),
                None => (user_info, None),
            };
            parts.give("user", user)?;
            parts.password = password.map(decode).transpose()?.filter(|password| !password.is_empty());
            shown.push_str(user);
            shown.push('@');
        }
        shown.push_str(hosts);
        parts.read_hosts(hosts)?;
        if let Some(path) = path {
            shown.push('/');
            shown.push_str(path);
            parts.give("dbname", path)?;
        }
        parts.base = shown;
        parts.read_query(query)?;
        Ok(parts)
    }

    /// An empty value is a part that is left open.
    fn give(&mut self, key: &str, encoded: &str) -> Result<(), StoreError> {
        let value = decode(encoded)?;
        if !value.is_empty() {
            self.parameters.retain(|(known, _)| known != key);
            self.parameters.push((key.to_owned(), value));
        }
        Ok(())
    }

    fn read_hosts(&mut self, hosts: &str) -> Result<(), StoreError> {
        if hosts.is_empty() {
            return Ok(());
        }
        let (mut names, mut ports) = (Vec::new(), Vec::new());
        for host in hosts.split(',') {
            let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                Some((address, port)) => (address, port.strip_prefix(':').unwrap_or(port)),
                None => host.split_once(':').unwrap_or((host, "")),
            };
            if !port.is_empty() && port.parse::<u16>().is_err() {
                return Err(malformed("the port is no number from 0 to 65535"));
            }
            names.push(name);
            ports.push(port);
        }
        self.give("host", &names.join(","))?;
        if ports.iter().any(|port| !port.is_empty()) {
            self.give("port", &ports.join(","))?;
        }
        Ok(())
    }

    fn read_query(&mut self, query: &str) -> Result<(), StoreError> {
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| malformed("a parameter after `?` has no `=`"))?;
            let key = decode(key)?;
            match key.as_str() {
                "password" => self.password = Some(decode(value)?),
                "ssl" if value == "true" => self.give("sslmode", "require")?,
                _ => self.give(&key, value)?,
            }
            if !key.contains("password") {
                self.query.push(pair.to_owned());
            }
        }
        Ok(())
    }
}

/// Refuses a URL in which a password with bare special letters may stand where a host, database or
/// parameter does, and would be shown.
fn refuse_bare_password(rest: &str, authority: &str, path: &str) -> Result<(), StoreError> {
    let several = authority.matches('@').count() > 1;
    // `ann:pass/word@host`: what looks like the end of the authority is part of a password.
    let later = !authority.contains('@') && authority.contains(':') && rest.contains('@');
    if several || later || path.contains('/') {
        return Err(malformed(
            "in a user, password or database the letters : / ? @ are written %3A %2F %3F %40",
        ));
    }
    Ok(())
}

fn decode(text: &str) -> Result<String, StoreError> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| malformed("a percent-encoded part is no UTF-8"))?;
    if decoded.contains('\0') {
        return Err(malformed("%00 cannot be part of it"));
    }
    Ok(decoded.into_owned())
}
