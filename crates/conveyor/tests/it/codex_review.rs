//! The helper of the skill `codex-review`, with real git, a Codex that says what it is told to, and
//! a gh that knows one pull request or none.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use conveyor_testkit::codex::{self, Home};
use conveyor_testkit::model_server::{Model, Script};

/// A clone with a branch, and programs in front of `PATH`.
struct Review {
    dir: tempfile::TempDir,
}

/// What the helper did.
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn has(&self, line: &str) -> bool {
        self.stdout.lines().any(|printed| printed == line)
    }

    fn is_clean(&self) -> bool {
        self.stdout.contains("codex-review clean: no accepted/actionable findings reported")
    }
}

impl Review {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("conveyor-review-").tempdir().unwrap();
        let review = Self { dir };
        for directory in ["bin", "home", "tmp"] {
            fs::create_dir(review.path(directory)).unwrap();
        }
        // It prints what it is told to and notes how it was called.
        review.program(
            "codex",
            "echo \"$* level=$CODEX_REVIEW_HELPER_LEVEL parent=${CODEX_REVIEW_HELPER_PARENT_PID:+set}\" >>\"$STAGE/calls\"\n\
             cat \"$STAGE/says\"\nexit \"$(cat \"$STAGE/exit\")\"",
        );
        review.program("gh", "[ -f \"$STAGE/pr\" ] && cat \"$STAGE/pr\"");
        review.codex_says("Nothing to complain about.\n", 0);
        review.git(review.path(""), &["init", "--quiet", "--bare", "--initial-branch=main", "origin"]);
        review.git(review.path(""), &["clone", "--quiet", "origin", "clone"]);
        review.git(review.clone(), &["checkout", "--quiet", "-B", "main"]);
        fs::write(review.clone().join("file"), "1\n").unwrap();
        review.git(review.clone(), &["add", "."]);
        review.git(review.clone(), &["commit", "--quiet", "-m", "First"]);
        review.git(review.clone(), &["push", "--quiet", "origin", "main"]);
        review
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn clone(&self) -> PathBuf {
        self.path("clone")
    }

    fn program(&self, name: &str, body: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn codex_says(&self, text: &str, exit: i32) {
        fs::write(self.path("says"), text).unwrap();
        fs::write(self.path("exit"), exit.to_string()).unwrap();
    }

    fn pull_request(&self, base: &str, url: &str) {
        fs::write(self.path("pr"), format!("{base} {url}\n")).unwrap();
    }

    fn command(&self, program: &Path, cwd: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(cwd).env_clear();
        command
            .env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", self.path("bin").display()))
            .env("STAGE", self.dir.path())
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("GIT_CONFIG_NOSYSTEM", "1");
        for side in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{side}_NAME"), "Ann")
                .env(format!("GIT_{side}_EMAIL"), "ann@example.org");
        }
        command
    }

