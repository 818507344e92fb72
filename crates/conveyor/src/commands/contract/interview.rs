//! Asking a person at the terminal how a task is to be supervised. Questions go to standard error,
//! answers are lines of standard input. The ledger is only read meanwhile.

use std::io::{BufRead, Write};

use conveyor_core::Cx;
use conveyor_core::contract::config::{self, ConfigFlags};
use conveyor_core::contract::questions::{self, Question};
use conveyor_model::permissions::{Overrides, Permissions};
use conveyor_model::text::{is_blank, trimmed};
use conveyor_model::{EpilogueStep, NudgeMode, SupervisionMode};
use serde_json::{Value, json};

use crate::app::App;
use crate::failure::Failure;
use crate::out::printable;

/// The answer that leaves nothing of a list.
const EMPTIES: &str = "-";

/// How often a question is asked before it is given up.
const TRIES: usize = 3;

/// The questions about permissions, each with the alias that it grants or revokes.
const GRANTS: [(&str, &str); 3] = [
    ("allow_pr", "May the manager have pull requests opened?"),
    ("allow_merge_green", "May the manager have pull requests with green CI merged?"),
    ("worker_compact_clear", "May the manager have the worker's context compacted or cleared?"),
];

/// Asks everything; gives `flags` with the answers. What `flags` already say is the default.
pub(super) fn hold(
    app: &mut App<'_>,
    cx: &mut Cx,
    task: &str,
    mut flags: ConfigFlags,
) -> Result<ConfigFlags, Failure> {
    let (task, present) = config::draft(cx, task, &flags)?;
    let granted = Permissions::from_stored(&present.permissions);
    let questions = questions::about(&present);
    let mut talk = Talk { input: app.host.stdin.as_mut(), output: app.host.stderr.as_mut() };
    talk.say(&format!(
        "Manager configuration of task {:?}. Enter alone keeps what stands in brackets.",
        task.name
    ));
    let question = |id: &str| questions.iter().find(|question| question.id == id);
    let ask_text = |talk: &mut Talk<'_>, id: &str, read: Reader| match question(id) {
        Some(question) => talk.one(question, read),
        None => Ok(None),
    };
    let ask_list = |talk: &mut Talk<'_>, id: &str, read: Reader| match question(id) {
        Some(question) => talk.list(question, read),
        None => Ok(None),
    };
    let anything = |text: &str| Ok(text.to_owned());
    flags.recipe = ask_text(&mut talk, "recipe_name", read_recipe)?.or(flags.recipe);
    let mode = ask_text(&mut talk, "supervision_mode", |text| one_of(text, SupervisionMode::TEXTS))?;
    flags.mode = mode.as_deref().and_then(SupervisionMode::from_text).or(flags.mode);
    flags.objective = ask_text(&mut talk, "objective", anything)?.or(flags.objective);
    flags.guidelines = ask_list(&mut talk, "guidelines", anything)?.or(flags.guidelines);
    flags.acceptance = ask_list(&mut talk, "acceptance_criteria", anything)?.or(flags.acceptance);
    flags.references = ask_list(&mut talk, "reference_paths", anything)?.or(flags.references);
    flags.permissions = Some(talk.permissions(&granted)?);
    flags.tools = ask_list(&mut talk, "tools", anything)?.or(flags.tools);
    flags.epilogues =
        ask_list(&mut talk, "epilogues", |text| one_of(text, EpilogueStep::TEXTS))?.or(flags.epilogues);
    let nudge = ask_text(&mut talk, "nudge_on_completion", |text| one_of(text, NudgeMode::TEXTS))?;
    flags.nudge_on_completion = nudge.as_deref().and_then(NudgeMode::from_text).or(flags.nudge_on_completion);
    if let Some(question) = question("require_acks") {
        let present = if present.require_acks { "yes" } else { "no" };
        flags.require_acks =
            talk.yes_or_no(question.question, question.help, present)?.or(flags.require_acks);
    }
    Ok(flags)
}

/// Makes a value of an answer, or says what is wrong with it.
type Reader = fn(&str) -> Result<String, String>;

fn read_recipe(text: &str) -> Result<String, String> {
    let flags = ConfigFlags { recipe: Some(text.to_owned()), ..ConfigFlags::default() };
    flags.check().map(|()| text.to_owned()).map_err(|error| error.to_string())
}

fn one_of(text: &str, known: &[&str]) -> Result<String, String> {
    let lower = text.to_lowercase();
    match known.contains(&lower.as_str()) {
        true => Ok(lower),
        false => Err(format!("{text:?} is not one of {}", known.join(", "))),
    }
}

