//! `doctor`, `doctor-self`: on machines of the test's own.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use conveyor::Environment;
use conveyor_testkit::wait;
use serde_json::{Value, json};

use crate::harness::{Ran, World, on_sqlite};
use crate::start::program;
use crate::terminals::{start, worker};

/// A machine with these programs, whose login shell leaves `PATH` at the directory `user`.
fn machine(world: &World, programs: &[(&str, &str)]) -> Environment {
    let tools = world.dir().join("tools");
    fs::create_dir_all(&tools).unwrap();
    for (name, text) in programs {
        program(&tools.join(name), text);
    }
    let user = world.dir().join("user");
    fs::create_dir_all(&user).unwrap();
    program(
        &world.dir().join("shell"),
        &format!("PATH={}:/usr/bin:/bin; export PATH; shift; eval \"$1\"", user.display()),
    );
    Environment {
        search_path: Some(tools.into()),
        codex_home: Some(world.dir().join("codex-home")),
        executable: Some(world.dir().join("opt/conveyor")),
        shell: Some(world.dir().join("shell")),
        ..world.environment()
    }
}

const CODEX: (&str, &str) = ("codex", "echo codex-cli 0.169.0 >&2");

/// A machine with everything.
fn whole(world: &World) -> Environment {
    program(&world.dir().join("user/conveyor"), "exit 0");
    program(
        &world.dir().join("opt/tmux"),
        "[ \"$2\" = -V ] && echo tmux 3.4 && exit\necho no server running on x >&2; exit 1",
    );
    let tmux = Some(world.dir().join("opt/tmux"));
    Environment { tmux, ..machine(world, &[CODEX]) }
}

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name} in {report}"))
}

