//! `install-skills`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use conveyor::Environment;

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
