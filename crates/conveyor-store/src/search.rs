//! Full-text search with the same answers on both engines.
//!
//! SQLite's FTS5 splits text with its tokenizer `unicode61`: letters and digits are kept, lower
//! case, without diacritics; everything else separates. PostgreSQL gets its text already split
//! that way, and every term of a query becomes a phrase over the same split.

use unicode_normalization::UnicodeNormalization;

use crate::dialect::Engine;

/// Stands between the two searched columns in PostgreSQL's one text, so that no phrase crosses.
const COLUMN_BREAK: &str = "conveyorcolumnbreak";

/// PostgreSQL refuses a search vector over 1 MiB; what lies beyond this many bytes of one event's
/// text is not searchable there.
const LONGEST_DOCUMENT: usize = 256 * 1024;

/// The text that PostgreSQL indexes for an event.
pub(crate) fn document(summary: &str, attributes: &str) -> String {
    let mut text = String::new();
    let columns = tokens(summary).into_iter().chain([COLUMN_BREAK.to_owned()]).chain(tokens(attributes));
    for token in columns {
        if text.len() + token.len() >= LONGEST_DOCUMENT {
            break;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&token);
    }
    text
}

/// The engine's query for a search text: every white-space separated term must occur as a phrase.
/// Operators of either engine have no meaning. `None` when nothing searchable is in the text.
pub(crate) fn query(text: &str, engine: Engine) -> Option<String> {
    let terms: Vec<(&str, Vec<String>)> = text
        .split_whitespace()
        .map(|term| (term, tokens(term)))
        .filter(|(_, tokens)| !tokens.is_empty())
        .collect();
    if terms.is_empty() {
        return None;
    }
    let rendered: Vec<String> = terms
        .iter()
        .map(|(term, tokens)| match engine {
            Engine::Sqlite => format!("\"{}\"", term.replace('"', "\"\"")),
            Engine::Postgres => {
                let lexemes: Vec<String> = tokens.iter().map(|token| format!("'{token}'")).collect();
                format!("({})", lexemes.join(" <-> "))
            }
        })
        .collect();
    Some(rendered.join(if engine == Engine::Sqlite { " " } else { " & " }))
}

/// Whether a text can be the name of an event type.
pub(crate) fn is_one_word(text: &str) -> bool {
    !conveyor_model::text::is_blank(text) && !text.contains(char::is_whitespace)
}

/// Splits like `unicode61`.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut token = String::new();
    for letter in text.nfd() {
        if unicode_normalization::char::is_combining_mark(letter) {
            continue;
        }
        if letter.is_alphanumeric() {
            token.extend(letter.to_lowercase());
        } else if !token.is_empty() {
            tokens.push(std::mem::take(&mut token));
        }
    }
    if !token.is_empty() {
        tokens.push(token);
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_split_like_unicode61() {
        assert_eq!(tokens("Crème-brûlée, 3d_model!"), ["creme", "brulee", "3d", "model"]);
        assert!(tokens("-- \"").is_empty());
    }

    #[test]
    fn operators_of_the_engines_have_no_meaning() {
        assert_eq!(query("a OR b*", Engine::Sqlite).as_deref(), Some("\"a\" \"OR\" \"b*\""));
        assert_eq!(
            query("dispatch-42 x", Engine::Postgres).as_deref(),
            Some("('dispatch' <-> '42') & ('x')")
        );
        assert_eq!(query(" -- ", Engine::Sqlite), None);
    }
}