fn report(ran: &Ran, code: u8) -> Value {
    assert_eq!(ran.code, code, "{}{}", ran.stdout, ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn a_machine_with_everything_is_well() {
    on_sqlite(|world| {
        worker(world, "a", &json!({ "name": "a" }));
        let ran = world.run_bare(&whole(world), &["doctor"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        let report = report(&ran, 0);
        let sqlite = check(&report, "sqlite_version")["value"].as_str().unwrap();
        insta::assert_snapshot!("doctor", world.normal(&ran.stdout).replace(sqlite, "[SQLITE]"));
        assert!(!world.file().exists() && !world.dir().join(".codex-workers/workerctl.db").exists());
    });
}

#[test]
fn what_is_needed_and_missing_is_a_verdict() {
    on_sqlite(|world| {
        let bare = Environment { tmux: None, ..machine(world, &[]) };
        let ran = world.run_bare(&bare, &["doctor", "--cwd", "~/nowhere", "--json"]);
        let found = report(&ran, 1);
        for name in ["tmux", "codex", "target_cwd_exists", "state_root_exists"] {
            assert_eq!(check(&found, name)["ok"], false, "{name}");
        }
        let names: Vec<&str> =
            found["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap()).collect();
        assert!(!names.contains(&"tmux_version") && !names.contains(&"codex_version"), "{names:?}");
        assert_eq!(
            world.normal(check(&found, "target_cwd_exists")["path"].as_str().unwrap()),
            "[DIR]/nowhere"
        );
        assert_eq!(
            world.normal(check(&found, "state_root_exists")["path"].as_str().unwrap()),
            "[DIR]/nowhere/.codex-workers"
        );
        // One that does not run is no better than one that is missing.
        let broken = Environment { tmux: whole(world).tmux, ..machine(world, &[("codex", "exit 3")]) };
        let found = report(&world.run_bare(&broken, &["doctor"]), 1);
        assert_eq!(check(&found, "codex_version")["ok"], false);
        assert!(world.refused_with(2, &bare, &["doctor", "x"]).contains("unexpected argument"));
    });
}

#[test]
fn what_could_be_better_is_a_warning() {
    on_sqlite(|world| {
        let environment = whole(world);
        fs::remove_file(world.dir().join("user/conveyor")).unwrap();
        let control = world.dir().join("codex-home/app-server-control");
        fs::create_dir_all(&control).unwrap();
        let server = std::os::unix::net::UnixListener::bind(control.join("app-server-control.sock")).unwrap();
        let ran = world.run_bare(&environment, &["doctor"]);
        let found = report(&ran, 0);
        assert_eq!(check(&found, "codex_app_server")["ok"], false);
        insta::assert_snapshot!("doctor_warnings", world.normal(&ran.stderr));
        assert_eq!(found["warnings"].as_array().unwrap().len(), 2);
        drop(server);
        // The link that it names helps.
        program(&world.dir().join("opt/conveyor"), "exit 0");
        std::os::unix::fs::symlink(world.dir().join("opt/conveyor"), world.dir().join("user/conveyor"))
            .unwrap();
        let found = report(&world.run_bare(&environment, &["doctor"]), 0);
        assert_eq!(
            (&found["warnings"], &check(&found, "conveyor_in_agent_shell")["ok"]),
            (&json!([]), &json!(true))
        );
    });
}

/// A machine for `doctor-self`, with the real tmux.
fn with_tmux(world: &World) -> Environment {
    program(&world.dir().join("opt/workerctl"), "exit 0");
    let machine = machine(world, &[CODEX, ("workerctl", "[ \"$1\" = classify ]")]);
    let tools = [world.dir().join("tools"), PathBuf::from("/usr/bin"), PathBuf::from("/bin")];
    Environment { search_path: Some(std::env::join_paths(tools).unwrap()), ..machine }
}

fn pane_of(world: &World, session: &str) -> String {
    world.tmux.tmux(["list-panes", "-t", &format!("={session}:"), "-F", "#{pane_id}"]).trim().to_owned()
}

#[test]
fn a_session_in_tmux_can_take_part() {
    on_sqlite(|world| {
        start(world, "codex-me", "exec sleep 600");
        start(world, "codex-other", "exec sleep 600");
        let environment = Environment { tmux_pane: Some(pane_of(world, "codex-me")), ..with_tmux(world) };
        let skills = world.dir().join("codex-home/skills");
        fs::create_dir_all(skills.join("manage-codex-workers")).unwrap();
        fs::write(skills.join("manage-codex-workers/SKILL.md"), "x").unwrap();
        let ran = world.run_bare(&environment, &["doctor-self", "--path", "./l.db"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        let shown = world.normal(&ran.stdout);
        let tmux = check(&report(&ran, 0), "tmux_on_path")["path"].as_str().unwrap().to_owned();
        insta::assert_snapshot!("doctor_self", shown.replace(&tmux, "[TMUX]"));
        assert!(!world.dir().join("l.db").exists());
    });
}

#[test]
fn inside_an_agent_only_its_thread_counts() {
    on_sqlite(|world| {
        start(world, "codex-me", "exec sleep 600");
        let pane = pane_of(world, "codex-me");
        let thread = "0190c2d4-0000-7000-8000-000000000001";
        let inside =
            Environment { tmux_pane: Some(pane), codex_thread_id: Some(thread.into()), ..with_tmux(world) };
        let ran = world.run_bare(&inside, &["doctor-self"]);
        let found = report(&ran, 1);
        assert_eq!((&found["current_session"], &found["supported"]), (&Value::Null, &json!(false)));
        insta::assert_snapshot!("doctor_self_unknown", found["why_or_why_not"].as_str().unwrap());
        // A terminal whose program was attached to the thread shows it.
        let attached = format!("sh -c 'sleep 600; :' codex resume {thread}");
        start(world, "codex-shown", &attached);
        // tmux answers before the program of the new terminal has begun.
        let told = |code| {
            wait::until(Duration::from_secs(10), "the program", || {
                world.run_bare(&inside, &["doctor-self"]).code == code
            })
        };
        told(0);
        let found = report(&world.run_bare(&inside, &["doctor-self", "--json"]), 0);
        assert_eq!(found["current_session"], "codex-shown");
        // Two do not prove anything.
        start(world, "codex-twice", &attached);
        told(1);
        assert_eq!(report(&world.run_bare(&inside, &["doctor-self"]), 1)["current_session"], Value::Null);
        let given = world.run_bare(&inside, &["doctor-self", "--tmux-session", "codex-me"]);
        assert_eq!(report(&given, 0)["current_session"], "codex-me");
        let gone = report(&world.run_bare(&inside, &["doctor-self", "--session", "codex-m"]), 1);
        assert_eq!(check(&gone, "current_tmux_session_live")["ok"], false, "names are exact");
    });
}

#[test]
fn what_tmux_and_the_program_fail_with_is_told() {
    on_sqlite(|world| {
        let denied = crate::legacy::broken_tmux(world, "echo 'Operation not permitted' >&2; exit 1").tmux;
        let environment = Environment {
            tmux: denied,
            tmux_pane: Some("%0".into()),
            ..machine(world, &[("workerctl", "exit 1")])
        };
        let found = report(&world.run_bare(&environment, &["doctor-self"]), 1);
        let error = check(&found, "tmux_access")["error"].as_str().unwrap();
        assert!(error.contains("denies access to tmux"), "{error}");
        assert_eq!(check(&found, "workerctl_executable")["ok"], false);
        assert_eq!(check(&found, "codex_on_path")["path"], Value::Null);
        assert_eq!(found["workerctl_invocation"], "workerctl");
        let bare = Environment { tmux: None, ..machine(world, &[]) };
        fs::remove_file(world.dir().join("tools/workerctl")).unwrap();
        let found = report(&world.run_bare(&bare, &["doctor-self"]), 1);
        assert_eq!(found["workerctl_invocation"], Value::Null);
        insta::assert_snapshot!("doctor_self_bare", found["why_or_why_not"].as_str().unwrap());
    });
}
