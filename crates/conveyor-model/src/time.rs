//! Instants and their two stored text forms.

use std::fmt;

use serde::{Serialize, Serializer};

/// A moment in UTC with millisecond meaning.
///
/// Stored times come in two precisions (`…:05Z` and `…:05.678Z`) that do not sort against each
/// other as text, so every comparison is made on this type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(jiff::Timestamp);

impl Timestamp {
    /// The moment `millis` milliseconds after the Unix epoch; out-of-range values are clamped.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        let clamped = jiff::Timestamp::from_millisecond(millis);
        Self(clamped.unwrap_or(if millis < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX }))
    }

    /// Milliseconds since the Unix epoch, rounded down.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        self.0.as_millisecond()
    }

    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub fn as_seconds(self) -> i64 {
        self.as_millis().div_euclid(1000)
    }

    /// Reads a stored time (either precision, `Z` or a numeric offset); `None` if it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(Self)
    }

    /// `YYYY-MM-DDTHH:MM:SS.mmmZ`, the form of almost everything we write.
    #[must_use]
    pub fn to_ms_text(self) -> String {
        Self::from_millis(self.as_millis()).0.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
    }

    /// `YYYY-MM-DDTHH:MM:SSZ`, truncated; only where a chapter demands whole seconds.
    #[must_use]
    pub fn to_s_text(self) -> String {
        Self::from_millis(self.as_seconds().saturating_mul(1000)).0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// `HH:MM:SS`, truncated.
    #[must_use]
    pub fn time_of_day(self) -> String {
        self.0.strftime("%H:%M:%S").to_string()
    }

    /// This moment moved by `millis` milliseconds, clamped to the representable range.
    #[must_use]
    pub fn plus_millis(self, millis: i64) -> Self {
        Self::from_millis(self.as_millis().saturating_add(millis))
    }

    /// Whole seconds from `earlier` to this moment, both truncated to whole seconds; at least 0.
    ///
    /// This is the age of a lease: a life sign in the future counts as age 0.
    #[must_use]
    pub fn age_seconds_since(self, earlier: Self) -> i64 {
        (self.as_seconds() - earlier.as_seconds()).max(0)
    }

    /// The first whole second at or after `seconds` seconds from this moment: a lease never ends
    /// early through rounding.
    #[must_use]
    pub fn lease_end(self, seconds: i64) -> Self {
        let end = self.as_millis().saturating_add(seconds.max(1).saturating_mul(1000));
        Self::from_millis(end.saturating_add(999).div_euclid(1000).saturating_mul(1000))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_ms_text())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_ms_text())
    }
}

/// Where "now" comes from.
pub trait Clock: Send + Sync {
    /// The current moment.
    fn now(&self) -> Timestamp;

    /// Whether a database server must be told this clock's time instead of using its own.
    ///
    /// Only the clocks of tests answer `true`.
    fn is_manual(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_precisions_parse_to_the_same_kind_of_instant() {
        let seconds = Timestamp::parse("2026-01-01T12:00:00Z").unwrap();
        let millis = Timestamp::parse("2026-01-01T12:00:00.500Z").unwrap();
        assert!(seconds < millis, "compared as instants, not as text");
        assert_eq!(Timestamp::parse("2026-01-01T12:00:00+00:00"), Some(seconds));
        assert_eq!(Timestamp::parse("yesterday"), None);
    }

    #[test]
    fn text_forms_truncate_and_round_trip() {
        let at = Timestamp::from_millis(1_767_268_800_678);
        assert_eq!(at.to_ms_text(), "2026-01-01T12:00:00.678Z");
        assert_eq!(at.to_s_text(), "2026-01-01T12:00:00Z");
        assert_eq!(at.time_of_day(), "12:00:00");
        assert_eq!(Timestamp::parse(&at.to_ms_text()), Some(at));
    }

    #[test]
    fn a_lease_end_is_rounded_up_and_lasts_at_least_a_second() {
        let at = Timestamp::from_millis(1_500);
        assert_eq!(at.lease_end(60).as_millis(), 62_000);
        assert_eq!(at.lease_end(0).as_millis(), 3_000);
        assert_eq!(Timestamp::from_millis(2_000).lease_end(1).as_millis(), 3_000);
    }

    #[test]
    fn ages_never_go_negative() {
        let early = Timestamp::from_millis(1_999);
        let late = Timestamp::from_millis(3_000);
        assert_eq!(late.age_seconds_since(early), 2);
        assert_eq!(early.age_seconds_since(late), 0);
    }
}
