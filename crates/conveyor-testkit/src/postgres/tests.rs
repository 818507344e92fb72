use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;
use crate::wait;

/// Set for a copy of this test program that starts a server and waits to be killed.
const VICTIM_VARIABLE: &str = "CONVEYOR_TESTKIT_VICTIM";

fn tables(schema: &TestSchema, client: &mut ::postgres::Client) -> i64 {
    let sql = "select count(*) from information_schema.tables where table_schema = $1";
    client.query_one(sql, &[&schema.name()]).unwrap().get(0)
}

#[test]
fn a_schema_is_private_and_goes_with_its_test() {
    let (Some(schema), Some(other)) = (TestSchema::if_enabled(), TestSchema::if_enabled()) else { return };
    assert_ne!(schema.name(), other.name());
    assert!(schema.url().starts_with("postgres://conveyor@%2Ftmp%2Fcvpg-"), "{}", schema.url());
    let mut client = ::postgres::Client::connect(schema.url(), ::postgres::NoTls).unwrap();
    client.batch_execute(&format!("create schema {}; create table t (x int)", schema.name())).unwrap();
    assert_eq!(tables(&schema, &mut client), 1);
    assert_eq!(tables(&other, &mut client), 0);
    drop(client);
    let name = schema.name().to_owned();
    drop(schema);
    let left = other.client().query("select 1 from pg_namespace where nspname = $1", &[&name]).unwrap();
    assert!(left.is_empty(), "the schema is dropped");
}

#[test]
fn an_own_server_can_crash_come_back_and_leaves_nothing() {
    if !enabled() {
        return;
    }
    let server = Server::own().unwrap();
    let dir = server.socket_dir().to_owned();
    let mut client = server.client();
    server.stop_immediate();
    assert!(client.batch_execute("select 1").is_err(), "the crash cuts connections");
    server.start();
    server.client().batch_execute("select 1").unwrap();
    drop(server);
    assert!(!dir.exists(), "the directory is removed");
}

#[test]
fn a_killed_test_process_leaves_no_server() {
    if !enabled() {
        return;
    }
    if let Some(report) = std::env::var_os(VICTIM_VARIABLE) {
        let server = Server::own().unwrap();
        std::fs::write(report, server.socket_dir().to_str().unwrap()).unwrap();
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("socket-dir");
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "postgres::tests::a_killed_test_process_leaves_no_server"])
        .env(VICTIM_VARIABLE, &report)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let socket_dir = wait::some(Duration::from_secs(60), "a server in another process", || {
        std::fs::read_to_string(&report).ok().filter(|text| !text.is_empty())
    });
    Server::running_at(&socket_dir).client().batch_execute("select 1").unwrap();
    victim.kill().unwrap();
    victim.wait().unwrap();
    wait::until(Duration::from_secs(10), "the watchdog to clean up", || {
        !std::path::Path::new(&socket_dir).exists()
    });
}
