//! PostgreSQL for tests: one private server per test process, or one for a whole test run.
//!
//! The server listens on a Unix socket in a short temporary directory only, trusts everybody who
//! can reach it, and does not sync. A watchdog process stops it and removes the directory as soon
//! as the process that started it is gone, however that ended.

mod binaries;
mod pooler;
mod schema;
mod server;

use std::io::Write as _;
use std::sync::OnceLock;

pub use pooler::{PoolMode, Pooler};
pub use schema::TestSchema;
pub use server::Server;

/// Set to `off`, the tests on PostgreSQL say so and do nothing.
pub const SWITCH_VARIABLE: &str = "CONVEYOR_TEST_POSTGRES";

/// Names the socket directory of a running server that the tests shall use.
pub const SOCKET_DIR_VARIABLE: &str = "CONVEYOR_TEST_PG_SOCKET_DIR";

/// Whether tests run on PostgreSQL. `false` only when switched off by the environment variable
/// [`SWITCH_VARIABLE`]; then one visible line says so. A missing server is no reason to skip.
#[must_use]
pub fn enabled() -> bool {
    static ENABLED: OnceLock<bool> = OnceLock::new();
    *ENABLED.get_or_init(|| {
        let off = std::env::var_os(SWITCH_VARIABLE).is_some_and(|value| value == "off");
        if off {
            // Written past the capture of the test harness, which hides what passing tests print.
            let line = format!("PostgreSQL tests are skipped: {SWITCH_VARIABLE}=off\n");
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
        !off
    })
}

/// The server of this test process, started on first use.
///
/// # Panics
/// With one line when there is no PostgreSQL, or when it does not start.
#[must_use]
pub fn shared() -> &'static Server {
    static SHARED: OnceLock<Result<Server, String>> = OnceLock::new();
    let server = SHARED.get_or_init(|| match std::env::var_os(SOCKET_DIR_VARIABLE) {
        Some(dir) => Ok(Server::running_at(dir)),
        None => Server::own(),
    });
    match server {
        Ok(server) => server,
        Err(reason) => panic!("{reason}"),
    }
}

#[cfg(test)]
mod tests;
