//! What stands in the composer, letter by letter, to be compared with what was pasted.

use super::Cursor;
use super::cells::{Cell, Screen};
use super::menu::{self, MARK};

/// What Codex shows in the place of a long paste, around the number of its characters.
const PLACEHOLDER: [&str; 2] = ["[Pasted Content ", " chars]"];

/// What it shows in the place of an attached image, before its number.
const ATTACHMENT: &str = "[Image #";

/// Shown at the end of the composer's first row when there are further rows above it; without the
/// alternate screen nothing is shown, but then the composer takes the whole screen before that.
const MORE_ABOVE: char = '↑';

/// Rows that such a composer leaves free, above it and below the cursor.
const FREE_ROWS: usize = 2;

/// How the composer relates to a text that was pasted into it when it was empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The text stands there, or its end where it is longer than the composer, or the placeholder with
    /// exactly its number of characters; and nothing beside it.
    Whole,
    /// The same, but a list of completions is open, from which Enter would choose.
    Completing,
    /// Nothing but a part of it, or what the composer has made of it: an attachment, another
    /// placeholder.
    Changed,
    /// Something else.
    Other,
}

/// What stands in a composer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Contents {
    /// From its prompt to the cursor, without what is dim: placeholders, and what a program forgot to
    /// wipe out where it counts columns otherwise than the terminal.
    text: String,
    /// There is more of it above.
    goes_on_above: bool,
    /// A list of completions is open.
    completing: bool,
    /// Something stands behind the cursor.
    goes_on_below: bool,
}

/// How the composer relates to a text. The screen must be the visible one, captured with its
/// attributes.
#[must_use]
pub fn standing(screen: &Screen, cursor: Cursor, text: &str) -> Standing {
    let Some(contents) = contents(screen, cursor) else { return Standing::Other };
    if contents.goes_on_below {
        return Standing::Other;
    }
    let whole = |is_whole: bool| match (is_whole, contents.completing) {
        (true, false) => Standing::Whole,
        (true, true) => Standing::Completing,
        (false, _) => Standing::Changed,
    };
    let (shown, meant) = (letters(&contents.text), letters(text));
    if shown == meant {
        return whole(!contents.text.trim().is_empty());
    }
    if !shown.is_empty() && meant.ends_with(&shown) {
        return whole(contents.goes_on_above);
    }
    let shown = contents.text.trim();
    if let Some(count) = placeholder(shown) {
        return whole(count == text.chars().count());
    }
    let is_attachment = shown.strip_prefix(ATTACHMENT).and_then(|rest| rest.strip_suffix(']'));
    let is_part = !letters(shown).is_empty() && meant.contains(&letters(shown));
    if is_part || is_attachment.is_some_and(|number| number.parse::<u32>().is_ok()) {
        return Standing::Changed;
    }
    Standing::Other
}

/// The number in a placeholder that stands alone.
fn placeholder(shown: &str) -> Option<usize> {
    shown.strip_prefix(PLACEHOLDER[0])?.strip_suffix(PLACEHOLDER[1])?.parse().ok()
}

/// What is compared of a text. White space is the program's affair, which breaks lines and shows TABs as
/// it likes; and not every terminal shows every sign that is neither letter nor digit.
fn letters(text: &str) -> String {
    text.chars().filter(|letter| is_compared(*letter)).collect()
}

fn is_compared(letter: char) -> bool {
    // Letters to Unicode, which nobody sees.
    let filler = matches!(letter, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}');
    (letter.is_alphanumeric() && !filler) || letter.is_ascii_punctuation()
}

/// What stands in the composer in which the cursor is. Its prompt is bold and not dim; one that somebody
/// quotes, or has sent, is otherwise.
fn contents(screen: &Screen, cursor: Cursor) -> Option<Contents> {
    if !cursor.visible || cursor.y >= screen.rows.len() {
        return None;
    }
    let prompt = |cells: &[Cell]| {
        let column = cells.iter().position(|cell| !cell.is_blank() && !cell.is_frame())?;
        let cell = cells[column];
        let is_prompt = cell.letter == MARK
            && cell.bold
            && !cell.dim
            && cells.get(column + 1).is_none_or(|next| next.is_blank());
        is_prompt.then_some(column)
    };
    let (row, column) =
        (0..=cursor.y).rev().find_map(|row| prompt(&screen.rows[row]).map(|column| (row, column)))?;
    let rows = &screen.rows[row..=cursor.y];
    let shown =
        |cells: &[Cell]| cells.iter().filter(|cell| !cell.dim).map(|cell| cell.letter).collect::<String>();
    let mut lines = vec![shown(&rows[0][(column + 1).min(rows[0].len())..])];
    lines.extend(rows[1..].iter().map(|cells| shown(cells)));
    let last = rows[0].iter().rev().find(|cell| !cell.is_blank());
    let is_blank = |cells: &Vec<Cell>| cells.iter().all(|cell| cell.is_blank() || cell.is_frame());
    Some(Contents {
        text: lines.join("\n"),
        goes_on_above: last.is_some_and(|cell| cell.letter == MORE_ABOVE && cell.dim)
            || fills(screen, row, cursor),
        completing: completes(&screen.texts()[..row]),
        goes_on_below: screen.rows.get(cursor.y + 1).is_some_and(|below| !is_blank(below)),
    })
}

/// Whether the composer has all the rows that there are.
fn fills(screen: &Screen, prompt: usize, cursor: Cursor) -> bool {
    prompt <= FREE_ROWS && cursor.y + FREE_ROWS >= screen.rows.len()
}

/// Whether a list of completions is open above the composer: its last row says which keys choose from
/// it, indented, with one row between.
fn completes(above: &[String]) -> bool {
    let [.., hint, gap] = above else { return false };
    gap.trim().is_empty() && hint.starts_with("  ") && menu::begins_with_hint(hint)
}

#[cfg(test)]
#[path = "contents_tests.rs"]
mod tests;
