//! JSON rewritten into the ledger's form from text to text. There is no tree in between: that of an
//! unlucky line takes twenty times the line's size, and building it is most of the work.
//!
//! The text must be JSON by its grammar already; serde_json has seen to that.

use std::borrow::Cow;
use std::ops::Range;

use super::reader::{KEEP, LONG_ROOM};
use conveyor_model::json;
use serde_json::Value;

/// Deepest nesting that is stored: the deepest that serde_json reads back.
const MAX_DEPTH: usize = 127;

/// An object in the ledger's form.
pub(super) struct Canonical {
    /// Compact, keys sorted (of equal keys the last one stays), whole numbers without fraction,
    /// nothing escaped that need not be, U+FFFD for NUL and for halves of surrogate pairs.
    pub(super) text: String,
    /// The member `type`, where it is a string.
    pub(super) kind: Option<String>,
}

impl Canonical {
    /// Rewrites `source`; an empty object if that is something else. `memory` is a text that is no
    /// longer needed. `None` when the ledger could not read the result back: nesting is too deep or
    /// a number beyond the range of a 64-bit float.
    pub(super) fn object(source: &str, memory: String) -> Option<Self> {
        let mut out = memory.into_bytes();
        out.clear();
        if !source.starts_with('{') {
            out.extend_from_slice(b"{}");
            return Some(Self { text: String::from_utf8(out).ok()?, kind: None });
        }
        out.reserve(if source.len() > KEEP { LONG_ROOM } else { source.len() });
        // More than most records have; growing step by step costs more than a few bytes too many.
        let members = Vec::with_capacity(64);
        let mut writer = Writer { source, at: 0, out, members, aside: Vec::new(), kind: None };
        writer.value(0)?;
        Some(Self { text: String::from_utf8(writer.out).ok()?, kind: writer.kind })
    }
}

struct Writer<'a> {
    source: &'a str,
    /// What is before this is written.
    at: usize,
    out: Vec<u8>,
    /// Members of all objects that are open, those of the innermost last.
    members: Vec<Member<'a>>,
    /// Where [`Writer::arrange`] puts texts aside.
    aside: Vec<u8>,
    /// The member `type` of the outermost object.
    kind: Option<String>,
}

/// A member of an object that is being written.
struct Member<'a> {
    key: Cow<'a, str>,
    /// Where its text is in the output: a comma, the key, a colon, the value.
    text: Range<usize>,
}

impl<'a> Writer<'a> {
    /// The next byte that is not white space; it is not passed.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.source.as_bytes().get(self.at)? {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    /// Passes the next byte that is not white space if it is this one.
    fn pass(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        match self.peek()? {
            b'{' | b'[' if depth == MAX_DEPTH => None,
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => {
                let string = self.string()?;
                string.write(&mut self.out);
                Some(())
            }
            b't' | b'f' | b'n' => {
                let word = self.token(|byte| byte.is_ascii_alphabetic());
                self.out.extend_from_slice(word.as_bytes());
                Some(())
            }
            _ => self.number(),
        }
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        let (start, first) = (self.out.len(), self.members.len());
        self.pass(b'{');
        while !self.pass(b'}') {
            self.pass(b',');
            self.peek()?;
            let name = self.string()?;
            let begin = self.out.len();
            self.out.push(b',');
            name.write(&mut self.out);
            self.pass(b':');
            self.out.push(b':');
            let key = if name.escaped { unescape(name.raw) } else { name.raw.into() };
            if depth == 0 && key == "type" {
                self.kind = self.peek_string();
            }
            self.value(depth + 1)?;
            self.members.push(Member { key, text: begin..self.out.len() });
        }
        if self.members[first..].windows(2).any(|pair| pair[0].key >= pair[1].key) {
            self.arrange(start, first);
        }
        self.members.truncate(first);
        self.close(start, b"{}");
        Some(())
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        let start = self.out.len();
        self.pass(b'[');
        while !self.pass(b']') {
            self.pass(b',');
            self.out.push(b',');
            self.value(depth + 1)?;
        }
        self.close(start, b"[]");
        Some(())
    }

    /// Every member or element brought a comma; the first one's place is that of the bracket.
    fn close(&mut self, start: usize, [open, close]: &[u8; 2]) {
        match self.out.get_mut(start) {
            Some(comma) => *comma = *open,
            None => self.out.push(*open),
        }
        self.out.push(*close);
    }

    /// Sorts the members from `first` on, whose texts fill the output from `start` on. All texts
    /// but the longest go aside, so that a line that is one large string is not held once more.
    fn arrange(&mut self, start: usize, first: usize) {
        let members = &mut self.members;
        members[first..].sort_by(|a, b| a.key.cmp(&b.key));
        // Of equal neighbours the later, which came later in the source, takes the earlier's place.
        let mut kept = first;
        for next in first + 1..members.len() {
            if members[kept].key != members[next].key {
                kept += 1;
            }
            members.swap(kept, next);
        }
        members.truncate(kept + 1);

        let sorted = &members[first..];
        let Some(longest) = (0..sorted.len()).max_by_key(|index| sorted[*index].text.len()) else { return };
        self.aside.clear();
        let mut before = 0;
        for (index, member) in sorted.iter().enumerate() {
            if index == longest {
                before = self.aside.len();
            } else {
                self.aside.extend_from_slice(&self.out[member.text.clone()]);
            }
        }
        let text = sorted[longest].text.clone();
        let middle = start + before;
        let after = middle + text.len();
        self.out.copy_within(text, middle);
        self.out[start..middle].copy_from_slice(&self.aside[..before]);
        self.out.truncate(after);
        self.out.extend_from_slice(&self.aside[before..]);
    }

