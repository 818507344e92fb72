//! The command line's grammar: options and positionals in any order, `--name value` and
//! `--name=value`, values that may begin with one dash but not with two.
//!
//! clap gets arguments brought into one unambiguous form and checks what is left: required
//! arguments, values, conflicts. Every refusal is one line.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::failure::Failure;
use crate::texts::{self, Owner};

/// What a command line asks for.
pub(crate) enum Request {
    /// Help on the command.
    Help,
    /// To run it with these arguments.
    Run(clap::ArgMatches),
}

/// What a command hands on to another program: options that are not its own, positionals after its
/// own ones, and everything after `--`, all in the order they were given.
#[derive(Clone, Copy, Debug)]
pub struct Foreign {
    /// Options of the other program that take the next argument along, as they are written. One that
    /// begins with two dashes is never taken.
    pub with_value: &'static [&'static str],
}

/// Reads the text that an option names the file of.
pub(crate) type ReadText<'r> = dyn FnMut(&str, &str) -> Result<String, Failure> + 'r;

/// Reads the arguments after the command's name, and with `read` the texts that are in files.
pub(crate) fn parse(
    tree: clap::Command,
    foreign: Option<&Foreign>,
    arguments: &[OsString],
    read: &mut ReadText<'_>,
) -> Result<Request, Failure> {
    let mut tree = tree;
    tree.build();
    let name = tree.get_name().to_owned();
    let Some(mut normal) = normalise(&tree, &name, foreign, arguments)? else { return Ok(Request::Help) };
    normal.read_files(read)?;
    match tree.clone().no_binary_name(true).try_get_matches_from(normal.words()) {
        Ok(matches) => Ok(Request::Run(matches)),
        Err(error) => Err(Failure::Usage(explain(&name, &tree, &error))),
    }
}

/// A command line in one unambiguous form.
struct Normal {
    /// Each with its value attached.
    options: Vec<String>,
    positionals: Vec<String>,
    handed_on: Vec<String>,
    own_positionals: usize,
    /// Texts in files: whose they are, the option as given, the file.
    files: Vec<(Owner, String, String)>,
}

impl Normal {
    /// Puts the texts where they would stand had they been given as such.
    fn read_files(&mut self, read: &mut ReadText<'_>) -> Result<(), Failure> {
        let both = |text: &str, option: &str| {
            Err(Failure::usage(format!("{text} and {option} cannot be used together: give the text once")))
        };
        let mut texts = Vec::new();
        for (owner, option, file) in std::mem::take(&mut self.files) {
            match &owner {
                Owner::Option(long) => {
                    let given = format!("--{long}=");
                    if self.options.iter().any(|known| known.starts_with(&given)) {
                        return both(&format!("--{long}"), &option);
                    }
                }
                Owner::Positional if self.positionals.len() == self.own_positionals => {
                    return both("the text", &option);
                }
                Owner::Positional => {}
            }
            texts.push((owner, read(&option, &file)?));
        }
        for (owner, text) in texts {
            match owner {
                Owner::Option(long) => self.options.push(format!("--{long}={text}")),
                // Where another positional is missing, it must not be taken for that one.
                Owner::Positional if self.positionals.len() + 1 == self.own_positionals => {
                    self.positionals.push(text);
                }
                Owner::Positional => {}
            }
        }
        Ok(())
    }

    /// Options first, then `--`, then positionals.
    fn words(self) -> Vec<String> {
        let mut words = self.options;
        words.push("--".into());
        // What is handed on must not be taken for a positional that is missing.
        let complete = self.positionals.len() == self.own_positionals;
        words.extend(self.positionals);
        words.extend(self.handed_on.into_iter().filter(|_| complete));
        words
    }
}

