//! One line of a rollout, taken apart.

use std::fmt;

use conveyor_model::json;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::canonical::{Key, Value, Writer};

/// A record as the ledger stores it. NUL in any text is U+FFFD.
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
    /// Not JSON, an empty line included; also JSON nested deeper than 128 levels, or with a number
    /// beyond the range of a 64-bit float or half a surrogate pair in its payload.
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
        let mut writer = Writer::reusing(std::mem::take(&mut self.payload_json));
        let parsed = self.read(line, &mut writer);
        self.subtype = writer.kind.take();
        self.payload_json = writer.into_object();
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

    fn read<'de>(&mut self, line: &'de str, writer: &mut Writer<'de>) -> serde_json::Result<()> {
        let mut source = serde_json::Deserializer::from_str(line);
        source.deserialize_map(Fields { record: self, writer })?;
        source.end()
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

/// The members of a record; of equal keys the last one counts.
struct Fields<'r, 'w, 'de> {
    record: &'r mut Record,
    writer: &'w mut Writer<'de>,
}

impl<'de> Visitor<'de> for Fields<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { record, writer } = self;
        while let Some(key) = map.next_key_seed(Key)? {
            match &*key {
                "timestamp" => {
                    copy_text(map.next_value()?, &mut record.timestamp)?;
                }
                "type" => record.has_type = copy_text(map.next_value()?, &mut record.event_type)?,
                "payload" => {
                    writer.clear();
                    map.next_value_seed(Value(writer))?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Makes `text` the string that `value` is, or empty; yields whether it is a string.
fn copy_text<E: Error>(value: &RawValue, text: &mut String) -> Result<bool, E> {
    text.clear();
    let Some(inside) = value.get().strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Ok(false);
    };
    if inside.contains('\\') {
        let unescaped: String = serde_json::from_str(value.get()).map_err(E::custom)?;
        text.push_str(&json::without_nul(&unescaped));
    } else {
        text.push_str(inside);
    }
    Ok(true)
}
