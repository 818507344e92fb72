//! The shell around the commands: help, version, completions, mistakes.

use crate::harness::on_sqlite;

#[test]
fn overview_and_version() {
    on_sqlite(|world| {
        let help = world.run_plain(&["--help"]);
        assert_eq!(help.code, 0);
        assert!(help.stdout.starts_with("usage: conveyor <command>"), "{}", help.stdout);
        assert_eq!(world.run_plain(&[]).stdout, help.stdout);
        let version = format!("conveyor {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(world.run_plain(&["--version"]).stdout, version);
        assert!(!world.file().exists());
    });
}

#[test]
fn every_command_teaches_with_an_example() {
    on_sqlite(|world| {
        for spec in conveyor::COMMANDS {
            for name in spec.names() {
                let help = world.run_plain(&[name, "--help"]);
                assert_eq!(help.code, 0, "{name}");
                assert!(help.stdout.starts_with(&format!("usage: conveyor {name}")), "{}", help.stdout);
                assert!(help.stdout.contains("Example"), "{name} --help shows no example");
                let about = spec.about;
                assert!(about.starts_with(char::is_uppercase) && !about.ends_with('.'), "{name}: {about}");
            }
        }
        assert_eq!(std::fs::read_dir(world.dir()).unwrap().count(), 0, "help touched the disk");
    });
}

#[test]
fn mistakes_get_one_line_with_a_suggestion() {
    on_sqlite(|world| {
        let said = |arguments: &[&str]| {
            let ran = world.run_plain(arguments);
            assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}");
            ran.stderr.trim_end().to_owned()
        };
        let lines: &[&[&str]] = &[
            &["task"],
            &["frobnicate"],
            &["--path", "x", "tasks"],
            &["tasks", "--jsn"],
            &["tasks", "--goal"],
            &["tasks", "--goal", "--json"],
            &["tasks", "--goal="],
            &["tasks", "--json=yes"],
            &["tasks", "-x"],
            &["completions"],
            &["completions", "fishy"],
        ];
        let answers: Vec<String> =
            lines.iter().map(|line| format!("{}\n  {}", line.join(" "), said(line))).collect();
        insta::assert_snapshot!("mistakes", answers.join("\n"));
        assert_eq!(std::fs::read_dir(world.dir()).unwrap().count(), 0, "a refused line wrote something");
    });
}

#[test]
fn completions_name_every_command() {
    on_sqlite(|world| {
        for shell in ["bash", "zsh", "fish"] {
            let script = world.run_plain(&["completions", shell]).stdout;
            for spec in conveyor::COMMANDS {
                assert!(script.contains(spec.name), "{shell}: {} is missing", spec.name);
            }
        }
    });
}

#[test]
fn both_program_names_are_known() {
    on_sqlite(|world| {
        assert!(
            world.run_plain(&["--ts-runtime", "tasks", "--help"]).stdout.starts_with("usage: conveyor tasks")
        );
    });
}

#[test]
fn manual_pages_are_written_for_every_command() {
    on_sqlite(|world| {
        let pages = world.dir().join("man/man1");
        let said = world.run_plain(&["man-pages", "man/man1"]).stdout;
        assert!(said.starts_with("Wrote "), "{said}");
        for spec in conveyor::COMMANDS {
            let page = std::fs::read_to_string(pages.join(format!("conveyor-{}.1", spec.name))).unwrap();
            // The format spells an apostrophe and a hyphen its own way.
            let page = page.replace("\\*(Aq", "'").replace("\\(aq", "'").replace("\\-", "-");
            assert!(page.contains(spec.about), "{}:\n{page}", spec.name);
        }
    });
}

/// `cargo xtask cli-reference` runs this with the variable set and so writes the file.
#[test]
#[allow(clippy::disallowed_methods, reason = "a switch of this test, not of the product")]
fn the_cli_reference_is_up_to_date() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli-reference.md");
    let wanted = conveyor::cli_reference();
    if std::env::var_os("CONVEYOR_WRITE_REFERENCE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "docs/cli-reference.md is out of date: run `cargo xtask cli-reference`");
}