    fn git(&self, cwd: PathBuf, arguments: &[&str]) {
        let output = self.command(Path::new("git"), &cwd).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn on_branch(&self, name: &str) {
        self.git(self.clone(), &["checkout", "--quiet", "-b", name]);
    }

    fn dirty(&self) {
        fs::write(self.clone().join("new"), "not added yet\n").unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(&[], arguments)
    }

    fn run_with(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Ran {
        self.run_in(&self.clone(), environment, arguments)
    }

    fn run_in(&self, cwd: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Ran {
        let helper =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../skills/codex-review/scripts/codex-review");
        let mut command = self.command(&helper, cwd);
        let Output { status, stdout, stderr } =
            command.envs(environment.iter().copied()).args(arguments).output().unwrap();
        assert_eq!(fs::read_dir(self.path("tmp")).unwrap().count(), 0, "it left something behind");
        Ran {
            code: status.code().unwrap(),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    /// How Codex was called, call by call.
    fn calls(&self) -> String {
        fs::read_to_string(self.path("calls")).unwrap_or_default()
    }
}

#[test]
fn the_target_follows_the_work_tree() {
    let review = Review::new();
    let ran = review.run(&["--dry-run"]);
    assert_eq!(ran.code, 1, "clean, on main: {}", ran.stdout);
    assert!(ran.stderr.contains("no review target"), "{}", ran.stderr);
    let ran = review.run(&["--dry-run", "--mode", "branch"]);
    assert_eq!(ran.code, 0);
    assert!(ran.has("target: branch") && ran.has("branch: main"), "{}", ran.stdout);
    review.on_branch("topic");
    let ran = review.run(&["--dry-run"]);
    assert_eq!(ran.code, 0);
    assert!(ran.has("target: branch") && ran.has("branch: topic"), "{}", ran.stdout);
    assert!(ran.has("review: codex review --base origin/main"), "{}", ran.stdout);
    assert!(ran.has("fetch: git fetch origin"), "{}", ran.stdout);
    review.dirty();
    let ran = review.run(&["--dry-run"]);
    assert!(ran.has("target: local") && ran.has("review: codex review --uncommitted"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("fetch"), "{}", ran.stdout);
    let ran = review.run(&["--dry-run", "--mode", "branch"]);
    assert!(ran.has("target: branch"), "the mode goes before the work tree: {}", ran.stdout);
    review.git(review.clone(), &["checkout", "--quiet", "--detach"]);
    let ran = review.run(&["--dry-run", "--mode", "local"]);
    assert!(ran.has("target: local") && ran.has("branch: detached"), "{}", ran.stdout);
    fs::remove_file(review.clone().join("new")).unwrap();
    assert_eq!(review.run(&["--dry-run"]).code, 1, "clean and detached");
    assert_eq!(review.calls(), "", "a dry run started something");
}

#[test]
fn the_base_comes_from_the_option_else_from_the_pull_request() {
    let review = Review::new();
    review.on_branch("topic");
    review.pull_request("release", "https://example.org/pull/7");
    let ran = review.run(&["--dry-run"]);
    assert!(ran.has("review: codex review --base origin/release"), "{}", ran.stdout);
    assert!(ran.has("pull request: https://example.org/pull/7"), "{}", ran.stdout);
    let ran = review.run(&["--dry-run", "--base", "v1.0 x"]);
    assert!(ran.has(r"review: codex review --base v1.0\ x"), "{}", ran.stdout);
    let ran = review.run(&["--dry-run", "--mode", "local"]);
    assert!(!ran.stdout.contains("pull request"), "{}", ran.stdout);
}

#[test]
fn everything_asked_for_is_shown_first() {
    let review = Review::new();
    review.dirty();
    let options = [
        "--dry-run",
        "--full-access",
        "--parallel-tests",
        "make test",
        "--output",
        "o",
        "--codex-bin",
        "/x y/c",
    ];
    let ran = review.run(&options);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let shown: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(
        shown,
        [
            "target: local",
            "branch: main",
            r"review: /x\ y/c --dangerously-bypass-approvals-and-sandbox review --uncommitted",
            "tests: make test",
            "output: o",
        ]
    );
    assert!(!review.clone().join("o").exists(), "a dry run wrote something");
    let ran = review.run_with(&[("CODEX_BIN", "other"), ("CODEX_REVIEW_OUTPUT", "kept")], &["--dry-run"]);
    assert!(ran.has("review: other review --uncommitted") && ran.has("output: kept"), "{}", ran.stdout);
}

#[test]
fn only_a_review_that_says_something_and_finds_nothing_is_clean() {
    let review = Review::new();
    review.dirty();
    for (says, exit, code) in [
        ("Nothing to complain about.\n", 0, 0),
        ("- [P0] It deletes everything.\n", 0, 1),
        ("- [P3] A typing error.\n", 0, 1),
        ("- [P4] No marker of ours.\n", 0, 0),
        ("", 0, 1),
        (" \n\t\n", 0, 1),
        ("Nothing to complain about.\n", 5, 5),
        ("- [P1] Wrong.\n", 5, 5),
    ] {
        review.codex_says(says, exit);
        let ran = review.run(&["--output", "../kept"]);
        assert_eq!(
            (ran.code, ran.is_clean()),
            (code, code == 0),
            "{says:?} {exit}: {}{}",
            ran.stdout,
            ran.stderr
        );
        assert!(ran.stdout.contains(says), "what it says is shown");
        assert_eq!(fs::read_to_string(review.path("kept")).unwrap(), says, "and kept");
    }
    assert_eq!(review.calls().lines().next(), Some("review --uncommitted level=1 parent=set"));
}

#[test]
fn of_a_transcript_only_the_final_answer_counts() {
    let review = Review::new();
    review.dirty();
    let head = "OpenAI Codex v0.169.0\n--------\nuser\nLook for [P1] markers.\n";
    let diagnostic = "2026-06-11T12:00:00.123456Z  WARN codex_core::turn: slow\n";
    for (says, code) in [
        (format!("{head}codex\nI look for [P1].\nexec\nrg\ncodex\nAll good.\n"), 0),
        (format!("{head}codex\nAll good so far.\ncodex\n- [P2] Wrong.\n"), 1),
        (format!("{head}codex\n\n"), 1),
        // An answer may contain the word on a line of its own; after the last diagnostic the first one counts.
        (format!("{head}codex\n[P1]?\n{diagnostic}codex\n- [P2] Wrong name:\ncodex\n"), 1),
        (format!("{head}codex\n[P1]?\n{diagnostic}exec\n{diagnostic}codex\nAll good.\ncodex\nfine\n"), 0),
        // Nothing follows the last diagnostic: the last answer counts.
        (format!("{head}codex\n[P1]?\ncodex\nAll good.\n{diagnostic}"), 0),
        // No answer at all: everything counts.
        (head.to_owned(), 1),
        ("\u{1b}[1mOpenAI Codex v0.169.0\u{1b}[0m\r\n[P1]\r\ncodex\r\nAll good.\r\n".to_owned(), 0),
        // Without the header it is no transcript.
        ("[P1]\ncodex\nAll good.\n".to_owned(), 1),
    ] {
        review.codex_says(&says, 0);
        let ran = review.run(&[]);
        assert_eq!((ran.code, ran.is_clean()), (code, code == 0), "{says}\n---\n{}", ran.stdout);
    }
}

#[test]
fn a_branch_is_fetched_first_and_a_failure_only_warns() {
    let review = Review::new();
    review.on_branch("topic");
    let other = review.path("other");
    review.git(review.path(""), &["clone", "--quiet", "origin", "other"]);
    fs::write(other.join("file"), "2\n").unwrap();
    review.git(other.clone(), &["commit", "--quiet", "-am", "Second"]);
    review.git(other.clone(), &["push", "--quiet", "origin", "main"]);
    let ran = review.run(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(review.calls(), "review --base origin/main level=1 parent=set\n");
    let head = |cwd: &Path, what: &str| {
        let output = review.command(Path::new("git"), cwd).args(["rev-parse", what]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(head(&review.clone(), "origin/main"), head(&other, "HEAD"));
    fs::rename(review.path("origin"), review.path("away")).unwrap();
    let ran = review.run(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("warning: git fetch origin failed"), "{}", ran.stderr);
}

#[test]
fn tests_run_beside_the_review() {
    let review = Review::new();
    review.dirty();
    // Each waits for the other one, so that neither ends unless both run.
    let wait = "i=0; until [ -f \"$STAGE/THERE\" ]; do i=$((i+1)); [ $i -lt 300 ] || exit 9; sleep 0.1; done";
    let tests = format!(
        "touch \"$STAGE/tests-began\"; {}; echo tests said this",
        wait.replace("THERE", "review-began")
    );
    review.program(
        "codex",
        &format!(
            "touch \"$STAGE/review-began\"\n{}\ncat \"$STAGE/says\"",
            wait.replace("THERE", "tests-began")
        ),
    );
    let ran = review.run(&["--parallel-tests", &tests]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.is_clean() && ran.has("tests said this"), "{}", ran.stdout);
    assert!(ran.has("review exit status: 0") && ran.has("tests exit status: 0"), "{}", ran.stdout);
    let ran = review.run(&["--parallel-tests", "exit 3"]);
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    assert!(ran.is_clean() && ran.has("tests exit status: 3"), "{}", ran.stdout);
    review.codex_says("[P1]\n", 0);
    let ran = review.run(&["--parallel-tests", "true"]);
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    assert!(ran.has("review exit status: 1") && ran.has("tests exit status: 0"), "{}", ran.stdout);
}

#[test]
fn a_review_does_not_start_a_review() {
    let review = Review::new();
    review.dirty();
    for level in ["1", "07", "99999999999999999999"] {
        let nested = review.run_with(&[("CODEX_REVIEW_HELPER_LEVEL", level)], &[]);
        assert_eq!(nested.code, 78, "{level}");
        assert!(nested.stderr.contains("nested codex-review invocation blocked"), "{}", nested.stderr);
    }
    assert_eq!(review.calls(), "");
    let allowed = [("CODEX_REVIEW_HELPER_LEVEL", "08"), ("CODEX_REVIEW_ALLOW_NESTED", "1")];
    assert_eq!(review.run_with(&allowed, &[]).code, 0);
    assert_eq!(review.calls(), "review --uncommitted level=9 parent=set\n");
    let odd = review.run_with(&[("CODEX_REVIEW_HELPER_LEVEL", "one")], &[]);
    assert_eq!(odd.code, 2);
}

#[test]
fn wrong_calls_get_the_usage() {
    let review = Review::new();
    for line in [&["--mode"][..], &["--mode", "all"], &["--base", "--dry-run"], &["--what"], &["review"]] {
        let ran = review.run(line);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{line:?}");
        assert!(ran.stderr.contains("usage: codex-review"), "{line:?}: {}", ran.stderr);
    }
    let ran = review.run(&["--help"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(ran.stdout.starts_with("usage: codex-review"));
    let outside = review.run_in(review.dir.path(), &[], &["--dry-run"]);
    assert_eq!(outside.code, 1);
    assert!(outside.stderr.contains("no git work tree"), "{}", outside.stderr);
    review.dirty();
    let ran = review.run(&["--output", "no/such/place"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert_eq!(review.calls(), "");
}

#[test]
fn the_real_codex_takes_these_options_and_prints_such_a_transcript() {
    let model = Model::start(Script::new());
    let (Some(home), Some(program)) = (Home::new(&model), codex::binary()) else { return };
    let review = Review::new();
    review.dirty();
    let environment = home.environment();
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let program = program.to_str().unwrap();
    for options in [&["--codex-bin", program][..], &["--codex-bin", program, "--full-access"]] {
        let ran = review.run_with(&environment, options);
        assert!(ran.code == 0 && ran.is_clean(), "{options:?}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.lines().any(|line| line.starts_with("OpenAI Codex v")), "{}", ran.stdout);
        assert!(ran.has("codex"), "{}", ran.stdout);
    }
    let asked: Vec<String> = model.requests().into_iter().map(|request| request.user_text).collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked.iter().all(|text| text.contains("Review the current code changes")), "{asked:?}");
}
