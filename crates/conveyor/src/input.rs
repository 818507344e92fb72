//! What users hand over besides words: JSON in options, documents on standard input.

use std::io::Read;

use conveyor_model::json;
use conveyor_model::permissions::Overrides;
use conveyor_model::records::Object;
use serde_json::Value;

use crate::Host;
use crate::failure::Failure;

/// Reads the JSON object that an option was given.
///
/// # Errors
/// A text that is no JSON, or another kind of value.
pub fn object(option: &str, text: &str) -> Result<Object, Failure> {
    match read(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(Failure::usage(format!("{option} must be a JSON object, not {}", kind(&other)))),
        Err(error) => Err(Failure::usage(format!("{option} must be valid JSON: {error}"))),
    }
}

/// Reads the JSON object of permissions that an option was given.
///
/// # Errors
/// As [`object`].
pub fn overrides(option: &str, text: &str) -> Result<Overrides, Failure> {
    object(option, text)?;
    serde_json::from_str(text)
        .map_err(|error| Failure::usage(format!("{option} must be valid JSON: {error}")))
}

/// As [`object`]; an option that was not given is an empty object.
///
/// # Errors
/// As [`object`].
pub fn optional_object(option: &str, text: Option<&str>) -> Result<Object, Failure> {
    text.map_or_else(|| Ok(Object::new()), |text| object(option, text))
}

/// Reads the JSON object on standard input.
///
/// # Errors
/// As [`object`]; input that cannot be read.
pub fn stdin_object(host: &mut Host) -> Result<Object, Failure> {
    const NEED: &str = "--from-stdin requires a JSON object";
    match read(&stdin_text(host)?) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(Failure::usage(format!("{NEED}, not {}", kind(&other)))),
        Err(error) => Err(Failure::usage(format!("{NEED}: {error}"))),
    }
}

/// Reads all of standard input.
///
/// # Errors
/// Input that cannot be read, or is not UTF-8.
pub fn stdin_text(host: &mut Host) -> Result<String, Failure> {
    let mut text = String::new();
    host.stdin
        .read_to_string(&mut text)
        .map_err(|error| Failure::usage(format!("cannot read standard input: {error}")))?;
    Ok(text)
}

fn read(text: &str) -> serde_json::Result<Value> {
    let mut value: Value = serde_json::from_str(text)?;
    json::normalise_numbers(&mut value);
    Ok(value)
}

/// A kind of JSON value, as a user calls it.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        match object("--payload-json", text) {
            Err(Failure::Usage(line)) => line,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn refusals_name_the_option_and_what_it_wants() {
        assert_eq!(refusal("[1]"), "--payload-json must be a JSON object, not an array");
        assert_eq!(refusal("null"), "--payload-json must be a JSON object, not null");
        assert!(refusal("{x").starts_with("--payload-json must be valid JSON: key must be a string"));
    }

    #[test]
    fn numbers_are_read_as_they_are_printed() {
        let object = object("--x", r#"{"a": 1.0, "b": {"c": 2.5}}"#).unwrap();
        assert_eq!(Value::Object(object).to_string(), r#"{"a":1,"b":{"c":2.5}}"#);
    }
}
