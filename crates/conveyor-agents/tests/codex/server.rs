//! The life of the shared server: started, asked, killed, started again.

use std::process::Command;
use std::time::Duration;

use conveyor_agents::codex::{CodexError, Interrupted, State, TurnStatus, interrupt, probe};
use conveyor_testkit::codex::Release;
use conveyor_testkit::model_server::{Reply, Script};
use conveyor_testkit::wait;

use super::{LIMIT, Lab, begin, is_not_reachable, wait_for};

#[test]
fn a_killed_server_is_down_and_its_turn_is_interrupted_after_the_restart() {
    let Some(lab) = Lab::own() else { return };
    lab.model.add(Script::new().on("never ends", [Reply::text("late").held("for ever")]));
    let again = lab.codex().start_server(LIMIT).unwrap();
    assert_eq!((again.status.as_str(), again.pid), ("alreadyRunning", None));
    let mut client = lab.client();
    let (_, thread) = lab.thread(&mut client, "surviving");
    let turn = begin(&mut client, &thread, "never ends");
    wait_for(&mut client, &thread, State::Busy);
    lab.model.wait_for("never ends", 1, LIMIT);

    lab.home.kill_server();
    let lost = probe(&mut client, &thread.id).unwrap_err();
    assert!(matches!(lost, CodexError::NotReachable { .. } | CodexError::Lost { .. }), "{lost}");
    // The link to the socket is still there.
    assert!(lab.home.path().join("app-server-control/app-server-control.sock").is_symlink());
    assert!(is_not_reachable(&lab.codex().connect(LIMIT)));

    let started = lab.codex().start_server(LIMIT).unwrap();
    assert_eq!(started.status, "started");
    assert_eq!(started.pid, Some(lab.home.server_pid()));
    assert_eq!(started.app_server_version.as_deref(), Some(Release::Newest.version()));
    let mut client = lab.client();
    let reading = probe(&mut client, &thread.id).unwrap();
    assert_eq!(reading.state(), State::NotLoaded);
    let last = reading.last_turn.unwrap();
    assert_eq!((last.id, last.status), (turn, TurnStatus::Interrupted));
    assert_eq!(interrupt(&mut client, &thread.id, None).unwrap(), Interrupted::NothingRunning);
    let unloaded = client.turn_start(&thread.id, "hello", "cv-unloaded");
    assert!(matches!(unloaded, Err(CodexError::NotFound { .. })), "{unloaded:?}");
    client.thread_resume(&thread.id).unwrap();
    wait_for(&mut client, &thread, State::Idle);
    begin(&mut client, &thread, "hello again");
    wait_for(&mut client, &thread, State::Idle);
    // What the dead server had sent to the model was given up, and nothing was repeated.
    assert_eq!(lab.model.requests_about("never ends").len(), 1);

    lab.home.stop_server();
    assert!(is_not_reachable(&lab.codex().connect(LIMIT)));
}

#[test]
fn a_frozen_server_does_not_freeze_us() {
    let Some(lab) = Lab::own() else { return };
    let mut client = lab.client();
    let pid = i32::try_from(lab.home.server_pid()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    // Its threads stop one after the other.
    wait::until(LIMIT, "a stopped server", || state_of(lab.home.server_pid()).starts_with('T'));
    client.set_limit(Duration::from_millis(200));
    let late = client.thread_loaded_list();
    let new = lab.codex().connect(Duration::from_millis(200));
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    assert!(matches!(late, Err(CodexError::Timeout { sent: true, .. })), "{late:?}");
    assert!(is_not_reachable(&new));
    // The late answer is passed over.
    client.set_limit(LIMIT);
    assert!(client.thread_loaded_list().unwrap().is_empty());
}

fn state_of(pid: u32) -> String {
    let output = Command::new("ps").args(["-o", "state=", "-p", &pid.to_string()]).output().expect("ps");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
