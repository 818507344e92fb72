//! The settings of a server's session in a connection's `options`, as the server's command line has
//! them.

/// One word of `options`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// `-c name=value` or `--name=value`.
    Setting(String, String),
    /// Anything else.
    Other(String),
}

/// Takes `options` apart.
pub(crate) fn words(options: &str) -> Vec<Word> {
    let mut plain = split(options).into_iter();
    let mut words = Vec::new();
    while let Some(word) = plain.next() {
        let setting = match word.as_str() {
            "-c" => plain.next().unwrap_or_default(),
            _ => match word.strip_prefix("-c").or_else(|| word.strip_prefix("--")) {
                Some(setting) => setting.to_owned(),
                None => {
                    words.push(Word::Other(word));
                    continue;
                }
            },
        };
        words.push(match setting.split_once('=') {
            Some((name, value)) => Word::Setting(name.replace('-', "_"), value.to_owned()),
            None => Word::Other(setting),
        });
    }
    words
}

/// The first schema of a `search_path` among `options`.
pub(crate) fn search_path(options: &str) -> Option<String> {
    // Of settings given twice the last one counts.
    words(options).into_iter().rev().find_map(|word| match word {
        Word::Setting(name, value) if name.eq_ignore_ascii_case("search_path") => {
            let first = value.split(',').next().unwrap_or("").trim().trim_matches('"');
            (!first.is_empty()).then(|| first.to_owned())
        }
        _ => None,
    })
}

/// Words are separated by white space; a backslash makes any letter part of a word.
fn split(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = options.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => word.get_or_insert_default().extend(letters.next()),
            _ if letter.is_ascii_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_comes_from_the_search_path() {
        let schema = |options| search_path(options);
        assert_eq!(schema(""), None);
        assert_eq!(schema("-c search_path=team_a").as_deref(), Some("team_a"));
        assert_eq!(schema("-csearch_path=team_a,public").as_deref(), Some("team_a"));
        assert_eq!(schema("--search-path=a -c search_path=\"b\\ c\"").as_deref(), Some("b c"));
    }

    #[test]
    fn options_are_taken_apart_as_the_server_does() {
        let setting = |name: &str, value: &str| Word::Setting(name.into(), value.into());
        assert_eq!(
            words("-c a=b\\ c  --work-mem=4MB -d 3"),
            [
                setting("a", "b c"),
                setting("work_mem", "4MB"),
                Word::Other("-d".into()),
                Word::Other("3".into())
            ]
        );
    }
}
