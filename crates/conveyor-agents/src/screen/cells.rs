//! A captured screen as rows of letters with the two attributes that matter.

/// A captured screen, with or without its attributes.
#[derive(Clone, Debug, Default)]
pub struct Screen {
    pub(super) rows: Vec<Vec<Cell>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) letter: char,
    pub(super) bold: bool,
    pub(super) dim: bool,
}

impl Cell {
    pub(super) fn is_blank(self) -> bool {
        self.letter.is_whitespace()
    }

    /// Part of a frame around a composer.
    pub(super) fn is_frame(self) -> bool {
        matches!(self.letter, '\u{2500}'..='\u{257f}')
    }
}

/// The attributes that a capture has switched on; they last beyond the end of a row.
#[derive(Clone, Copy, Default)]
struct Attributes {
    bold: bool,
    dim: bool,
    /// Letters stand for line drawings.
    drawing: bool,
}

impl Screen {
    /// Reads what `capture-pane` prints, with (`-e`) or without escape sequences.
    #[must_use]
    pub fn parse(capture: &str) -> Self {
        let mut attributes = Attributes::default();
        Self { rows: capture.lines().map(|line| parse_row(line, &mut attributes)).collect() }
    }

    /// The screen as plain text.
    #[must_use]
    pub fn text(&self) -> String {
        self.texts().join("\n")
    }

    /// The rows as plain text.
    pub(super) fn texts(&self) -> Vec<String> {
        self.rows.iter().map(|row| row.iter().map(|cell| cell.letter).collect()).collect()
    }
}

fn parse_row(line: &str, attributes: &mut Attributes) -> Vec<Cell> {
    let mut cells = Vec::new();
    let mut rest = line.chars();
    while let Some(letter) = rest.next() {
        match letter {
            '\u{1b}' => skip_escape(&mut rest, attributes),
            '\u{e}' => attributes.drawing = true,
            '\u{f}' => attributes.drawing = false,
            _ => {
                let Attributes { bold, dim, drawing } = *attributes;
                let letter = if drawing && letter.is_ascii_graphic() { '\u{2500}' } else { letter };
                cells.push(Cell { letter, bold, dim });
            }
        }
    }
    cells
}

/// Reads the escape sequence whose first letter has been read.
fn skip_escape(rest: &mut std::str::Chars<'_>, attributes: &mut Attributes) {
    match rest.next() {
        Some('[') => {
            let mut parameters = String::new();
            for letter in rest.by_ref() {
                match letter {
                    'm' => return apply(&parameters, attributes),
                    '\u{40}'..='\u{7e}' => return,
                    _ => parameters.push(letter),
                }
            }
        }
        // A hyperlink or another text for the terminal; it ends with BEL or with ESC \.
        Some(']') => {
            while let Some(letter) = rest.next() {
                if letter == '\u{1b}' {
                    rest.next();
                    return;
                }
                if letter == '\u{7}' {
                    return;
                }
            }
        }
        _ => {}
    }
}

/// Applies the parameters of a sequence that sets attributes.
fn apply(parameters: &str, attributes: &mut Attributes) {
    let mut each = parameters.split(';');
    while let Some(parameter) = each.next() {
        match parameter {
            "" | "0" => (attributes.bold, attributes.dim) = (false, false),
            "1" => attributes.bold = true,
            "2" => attributes.dim = true,
            "22" => (attributes.bold, attributes.dim) = (false, false),
            // A colour: its numbers are no attributes.
            "38" | "48" | "58" => match each.next() {
                Some("5") => drop(each.next()),
                Some("2") => drop(each.by_ref().take(3).count()),
                _ => {}
            },
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(capture: &str) -> String {
        let cell = |cell: &Cell| {
            let mark = match (cell.bold, cell.dim) {
                (true, true) => "*~",
                (true, false) => "*",
                (false, true) => "~",
                (false, false) => "",
            };
            format!("{mark}{}", cell.letter)
        };
        let screen = Screen::parse(capture);
        let rows = screen.rows.iter().map(|row| row.iter().map(cell).collect::<String>());
        rows.collect::<Vec<_>>().join("|")
    }

    #[test]
    fn bold_and_dim_are_kept_and_colours_are_not_mistaken_for_them() {
        assert_eq!(shown("\u{1b}[1ma\u{1b}[0mb\u{1b}[2mc\u{1b}[22md"), "*ab~cd");
        assert_eq!(shown("\u{1b}[38;5;2ma\u{1b}[48;2;1;2;2mb\u{1b}[38:2::1:2:2mc\u{1b}[4:2;39md"), "abcd");
        assert_eq!(shown("\u{1b}[1;2;31ma\u{1b}[mb"), "*~ab");
    }

    #[test]
    fn attributes_last_beyond_the_end_of_a_row() {
        assert_eq!(shown("\u{1b}[2ma\nb\u{1b}[0m\nc"), "~a|~b|c");
    }

    #[test]
    fn other_sequences_leave_no_trace() {
        assert_eq!(shown("\u{1b}]8;;https://a.b\u{1b}\\link\u{1b}]8;;\u{7}!"), "link!");
        assert_eq!(shown("\u{e}qx\u{f}x \u{1b}[2Ky"), "\u{2500}\u{2500}x y");
        assert_eq!(shown("a\u{1b}"), "a");
        assert_eq!(shown("a\u{1b}[1"), "a");
    }
}
