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
    /// The rows that are not blank, from the question to the hint.
    pub(super) rows: Vec<&'t str>,
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
    Some(Menu {
        choices: neighbours.map(|(_, text)| text).collect(),
        rows: rows[selected.saturating_sub(QUESTION)..]
            .iter()
            .copied()
            .filter(|row| !row.trim().is_empty())
            .collect(),
    })
}

/// The number and the text of a numbered choice.
fn choice(row: &str) -> Option<(u32, &str)> {
    let text = row.trim_start().trim_start_matches(MARK).trim_start();
    let (number, text) = text.split_once(". ")?;
    Some((number.parse().ok()?, text))
}

fn names_a_key(row: &str) -> bool {
    row.split(|letter: char| !letter.is_alphanumeric())
        .any(|word| word.eq_ignore_ascii_case("enter") || word.eq_ignore_ascii_case("esc"))
}
