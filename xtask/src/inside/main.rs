//! Parts of the product that a bar wants measured in process, without the start of a program.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a developer's tool: it prints, and it reads the clock directly"
)]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use conveyor_agents::screen::{self, Activity};
use conveyor_agents::tmux::{Extent, Look, ServerChoice, Target, Tmux};

/// Whatever went wrong; the benchmark shows it and stops.
type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["screen", directory, session, lines, rounds] => look_and_classify(directory, session, lines, rounds),
        _ => Err("usage: inside screen TMUX_TMPDIR SESSION LINES ROUNDS".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("inside: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Captures a terminal with its history and classifies the whole of it as if it were the visible
/// screen. Prints the medians of both in seconds, and the lines that were captured.
fn look_and_classify(directory: &str, session: &str, lines: &str, rounds: &str) -> Outcome {
    let tmux = Tmux::new("tmux", ServerChoice::Directory(directory.into()));
    let (lines, rounds) = (lines.parse::<u32>()?, rounds.parse::<usize>()?);
    let (mut captures, mut classifications, mut captured) = (Vec::new(), Vec::new(), 0);
    for _ in 0..rounds {
        let start = Instant::now();
        let target = Target::Session(session.to_owned());
        let look = tmux.look(&target, Extent { history_lines: lines, attributes: false })?;
        captures.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        classify(&look);
        classifications.push(start.elapsed().as_secs_f64());
        captured = look.text.lines().count();
    }
    println!("{} {} {captured}", median(captures)?, median(classifications)?);
    Ok(())
}

/// What the commands that look at terminals do with a capture.
fn classify(look: &Look) {
    black_box(screen::visible(black_box(&look.text), look.pane.height));
    black_box(screen::startup(black_box(&look.text)));
    let activity = Activity { status_age_seconds: Some(600), busy_wait_seconds: 90, recent_events: 0 };
    black_box(screen::busy_wait(black_box(&look.text), &activity));
}

fn median(mut times: Vec<f64>) -> Outcome<f64> {
    times.sort_unstable_by(f64::total_cmp);
    times.get(times.len() / 2).copied().ok_or_else(|| "no rounds were asked for".into())
}
