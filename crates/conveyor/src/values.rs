//! Values of options: numbers in the accepted spellings, texts that must say something.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use conveyor_model::{CaptureMode, CriterionSource, CriterionStatus, NudgeMode, Roles, SupervisionMode};

/// Reads a whole number: sign and digits, or a decimal that denotes a whole number (`1.0`, `1e2`).
pub fn integer(text: &str) -> Result<i64, String> {
    whole(text).ok_or_else(|| "must be an integer".into())
}

/// Reads a whole number of at least 0.
pub fn non_negative_integer(text: &str) -> Result<i64, String> {
    whole(text).filter(|value| *value >= 0).ok_or_else(|| "must be a non-negative integer".into())
}

/// Reads a whole number above 0.
pub fn positive_integer(text: &str) -> Result<u64, String> {
    let value = whole(text).filter(|value| *value > 0).and_then(|value| u64::try_from(value).ok());
    value.ok_or_else(|| "must be a positive integer".into())
}

/// Reads a finite number.
pub fn number(text: &str) -> Result<f64, String> {
    decimal(text).ok_or_else(|| "must be a number".into())
}

/// Reads a finite number of at least 0.
pub fn non_negative_number(text: &str) -> Result<f64, String> {
    decimal(text).filter(|value| *value >= 0.0).ok_or_else(|| "must be a non-negative number".into())
}

/// Reads a finite number above 0.
pub fn positive_number(text: &str) -> Result<f64, String> {
    decimal(text).filter(|value| *value > 0.0).ok_or_else(|| "must be a number greater than 0".into())
}

/// Reads how much of a captured terminal becomes a segment.
pub fn capture_mode() -> impl TypedValueParser<Value = CaptureMode> {
    one_of(CaptureMode::TEXTS, CaptureMode::from_text)
}

/// Reads a choice of the sides of a task.
pub fn roles() -> impl TypedValueParser<Value = Roles> {
    one_of(Roles::TEXTS, Roles::from_text)
}

/// Reads how structured the supervision of a task is.
pub fn supervision_mode() -> impl TypedValueParser<Value = SupervisionMode> {
    one_of(SupervisionMode::TEXTS, SupervisionMode::from_text)
}

/// Reads what happens when a completed turn brings proposals.
pub fn nudge_mode() -> impl TypedValueParser<Value = NudgeMode> {
    one_of(NudgeMode::TEXTS, NudgeMode::from_text)
}

/// Reads what became of a criterion.
pub fn criterion_status() -> impl TypedValueParser<Value = CriterionStatus> {
    one_of(CriterionStatus::TEXTS, CriterionStatus::from_text)
}

/// Reads where a criterion came from.
pub fn criterion_source() -> impl TypedValueParser<Value = CriterionSource> {
    one_of(CriterionSource::TEXTS, CriterionSource::from_text)
}

/// Reads one value of a list; help and completions show the list.
pub fn one_of<T: Clone + Send + Sync + 'static>(
    texts: &'static [&'static str],
    read: fn(&str) -> Option<T>,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(texts).try_map(move |text| read(&text).ok_or("is not in the list"))
}

fn whole(text: &str) -> Option<i64> {
    if let Ok(value) = text.parse::<i64>() {
        return Some(value);
    }
    // 2^53: beyond it the decimal spelling no longer names one integer.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let value = decimal(text).filter(|value| value.fract() == 0.0 && value.abs() <= EXACT)?;
    #[allow(clippy::cast_possible_truncation, reason = "checked to be whole and in range")]
    Some(value as i64)
}

fn decimal(text: &str) -> Option<f64> {
    // Rust also reads "inf", "nan" and the like, which are no numbers to a user.
    let plain =
        text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'));
    text.parse::<f64>().ok().filter(|value| plain && value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_in_every_accepted_spelling() {
        for (text, value) in [("7", 7), ("+7", 7), ("-7", -7), ("1.0", 1), ("1e2", 100)] {
            assert_eq!(integer(text), Ok(value), "{text}");
        }
        for text in ["", " 7", "0x7", "7.5", "inf", "nan", "seven", "1e999"] {
            assert!(integer(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_are_named() {
        assert_eq!(non_negative_integer("-1").unwrap_err(), "must be a non-negative integer");
        assert_eq!(non_negative_number("Infinity").unwrap_err(), "must be a non-negative number");
        assert!(positive_number("0").is_err());
        assert_eq!(number("0.5"), Ok(0.5));
    }
}
