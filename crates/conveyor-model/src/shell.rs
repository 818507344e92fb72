//! Quoting of words in command lines that we print for people and agents to run.

/// A word in single quotes for a POSIX shell; an embedded quote becomes `'"'"'`.
#[must_use]
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r#"'"'"'"#))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_survive_a_shell() {
        assert_eq!(quote("demo"), "'demo'");
        assert_eq!(quote("it's"), r#"'it'"'"'s'"#);
    }
}
