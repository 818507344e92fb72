//! The version that counts is that of the program in the pane.

use std::path::Path;
use std::process::Command;

use conveyor_testkit::fake_codex::FakeCodex;
use conveyor_testkit::wait;
use serde_json::Value;

use crate::harness::{Ran, World, on_sqlite};
use crate::panes::put_into;

fn seat(world: &World, fake: &FakeCodex<'_>, session: &str) {
    put_into(world, "demo-worker", session);
    let rollout = fake.rollout();
    world.sql(&format!(
        "update sessions set codex_session_path = '{}' where name = 'demo-worker'",
        rollout.display()
    ));
}

fn nudge(world: &World, text: &str) -> Ran {
    world.run(&["session-nudge", "demo-worker", text, "--json"])
}

#[track_caller]
fn refused(ran: &Ran, part: &str) {
    assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
    let object: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (object["guard"]["rule"].as_u64(), object["guard"]["reason"].as_str()),
        (Some(7), Some("unproven"))
    );
    assert!(object["guard"]["detail"].as_str().unwrap().contains(part), "{object}");
}

/// Puts a file in the place of another as package managers do.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).unwrap();
    assert!(Command::new("chmod").arg("755").arg(&new).status().unwrap().success());
    std::fs::rename(new, file).unwrap();
}

#[test]
fn old_unknown_and_untested_versions_are_not_typed_into_without_a_server() {
    on_sqlite(|world| {
        world.bind("demo");
        for (version, part) in [
            ("0.160.1", "0.161.0 or newer"),
            ("99.0.0", "newer than 0.171.0"),
            ("0.0.0", "cannot be found out"),
            ("soon", "cannot be found out"),
        ] {
            let session = format!("codex-{}", version.replace('.', "-"));
            let fake = FakeCodex::start_version(&world.tmux, &session, world.dir(), version);
            seat(world, &fake, &session);
            refused(&nudge(world, "hello"), part);
            assert!(fake.told().is_empty());
        }
        for version in ["0.161.0", "0.169.0", "0.171.0"] {
            let session = format!("codex-{}", version.replace('.', "-"));
            let fake = FakeCodex::start_version(&world.tmux, &session, world.dir(), version);
            seat(world, &fake, &session);
            assert_eq!(nudge(world, "hello").code, 0, "{version}");
        }
    });
}

#[test]
fn an_update_changes_nothing_for_the_program_that_runs() {
    on_sqlite(|world| {
        world.bind("demo");
        let fake = FakeCodex::start(&world.tmux, "codex-demo", world.dir());
        seat(world, &fake, "codex-demo");
        let program = world.dir().join("fake-codex-demo/codex");
        let witness = world.dir().join("was-run");
        replace(&program, &format!("#!/bin/sh\ntouch '{}'\necho codex-cli 0.1.0\n", witness.display()));
        assert_eq!(nudge(world, "after the update").code, 0);
        assert!(!witness.exists(), "what has its name by now was not run");
        std::fs::remove_file(&program).unwrap();
        world.advance(60_000);
        fake.quieten();
        assert_eq!(nudge(world, "after the removal").code, 0);
        assert_eq!(fake.told(), ["after the update", "after the removal"]);
    });
}

#[test]
fn a_script_that_is_called_like_it_is_not_asked() {
    on_sqlite(|world| {
        world.bind("demo");
        let fake = FakeCodex::start(&world.tmux, "codex-demo", world.dir());
        let dir = world.dir().join("scripted");
        std::fs::create_dir(&dir).unwrap();
        let witness = world.dir().join("was-asked");
        let script = format!(
            "#!/bin/bash\n[ \"$1\" = --version ] && touch '{}'\nexec -a codex bash '{}' \"$@\"\n",
            witness.display(),
            world.dir().join("fake-codex-demo/fake.sh").display()
        );
        replace(&dir.join("codex"), &script);
        let command = format!(
            "exec '{}' '{}' '{}'",
            dir.join("codex").display(),
            world.dir().join("fake-codex-demo").display(),
            fake.rollout().display()
        );
        world.tmux.tmux(["new-session", "-d", "-s", "codex-script", "-x", "100", "-y", "30", &command]);
        wait::until(std::time::Duration::from_secs(10), "its composer", || {
            world.tmux.tmux(["capture-pane", "-p", "-t", "=codex-script:"]).contains("for shortcuts")
        });
        seat(world, &fake, "codex-script");
        fake.quieten();
        refused(&nudge(world, "hello"), "cannot be found out");
        assert!(!witness.exists());
    });
}
