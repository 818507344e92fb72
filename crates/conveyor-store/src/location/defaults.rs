//! What the environment says about a server, in libpq's variables.

use std::collections::BTreeMap;

use crate::StoreError;

/// libpq's variables that mean something to us, each with the URL parameter of the same meaning.
const HONOURED: [(&str, &str); 15] = [
    ("PGHOST", "host"),
    ("PGHOSTADDR", "hostaddr"),
    ("PGPORT", "port"),
    ("PGUSER", "user"),
    ("PGDATABASE", "dbname"),
    ("PGOPTIONS", "options"),
    ("PGAPPNAME", "application_name"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
    ("PGLOADBALANCEHOSTS", "load_balance_hosts"),
    ("PGCHANNELBINDING", "channel_binding"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLNEGOTIATION", "sslnegotiation"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLCERT", "sslcert"),
];

/// The private key goes with the certificate, and is a file's name too.
const KEY: (&str, &str) = ("PGSSLKEY", "sslkey");

/// libpq's variables that decide with whom we would speak, and that we cannot honour, each with the
/// values that ask for nothing.
const REFUSED: [(&str, &[&str]); 12] = [
    ("PGSERVICE", &[]),
    ("PGREQUIREPEER", &[]),
    ("PGREQUIREAUTH", &[]),
    ("PGREQUIRESSL", &["0"]),
    ("PGSSLCRL", &[]),
    ("PGSSLCRLDIR", &[]),
    ("PGSSLSNI", &["1"]),
    ("PGSSLCERTMODE", &["allow", "disable"]),
    ("PGSSLMINPROTOCOLVERSION", &["TLSv1", "TLSv1.1", "TLSv1.2"]),
    ("PGSSLMAXPROTOCOLVERSION", &["TLSv1.3"]),
    ("PGGSSENCMODE", &["disable", "prefer"]),
    ("PGGSSDELEGATION", &["0"]),
];

/// What the environment says about a server: it counts for what a URL leaves open.
#[derive(Clone, Debug, Default)]
pub struct ServerDefaults(BTreeMap<&'static str, String>);

impl ServerDefaults {
    /// The variables that are looked at, passwords aside.
    pub fn names() -> impl Iterator<Item = &'static str> {
        HONOURED.iter().chain([&KEY]).map(|(name, _)| *name).chain(REFUSED.iter().map(|(name, _)| *name))
    }

    /// Sets one of [`Self::names`].
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.insert(name, value.into());
        self
    }

    /// The value for a URL parameter, with the variable that gives it.
    pub(super) fn parameters(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let honoured = HONOURED.iter().chain([&KEY]);
        honoured.filter_map(|(name, parameter)| Some((*parameter, self.0.get(name)?.as_str())))
    }

    /// The variable that stands for a URL parameter, if it is set.
    pub(super) fn variable(&self, parameter: &str) -> Option<&'static str> {
        let (name, _) = HONOURED.iter().chain([&KEY]).find(|(_, known)| *known == parameter)?;
        self.0.contains_key(name).then_some(name)
    }

    /// Refuses what cannot be honoured rather than pass over it.
    pub(super) fn refuse_unknown(&self) -> Result<(), StoreError> {
        for (name, harmless) in REFUSED {
            if let Some(value) = self.0.get(name)
                && !harmless.contains(&value.as_str())
            {
                let reason =
                    format!("the environment variable {name} cannot be honoured: unset it for Conveyor");
                return Err(StoreError::Url { reason });
            }
        }
        Ok(())
    }
}
