//! What texts say: the one meaning of "blank" and of "trimmed".

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

/// White space of Unicode and of JavaScript, which agent-conveyor 0.1.10 is written in.
fn is_space(letter: char) -> bool {
    letter.is_whitespace() || letter == '\u{feff}'
}

/// What nobody sees and is no white space: control and format characters.
fn is_invisible(letter: char) -> bool {
    matches!(letter.general_category(), GeneralCategory::Control | GeneralCategory::Format)
}

/// Whether a text says nothing: it is empty, or all white space and invisible characters.
#[must_use]
pub fn is_blank(text: &str) -> bool {
    text.chars().all(|letter| is_space(letter) || is_invisible(letter))
}

/// A text without the white space around it.
#[must_use]
pub fn trimmed(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// What can be seen of a word, in lower case: without the white space around it, and without
/// invisible characters wherever they are.
#[must_use]
pub fn seen_word(text: &str) -> String {
    let seen: String = text.chars().filter(|letter| is_space(*letter) || !is_invisible(*letter)).collect();
    trimmed(&seen).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_and_invisible_characters_say_nothing() {
        // Among them: next line, no-break space, byte order mark, zero width space and joiner, soft
        // hyphen, escape, word joiner, right-to-left mark, a tag, the old format of Mongolian.
        for text in [
            "",
            " ",
            "\t\r\n",
            "\u{85}",
            "\u{a0}",
            "\u{feff}",
            "\u{200b}",
            "\u{200d}",
            "\u{ad}",
            "\u{1b}",
            "\u{2060}",
            "\u{200f}",
            "\u{e0020}",
            "\u{180e}",
            " \u{200b}\u{feff}\n\0\u{7f}\u{9b}",
            "\u{3000}\u{2028}",
        ] {
            assert!(is_blank(text), "{text:?}");
        }
        for text in ["a", "\u{200b}.", "\u{2800}", "\u{301}", "\u{1f600}"] {
            assert!(!is_blank(text), "{text:?}");
        }
    }

    #[test]
    fn words_are_compared_by_what_is_seen_of_them() {
        for text in [
            "failed",
            "\u{feff}Failed\n",
            "fai\u{200b}led",
            "\u{ad} FAILED\u{85}",
            "\u{feff} \u{200b} failed",
        ] {
            assert_eq!(seen_word(text), "failed", "{text:?}");
        }
        // A Cyrillic letter makes another word.
        assert_ne!(seen_word("f\u{430}iled"), "failed");
        assert_eq!(trimmed("\u{feff}\u{85} a b\u{a0}\u{200b}"), "a b\u{a0}\u{200b}");
    }
}
