//! Everything that goes to standard output: JSON with sorted keys, or text lines. No control
//! sequence from stored text ever reaches a terminal.

use std::borrow::Cow;
use std::io::Write;

use conveyor_model::json;
use serde::Serialize;

use crate::Host;
use crate::failure::Failure;

/// Standard output of one run.
pub struct Out<'h> {
    writer: &'h mut dyn Write,
    terminal: bool,
    colour: bool,
}

impl<'h> Out<'h> {
    pub(crate) fn new(host: &'h mut Host) -> Self {
        let (terminal, colour) = (host.stdout_is_terminal, host.stdout_takes_colour);
        Self { writer: host.stdout.as_mut(), terminal, colour }
    }

    /// One JSON document: sorted keys, two-space indentation, a final newline.
    ///
    /// # Errors
    /// A reader that went away.
    pub fn json(&mut self, reply: &impl Serialize) -> Result<(), Failure> {
        let mut value = serde_json::to_value(reply).map_err(failed)?;
        json::normalise_numbers(&mut value);
        self.document(&serde_json::to_string_pretty(&value).map_err(failed)?)
    }

    /// As [`Self::json`], of a large reply whose fields are in order already.
    ///
    /// # Errors
    /// A reader that went away.
    pub fn json_record(&mut self, reply: &impl Serialize) -> Result<(), Failure> {
        self.document(&json::pretty_record(reply).map_err(failed)?)
    }

    fn document(&mut self, text: &str) -> Result<(), Failure> {
        write_json(self.writer, text)?;
        writeln!(self.writer)?;
        Ok(self.writer.flush()?)
    }

    /// A JSON object of texts on one line, its keys in the given order: `{"key": "value", …}`.
    ///
    /// # Errors
    /// A reader that went away.
    pub fn compact_line(&mut self, fields: &[(&str, &str)]) -> Result<(), Failure> {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let pairs: Vec<String> =
            fields.iter().map(|(key, value)| format!("{}: {}", quoted(key), quoted(value))).collect();
        self.document(&format!("{{{}}}", pairs.join(", ")))
    }

    /// A line of text; control characters in it are shown, not sent.
    ///
    /// # Errors
    /// A reader that went away.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.writer, "{}", printable(text))?;
        Ok(self.writer.flush()?)
    }

    /// Text that others wrote, as it is: on a pipe byte for byte; on a terminal all control characters
    /// but line ends and TABs are shown, not sent.
    ///
    /// # Errors
    /// A reader that went away.
    pub fn verbatim(&mut self, text: &str) -> Result<(), Failure> {
        let text =
            if self.terminal { shown(text, |letter| matches!(letter, '\n' | '\t')) } else { text.into() };
        write!(self.writer, "{text}")?;
        Ok(self.writer.flush()?)
    }

    /// Text of our own with line ends and, perhaps, colour; printed as it is.
    ///
    /// # Errors
    /// A reader that went away.
    pub fn raw(&mut self, text: &str) -> Result<(), Failure> {
        write!(self.writer, "{text}")?;
        Ok(self.writer.flush()?)
    }

    /// A JSON array whose elements are written as they come: begin, [`Elements::push`], end.
    pub fn json_array(&mut self) -> Elements<'_> {
        Elements { writer: &mut *self.writer, any: false }
    }

    /// Compact JSON, one element a line: begin, [`Lines::push`], end.
    pub fn json_lines(&mut self) -> Lines<'_> {
        Lines { writer: &mut *self.writer }
    }

    /// Rows of fields: separated by TABs for programs, aligned under a heading for people.
    pub fn rows<'a>(&'a mut self, heading: &'a [&'a str]) -> Rows<'a> {
        let heading_style = if self.colour { anstyle::Style::new().bold() } else { anstyle::Style::new() };
        Rows { writer: &mut *self.writer, heading, heading_style, held: self.terminal.then(Vec::new) }
    }
}

fn failed(error: serde_json::Error) -> Failure {
    Failure::Operation(std::io::Error::from(error).into())
}

/// Writes a JSON text. What is a control character to terminals, and none to JSON, is escaped: it can only
/// stand inside of strings.
fn write_json(writer: &mut dyn Write, text: &str) -> std::io::Result<()> {
    let mut rest = text;
    while let Some(at) = rest.find(|letter| matches!(letter, '\u{7f}'..='\u{9f}')) {
        let (before, from) = rest.split_at(at);
        let mut letters = from.chars();
        let letter = letters.next().map_or(0, u32::from);
        write!(writer, "{before}\\u{letter:04x}")?;
        rest = letters.as_str();
    }
    writer.write_all(rest.as_bytes())
}

/// A JSON array in the making.
pub struct Elements<'a> {
    writer: &'a mut dyn Write,
    any: bool,
}

impl Elements<'_> {
    /// Writes the next element.
    ///
    /// # Errors
    /// A reader that went away.
    pub fn push(&mut self, element: &impl Serialize) -> std::io::Result<()> {
        let mut value = serde_json::to_value(element)?;
        json::normalise_numbers(&mut value);
        let text = serde_json::to_string_pretty(&value)?;
        let before = if self.any { ",\n  " } else { "[\n  " };
        self.any = true;
        write!(self.writer, "{before}")?;
        write_json(self.writer, &text.replace('\n', "\n  "))
    }

    /// Writes the end of the array.
    ///
    /// # Errors
    /// A reader that went away.
    pub fn end(self) -> Result<(), Failure> {
        writeln!(self.writer, "{}", if self.any { "\n]" } else { "[]" })?;
        Ok(self.writer.flush()?)
    }
}

