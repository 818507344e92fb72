//! Texts from files: beside every option and argument that takes a TEXT stands one that takes a FILE
//! which holds it, because the system limits how long an argument may be. They are added to the tree of
//! every command here, and replaced by the texts before the tree sees a command line; no command
//! knows of them.

use std::io::Read;

use clap::{Arg, Command, ValueHint};
use conveyor_model::text::is_blank;

use crate::app::App;
use crate::failure::Failure;

/// The longest text, in bytes.
const LIMIT: usize = 8 << 20;

/// How the tree calls a value that is a text for people or agents.
const TEXT: &str = "TEXT";

/// The file that is standard input.
const STANDARD_INPUT: &str = "-";

/// How the ids of added options begin; no field of a command's arguments is called so.
const MARK: &str = "file of ";

/// Options by which a command reads its text from a file by itself.
const OWN: [&str; 2] = ["file", "from-file"];

/// Adds the options to a command.
pub(crate) fn with_files(mut tree: Command) -> Command {
    let reads_by_itself =
        tree.get_arguments().any(|one| one.get_long().is_some_and(|long| OWN.contains(&long)));
    let texts: Vec<Arg> = tree.get_arguments().filter(|one| takes_text(one)).cloned().collect();
    if reads_by_itself || texts.is_empty() {
        return tree;
    }
    // Each stands behind the option that it belongs to.
    let ids: Vec<clap::Id> = tree.get_arguments().map(|one| one.get_id().clone()).collect();
    for (place, id) in ids.iter().enumerate() {
        tree = tree.mut_arg(id, |one| one.display_order(2 * place));
    }
    for text in texts {
        let place = ids.iter().position(|id| id == text.get_id()).unwrap_or_default();
        tree = tree.arg(file_of(&text).display_order(2 * place + 1));
    }
    tree
}

fn takes_text(argument: &Arg) -> bool {
    let names = argument.get_value_names().unwrap_or_default();
    names.iter().any(|name| name.as_str() == TEXT)
        && argument.get_num_args().is_none_or(|n| n.max_values() <= 1)
}

fn file_of(text: &Arg) -> Arg {
    let name = match text.get_long() {
        Some(long) => format!("--{long}"),
        None => TEXT.to_owned(),
    };
    let long = format!("{}-file", text.get_long().unwrap_or("text"));
    let mut file = Arg::new(format!("{MARK}{}", text.get_id()))
        .long(long)
        .value_name("FILE")
        .value_hint(ValueHint::FilePath)
        .help(format!("Read {name} from this file; - is standard input"));
    if let Some(heading) = text.get_help_heading() {
        file = file.help_heading(heading.to_owned());
    }
    // Whoever looks for the option of the other commands finds it.
    if text.get_long().is_none() { file.alias("message-file") } else { file }
}

/// Where the text of an option belongs that was added here: to an option, or to the last positional.
pub(crate) enum Owner {
    /// The long name of the option.
    Option(String),
    /// The positional.
    Positional,
}

/// Whose text an option gives the file of; `None` for all other options.
pub(crate) fn owner(tree: &Command, option: &Arg) -> Option<Owner> {
    let id = option.get_id().as_str().strip_prefix(MARK)?;
    let text = tree.get_arguments().find(|one| one.get_id() == id)?;
    Some(text.get_long().map_or(Owner::Positional, |long| Owner::Option(long.to_owned())))
}

impl App<'_> {
    /// Reads the text that `option` names the file of.
    ///
    /// # Errors
    /// A file that cannot be read, is too long, is no text, or says nothing; standard input for the
    /// second time.
    pub(crate) fn text_of_file(&mut self, option: &str, file: &str) -> Result<String, Failure> {
        let name = match file {
            STANDARD_INPUT => format!("{option} -: standard input"),
            _ => format!("{option} {file:?}:"),
        };
        let refused = |why: String| Failure::usage(format!("{name} {why}"));
        let bytes = match file {
            STANDARD_INPUT if self.standard_input.is_some() => {
                return Err(refused("was read already, for another option".into()));
            }
            STANDARD_INPUT => read(&mut self.host.stdin),
            _ => std::fs::File::open(self.absolute(file)?).and_then(read),
        };
        let bytes = bytes.map_err(|error| refused(format!("cannot be read: {error}")))?;
        if bytes.len() > LIMIT {
            return Err(refused(format!(
                "holds more than {} MiB, the longest text there can be",
                LIMIT >> 20
            )));
        }
        let text = String::from_utf8(bytes).map_err(|_| refused("is no valid UTF-8".into()))?;
        if file == STANDARD_INPUT {
            self.standard_input = Some(text.clone());
        }
        let text = without_last_line_end(text);
        if is_blank(&text) {
            return Err(refused("holds nothing but white space or invisible characters".into()));
        }
        match text.contains('\0') {
            true => Err(refused("holds a NUL, which no text has".into())),
            false => Ok(text),
        }
    }
}

/// Reads one byte more than may be, at most.
fn read(source: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(LIMIT as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn without_last_line_end(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_taken_off() {
        for (given, left) in [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a\r", "a\r")] {
            assert_eq!(without_last_line_end(given.to_owned()), left);
        }
    }

    #[test]
    fn every_text_of_every_command_can_come_from_a_file() {
        let mut found = 0;
        for command in crate::clap_tree().get_subcommands() {
            let longs: Vec<&str> = command.get_arguments().filter_map(Arg::get_long).collect();
            if OWN.iter().any(|own| longs.contains(own)) {
                continue;
            }
            for text in command.get_arguments().filter(|one| takes_text(one)) {
                let file = format!("{}-file", text.get_long().unwrap_or("text"));
                assert!(longs.contains(&file.as_str()), "{} has no --{file}", command.get_name());
                found += 1;
            }
        }
        assert!(found > 20, "{found}");
    }
}
