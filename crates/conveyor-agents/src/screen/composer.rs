//! The composer: where the next message to Codex is typed.

use super::cells::{Cell, Screen};
use super::menu::{self, MARK};

/// Where the cursor is, by the same look as the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Column, from 0.
    pub x: usize,
    /// Row, from 0.
    pub y: usize,
    /// Whether it is shown.
    pub visible: bool,
}

/// What stands where messages are typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Composer {
    /// The composer, certainly with nothing in it but a placeholder.
    Empty,
    /// The composer with a text that somebody has typed or pasted.
    Draft {
        /// The text, one line per row, as far as it is on the screen.
        text: String,
    },
    /// A menu or another dialog, in which a key would be an answer.
    Dialog,
    /// Nothing that is recognised with certainty.
    Unknown,
}

/// What Codex shows above its composer while the session is not there yet. The composer that is
/// drawn below takes nothing certainly: the question about trust may still follow.
const LOADING: [&str; 2] = ["Resuming session…", "Forking session…"];

/// Rows that may stand below the composer: the thread's name is part of them and may be broken into
/// rows.
const FOOTER_ROWS: usize = 8;

/// What stands where messages to Codex are typed. The screen must be the visible one, captured
/// with its attributes: a placeholder is told from a draft by being dim.
#[must_use]
pub fn composer(screen: &Screen, cursor: Cursor) -> Composer {
    let texts = screen.texts();
    let rows: Vec<&str> = texts.iter().map(String::as_str).collect();
    if !cursor.visible || (menu::find(&rows).is_some() && standing(&texts).is_none()) {
        return Composer::Dialog;
    }
    let Some(row) = row_in(&texts).filter(|_| !is_loading(&texts)) else { return Composer::Unknown };
    let Some(prompt) = prompt_in(&screen.rows[row]) else { return Composer::Unknown };
    if !screen.rows[row][prompt].bold {
        return Composer::Unknown;
    }
    let text = ordinary_text(screen, row, prompt);
    if !text.is_empty() {
        return Composer::Draft { text };
    }
    if (cursor.x, cursor.y) == (prompt + 2, row) { Composer::Empty } else { Composer::Unknown }
}

/// The composer's row: the last one with a prompt, with nothing below it but further rows of the
/// composer, a blank row and the footer.
pub(super) fn row_in(texts: &[String]) -> Option<usize> {
    let row = last_prompt(texts)?;
    let gap = row + texts[row..].iter().position(|text| is_blank(text))?;
    let footer: Vec<&String> = texts[gap..].iter().skip_while(|text| is_blank(text)).collect();
    let last = footer.iter().rposition(|text| !is_blank(text))?;
    let footer = &footer[..=last];
    let whole = footer.len() <= FOOTER_ROWS && !footer.iter().any(|text| is_blank(text));
    (whole && footer.iter().any(|text| is_footer(text))).then_some(row)
}

/// Whether a composer stands at the end of the screen, whatever is in it: its row. A dialog takes its
/// place, so that above it there are only words, and below it the footer with the thread's name,
/// which is anybody's text, too.
pub(super) fn standing(texts: &[String]) -> Option<usize> {
    let row = last_prompt(texts)?;
    let end = texts.iter().rposition(|text| !is_blank(text))?;
    let first = end - texts[row..=end].iter().rev().position(|text| is_blank(text))? + 1;
    let footer = &texts[first..=end];
    // A draft may have blank rows; each of its further rows is indented.
    let inside = texts[row + 1..first].iter().all(|text| text.starts_with(is_edge) || text.is_empty());
    (footer.len() <= FOOTER_ROWS && inside && is_footer(&footer[0])).then_some(row)
}

/// Whether the session that the screen is about is still being loaded.
pub(super) fn is_loading(texts: &[String]) -> bool {
    let prompt = last_prompt(texts).unwrap_or(0);
    let above = texts[..prompt].iter().rev().find(|text| !is_blank(text));
    above.is_some_and(|text| LOADING.contains(&text.trim()))
}

fn last_prompt(texts: &[String]) -> Option<usize> {
    texts.iter().rposition(|text| text.trim_start_matches(is_edge).starts_with(MARK))
}

fn is_blank(text: &str) -> bool {
    text.chars().all(is_edge)
}

fn is_edge(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '\u{2500}'..='\u{257f}')
}

/// The footer names the model and the directory, then the thread, or the keys that there are. The
/// last row of a dialog begins with what a key does.
fn is_footer(text: &str) -> bool {
    let is_status = text.contains(" · ") || text.contains("for shortcuts") || text.contains("context left");
    is_status && !menu::begins_with_hint(text)
}

/// The column of the prompt, which a blank follows.
fn prompt_in(cells: &[Cell]) -> Option<usize> {
    let column = cells.iter().position(|cell| !cell.is_blank() && !cell.is_frame())?;
    let is_prompt = cells[column].letter == MARK && cells.get(column + 1).is_none_or(|cell| cell.is_blank());
    is_prompt.then_some(column)
}

/// What is typed in the composer: everything that is neither blank, dim nor part of a frame.
fn ordinary_text(screen: &Screen, row: usize, prompt: usize) -> String {
    let mut lines = Vec::new();
    for (index, cells) in screen.rows[row..].iter().enumerate() {
        if index > 0 && cells.iter().all(|cell| cell.is_blank() || cell.is_frame()) {
            break;
        }
        let skipped = if index == 0 { prompt + 1 } else { 0 };
        let ordinary = cells.iter().skip(skipped).filter(|cell| !cell.dim && !cell.is_frame());
        lines.push(ordinary.map(|cell| cell.letter).collect::<String>().trim().to_owned());
    }
    lines.join("\n").trim().to_owned()
}