/// Sorts a command line. `None`: help.
fn normalise(
    tree: &clap::Command,
    name: &str,
    foreign: Option<&Foreign>,
    arguments: &[OsString],
) -> Result<Option<Normal>, Failure> {
    let (mut options, mut positionals, mut handed_on) = (Vec::new(), Vec::new(), Vec::new());
    let mut files = Vec::new();
    let own_positionals = match foreign {
        // The last one stands for what is handed on.
        Some(_) => tree.get_positionals().count() - 1,
        None => tree.get_positionals().count(),
    };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let argument = text(argument)?;
        if argument == "-h" || argument == "--help" {
            return Ok(None);
        }
        if let Some(foreign) = foreign {
            if argument == "--" {
                handed_on
                    .extend(rest.map(text).collect::<Result<Vec<_>, _>>()?.iter().map(ToString::to_string));
                break;
            }
            if argument.starts_with('-') && !is_own(tree, argument) {
                handed_on.push(argument.to_owned());
                handed_on.extend(foreign.value_of(argument, &mut rest)?);
                continue;
            }
            if !argument.starts_with('-') && positionals.len() == own_positionals {
                handed_on.push(argument.to_owned());
                continue;
            }
        }
        let Some(body) = argument.strip_prefix("--").filter(|body| !body.is_empty()) else {
            positionals.push(argument.to_owned());
            continue;
        };
        let (long, inline) = body.split_once('=').map_or((body, None), |(long, value)| (long, Some(value)));
        let Some(option) = find_option(tree, long) else { return Err(unknown_option(tree, name, long)) };
        let canonical = option.get_long().unwrap_or(long);
        if option.get_num_args().is_some_and(|count| count.max_values() > 1) {
            let words = std::iter::once(inline.map(Ok)).flatten().chain(rest.by_ref().map(text));
            options.extend(command_words(canonical, words)?);
            continue;
        }
        if !option.get_action().takes_values() {
            if inline.is_some() {
                return Err(Failure::usage(format!("--{long} takes no value")));
            }
            options.push(format!("--{canonical}"));
            continue;
        }
        let value = match inline {
            Some(value) => Some(value),
            None => rest.next().map(text).transpose()?.filter(|value| !value.starts_with("--")),
        };
        let value = value
            .filter(|value| !value.is_empty())
            .ok_or_else(|| Failure::usage(format!("--{long} requires a value")))?;
        match texts::owner(tree, option) {
            Some(owner) => files.push((owner, format!("--{long}"), value.to_owned())),
            None => options.push(format!("--{canonical}={value}")),
        }
    }
    if let Some(surplus) = positionals.get(own_positionals) {
        let help = format!("see `conveyor {name} --help`");
        return Err(Failure::usage(format!("unexpected argument {surplus:?} for `{name}`: {help}")));
    }
    Ok(Some(Normal { options, positionals, handed_on, own_positionals, files }))
}

impl Foreign {
    /// The argument that an option of the other program takes along, if it does.
    fn value_of<'a>(
        &self,
        option: &str,
        rest: &mut std::slice::Iter<'a, OsString>,
    ) -> Result<Option<String>, Failure> {
        let next = rest.as_slice().first().filter(|_| self.with_value.contains(&option));
        let Some(next) = next.map(text).transpose()?.filter(|next| !next.starts_with("--")) else {
            return Ok(None);
        };
        rest.next();
        Ok(Some(next.to_owned()))
    }
}

/// Whether an argument is an option of the command itself.
fn is_own(tree: &clap::Command, argument: &str) -> bool {
    let long = argument.strip_prefix("--").filter(|body| !body.is_empty());
    long.is_some_and(|body| find_option(tree, body.split_once('=').map_or(body, |(long, _)| long)).is_some())
}

/// A command that ends the line: every word of it is a value of its own, whatever it looks like. A
/// leading `--` is left out.
fn command_words<'a>(
    option: &str,
    words: impl Iterator<Item = Result<&'a str, Failure>>,
) -> Result<Vec<String>, Failure> {
    let mut words = words.collect::<Result<Vec<&str>, Failure>>()?;
    if words.first() == Some(&"--") {
        words.remove(0);
    }
    if words.first().is_none_or(|program| program.is_empty()) {
        return Err(Failure::usage(format!("--{option} requires a command")));
    }
    Ok(words.into_iter().map(|word| format!("--{option}={word}")).collect())
}

fn text(argument: &OsString) -> Result<&str, Failure> {
    argument.to_str().ok_or_else(|| {
        Failure::usage(format!("argument {:?} is not valid UTF-8", argument.to_string_lossy()))
    })
}