fn read_yes_or_no(text: &str) -> Result<bool, String> {
    match text.to_lowercase().as_str() {
        "y" | "yes" | "true" | "1" => Ok(true),
        "n" | "no" | "false" | "0" => Ok(false),
        _ => Err(format!("{text:?} is neither yes nor no")),
    }
}

/// A conversation at the terminal.
struct Talk<'h> {
    input: &'h mut dyn BufRead,
    output: &'h mut dyn Write,
}

impl Talk<'_> {
    /// One line of text.
    fn say(&mut self, line: &str) {
        // Who cannot read the questions can still answer them.
        let _ = writeln!(self.output, "{}", printable(line));
    }

    /// Says what is asked, with help and choices.
    fn pose(&mut self, text: &str, help: Option<&str>, choices: Option<&Value>) {
        self.say("");
        self.say(text);
        if let Some(choices) = choices.and_then(Value::as_array) {
            self.say(&format!("  Choices: {}.", in_words(choices)));
        }
        if let Some(help) = help {
            self.say(&format!("  {help}"));
        }
    }

    /// The next answer, without the white space around it; `None` is an empty line.
    fn answer(&mut self, prompt: &str) -> Result<Option<String>, Failure> {
        let _ = write!(self.output, "{} ", printable(prompt));
        let _ = self.output.flush();
        let mut line = String::new();
        let read = self.input.read_line(&mut line);
        let read = read.map_err(|error| Failure::usage(format!("cannot read standard input: {error}")))?;
        if read == 0 {
            self.say("");
            let need = "manager-config --interactive needs answers on a terminal or on standard input; nothing was saved";
            return Err(Failure::usage(need));
        }
        let line = trimmed(&line);
        Ok((!is_blank(line)).then(|| line.to_owned()))
    }

    /// A question with one answer; `None` keeps what is there.
    fn one(&mut self, question: &Question, read: Reader) -> Result<Option<String>, Failure> {
        self.pose(question.question, question.help, question.choices.as_ref());
        let shown = question.default.as_str().unwrap_or("none");
        self.until_good(&format!("[{shown}]:"), read)
    }

    /// A question with a list as its answer, one item a line; `None` keeps what is there.
    fn list(&mut self, question: &Question, read: Reader) -> Result<Option<Vec<String>>, Failure> {
        self.pose(question.question, question.help, question.choices.as_ref());
        let present = question.default.as_array().map_or(String::new(), |items| in_words(items));
        let shown = if present.is_empty() { "none" } else { &present };
        self.say(&format!("  One item a line; an empty line ends the list, {EMPTIES} alone empties it."));
        let item_or_none = |text: &str| if text == EMPTIES { Ok(None) } else { read(text).map(Some) };
        let Some(first) = self.until_good(&format!("[{shown}]:"), item_or_none)? else { return Ok(None) };
        let mut items: Vec<String> = first.into_iter().collect();
        while !items.is_empty() {
            let Some(item) = self.until_good("  …:", read)? else { break };
            items.push(item);
        }
        Ok(Some(items))
    }

    /// Asks about the permissions that have an alias; the others stay as they are.
    fn permissions(&mut self, granted: &Permissions) -> Result<Overrides, Failure> {
        let mut overrides = Overrides::default();
        for (alias, text) in GRANTS {
            let part = granted.part_of(alias);
            let present = match (granted.allows(alias), part.is_empty()) {
                (true, _) => "yes".to_owned(),
                (false, true) => "no".to_owned(),
                (false, false) => format!("only {}", part.join(", ")),
            };
            if let Some(answer) = self.yes_or_no(text, None, &present)? {
                overrides.set(alias, json!(answer));
            }
        }
        Ok(overrides)
    }

    /// A question for yes or no; `None` keeps what is there.
    fn yes_or_no(&mut self, text: &str, help: Option<&str>, present: &str) -> Result<Option<bool>, Failure> {
        self.pose(text, help, None);
        self.until_good(&format!("[{present}]:"), read_yes_or_no)
    }

    /// Asks until an answer is good, or too often.
    fn until_good<T>(
        &mut self,
        prompt: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Failure> {
        for tried in 1.. {
            let Some(answer) = self.answer(prompt)? else { return Ok(None) };
            match read(&answer) {
                Ok(value) => return Ok(Some(value)),
                Err(wrong) if tried == TRIES => {
                    self.say("");
                    return Err(Failure::usage(format!("{wrong}; nothing was saved")));
                }
                Err(wrong) => self.say(&format!("  {wrong}. Once more, please.")),
            }
        }
        Ok(None)
    }
}

/// A list as people read it.
fn in_words(items: &[Value]) -> String {
    items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}
