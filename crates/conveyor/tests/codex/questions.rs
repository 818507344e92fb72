//! Questions that Codex puts in front of a session: none stops a start that need not, none is
//! answered for its user.

use std::process::Command;
use std::time::{Duration, Instant};

use conveyor_agents::codex::State;
use conveyor_testkit::codex::Mixture;
use conveyor_testkit::model_server::{Reply, Script};
use conveyor_testkit::{on_every_codex, wait};

use super::stage::{LIMIT, Lab, Stage};

on_every_codex!(an_update_that_is_offered_stops_no_start, questions_about_the_start_are_quoted_at_once);

/// A Codex that has heard of a newer version, and whose user has switched nothing off.
fn with_update(mixture: Mixture) -> Option<Lab> {
    let lab = Lab::of(mixture)?;
    configure(&lab, "check_for_update_on_startup = false\n", "");
    let now = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).output().unwrap().stdout;
    let now = String::from_utf8(now).unwrap();
    let heard = format!(
        r#"{{"latest_version":"99.0.0","last_checked_at":"{}","dismissed_version":null}}"#,
        now.trim()
    );
    std::fs::write(lab.home.path().join("version.json"), heard).unwrap();
    lab.home.start_server();
    Some(lab)
}

fn configure(lab: &Lab, old: &str, new: &str) {
    let file = lab.home.path().join("config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(old), "{text}");
    std::fs::write(&file, text.replace(old, new)).unwrap();
}

fn an_update_that_is_offered_stops_no_start(mixture: Mixture) {
    let Some(lab) = with_update(mixture) else { return };
    let stage = Stage::new(&lab, "offered");
    lab.model.add(Script::new().on("in the old way", [Reply::text("done")]));
    let start = ["start-worker", "--name", "w", "--timeout-seconds", "60"];
    let started = stage.json(&start);
    let drifted = mixture.server != mixture.terminal;
    let warnings = started["warnings"].to_string();
    assert_eq!(warnings.contains("codex app-server daemon update --from-cli"), drifted, "{warnings}");
    if drifted {
        for release in [mixture.server, mixture.terminal] {
            assert!(warnings.contains(release.version()), "{warnings}");
        }
    }
    let doctor = stage.run(&["doctor"]);
    let doctor: serde_json::Value = serde_json::from_str(&doctor.stdout).unwrap();
    let check = |name: &str| {
        let checks = doctor["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == name).unwrap().clone()
    };
    assert_eq!(check("codex_app_server")["value"], mixture.server.version());
    assert_eq!(check("codex_version")["value"], format!("codex-cli {}", mixture.terminal.version()));
    assert!(check("codex_version")["tested"].is_string());
    assert_eq!(check("codex_app_server").get("advice").is_some(), drifted, "{doctor}");
    assert_eq!(stage.json(&["session-nudge", "w", "hello"])["delivery"]["stage"], "seen");
    stage.until("w", State::Idle);
    let old =
        ["start-worker", "--name", "x", "--no-native", "--task", "in the old way", "--timeout-seconds", "60"];
    stage.json(&old);

    // In a terminal that somebody else has started it is a dialog, which nobody answers.
    let program = lab.home.program().display().to_string();
    let mut words: Vec<String> =
        ["new-session", "-d", "-s", "theirs", "-x", "160", "-y", "45", "-c"].map(ToOwned::to_owned).into();
    words.extend([stage.project.display().to_string(), "env".into()]);
    words.extend(lab.home.environment().iter().map(|(name, value)| format!("{name}={value}")));
    words.extend([program, "resume".into(), stage.thread_of("w")]);
    stage.tmux.tmux(words);
    stage.until_shown("theirs", "Update now");
    stage.sql().execute("update sessions set state = 'gone' where name = 'w'", []).unwrap();
    let register = [
        "register-worker",
        "--name",
        "theirs",
        "--thread-id",
        &stage.thread_of("w"),
        "--tmux-session",
        "theirs",
    ];
    stage.json(&register);
    let before = stage.screen("theirs");
    let refused = stage.run(&["session-nudge", "theirs", "hello"]);
    assert_eq!(refused.code, Some(3), "{}{}", refused.stdout, refused.stderr);
    assert!(refused.stderr.contains("Escape"), "{}", refused.stderr);
    assert_eq!(stage.screen("theirs"), before);
}

fn questions_about_the_start_are_quoted_at_once(mixture: Mixture) {
    for (name, question, answer) in
        [("hooks", "Hooks need review", "Trust all and continue"), ("model", "GPT-6", "Use existing model")]
    {
        let Some(lab) = Lab::of(mixture) else { return };
        if name == "hooks" {
            let hooks = r#"{"hooks":{"SessionStart":[{"hooks":[{"type":"command","command":"true"}]}]}}"#;
            std::fs::write(lab.home.path().join("hooks.json"), hooks).unwrap();
        } else {
            configure(&lab, "model = \"scripted\"", "model = \"gpt-5.5\"");
        }
        lab.home.start_server();
        let stage = Stage::new(&lab, name);
        let limit = Duration::from_secs(120);
        for way in ["--task=begin", "--no-native"] {
            let began = Instant::now();
            let start = ["start-worker", "--name", "w", "--timeout-seconds", "120", way];
            let refused = stage.run(&start);
            assert!(began.elapsed() < limit / 2, "{name} {way}: {:?}", began.elapsed());
            assert_eq!(
                (refused.code, refused.stdout.as_str()),
                (Some(1), ""),
                "{name} {way}: {}",
                refused.stderr
            );
            for part in [question, answer, "tmux attach", "kill-session"] {
                assert!(refused.stderr.contains(part), "{name} {way}: {}", refused.stderr);
            }
            assert!(stage.screen("codex-w").contains(answer), "nobody answered");
            assert_eq!(stage.scalar("select count(*) from sessions"), "0");
            stage.tmux.tmux(["kill-session", "-t", "=codex-w"]);
            wait::until(LIMIT, "its end", || stage.sessions().is_empty());
        }
    }
}

#[test]
fn words_for_the_server_alone_are_refused_before_anything_is_made() {
    let Some(lab) = Lab::shared() else { return };
    let stage = Stage::new(lab, "words");
    let start = ["start-worker", "--name", "w", "--no-native", "--ask-for-approval", "untrusted"];
    let pair = ["pair", "--task", "t", "--task-goal", "g", "--worker-name", "w", "--manager-name", "m"];
    for command in [start.to_vec(), [&pair[..], &start[3..]].concat()] {
        let refused = stage.run(&command);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{}", refused.stderr);
        for part in ["untrusted", "on-request", "never"] {
            assert!(refused.stderr.contains(part), "{}", refused.stderr);
        }
        assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
        assert!(!stage.ledger().exists() && stage.sessions().is_empty());
    }
    // The server takes it.
    let native =
        ["start-worker", "--name", "w", "--ask-for-approval", "untrusted", "--timeout-seconds", "60"];
    stage.json(&native);
}

#[test]
fn without_a_server_the_ledger_is_written_from_within_the_sandbox() {
    let Some(lab) = Lab::shared() else { return };
    let stage = Stage::new(lab, "boxed");
    let ledger = stage.ledger().display().to_string();
    let command = format!("conveyor tasks --create by-agent --goal x --path '{ledger}'");
    lab.model.add(Script::new().on("write to the ledger", [Reply::shell(&command), Reply::text("done")]));
    let start = ["start-worker", "--name", "w", "--no-native", "--task", "write to the ledger"];
    let how = ["--sandbox", "workspace-write", "--ask-for-approval", "never", "--timeout-seconds", "60"];
    stage.json(&[&start[..], &how].concat());
    wait::until(LIMIT, "what the agent has written", || {
        stage.column("select name from tasks") == ["by-agent"]
    });
}
