//! What a composer makes of a text: which texts cannot be messages, and how the others are pasted so
//! that they stay what they are.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Codex refuses longer messages, and leaves them standing in its composer.
const MOST_CHARACTERS: usize = 1 << 20;

/// The names of images that Codex attaches.
const IMAGES: [&str; 5] = ["gif", "jpeg", "jpg", "png", "webp"];

/// How images begin; of the last one, further on.
const BEGINNINGS: [&[u8]; 4] = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"RIFF"];

/// Refuses what could leave a bracketed paste and act as keys.
fn check_characters(text: &str) -> Result<()> {
    match text.chars().find(|letter| letter.is_control() && !matches!(letter, '\n' | '\t')) {
        Some(letter) => Err(Error::invalid(format!(
            "the text contains the control character U+{:04X}: only line ends and TABs can be typed",
            u32::from(letter)
        ))),
        None => Ok(()),
    }
}

/// Refuses what a composer would take for something else than a message, whoever gets it.
///
/// # Errors
/// [`Error::Invalid`] with the reason.
pub(crate) fn check_words(text: &str) -> Result<()> {
    check_characters(text)?;
    if let Some(sign) = text.chars().next().filter(|sign| matches!(sign, '/' | '!')) {
        return Err(Error::invalid(format!(
            "a text that begins with {sign} is a command to the receiver's terminal and no message"
        )));
    }
    let count = text.chars().count();
    if count >= MOST_CHARACTERS {
        return Err(Error::invalid(format!(
            "the text has {count} characters, and a message fewer than {MOST_CHARACTERS}: write it to a file and \
             send the file's name"
        )));
    }
    Ok(())
}

/// The same for an agent that works in `cwd`, where the text may name a file.
///
/// # Errors
/// [`Error::Invalid`] with the reason.
pub(crate) fn check(text: &str, cwd: &Path) -> Result<()> {
    check_words(text)?;
    match image(text, cwd) {
        Some(path) => Err(Error::invalid(format!(
            "the text is the path of an image, {}, which the receiver's terminal would attach instead of sending \
             it: say in words what to do with the image",
            path.display()
        ))),
        None => Ok(()),
    }
}

/// The image that a text names and nothing else, quoted or escaped as for a shell, or as a URL.
fn image(text: &str, cwd: &Path) -> Option<PathBuf> {
    let text = text.trim();
    if text.is_empty() || text.len() > 8192 {
        return None;
    }
    let is_image = |path: &Path| {
        let path = cwd.join(path);
        has_image_name(&path) && begins_as_image(&path).unwrap_or(false)
    };
    let found = |path: PathBuf| is_image(&path).then_some(path);
    of_url(text).and_then(found).or_else(|| {
        let words = shlex::split(text)?;
        let [word] = words.as_slice() else { return None };
        of_url(word).and_then(found).or_else(|| found(PathBuf::from(word)))
    })
}

/// The path in a `file:` URL of this machine.
fn of_url(text: &str) -> Option<PathBuf> {
    let (scheme, rest) = text.split_once(':')?;
    if !scheme.eq_ignore_ascii_case("file") {
        return None;
    }
    let path = match rest.strip_prefix("//") {
        Some(rest) => rest.strip_prefix("localhost").unwrap_or(rest),
        None => rest,
    };
    let bytes = percent_encoding::percent_decode_str(path).collect::<Vec<u8>>();
    path.starts_with('/').then(|| PathBuf::from(OsStr::from_bytes(&bytes)))
}

fn has_image_name(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    extension.is_some_and(|extension| IMAGES.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

fn begins_as_image(path: &Path) -> std::io::Result<bool> {
    // A named pipe would wait for a writer.
    if !std::fs::metadata(path)?.is_file() {
        return Ok(false);
    }
    let mut beginning = Vec::new();
    File::open(path)?.take(16).read_to_end(&mut beginning)?;
    Ok(BEGINNINGS.iter().any(|known| beginning.starts_with(known)))
}

/// The text as it is pasted: behind a word that a composer would complete stands a blank, because with
/// the cursor at its end Enter would choose from a list instead of sending the message.
pub(crate) fn completed(text: &str) -> Cow<'_, str> {
    let last = text.rsplit(char::is_whitespace).next().unwrap_or_default();
    if last.contains(['@', '$']) { format!("{text} ").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n and so on";

    fn refusal(text: &str, cwd: &Path) -> Option<String> {
        check(text, cwd).err().map(|error| error.to_string())
    }

    #[test]
    fn control_characters_and_commands_are_refused() {
        let here = Path::new("/");
        for text in ["a\u{1b}[201~b", "a\rb", "\u{0}", "\u{7f}", "\u{9b}31m", "/compact", "!ls", "/", "! x"] {
            assert!(refusal(text, here).is_some(), "{text:?}");
        }
        for text in [
            "",
            "-n",
            "a\nb\tc",
            "ä 漢字 🎉 \u{200d}",
            "$(rm -rf /); `x` \"'\\",
            " /compact",
            "\n!ls",
            "do /this",
            "a\n/b",
            "~/x.png",
            "@x",
            "#1",
        ] {
            assert_eq!(refusal(text, here), None, "{text:?}");
        }
        assert_eq!(refusal(&"k".repeat(MOST_CHARACTERS - 1), here), None);
        assert!(refusal(&"ä".repeat(MOST_CHARACTERS), here).is_some_and(|said| said.contains("1048576")));
    }

    #[test]
    fn the_path_of_an_image_is_refused_however_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let cwd = dir.path();
        for name in ["a.png", "my b.PNG", "q'x.jpg", "50%.webp"] {
            std::fs::write(cwd.join(name), PNG).unwrap();
        }
        let full = cwd.display();
        for text in [
            "a.png".to_owned(),
            " ./a.png \n".into(),
            "\"my b.PNG\"".into(),
            "'my b.PNG'".into(),
            "my\\ b.PNG".into(),
            "\"q'x.jpg\"".into(),
            "q\\'x.jpg".into(),
            "a'.'png".into(),
            "a.png # a comment".into(),
            format!("file://{full}/a.png"),
            format!("FILE:{full}/my%20b.PNG"),
            format!("file://localhost{full}/50%25.webp"),
            format!("'file://{full}/a.png'"),
        ] {
            let said = refusal(&text, cwd);
            assert!(said.as_ref().is_some_and(|said| said.contains("image")), "{text:?}: {said:?}");
        }
    }

    #[test]
    fn words_about_images_are_messages() {
        let dir = tempfile::tempdir().unwrap();
        let cwd = dir.path();
        std::fs::write(cwd.join("a.png"), PNG).unwrap();
        std::fs::write(cwd.join("no.png"), "a text").unwrap();
        std::fs::write(cwd.join("notes"), PNG).unwrap();
        std::fs::create_dir(cwd.join("dir.png")).unwrap();
        for text in [
            "look at a.png",
            "a.png a.png",
            "a.png\na.png",
            "@a.png",
            "no.png",
            "missing.png",
            "notes",
            "dir.png",
            "\"a.png",
            "https://host/a.png",
            "file:a.png",
            "a.png'",
        ] {
            assert_eq!(refusal(text, cwd), None, "{text:?}");
        }
    }

    #[test]
    fn a_blank_follows_a_word_that_would_be_completed() {
        for text in ["look at @notes", "use $skill", "(see @x)", "a\n- @b", "$", "a@b.c"] {
            assert_eq!(completed(text), format!("{text} "), "{text:?}");
        }
        for text in ["", "hello", "@notes and more", "@notes ", "$x\n", "do /this", "#12"] {
            assert_eq!(completed(text), text, "{text:?}");
        }
    }
}
