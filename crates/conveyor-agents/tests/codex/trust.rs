//! Which directories Codex asks about, and what starting a thread there changes.

use conveyor_agents::codex::{Client, NewThread, Sandbox, Trust, create};

use super::{Lab, new_thread};

fn start(client: &mut Client, cwd: &std::path::Path, sandbox: Sandbox) {
    create(client, &NewThread { sandbox, ..new_thread(cwd) }, "trusting").expect("a thread");
}

#[test]
fn trust_is_read_and_only_a_writing_thread_grants_it() {
    let Some(lab) = Lab::shared() else { return };
    let mut client = lab.client();
    let trusted = lab.home.project("trusted");
    assert_eq!(Trust::of(&mut client, &trusted).unwrap(), Trust::Trusted { root: trusted });

    let project = lab.home.untrusted_project("untrusted");
    let asks = Trust::Asks { root: project.clone() };
    let sub = project.join("sub");
    std::fs::create_dir(&sub).unwrap();
    assert_eq!(Trust::of(&mut client, &project).unwrap(), asks);
    assert_eq!(Trust::of(&mut client, &sub).unwrap(), asks);
    start(&mut client, &project, Sandbox::ReadOnly);
    assert_eq!(Trust::of(&mut client, &project).unwrap(), asks);
    start(&mut client, &project, Sandbox::WorkspaceWrite);
    assert_eq!(Trust::of(&mut client, &project).unwrap(), Trust::Trusted { root: project.clone() });
    assert_eq!(Trust::of(&mut client, &sub).unwrap(), Trust::Trusted { root: project.clone() });
    assert!(Trust::of(&mut client, &project.join("absent")).is_err());

    let plain = tempfile::tempdir().unwrap();
    assert_eq!(Trust::of(&mut client, plain.path()).unwrap(), Trust::NothingToTrust);
}
