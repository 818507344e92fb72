//! `install-skills`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use conveyor::Environment;
use conveyor_testkit::codex::Home;
use conveyor_testkit::model_server::{Model, Script};
use serde_json::{Value, json};

use crate::harness::{World, on_sqlite};

/// Every file below a directory, with its mode, in order.
fn tree(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            found.extend(tree(&path).into_iter().map(|below| format!("{name}/{below}")));
        } else {
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
            found.push(format!("{} {mode:04o}", path.file_name().unwrap().to_str().unwrap()));
        }
    }
    found.sort();
    found
}

const INSTALLED: [&str; 4] = [
    "codex-review/SKILL.md 0644",
    "codex-review/scripts/codex-review 0755",
    "manage-codex-workers/SKILL.md 0644",
    "manage-codex-workers/agents/openai.yaml 0644",
];

fn install(world: &World, options: &[&str]) -> String {
    let mut line = vec!["install-skills"];
    line.extend(options);
    let ran = world.run_plain(&line);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{line:?}");
    world.normal(&ran.stdout)
}

#[test]
fn skills_go_where_codex_looks_for_them() {
    on_sqlite(|world| {
        let dry = install(world, &["--dry-run"]);
        insta::assert_snapshot!("install_skills_dry_run", dry);
        insta::assert_snapshot!("install_skills_dry_run_json", install(world, &["--dry-run", "--json"]));
        assert_eq!(fs::read_dir(world.dir()).unwrap().count(), 0, "a dry run touched the disk");
        insta::assert_snapshot!("install_skills", install(world, &[]));
        insta::assert_snapshot!("install_skills_json", install(world, &["--json"]));
        let skills = world.dir().join(".codex/skills");
        assert_eq!(tree(&skills), INSTALLED);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../skills");
        for file in INSTALLED {
            let file = file.split(' ').next().unwrap();
            assert_eq!(fs::read(skills.join(file)).unwrap(), fs::read(source.join(file)).unwrap(), "{file}");
        }
        assert!(!world.file().exists() && !world.dir().join(".codex-workers").exists());
    });
}

#[test]
fn what_is_there_is_replaced_and_other_skills_stay() {
    on_sqlite(|world| {
        let (skills, elsewhere) = (world.dir().join("home/skills"), world.dir().join("elsewhere"));
        fs::create_dir_all(skills.join("mine")).unwrap();
        fs::write(skills.join("mine/SKILL.md"), "mine").unwrap();
        fs::create_dir_all(skills.join("codex-review/old")).unwrap();
        fs::write(skills.join("codex-review/old/stale"), "stale").unwrap();
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("kept"), "kept").unwrap();
        symlink(&elsewhere, skills.join("manage-codex-workers")).unwrap();
        install(world, &["--codex-home", "home"]);
        let mut expected = INSTALLED.map(ToOwned::to_owned).to_vec();
        let mine = tree(&skills.join("mine")).into_iter().map(|file| format!("mine/{file}"));
        expected.extend(mine);
        assert_eq!(tree(&skills), expected);
        assert!(elsewhere.join("kept").exists(), "a link was followed");
    });
}

#[test]
fn a_file_in_the_way_of_a_skill_is_replaced_too() {
    on_sqlite(|world| {
        let skills = world.dir().join("home/skills");
        fs::create_dir_all(&skills).unwrap();
        fs::write(skills.join("codex-review"), "a file").unwrap();
        install(world, &["--codex-home", "home"]);
        assert_eq!(tree(&skills), INSTALLED);
    });
}

#[test]
fn the_environment_names_the_home_unless_the_option_does() {
    on_sqlite(|world| {
        let environment =
            Environment { codex_home: Some("~/from-environment".into()), ..world.environment() };
        let ran = world.run_in(&environment, &["install-skills"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_eq!(tree(&world.dir().join("from-environment/skills")), INSTALLED);
        let ran = world.run_in(&environment, &["install-skills", "--codex-home", "./from-option"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_eq!(tree(&world.dir().join("from-option/skills")), INSTALLED);
    });
}

#[test]
fn refusals() {
    on_sqlite(|world| {
        fs::write(world.dir().join("file"), "").unwrap();
        let mut said = Vec::new();
        for line in [&["install-skills", "surplus"][..], &["install-skills", "--codex-home", "file"]] {
            said.push(world.normal(&world.refused(line)));
        }
        let homeless = world.run_in(&Environment { home: None, ..world.environment() }, &["install-skills"]);
        assert_eq!((homeless.code, homeless.stdout.as_str()), (2, ""));
        said.push(homeless.stderr.trim_end().to_owned());
        insta::assert_snapshot!("install_skills_refusals", said.join("\n"));
        assert_eq!(fs::read_dir(world.dir()).unwrap().count(), 1, "a refused line wrote something");
    });
}

#[test]
fn a_skill_says_what_it_is_called_and_names_no_machine() {
    let skills = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../skills");
    for name in ["manage-codex-workers", "codex-review"] {
        let text = fs::read_to_string(skills.join(name).join("SKILL.md")).unwrap();
        let head: Vec<&str> = text.lines().take(4).collect();
        assert_eq!((head[0], head[1], head[3]), ("---", format!("name: {name}").as_str(), "---"));
        let description = head[2].strip_prefix("description: ").unwrap();
        assert!((50..1024).contains(&description.len()), "{name}: {description}");
        for place in ["home", "Users", "root"].map(|place| format!("/{place}/")) {
            assert!(!text.contains(&place), "{name} names {place}");
        }
        assert!(!text.contains("PATH="), "{name}");
    }
}

#[test]
fn the_real_codex_knows_them() {
    let Some(home) = Home::new(&Model::start(Script::new())) else { return };
    on_sqlite(|world| {
        install(world, &["--codex-home", home.path().to_str().unwrap()]);
        let mut server = home.codex();
        server.arg("app-server").current_dir(world.dir());
        server.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = server.spawn().unwrap();
        let mut requests = server.stdin.take().unwrap();
        for request in [
            json!({ "id": 1, "method": "initialize", "params": { "clientInfo": { "name": "test", "version": "0" } } }),
            json!({ "method": "initialized" }),
            json!({ "id": 2, "method": "skills/list", "params": { "cwds": [world.dir()] } }),
        ] {
            writeln!(requests, "{request}").unwrap();
        }
        let (told, answers) = mpsc::channel();
        let lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let reader = std::thread::spawn(move || {
            let answers =
                lines.map_while(Result::ok).filter_map(|line| serde_json::from_str::<Value>(&line).ok());
            answers.filter(|answer| answer["id"] == 2).for_each(|answer| told.send(answer).unwrap());
        });
        let answer = answers.recv_timeout(Duration::from_secs(60)).unwrap();
        // Its end follows from the end of its standard input.
        drop(requests);
        server.wait().unwrap();
        reader.join().unwrap();
        let found = &answer["result"]["data"][0];
        assert_eq!(found["errors"], json!([]), "{answer}");
        let skills = found["skills"].as_array().unwrap();
        let known = |name: &str| skills.iter().find(|skill| skill["name"] == name).unwrap().clone();
        assert_eq!(known("codex-review")["scope"], "user");
        let interface = &known("manage-codex-workers")["interface"];
        assert_eq!(interface["brandColor"], "#2563EB");
        assert!(interface["defaultPrompt"].as_str().unwrap().contains("$manage-codex-workers"));
    });
}
