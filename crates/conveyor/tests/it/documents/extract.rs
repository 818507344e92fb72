//! Finding command lines in texts, taking them apart as a shell does, and putting values in the
//! place of what a reader is to fill in.

use std::sync::OnceLock;

use serde_json::Value;

/// A command line that was found, without the program's name.
#[derive(Debug)]
pub struct Line {
    pub words: Vec<String>,
    /// In backquotes inside a sentence, where it may be short of arguments.
    pub mention: bool,
}

/// What a command line begins with; the quoted form is that of commands printed word by word.
const BEGINNINGS: [&str; 2] = ["conveyor ", "'conveyor' "];

/// The command lines of a text: on a line of their own, behind a colon, or in backquotes, where the
/// program's name may be missing.
pub fn of_text(text: &str) -> Vec<Line> {
    let joined = text.replace("\\\n", " ");
    let lines = joined.lines().filter(|line| !line.trim_start().starts_with("usage: "));
    lines.flat_map(|line| of_line(line).into_iter().chain(without_program(line))).collect()
}

/// What stands in backquotes and begins with the name of a command.
fn without_program(line: &str) -> impl Iterator<Item = Line> {
    let known = |name: &String| conveyor::COMMANDS.iter().any(|spec| spec.names().any(|known| known == name));
    let spans = line.split('`').skip(1).step_by(2).map(words);
    spans
        .filter(move |words| words.first().is_some_and(known) && words.len() > 1)
        .map(|words| Line { words, mention: true })
}

fn of_line(line: &str) -> Vec<Line> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some((at, beginning)) = next(rest) {
        let before = rest[..at].chars().next_back();
        let after = &rest[at + beginning.len()..];
        let mention = before == Some('`');
        let end = if mention { after.find('`').unwrap_or(after.len()) } else { after.len() };
        let starts_word = before.is_none_or(|letter| letter.is_whitespace() || "`(\"".contains(letter));
        if starts_word {
            found.push(Line { words: words(&after[..end]), mention });
            rest = &after[end..];
        } else {
            rest = after;
        }
    }
    found
}

fn next(text: &str) -> Option<(usize, &'static str)> {
    BEGINNINGS.iter().filter_map(|beginning| text.find(beginning).map(|at| (at, *beginning))).min()
}

/// The command lines of a JSON document: in its texts, and as arrays of words.
pub fn of_json(value: &Value) -> Vec<Line> {
    match value {
        Value::String(text) => of_text(text),
        Value::Array(items) if items.first().is_some_and(|first| first == "conveyor") => {
            let words = items[1..].iter().map(|word| word.as_str().unwrap().to_owned()).collect();
            vec![Line { words, mention: false }]
        }
        Value::Array(items) => items.iter().flat_map(of_json).collect(),
        Value::Object(map) => map.values().flat_map(of_json).collect(),
        _ => Vec::new(),
    }
}

/// The command lines in backquotes of a Rust source, where values are still to be formatted in.
pub fn of_source(source: &str) -> Vec<Line> {
    let mut joined = String::new();
    for part in source.split("\\\n") {
        joined.push_str(if joined.is_empty() { part } else { part.trim_start() });
    }
    let mut found = Vec::new();
    for span in joined.split("`conveyor ").skip(1) {
        let span = span.split(['`', '\n']).next().unwrap_or_default();
        let words = words(span);
        // A name that is put together when the program runs is known only then.
        if words.first().is_some_and(|name| !name.contains('{')) {
            found.push(Line { words, mention: true });
        }
    }
    found
}

/// Takes a command line apart as a shell does, up to a comment, a redirection or the next command.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = line.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                word.extend(letters.by_ref().map(|(_, inner)| inner).take_while(|inner| *inner != letter));
            }
            '\\' => word.get_or_insert_default().extend(letters.next().map(|(_, escaped)| escaped)),
            '<' if placeholder_at(&line[at..]).is_some() => {
                let placeholder = placeholder_at(&line[at..]).unwrap();
                word.get_or_insert_default().push_str(placeholder);
                letters.by_ref().nth(placeholder.chars().count() - 2);
            }
            '#' if word.is_none() => break,
            '|' | ';' | '&' | '<' | '>' | ')' => break,
            letter if letter.is_whitespace() => words.extend(word.take()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    // Square brackets around what may be left out.
    words.iter().map(|word| optional(word).to_owned()).filter(|word| !word.is_empty()).collect()
}

/// `<name>` at the beginning of a text.
fn placeholder_at(text: &str) -> Option<&str> {
    let end = text.find('>')?;
    let inner = &text[1..end];
    let allowed = |letter: char| letter.is_alphanumeric() || " -_.|".contains(letter);
    (inner.starts_with(char::is_alphabetic) && inner.chars().all(allowed)).then(|| &text[..=end])
}

fn optional(word: &str) -> &str {
    if word == "[LEDGER]" || word == "[DIR]" {
        return word;
    }
    word.strip_prefix('[').unwrap_or(word).strip_suffix(']').unwrap_or(word)
}

/// Whether the reader is to put something in the place of a word.
pub fn is_placeholder(word: &str) -> bool {
    let between = |open, close| word.starts_with(open) && word.ends_with(close);
    between('<', '>') || between('{', '}') || word == "…" || word == "..."
}

/// The command, as the parser knows it.
fn command(name: &str) -> Option<&'static clap::Command> {
    static PROGRAM: OnceLock<clap::Command> = OnceLock::new();
    PROGRAM.get_or_init(conveyor::clap_tree).find_subcommand(name)
}

/// The option of a command, as the parser knows it.
fn option<'t>(tree: &'t clap::Command, word: &str) -> Option<&'t clap::Arg> {
    let long = word.strip_prefix("--")?;
    tree.get_arguments().find(|argument| {
        argument.get_long() == Some(long)
            || argument.get_all_aliases().is_some_and(|aliases| aliases.contains(&long))
    })
}

/// Whether a command has an option.
pub fn has_option(name: &str, word: &str) -> bool {
    command(name).is_some_and(|tree| option(tree, word).is_some())
}

/// The words with values in the place of placeholders: one that the option allows, else a number,
/// which is also a text.
pub fn fill(words: &[String]) -> Vec<String> {
    let tree = words.first().and_then(|name| command(name));
    let mut filled: Vec<String> = Vec::new();
    for (index, word) in words.iter().enumerate() {
        if !is_placeholder(word) {
            filled.push(word.clone());
            continue;
        }
        let option = index.checked_sub(1).and_then(|before| option(tree?, &words[before]));
        let takes_value = option.is_some_and(|option| option.get_action().takes_values());
        let allowed = option.map(clap::Arg::get_possible_values).unwrap_or_default();
        match allowed.first() {
            Some(value) => filled.push(value.get_name().to_owned()),
            // At the end it stands for whatever may follow.
            None if word == "…" && !takes_value && index + 1 == words.len() => {}
            None => filled.push("1".to_owned()),
        }
    }
    filled
}
