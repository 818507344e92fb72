//! `cargo xtask bench`: the figures that the documentation quotes, measured on this machine.
//!
//! Machines differ and are busy, so every figure is a ratio to a yardstick that is measured in the
//! same run, in turn with ours; the yardsticks are the program `floor`.

mod against;
mod commands;
mod cycle;
mod large;
mod ledger;
mod measure;
mod postgres;
mod queue;
mod report;
mod rollout;
mod search;
mod waking;
mod watching;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::failure::{Context as _, Failure};
use report::{Bar, Report, Row, Unit};

const USAGE: &str = "usage: cargo xtask bench [--quick] [--only WORD] [--json FILE] [--build] [--conveyor FILE] \
     [--against PROGRAM|REVISION]";

/// A part of the table.
struct Part {
    name: &'static str,
    run: fn(&Lab, &mut Report) -> Result<(), Failure>,
}

/// In the order of the table.
const PARTS: &[Part] = &[
    Part { name: "commands", run: commands::small },
    Part { name: "large", run: commands::large },
    Part { name: "lists", run: commands::lists },
    Part { name: "search", run: search::run },
    Part { name: "queue", run: queue::run },
    Part { name: "postgres", run: postgres::run },
    Part { name: "ingest", run: rollout::run },
    Part { name: "cycle", run: cycle::run },
    Part { name: "screen", run: cycle::screen },
    Part { name: "wake", run: waking::latency },
    Part { name: "idle", run: watching::idle },
    Part { name: "writers", run: watching::writers },
    Part { name: "contention", run: commands::contention },
    Part { name: "memory", run: commands::memory },
    Part { name: "size", run: size },
];

/// What the parts work with.
#[derive(Clone)]
struct Lab {
    conveyor: PathBuf,
    floor: PathBuf,
    /// What is measured in process.
    inside: PathBuf,
    /// Kept between runs: what is expensive to make.
    kept: PathBuf,
    /// Gone after the run; on the same file system.
    scratch: PathBuf,
    /// Fewer repetitions, nothing that takes minutes.
    quick: bool,
    /// Each part is run many times: once with each build, again and again.
    by_turns: bool,
}

impl Lab {
    /// The program on a ledger.
    fn conveyor(&self, ledger: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.conveyor);
        command.args(arguments).arg("--path").arg(ledger);
        command
    }

    /// A yardstick on a ledger.
    fn floor(&self, yardstick: &str, ledger: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.floor);
        command.arg(yardstick).arg(ledger).args(arguments);
        command
    }

    /// Repetitions: the number, or a fifth of it in a quick run and where the whole is repeated.
    fn rounds(&self, number: usize) -> usize {
        if self.quick || self.by_turns { (number / 5).max(3) } else { number }
    }

    /// Repetitions of what takes long by itself.
    fn long_rounds(&self) -> usize {
        if self.by_turns { 1 } else { 3 }
    }
}

struct Options {
    quick: bool,
    build: bool,
    only: Option<String>,
    json: Option<PathBuf>,
    conveyor: Option<PathBuf>,
    against: Option<String>,
}

impl Options {
    fn read(arguments: &[String]) -> Result<Self, Failure> {
        let mut options =
            Self { quick: false, build: false, only: None, json: None, conveyor: None, against: None };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || {
                rest.next()
                    .cloned()
                    .ok_or_else(|| Failure::new(format!("{argument} requires a value\n{USAGE}")))
            };
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--build" => options.build = true,
                "--only" => options.only = Some(value()?),
                "--json" => options.json = Some(value()?.into()),
                "--conveyor" => options.conveyor = Some(value()?.into()),
                "--against" => options.against = Some(value()?),
                _ => return Err(Failure::new(format!("unknown argument {argument:?}\n{USAGE}"))),
            }
        }
        Ok(options)
    }

    fn wants(&self, part: &Part) -> bool {
        self.only.as_ref().is_none_or(|word| part.name.contains(word.as_str()))
    }
}

/// Measures and prints the table.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    let options = Options::read(arguments)?;
    if let Some(word) = options.only.as_ref().filter(|_| !PARTS.iter().any(|part| options.wants(part))) {
        let names: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
        return Err(Failure::new(format!("no part is named like {word:?}; there are {}", names.join(", "))));
    }
    let root = crate::source_root();
    let target = root.join("target");
    let conveyor = match &options.conveyor {
        Some(given) => given.canonicalize().context(given.display())?,
        None => {
            cargo(&["build", "--release", "--package", "conveyor"])?;
            target.join("release/conveyor")
        }
    };
    cargo(&["build", "--release", "--package", "xtask", "--bin", "floor", "--bin", "inside"])?;
    let kept = target.join("bench");
    std::fs::create_dir_all(&kept).context(kept.display())?;
    let old = options.against.as_ref().map(|named| against::find(named, &kept)).transpose()?;
    let scratch =
        tempfile::Builder::new().prefix("run-").tempdir_in(&kept).context("creating a directory")?;
    let lab = Lab {
        conveyor,
        floor: target.join("release/floor"),
        inside: target.join("release/inside"),
        kept,
        scratch: scratch.path().to_owned(),
        quick: options.quick,
        by_turns: old.is_some(),
    };
    let mut report = Report::default();
    for part in PARTS.iter().filter(|part| options.wants(part)) {
        eprintln!("{}", part.name);
        match &old {
            Some(old) => against::compare(&lab, old, part, &mut report).context(part.name)?,
            None => (part.run)(&lab, &mut report).context(part.name)?,
        }
    }
    if options.build {
        build(&lab, &mut report)?;
    }
    report.print();
    let json = options.json.unwrap_or_else(|| target.join("bench.json"));
    report.write_json(&json, options.quick)?;
    match report.short() {
        0 => println!("\nall bars are reached"),
        1 => println!("\n1 bar is missed"),
        short => println!("\n{short} bars are missed"),
    }
    Ok(())
}

fn cargo(arguments: &[&str]) -> Result<(), Failure> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(program);
    cargo.current_dir(crate::source_root()).arg("--quiet").args(arguments);
    // Built as it is released, whatever this run of the tasks was built with.
    let status = cargo.status().context("starting cargo")?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(format!("cargo {}: {status}", arguments.join(" "))))
    }
}

fn size(lab: &Lab, report: &mut Report) -> Result<(), Failure> {
    const MOST: f64 = 20.0 * 1024.0 * 1024.0;
    let size = std::fs::metadata(&lab.conveyor).context(lab.conveyor.display())?.len();
    report.add(Row::alone("release binary", Unit::Bytes, size as f64, Bar::Within(MOST)));
    Ok(())
}

/// A clean release build, in a directory of its own.
fn build(lab: &Lab, report: &mut Report) -> Result<(), Failure> {
    let directory = lab.scratch.join("build").display().to_string();
    let start = Instant::now();
    cargo(&["build", "--release", "--package", "conveyor", "--target-dir", &directory])?;
    let seconds = start.elapsed().as_secs_f64();
    report.add(Row::alone("clean release build", Unit::Seconds, seconds, Bar::Within(360.0)));
    Ok(())
}
