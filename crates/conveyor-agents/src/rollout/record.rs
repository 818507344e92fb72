//! One line of a rollout, taken apart.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::canonical::{Canonical, unescape};

/// A record as the ledger stores it. NUL and halves of surrogate pairs, which
/// texts cannot hold, are U+FFFD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The record's own time as Codex wrote it, if that is a string and not empty.
    pub timestamp: Option<&'a str>,
    /// The record's type.
    pub event_type: &'a str,
    /// The payload's type, for records of type `event_msg` in which it is a string.
    pub subtype: Option<&'a str>,
    /// The payload if it is an object, else `{}`: compact, keys sorted, whole numbers without
    /// fraction, non-ASCII as it is.
    pub payload_json: &'a str,
}

/// Why a complete line is not an event. The order is that of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// Longer than [`super::MAX_LINE`].
    TooLong,
    /// Not UTF-8.
    NotUtf8,
    /// Not JSON, an empty line included; also a payload that could not be read back, because it is
    /// nested deeper than 127 levels or has a number beyond the range of a 64-bit float.
    NotJson,
    /// JSON, but not an object with a string `type`.
    NotRecord,
}

/// The parts of the record parsed last. The strings are used again for each line.
#[derive(Debug, Default)]
pub(super) struct Record {
    timestamp: String,
    event_type: String,
    has_type: bool,
    subtype: Option<String>,
    payload_json: String,
}

impl Record {
    /// Replaces what is here by the record in `line` (without its newline). After an error nothing
    /// here means anything.
    pub(super) fn parse(&mut self, line: &[u8]) -> Result<(), Skip> {
        let line = std::str::from_utf8(line).map_err(|_| Skip::NotUtf8)?;
        self.timestamp.clear();
        self.event_type.clear();
        self.has_type = false;
        let parsed = self.read(line);
        match parsed {
            Ok(()) if self.has_type => Ok(()),
            Ok(()) => Err(Skip::NotRecord),
            // The parser refuses other values than objects in the same way as damage.
            Err(_) if serde_json::from_str::<IgnoredAny>(line).is_ok() && !is_object(line) => {
                Err(Skip::NotRecord)
            }
            Err(_) => Err(Skip::NotJson),
        }
    }

    fn read(&mut self, line: &str) -> serde_json::Result<()> {
        let mut source = serde_json::Deserializer::from_str(line);
        let payload = source.deserialize_map(Fields { record: self })?;
        source.end()?;
        let payload = payload.map_or("", RawValue::get);
        let canonical = Canonical::object(payload, std::mem::take(&mut self.payload_json))
            .ok_or_else(|| serde_json::Error::custom("nothing that can be stored"))?;
        self.payload_json = canonical.text;
        self.subtype = canonical.kind;
        Ok(())
    }

    /// The record, after [`Record::parse`] succeeded.
    pub(super) fn event(&self) -> Event<'_> {
        let is_message = self.event_type == "event_msg";
        Event {
            timestamp: Some(self.timestamp.as_str()).filter(|text| !text.is_empty()),
            event_type: &self.event_type,
            subtype: self.subtype.as_deref().filter(|_| is_message),
            payload_json: &self.payload_json,
        }
    }

    pub(super) fn take_payload(&mut self) -> String {
        std::mem::take(&mut self.payload_json)
    }

    /// Gives back what a very long payload took.
    pub(super) fn release(&mut self, above: usize) {
        if self.payload_json.capacity() > above {
            self.payload_json = String::new();
        }
    }
}

fn is_object(line: &str) -> bool {
    line.trim_start().starts_with('{')
}

/// Takes the members of a record and yields the payload; of equal keys the last one counts.
struct Fields<'r> {
    record: &'r mut Record,
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let record = self.record;
        let mut payload = None;
        while let Some(key) = map.next_key_seed(Key)? {
            match &*key {
                "timestamp" => {
                    copy_text(map.next_value()?, &mut record.timestamp);
                }
                "type" => record.has_type = copy_text(map.next_value()?, &mut record.event_type),
                "payload" => payload = Some(map.next_value()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(payload)
    }
}

/// Makes `text` the string that `value` is, or empty; yields whether it is a string.
fn copy_text(value: &RawValue, text: &mut String) -> bool {
    text.clear();
    let inside = value.get().strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    text.push_str(&inside.map(unescape).unwrap_or_default());
    inside.is_some()
}

/// A key, borrowed from the line where that has no escapes.
struct Key;

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
        Ok(text.to_owned().into())
    }
}
