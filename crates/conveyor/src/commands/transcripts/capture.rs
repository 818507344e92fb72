//! `transcript-capture`: record what the terminals of a task show.

use conveyor_core::transcripts::{self, Captured, Captures, Request};
use conveyor_model::{CaptureMode, Roles};
use conveyor_store::Access;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonFlag, Subcommand};
use crate::failure::Failure;
use crate::out::Out;
use crate::values;

/// Arguments of `transcript-capture`.
#[derive(clap::Args)]
pub struct TranscriptCapture {
    /// Task id or name
    #[arg(value_name = "TASK")]
    task: String,
    /// Whose terminal
    #[arg(long, value_name = "ROLE", default_value = "all", value_parser = values::roles())]
    role: Roles,
    /// How much becomes a segment
    #[arg(long, value_name = "MODE", default_value = "segment", value_parser = values::capture_mode())]
    mode: CaptureMode,
    /// Lines above the visible screen; none if it is negative
    #[arg(long, value_name = "N", default_value = "200", value_parser = values::integer)]
    lines: i64,
    /// Fail unless every side shows something new
    #[arg(long)]
    require_segment: bool,
    /// Print what was captured, too
    #[arg(long)]
    include_content: bool,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for TranscriptCapture {
    const NAME: &'static str = "transcript-capture";
    const GROUP: Group = Group::Transcripts;
    const ABOUT: &'static str = "Record what the terminals of a task's worker and manager show";
    const HELP: &'static str = "\
The whole text is kept, and what is new since the last capture as a segment of the task's transcript. A terminal
that is not the registered one is not captured. With --role all, one side's failure does not keep the other one
from being captured. The text itself is printed only with --include-content, because whatever is printed inside an
agent's terminal becomes part of its context.

Example:
  conveyor transcript-capture demo --role worker --path ./ledger.db
  conveyor transcript-show demo --include-content --path ./ledger.db > transcript.txt";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut cx = app.open(&self.db, Access::Write)?;
        let state_root = app.state_root()?;
        let request = Request {
            task: &self.task,
            roles: self.role,
            mode: self.mode,
            lines: u32::try_from(self.lines.max(0)).unwrap_or(u32::MAX),
            require_segment: self.require_segment,
            include_content: self.include_content,
            state_root: &state_root,
        };
        let captures = transcripts::capture_all(&mut cx, &request)?;
        if self.json.json { app.out().json(&captures) } else { print(&captures, app.out()) }
    }
}

fn print(captures: &Captures, mut out: Out<'_>) -> Result<(), Failure> {
    captures.captures.iter().try_for_each(|captured| out.line(&line(captured)))
}

fn line(captured: &Captured) -> String {
    let role = captured.role;
    let Some(capture) = &captured.capture else {
        return format!("{role}: {}", captured.error.as_deref().unwrap_or("not captured"));
    };
    match captured.transcript_segment.iter().flatten().next() {
        Some(segment) => format!(
            "{role}: capture {} segment {} ({}, {} lines)",
            capture.id, segment.id, segment.segment_kind, segment.line_count
        ),
        None => format!("{role}: capture {} no new transcript segment", capture.id),
    }
}
