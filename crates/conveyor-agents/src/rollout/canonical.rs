//! JSON rewritten into the ledger's form while it is parsed, without a tree in between: a tree of
//! an unlucky line takes twenty times the line's size, and building it is half of the work.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use conveyor_model::json;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Receives the text: compact, keys sorted (of equal keys the last one stays), whole numbers
/// without fraction, nothing escaped that need not be, U+FFFD for NUL.
#[derive(Default)]
pub(super) struct Writer<'de> {
    /// The member `type` of the value, where that is an object and the member is a string.
    pub(super) kind: Option<String>,
    /// The text so far; always UTF-8.
    out: Vec<u8>,
    /// Members of all objects that are open, those of the innermost last.
    members: Vec<Member<'de>>,
    /// Where [`Writer::arrange`] puts texts aside.
    aside: Vec<u8>,
}

/// A member of an object that is being written.
struct Member<'de> {
    key: Cow<'de, str>,
    /// Where its text is in the output: a comma, the key, a colon, the value.
    text: Range<usize>,
}

impl<'de> Writer<'de> {
    /// A writer in the memory of an earlier text.
    pub(super) fn reusing(text: String) -> Self {
        let mut writer = Self { out: text.into_bytes(), ..Self::default() };
        writer.clear();
        writer
    }

    /// Forgets the value that was written.
    pub(super) fn clear(&mut self) {
        self.kind = None;
        self.out.clear();
    }

    /// The value's text if it is an object, else that of an empty one.
    pub(super) fn into_object(self) -> String {
        match String::from_utf8(self.out) {
            Ok(text) if text.starts_with('{') => text,
            _ => "{}".into(),
        }
    }

    fn object<A: MapAccess<'de>>(&mut self, mut map: A) -> Result<(), A::Error> {
        let (start, first) = (self.out.len(), self.members.len());
        while let Some(key) = map.next_key_seed(Key)? {
            let begin = self.out.len();
            self.out.push(b',');
            self.scalar(&key)?;
            self.out.push(b':');
            let value = self.out.len();
            map.next_value_seed(Value(self))?;
            if start == 0 && key == "type" {
                self.kind = serde_json::from_slice(&self.out[value..]).ok();
            }
            self.members.push(Member { key, text: begin..self.out.len() });
        }
        if self.members[first..].windows(2).any(|pair| pair[0].key >= pair[1].key) {
            self.arrange(start, first);
        }
        self.members.truncate(first);
        match self.out.get_mut(start) {
            // Every member brought a comma; the first one's place is that of the brace.
            Some(comma) => *comma = b'{',
            None => self.out.push(b'{'),
        }
        self.out.push(b'}');
        Ok(())
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

    fn array<A: SeqAccess<'de>>(&mut self, mut items: A) -> Result<(), A::Error> {
        let start = self.out.len();
        // As in an object, every element brings a comma and the first one's becomes the bracket.
        while items.next_element_seed(Element(self))?.is_some() {}
        match self.out.get_mut(start) {
            Some(comma) => *comma = b'[',
            None => self.out.push(b'['),
        }
        self.out.push(b']');
        Ok(())
    }

    fn scalar<E: Error>(&mut self, value: impl serde::Serialize) -> Result<(), E> {
        serde_json::to_writer(&mut self.out, &value).map_err(E::custom)
    }
}

/// An element of an array, with a comma before it.
struct Element<'w, 'de>(&'w mut Writer<'de>);

impl<'de> DeserializeSeed<'de> for Element<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.out.push(b',');
        deserializer.deserialize_any(Value(self.0))
    }
}

/// Any value.
pub(super) struct Value<'w, 'de>(pub(super) &'w mut Writer<'de>);

impl<'de> DeserializeSeed<'de> for Value<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.0.out.extend_from_slice(b"null");
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.0.scalar(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.0.scalar(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.0.scalar(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.0.scalar(json::number(value))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<(), E> {
        // Borrowed means that the source had no escapes, so there is nothing to escape either.
        let out = &mut self.0.out;
        out.reserve(text.len() + 2);
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.0.scalar(json::without_nul(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        self.0.array(items)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.0.object(map)
    }
}

/// A key, borrowed from the source where that has no escapes.
pub(super) struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(text.into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(json::without_nul(text).into_owned().into())
    }
}
