//! A schema of its own for each test.

use std::hash::{BuildHasher as _, Hasher as _};

use super::Server;

/// The name of a schema that nobody else uses. It does not exist until the product creates it; it
/// is dropped, with all that is in it, at the end of the test.
#[derive(Debug)]
pub struct TestSchema {
    config: ::postgres::Config,
    url: String,
    name: String,
}

impl TestSchema {
    /// A fresh schema name on the server of this test process.
    ///
    /// # Panics
    /// With one line when there is no PostgreSQL, or when it does not start.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it starts a server, which a default should not")]
    pub fn new() -> Self {
        Self::on(super::shared())
    }

    /// A fresh schema name, or nothing when tests on PostgreSQL are switched off.
    ///
    /// # Panics
    /// As [`TestSchema::new`].
    #[must_use]
    pub fn if_enabled() -> Option<Self> {
        super::enabled().then(Self::new)
    }

    /// A fresh schema name on this server.
    #[must_use]
    pub fn on(server: &Server) -> Self {
        // A randomly keyed hash is the standard library's only source of random numbers.
        let random = std::hash::RandomState::new().build_hasher().finish();
        let name = format!("test_{random:016x}");
        let host = percent_encode(server.socket_dir().to_str().expect("a socket directory of plain letters"));
        let options = percent_encode(&format!("-c search_path={name}"));
        let url = format!("postgres://conveyor@{host}/postgres?options={options}");
        let mut config = server.config();
        config.options(&format!("-c search_path={name}"));
        Self { config, url, name }
    }

    /// The `postgres://` URL that names the schema.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The schema's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection that works in the schema.
    ///
    /// # Panics
    /// When there is none to be had.
    #[must_use]
    pub fn client(&self) -> ::postgres::Client {
        self.config.connect(::postgres::NoTls).expect("connecting to PostgreSQL")
    }

    /// All rows of all tables of the schema as text; see [`crate::dump`].
    ///
    /// # Panics
    /// When a query fails.
    #[must_use]
    pub fn dump(&self) -> String {
        crate::dump::dump_postgres(&mut self.client(), &self.name)
    }
}

impl Drop for TestSchema {
    fn drop(&mut self) {
        // The server of a restart test may be down, and its data goes with it anyway.
        if let Ok(mut client) = self.config.connect(::postgres::NoTls) {
            let drop = format!("set lock_timeout = '10s'; drop schema if exists {} cascade", self.name);
            let _ = client.batch_execute(&drop);
        }
    }
}

pub(super) fn percent_encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    })
}
