//! Menus: numbered choices with a selection mark, above a hint which key does what.

/// What selects a row in a menu and stands before what is typed.
pub(super) const MARK: char = '›';

/// How far from the selected row its neighbours may be; long choices are broken into rows.
const REACH: usize = 6;
/// How many rows above a menu belong to its question.
const QUESTION: usize = 20;

/// A menu at the bottom of a screen.
#[derive(Debug)]
pub(super) struct Menu<'t> {
    /// The choices without their numbers.
    pub(super) choices: Vec<&'t str>,
    /// The rows of its question that are not blank, the nearest to the choices first.
    pub(super) question: Vec<&'t str>,
}

/// The menu that waits for an answer, if there is one. A message that somebody sent or typed may
/// look like choices, too; it has no hint below it.
pub(super) fn find<'t>(rows: &[&'t str]) -> Option<Menu<'t>> {
    let selected = rows.iter().rposition(|row| row.trim_start().starts_with(MARK))?;
    let (number, _) = choice(rows[selected])?;
    let first = selected.saturating_sub(REACH);
    let end = rows.len().min(selected + REACH + 1);
    let neighbours = rows[first..end].iter().filter_map(|row| choice(row));
    if !neighbours.clone().any(|(other, _)| other + 1 == number || other == number + 1) {
        return None;
    }
    if !rows[selected + 1..].iter().any(|row| choice(row).is_none() && names_a_key(row)) {
        return None;
    }
    Some(Menu { choices: neighbours.map(|(_, text)| text).collect(), question: question(&rows[..selected]) })
}

/// The rows above the choices, up to what was said before: the conversation marks what belongs to it
/// with a sign in the first column, a dialog is indented.
fn question<'t>(above: &[&'t str]) -> Vec<&'t str> {
    let is_said = |row: &str| row.starts_with(|letter: char| !letter.is_alphanumeric() && letter != ' ');
    let near = above.iter().rev().take(QUESTION).copied();
    near.take_while(|row| !is_said(row)).filter(|row| !row.trim().is_empty()).collect()
}

/// The number and the text of a numbered choice.
fn choice(row: &str) -> Option<(u32, &str)> {
    let text = row.trim_start().trim_start_matches(MARK).trim_start();
    let (number, text) = text.split_once(". ")?;
    Some((number.parse().ok()?, text))
}

/// Whether a row tells which key does what: "enter continue · esc skip".
pub(super) fn is_hint(row: &str) -> bool {
    row.split(['·', '|']).any(begins_with_key)
}

/// The same of a row that may end with free text: only what stands first counts.
pub(super) fn begins_with_hint(row: &str) -> bool {
    row.split(['·', '|']).take(2).any(begins_with_key)
}

/// Whether the first word is a key; a path is none.
fn begins_with_key(text: &str) -> bool {
    if text.trim_start().starts_with(['/', '~']) {
        return false;
    }
    let words = text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    let mut words = words.filter(|word| !word.eq_ignore_ascii_case("press"));
    words.next().is_some_and(is_key)
}

fn is_key(word: &str) -> bool {
    ["enter", "esc"].iter().any(|key| word.eq_ignore_ascii_case(key))
}

fn names_a_key(row: &str) -> bool {
    row.split(|letter: char| !letter.is_alphanumeric()).any(is_key)
}
