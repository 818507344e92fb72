//! `transcript-show`: print the recorded transcript of a task.

use conveyor_core::transcripts::{self, Segment, Shown};
use conveyor_model::{Roles, Timestamp};
use conveyor_store::Access;
use serde_json::json;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonFlag, Subcommand};
use crate::failure::Failure;
use crate::out::Out;
use crate::values;

/// Arguments of `transcript-show`.
#[derive(clap::Args)]
pub struct TranscriptShow {
    /// Task id or name
    #[arg(value_name = "TASK")]
    task: String,
    /// Whose transcript
    #[arg(long, value_name = "ROLE", default_value = "all", value_parser = values::roles())]
    role: Roles,
    /// Only the newest N segments [default: all]
    #[arg(long, value_name = "N", value_parser = values::non_negative_integer)]
    limit: Option<i64>,
    /// Print the texts, too
    #[arg(long)]
    include_content: bool,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for TranscriptShow {
    const NAME: &'static str = "transcript-show";
    const GROUP: Group = Group::Transcripts;
    const ABOUT: &'static str = "Show the recorded transcript of a task";
    const HELP: &'static str = "\
Segments in the order in which they were recorded. Texts are printed only with --include-content: redirect the
output, or whatever agent's terminal you are in has them in its context.

Example:
  conveyor transcript-show demo --limit 5 --path ./ledger.db
  conveyor transcript-show demo --role worker --include-content --path ./ledger.db > transcript.txt";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut cx = app.open(&self.db, Access::Read)?;
        let wanted = Shown {
            task: &self.task,
            roles: self.role,
            limit: self.limit.filter(|limit| *limit > 0),
            include_content: self.include_content,
        };
        let mut segments = Vec::new();
        let mut out = app.out();
        let task = transcripts::show(&mut cx, &wanted, &mut |segment| {
            if self.json.json {
                segments.push(segment);
                return Ok(());
            }
            print(&segment, &mut out)
        })?;
        if self.json.json {
            return out.json(&json!({ "segments": segments, "task": task }));
        }
        Ok(())
    }
}

fn print(segment: &Segment, out: &mut Out<'_>) -> std::io::Result<()> {
    print_segment(segment, out).map_err(Failure::into_output_error)
}

fn print_segment(segment: &Segment, out: &mut Out<'_>) -> Result<(), Failure> {
    let time = Timestamp::parse(&segment.captured_at).map_or_else(String::new, Timestamp::time_of_day);
    out.line(&format!(
        "--- {} transcript segment {} {time} ({}) ---",
        segment.role, segment.id, segment.segment_kind
    ))?;
    if let (Some(lines), Some(bytes)) = (segment.segment_text_line_count, segment.segment_text_byte_count) {
        return out.line(&format!("[content redacted: {lines} lines, {bytes} bytes]"));
    }
    let Some(text) = segment.segment_text.iter().flatten().next() else {
        return out.line("[metadata only]");
    };
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    out.verbatim(&format!("{text}{end}"))
}