/// Lines of JSON in the making.
pub struct Lines<'a> {
    writer: &'a mut dyn Write,
}

impl Lines<'_> {
    /// Writes the next line.
    ///
    /// # Errors
    /// A reader that went away.
    pub fn push(&mut self, element: &impl Serialize) -> std::io::Result<()> {
        let mut value = serde_json::to_value(element)?;
        json::normalise_numbers(&mut value);
        write_json(self.writer, &value.to_string())?;
        writeln!(self.writer)
    }

    /// Writes what is still held back.
    ///
    /// # Errors
    /// A reader that went away.
    pub fn end(self) -> Result<(), Failure> {
        Ok(self.writer.flush()?)
    }
}

/// Text rows in the making.
pub struct Rows<'a> {
    writer: &'a mut dyn Write,
    heading: &'a [&'a str],
    heading_style: anstyle::Style,
    /// Kept only for a person's terminal, where columns are aligned at the end.
    held: Option<Vec<Vec<String>>>,
}

impl Rows<'_> {
    /// Writes (or keeps) the next row.
    ///
    /// # Errors
    /// A reader that went away.
    pub fn push(&mut self, fields: &[&str]) -> std::io::Result<()> {
        let fields = fields.iter().map(|field| printable(field));
        match &mut self.held {
            Some(rows) => rows.push(fields.map(Cow::into_owned).collect()),
            None => writeln!(self.writer, "{}", fields.collect::<Vec<_>>().join("\t"))?,
        }
        Ok(())
    }

    /// Writes what was kept.
    ///
    /// # Errors
    /// A reader that went away.
    pub fn end(self) -> Result<(), Failure> {
        if let Some(rows) = self.held.filter(|rows| !rows.is_empty()) {
            write_table(self.writer, self.heading, self.heading_style, &rows)?;
        }
        Ok(self.writer.flush()?)
    }
}

fn write_table(
    writer: &mut dyn Write,
    heading: &[&str],
    heading_style: anstyle::Style,
    rows: &[Vec<String>],
) -> std::io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0).min(heading.len());
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([heading[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut line = |cells: &[&str], style: anstyle::Style| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}", width = *width))
            .collect();
        writeln!(writer, "{style}{}{style:#}", padded.join("  ").trim_end())
    };
    line(&heading[..columns], heading_style)?;
    for row in rows {
        let cells: Vec<&str> = row.iter().map(String::as_str).collect();
        line(&cells, anstyle::Style::new())?;
    }
    Ok(())
}

/// A text as one harmless line: control characters are shown as escapes.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    shown(text, |_| false)
}

/// A text whose control characters are shown as escapes, but for those that are `kept`.
fn shown(text: &str, kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    let harmful =
        |letter: char| (letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}')) && !kept(letter);
    if !text.contains(harmful) {
        return text.into();
    }
    let shown = |letter: char| match letter {
        other if !harmful(other) => other.to_string(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        other => format!("\\u{{{:x}}}", other as u32),
    };
    text.chars().map(shown).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_control_sequences_are_shown_not_sent() {
        assert_eq!(printable("a\u{1b}[31mred\nb\tc"), "a\\u{1b}[31mred\\nb\\tc");
        assert_eq!(printable("grün"), "grün");
        let kept = |letter| matches!(letter, '\n' | '\t');
        assert_eq!(shown("a\tb\n\r\u{9b}31m\u{7f}", kept), "a\tb\n\\r\\u{9b}31m\\u{7f}");
    }

    #[test]
    fn json_has_no_control_characters_of_terminals() {
        let every: String = (0..=0x100u32).filter_map(char::from_u32).collect();
        let mut written = Vec::new();
        write_json(&mut written, &serde_json::json!({ "k\u{9b}": every }).to_string()).unwrap();
        let text = String::from_utf8(written).unwrap();
        assert!(!text.contains(char::is_control), "{text:?}");
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["k\u{9b}"], every);
        assert!(text.contains("\\u007f\\u0080") && text.contains("\\u009f\u{a0}"), "{text:?}");
    }

    #[test]
    fn arrays_are_written_element_by_element_like_one_document() {
        let mut buffer = Vec::new();
        let mut elements = Elements { writer: &mut buffer, any: false };
        elements.push(&serde_json::json!({"b": 1, "a": [2.0]})).unwrap();
        elements.push(&serde_json::json!("x")).unwrap();
        elements.end().unwrap();
        let whole = serde_json::json!([{"a": [2], "b": 1}, "x"]);
        assert_eq!(
            String::from_utf8(buffer).unwrap(),
            format!("{}\n", serde_json::to_string_pretty(&whole).unwrap())
        );
    }

    #[test]
    fn an_empty_array_stays_on_one_line() {
        let mut buffer = Vec::new();
        Elements { writer: &mut buffer, any: false }.end().unwrap();
        assert_eq!(buffer, b"[]\n");
    }
}