fn find_option<'t>(tree: &'t clap::Command, long: &str) -> Option<&'t clap::Arg> {
    tree.get_arguments().find(|option| {
        option.get_long() == Some(long)
            || option.get_all_aliases().is_some_and(|aliases| aliases.contains(&long))
    })
}

fn unknown_option(tree: &clap::Command, name: &str, long: &str) -> Failure {
    let known = tree.get_arguments().filter_map(clap::Arg::get_long);
    let advice = closest(long, known)
        .map_or_else(|| format!("see `conveyor {name} --help`"), |near| format!("did you mean --{near}?"));
    Failure::usage(format!("unknown option --{long} for `{name}`: {advice}"))
}

/// The candidate that a mistyped word most likely means: one that differs in few letters, else the
/// only one of which it is a part.
pub(crate) fn closest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    // The share of letters in common below which a suggestion confuses more than it helps.
    const LIKELY: f64 = 0.6;
    let candidates: Vec<&str> = candidates.collect();
    let similar = candidates
        .iter()
        .map(|candidate| (strsim::normalized_damerau_levenshtein(word, candidate), *candidate))
        .filter(|(similarity, _)| *similarity >= LIKELY)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let part = format!("-{word}-");
    let mut whole = candidates.iter().filter(|candidate| format!("-{candidate}-").contains(&part));
    match (similar, whole.next(), whole.next()) {
        (Some((_, candidate)), ..) => Some(candidate),
        (None, Some(only), None) => Some(only),
        _ => None,
    }
}

/// One line for what clap found wrong.
fn explain(name: &str, tree: &clap::Command, error: &clap::Error) -> String {
    let one = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let many = |kind| match error.get(kind) {
        Some(ContextValue::Strings(texts)) => texts.clone(),
        Some(ContextValue::String(text)) => vec![text.clone()],
        _ => Vec::new(),
    };
    let option = option_name(&one(ContextKind::InvalidArg));
    match error.kind() {
        ErrorKind::MissingRequiredArgument => {
            let missing: Vec<String> = many(ContextKind::InvalidArg)
                .iter()
                .map(|argument| describe_missing(tree, argument))
                .collect();
            format!("`{name}` needs {}: see `conveyor {name} --help`", missing.join(", "))
        }
        ErrorKind::ValueValidation => {
            let rule =
                std::error::Error::source(error).map_or_else(|| "is not valid".into(), ToString::to_string);
            format!("{option} {rule}, not {:?}", one(ContextKind::InvalidValue))
        }
        ErrorKind::InvalidValue => {
            let valid = many(ContextKind::ValidValue).join(", ");
            format!("{option} must be one of {valid}, not {:?}", one(ContextKind::InvalidValue))
        }
        ErrorKind::ArgumentConflict => {
            let others: Vec<String> =
                many(ContextKind::PriorArg).iter().map(|other| option_name(other)).collect();
            if others.iter().all(|other| *other == option) {
                return format!("{option} can be given only once");
            }
            format!("{option} cannot be used together with {}", others.join(", "))
        }
        _ => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or("").trim_start_matches("error: ").to_owned();
            format!("{first}: see `conveyor {name} --help`")
        }
    }
}

/// An argument as a user calls it: `--limit` for clap's `--limit <N>`, `the shell` for `<SHELL>`.
fn option_name(shown: &str) -> String {
    if let Some(positional) = shown.strip_prefix('<') {
        return format!("the {}", positional.trim_matches(['>', '.']).to_lowercase());
    }
    shown.split([' ', '=']).next().unwrap_or(shown).to_owned()
}

/// What is missing, as a user calls it: an option by its name with its values, a positional in words.
fn describe_missing(tree: &clap::Command, shown: &str) -> String {
    if !shown.starts_with('<') {
        let long = option_name(shown);
        let option = tree.get_arguments().find(|option| option.get_long() == long.strip_prefix("--"));
        let values: Vec<String> = option
            .map(|option| {
                option.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect()
            })
            .unwrap_or_default();
        return if values.is_empty() { long } else { format!("{long} ({})", values.join(" or ")) };
    }
    let word = shown.trim_matches(['<', '>', '.']).to_lowercase();
    format!("a {word}")
}