    /// Passes the longest run of bytes of a kind.
    fn token(&mut self, belongs: impl Fn(&u8) -> bool) -> &'a str {
        let rest = &self.source[self.at..];
        let length = rest.bytes().position(|byte| !belongs(&byte)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn number(&mut self) -> Option<()> {
        let token = self.token(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte));
        let digits = token.strip_prefix('-').unwrap_or(token);
        // Short integers are in their printed form already; zero may have a sign to lose.
        if digits.len() <= 18 && token != "-0" && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            self.out.extend_from_slice(token.as_bytes());
            return Some(());
        }
        let mut value: Value = serde_json::from_str(token).ok()?;
        json::normalise_numbers(&mut value);
        serde_json::to_writer(&mut self.out, &value).ok()
    }

    /// Passes a string, at whose opening quote the source is.
    fn string(&mut self) -> Option<Quoted<'a>> {
        let bytes = self.source.as_bytes();
        let begin = self.at + 1;
        let (mut end, mut escaped, mut canonical) = (begin, false, true);
        loop {
            end += memchr::memchr2(b'"', b'\\', bytes.get(end..)?)?;
            if bytes[end] == b'"' {
                self.at = end + 1;
                return Some(Quoted { raw: self.source.get(begin..end)?, escaped, canonical });
            }
            // Whatever follows a backslash does not end the string. All escapes but these two are
            // the ones that are written.
            escaped = true;
            canonical &= !matches!(bytes.get(end + 1)?, b'u' | b'/');
            end += 2;
        }
    }

    /// The value that comes next, if it is a string; it is not passed.
    fn peek_string(&mut self) -> Option<String> {
        if self.peek() != Some(b'"') {
            return None;
        }
        let at = self.at;
        let string = self.string();
        self.at = at;
        string.map(|string| unescape(string.raw).into_owned())
    }
}

/// A string of the source.
struct Quoted<'a> {
    /// What is between its quotes.
    raw: &'a str,
    /// Whether there are escapes in it.
    escaped: bool,
    /// Whether that is how the ledger writes it.
    canonical: bool,
}

impl Quoted<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        if self.canonical {
            out.extend_from_slice(self.raw.as_bytes());
        } else {
            for piece in (Pieces { rest: self.raw }) {
                match piece {
                    Piece::Run(run) => out.extend_from_slice(run.as_bytes()),
                    Piece::Character(character) => write_character(out, character),
                }
            }
        }
        out.push(b'"');
    }
}

fn write_character(out: &mut Vec<u8>, character: char) {
    let short = match character {
        '"' => b'"',
        '\\' => b'\\',
        '\u{8}' => b'b',
        '\t' => b't',
        '\n' => b'n',
        '\u{c}' => b'f',
        '\r' => b'r',
        '\0'..='\u{1f}' => {
            out.extend_from_slice(format!("\\u{:04x}", u32::from(character)).as_bytes());
            return;
        }
        _ => {
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// The characters of a string, given what is between its quotes.
pub(super) fn unescape(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return raw.into();
    }
    let mut text = String::with_capacity(raw.len());
    for piece in (Pieces { rest: raw }) {
        match piece {
            Piece::Run(run) => text.push_str(run),
            Piece::Character(character) => text.push(character),
        }
    }
    text.into()
}

/// What is between the quotes of a string, taken apart.
struct Pieces<'a> {
    rest: &'a str,
}

enum Piece<'a> {
    /// Characters that stand for themselves.
    Run(&'a str),
    /// What an escape stands for.
    Character(char),
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let (piece, rest) = match self.rest.strip_prefix('\\') {
            None if self.rest.is_empty() => return None,
            None => {
                let (run, rest) = self.rest.split_at(self.rest.find('\\').unwrap_or(self.rest.len()));
                (Piece::Run(run), rest)
            }
            Some(escape) => {
                let (character, length) = escaped(escape);
                (Piece::Character(character), escape.get(length..).unwrap_or_default())
            }
        };
        self.rest = rest;
        Some(piece)
    }
}

/// The character at the beginning of what follows a backslash, and how many bytes it takes there.
fn escaped(escape: &str) -> (char, usize) {
    let character = match escape.as_bytes().first() {
        Some(b'b') => '\u{8}',
        Some(b't') => '\t',
        Some(b'n') => '\n',
        Some(b'f') => '\u{c}',
        Some(b'r') => '\r',
        Some(b'u') => return unicode(escape),
        Some(other) => char::from(*other),
        None => char::REPLACEMENT_CHARACTER,
    };
    (character, 1)
}

/// `uXXXX`, or `uXXXX\uXXXX` where those are the halves of a pair.
fn unicode(escape: &str) -> (char, usize) {
    let unit = |from: usize| u32::from_str_radix(escape.get(from..from + 4)?, 16).ok();
    let first = unit(1).unwrap_or_default();
    if let (0xd800..0xdc00, Some("\\u")) = (first, escape.get(5..7))
        && let Some(second @ 0xdc00..0xe000) = unit(7)
    {
        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 11);
    }
    let character = char::from_u32(first).filter(|character| *character != '\0');
    (character.unwrap_or(char::REPLACEMENT_CHARACTER), 5)
}
