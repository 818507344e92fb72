//! Quoting of words in command lines that we print for people and agents to run.

/// A word in single quotes for a POSIX shell; an embedded quote becomes `'"'"'`.
#[must_use]
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r#"'"'"'"#))
}

/// A word as it is where a POSIX shell takes it literally, else in single quotes.
#[must_use]
pub fn quote_if_needed(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_@%+=:,./-".contains(letter);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { quote(word) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_stay_bare() {
        assert_eq!(quote_if_needed("a-1_b/c.d:e,f=@%+"), "a-1_b/c.d:e,f=@%+");
        for (word, quoted) in [("", "''"), ("a b", "'a b'"), ("~", "'~'"), ("ä", "'ä'")] {
            assert_eq!(quote_if_needed(word), quoted);
        }
    }

    #[test]
    fn quotes_survive_a_shell() {
        assert_eq!(quote("demo"), "'demo'");
        assert_eq!(quote("it's"), r#"'it'"'"'s'"#);
    }
}
