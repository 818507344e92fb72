//! The ledger's JSON conventions: sorted keys, compact text in columns, whole numbers without a
//! fraction.

use serde::Serialize;
use serde_json::{Map, Number, Value};

/// A number as JSON: whole values print without fraction or exponent (`5`, not `5.0`).
#[must_use]
pub fn number(value: f64) -> Value {
    // 2^53: beyond it an f64 no longer tells neighbouring integers apart.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        #[allow(clippy::cast_possible_truncation, reason = "checked to be whole and in range")]
        return Value::from(value as i64);
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// Rewrites every number inside `value` into the printed form of [`number`].
pub fn normalise_numbers(value: &mut Value) {
    match value {
        Value::Number(n) if n.is_f64() => {
            if let Some(float) = n.as_f64() {
                *value = number(float);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(normalise_numbers),
        Value::Object(map) => map.values_mut().for_each(normalise_numbers),
        _ => {}
    }
}

/// The compact text of a value as it is stored in a `…_json` column (keys sorted).
#[must_use]
pub fn compact(value: &Value) -> String {
    value.to_string()
}

/// The text of a large record as [`compact`] would give it of its value, without building that value.
///
/// Nothing is sorted or rewritten on the way: the record declares its fields in the order of the
/// alphabet and holds no numbers with a fraction of nothing. Debug builds check that.
///
/// # Errors
/// A record that JSON cannot express.
pub fn compact_record(record: &impl Serialize) -> serde_json::Result<String> {
    let text = serde_json::to_string(record)?;
    debug_assert_eq!(conventional(&text).as_ref().map(Value::to_string).ok(), Some(text.clone()));
    Ok(text)
}

/// As [`compact_record`], indented by two spaces: as it is printed.
///
/// # Errors
/// A record that JSON cannot express.
pub fn pretty_record(record: &impl Serialize) -> serde_json::Result<String> {
    let text = serde_json::to_string_pretty(record)?;
    debug_assert_eq!(
        conventional(&text).and_then(|tree| serde_json::to_string_pretty(&tree)).ok(),
        Some(text.clone())
    );
    Ok(text)
}

/// What a text says, with sorted keys and numbers as they are to be.
fn conventional(text: &str) -> serde_json::Result<Value> {
    let mut value = serde_json::from_str(text)?;
    normalise_numbers(&mut value);
    Ok(value)
}

/// Reads a stored object; anything else (older writers, damage) reads as an empty object.
#[must_use]
pub fn object(text: &str) -> Map<String, Value> {
    match serde_json::from_str(text) {
        Ok(Value::Object(mut map)) => {
            map.values_mut().for_each(normalise_numbers);
            map
        }
        _ => Map::new(),
    }
}

/// Whether two texts are the same JSON but for how it is written and for the last digits of fractions,
/// which programs that do not read numbers to the nearest one get wrong.
#[must_use]
pub fn agree(one: &str, other: &str) -> bool {
    let read = |text| serde_json::from_str::<Value>(text).ok();
    one == other || read(one).zip(read(other)).is_some_and(|(one, other)| values_agree(&one, &other))
}

fn values_agree(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => numbers_agree(one, other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| values_agree(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let same = |(key, value)| other.get(key).is_some_and(|other| values_agree(value, other));
            one.len() == other.len() && one.iter().all(same)
        }
        _ => one == other,
    }
}

fn numbers_agree(one: &Number, other: &Number) -> bool {
    // So many neighbours away at most is what the quick way to read a number gives.
    const STEPS: u64 = 4;
    if one == other {
        return true;
    }
    if !one.is_f64() && !other.is_f64() {
        return false;
    }
    let place = |number: &Number| {
        let bits = number.as_f64()?.to_bits();
        // Neighbouring floats have neighbouring bits; zero stands between the two signs.
        let magnitude = (bits & !(1 << 63)) as i64;
        Some(if bits >> 63 == 0 { magnitude } else { -magnitude })
    };
    place(one).zip(place(other)).is_some_and(|(one, other)| one.abs_diff(other) <= STEPS)
}

/// Reads an optional stored object; null and non-objects read as `None`.
#[must_use]
pub fn optional_object(text: Option<&str>) -> Option<Map<String, Value>> {
    match serde_json::from_str(text?) {
        Ok(Value::Object(mut map)) => {
            map.values_mut().for_each(normalise_numbers);
            Some(map)
        }
        _ => None,
    }
}

/// Reads a stored list of texts; what is no list reads as empty, what is no text is left out.
#[must_use]
pub fn texts(text: &str) -> Vec<String> {
    let items: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
    items.into_iter().filter_map(|item| item.as_str().map(ToOwned::to_owned)).collect()
}

/// PostgreSQL's text cannot hold NUL; both engines store U+FFFD in its place.
#[must_use]
pub fn without_nul(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_lose_their_fraction() {
        assert_eq!(number(5.0).to_string(), "5");
        assert_eq!(number(0.5).to_string(), "0.5");
        assert_eq!(number(-0.0).to_string(), "0");
        let mut nested = serde_json::json!({"a": [1.0, {"b": 2.5}]});
        normalise_numbers(&mut nested);
        assert_eq!(compact(&nested), r#"{"a":[1,{"b":2.5}]}"#);
    }

    #[test]
    fn numbers_keep_their_last_digit() {
        for text in [
            "0.1234567890123456789",
            "123456789.12345679",
            "1.7976931348623157e308",
            "5e-324",
            "2.2250738585072014e-308",
            "0.30000000000000004",
            "9007199254740993.5",
            "-1.0000000000000002e-10",
            "31.245270191439438",
            "18446744073709551615",
            "-9223372036854775808",
            "9007199254740993",
            "1e21",
            "18446744073709551616",
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            let nearest: f64 = text.parse().unwrap();
            if value.is_f64() {
                assert_eq!(value.as_f64().unwrap().to_bits(), nearest.to_bits(), "{text}");
                assert_eq!(value.to_string().parse::<f64>().unwrap().to_bits(), nearest.to_bits(), "{text}");
            } else {
                assert_eq!(value.to_string(), text);
            }
        }
    }

    #[test]
    fn what_differs_in_a_last_digit_agrees() {
        let same = [
            (r#"{"a":31.245270191439438}"#, r#"{"a": 31.24527019143944}"#),
            (
                r#"{"a":[1,{"b":0.1}],"c":"\u00e9"}"#,
                "{\"c\":\"\u{e9}\",\"a\":[1.0,{\"b\":0.10000000000000002}]}",
            ),
            ("[4.999999999999999]", "[5]"),
            ("[5e-324]", "[0]"),
            ("[-5e-324]", "[5e-324]"),
        ];
        for (one, other) in same {
            assert!(agree(one, other) && agree(other, one), "{one} {other}");
        }
        for (one, other) in [
            ("[1]", "[2]"),
            ("[0.1]", "[0.1000001]"),
            ("[9007199254740993]", "[9007199254740992]"),
            ("[1]", "[1,1]"),
            (r#"{"a":1}"#, r#"{"b":1}"#),
            ("[1]", r#"["1"]"#),
            ("[0.5]", "[-0.5]"),
            ("{", "{x"),
        ] {
            assert!(!agree(one, other) && !agree(other, one), "{one} {other}");
        }
    }

    #[test]
    fn records_are_written_as_their_values_are() {
        #[derive(Serialize)]
        struct Sorted {
            a: Option<u8>,
            b: Value,
        }
        let record = Sorted { a: None, b: serde_json::json!({"z": [], "c": {}, "d": 0.5}) };
        let value = serde_json::to_value(&record).unwrap();
        assert_eq!(compact_record(&record).unwrap(), compact(&value));
        assert_eq!(pretty_record(&record).unwrap(), serde_json::to_string_pretty(&value).unwrap());
    }

    #[test]
    #[should_panic(expected = "left == right")]
    #[cfg(debug_assertions)]
    fn fields_out_of_order_are_found_by_tests() {
        #[derive(Serialize)]
        struct Unsorted {
            b: u8,
            a: u8,
        }
        let _ = compact_record(&Unsorted { b: 1, a: 2 });
    }

    #[test]
    fn anything_but_an_object_reads_as_empty() {
        assert!(object("[1]").is_empty());
        assert!(object("{broken").is_empty());
        assert_eq!(object(r#"{"a":1}"#).len(), 1);
        assert_eq!(optional_object(None), None);
        assert_eq!(texts(r#"["a",1,"b"]"#), ["a", "b"]);
        assert!(texts("{}").is_empty());
    }
}
