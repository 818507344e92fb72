//! Two builds of the program against each other: each part with one and the other by turns.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::measure::{median, output};
use super::report::{Bar, Report, Row, Unit};
use super::{Lab, Part, cargo};
use crate::failure::{Context as _, Failure};

/// So often each build is measured; the median counts.
const ROUNDS: usize = 5;

/// So much more than the older build a figure may be before it is called worse: what two runs of
/// the same build differ by.
const NOISE: f64 = 1.05;

/// What an older build is called in the table.
const OLD: &str = "old";

/// Figures that are to become better than those of the build before, by the beginning of their name.
const GOALS: [(&str, Unit, Bar); 1] = [("ingest of 500 MB", Unit::Throughput, Bar::AtLeast(2.5))];

/// What is to cost no more than something smaller did with the build before: ours, and the older
/// build's.
const AS_CHEAP_AS: [(&str, &str); 1] =
    [("idle dispatch --watch, 1000 sessions: processor", "idle dispatch --watch, 50 sessions: processor")];

/// The older build: a file, or a revision, which is built once and kept.
pub(super) fn find(named: &str, kept: &Path) -> Result<PathBuf, Failure> {
    let file = Path::new(named);
    if file.is_file() {
        return file.canonicalize().context(named);
    }
    let root = crate::source_root();
    let git = |arguments: &[&str]| {
        output(Command::new("git").current_dir(&root).args(arguments))
            .context(format_args!("{named:?} is neither a program nor a revision"))
    };
    let revision = git(&["rev-parse", "--verify", "--quiet", &format!("{named}^{{commit}}")])?;
    let revision = revision.trim();
    let program = kept.join(format!("conveyor-{revision}"));
    if program.is_file() {
        return Ok(program);
    }
    let source = kept.join("source");
    let place = source.display().to_string();
    git(&["worktree", "add", "--force", "--detach", &place, revision])?;
    let built = build(&source, &program);
    git(&["worktree", "remove", "--force", &place])?;
    built.map(|()| program)
}

fn build(source: &Path, program: &Path) -> Result<(), Failure> {
    let target = source.join("target");
    let manifest = source.join("Cargo.toml").display().to_string();
    let directory = target.display().to_string();
    cargo(&[
        "build",
        "--release",
        "--package",
        "conveyor",
        "--manifest-path",
        &manifest,
        "--target-dir",
        &directory,
    ])?;
    // Complete under its name, or not at all.
    let part = program.with_extension("part");
    std::fs::copy(target.join("release/conveyor"), &part).context(part.display())?;
    std::fs::rename(&part, program).context(program.display())
}

/// Measures the part with both builds and adds a row for each of its figures. Where one is above its
/// bar, the part is measured once more, and that counts.
pub(super) fn compare(lab: &Lab, old: &Path, part: &Part, report: &mut Report) -> Result<(), Failure> {
    let old = Lab { conveyor: old.to_owned(), ..lab.clone() };
    let mut pairs = measure(lab, &old, part, report)?;
    if pairs.iter().any(|pair| pair.row().is_ok() == Some(false)) {
        eprintln!("  {}: once more", part.name);
        let again = measure(lab, &old, part, &mut Report::quiet())?;
        for pair in pairs.iter_mut().filter(|pair| pair.row().is_ok() == Some(false)) {
            if let Some(second) = again.iter().find(|second| second.like.measure() == pair.like.measure()) {
                *pair = second.clone();
                pair.is_second = true;
            }
        }
    }
    for pair in &pairs {
        report.add(pair.row());
        let smaller = AS_CHEAP_AS.iter().find(|(ours, _)| pair.like.measure() == *ours);
        let other = smaller.and_then(|(_, old)| pairs.iter().find(|other| other.like.measure() == *old));
        if let Some(other) = other {
            let than = (other.like.measure(), median(other.old.clone()));
            let ours = median(pair.ours.clone());
            report.add(Row::ratio(pair.like.measure(), pair.like.unit(), ours, than, Bar::AtMost(1.0)));
        }
    }
    Ok(())
}

/// One figure of both builds.
#[derive(Clone)]
struct Pair {
    /// The row as the program by itself has it.
    like: Row,
    ours: Vec<f64>,
    old: Vec<f64>,
    is_second: bool,
}

fn measure(lab: &Lab, old: &Lab, part: &Part, report: &mut Report) -> Result<Vec<Pair>, Failure> {
    let mut pairs: Vec<Pair> = Vec::new();
    for round in 0..ROUNDS {
        // Another one first each time: nobody always follows the same.
        let ours_first = round % 2 == 0;
        for is_ours in [ours_first, !ours_first] {
            let (rows, skipped) = once(if is_ours { lab } else { old }, part)?;
            if round == 0 && is_ours {
                skipped.iter().for_each(|(what, why)| report.skip(what, why));
            }
            for row in rows {
                let known = pairs.iter().position(|pair| pair.like.measure() == row.measure());
                let at = known.unwrap_or_else(|| {
                    pairs.push(Pair {
                        like: row.clone(),
                        ours: Vec::new(),
                        old: Vec::new(),
                        is_second: false,
                    });
                    pairs.len() - 1
                });
                let values = if is_ours { &mut pairs[at].ours } else { &mut pairs[at].old };
                values.push(row.ours());
            }
        }
    }
    // What only one of them can do is no comparison.
    pairs.retain(|pair| !pair.ours.is_empty() && !pair.old.is_empty());
    Ok(pairs)
}

type Skipped = Vec<(String, String)>;

fn once(lab: &Lab, part: &Part) -> Result<(Vec<Row>, Skipped), Failure> {
    let scratch = tempfile::tempdir_in(&lab.scratch).context("creating a directory")?;
    let lab = Lab { scratch: scratch.path().to_owned(), ..lab.clone() };
    let mut report = Report::quiet();
    (part.run)(&lab, &mut report)?;
    Ok(report.into_parts())
}

impl Pair {
    fn row(&self) -> Row {
        let (ours, old) = (median(self.ours.clone()), median(self.old.clone()));
        let (measure, unit) = (self.like.measure(), self.like.unit());
        let goal = GOALS.iter().find(|goal| measure == goal.0 && unit.name() == goal.1.name());
        let bar = match goal {
            Some((_, _, bar)) => *bar,
            None if ours == old => Bar::None,
            None if self.like.is_better_when_higher() => Bar::AtLeast(1.0 / NOISE),
            None => Bar::AtMost(NOISE),
        };
        let row = Row::ratio(measure, unit, ours, (OLD, old), bar);
        if self.is_second { row.noting("measured twice; this is the second time") } else { row }
    }
}
