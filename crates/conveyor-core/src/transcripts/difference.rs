//! What is new in a capture of a terminal, given the one before.

use conveyor_model::{CaptureMode, SegmentKind};

/// How many lines an excerpt has at most.
const EXCERPT_LINES: usize = 40;

/// A part of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) kind: SegmentKind,
    /// Its text and the lines of the capture that it is, from 1; `None`: only that it was made.
    pub(super) text: Option<(String, i64, i64)>,
}

/// The part of a capture that goes into the transcript; `None` when nothing is new.
pub(super) fn part(previous: Option<&str>, current: &str, mode: CaptureMode) -> Option<Part> {
    if mode == CaptureMode::Metadata {
        return Some(Part { kind: SegmentKind::Metadata, text: None });
    }
    let lines = lines_of(current);
    let known = previous.map_or(0, |previous| overlap(&lines_of(previous), &lines));
    if previous.is_some() && known == lines.len() {
        return None;
    }
    // Nothing of the capture follows the one before: it stands for itself.
    let new = &lines[known..];
    let (kind, text, first) = match mode {
        CaptureMode::Snapshot => (SegmentKind::Snapshot, current.to_owned(), 0),
        CaptureMode::Excerpt => {
            let last = &new[new.len().saturating_sub(EXCERPT_LINES)..];
            (SegmentKind::Excerpt, last.join("\n"), lines.len() - last.len())
        }
        _ if known > 0 => (SegmentKind::Segment, new.join("\n"), known),
        _ => (SegmentKind::Reset, current.to_owned(), 0),
    };
    Some(Part { kind, text: Some((text, number(first + 1), number(lines.len()))) })
}

/// The lines of a text; a final line end does not begin another one.
fn lines_of(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.split('\n').collect();
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    lines
}

/// How many lines at the end of `old` are those at the beginning of `new`: the most possible. In
/// time proportional to their number, because terminals are full of equal lines.
fn overlap(old: &[&str], new: &[&str]) -> usize {
    let borders = borders(new);
    let mut matched = 0;
    for line in old {
        // A whole match is not at the end of `old` if another line follows.
        while matched > 0 && (matched == new.len() || new[matched] != *line) {
            matched = borders[matched - 1];
        }
        if new.get(matched) == Some(line) {
            matched += 1;
        }
    }
    matched
}

/// For each beginning of `lines`: how long the longest shorter beginning is that it also ends with.
fn borders(lines: &[&str]) -> Vec<usize> {
    let mut borders = vec![0; lines.len()];
    let mut matched = 0;
    for at in 1..lines.len() {
        while matched > 0 && lines[matched] != lines[at] {
            matched = borders[matched - 1];
        }
        if lines[matched] == lines[at] {
            matched += 1;
        }
        borders[at] = matched;
    }
    borders
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(
        previous: Option<&str>,
        current: &str,
        mode: CaptureMode,
    ) -> Option<(SegmentKind, String, i64, i64)> {
        let part = part(previous, current, mode)?;
        let (text, first, last) = part.text?;
        Some((part.kind, text, first, last))
    }

    #[test]
    fn what_follows_the_capture_before_is_new() {
        let new = |previous, current| segment(previous, current, CaptureMode::Segment);
        let reset = |text: &str, lines| Some((SegmentKind::Reset, text.to_owned(), 1, lines));
        assert_eq!(new(None, "a\nb\n"), reset("a\nb\n", 2));
        assert_eq!(new(None, ""), reset("", 0));
        assert_eq!(new(Some("a\nb\n"), "b\nc\nd\n"), Some((SegmentKind::Segment, "c\nd".into(), 2, 3)));
        assert_eq!(new(Some("a\nb\n"), "x\ny\n"), reset("x\ny\n", 2));
        for nothing_new in ["b\n", "b", "a\nb\n", ""] {
            assert_eq!(new(Some("a\nb\n"), nothing_new), None, "{nothing_new:?}");
        }
    }

    #[test]
    fn the_longest_overlap_counts() {
        for (old, new, length) in [
            ("a a a", "a a b", 2),
            ("a b a b", "a b a b c", 4),
            ("x a b a", "a b a b", 3),
            ("a b", "a b", 2),
            ("a b c", "a b", 0),
            ("", "a", 0),
        ] {
            let words = |text: &'static str| text.split_whitespace().collect::<Vec<_>>();
            assert_eq!(overlap(&words(old), &words(new)), length, "{old:?} {new:?}");
        }
    }

    #[test]
    fn modes_choose_how_much() {
        let current: String = (1..=50).map(|line| format!("{line}\n")).collect();
        let (kind, text, first, last) = segment(Some("1\n"), &current, CaptureMode::Excerpt).unwrap();
        assert_eq!((kind, first, last, text.lines().next()), (SegmentKind::Excerpt, 11, 50, Some("11")));
        let few = segment(Some("1\n"), "1\n2\n", CaptureMode::Excerpt);
        assert_eq!(few, Some((SegmentKind::Excerpt, "2".into(), 2, 2)));
        let whole = segment(Some("1\n"), "1\n2\n", CaptureMode::Snapshot);
        assert_eq!(whole, Some((SegmentKind::Snapshot, "1\n2\n".into(), 1, 2)));
        let full = segment(Some("1\n"), "1\n2\n", CaptureMode::Full);
        assert_eq!(full, Some((SegmentKind::Segment, "2".into(), 2, 2)));
        let metadata = part(Some("1\n"), "1\n", CaptureMode::Metadata);
        assert_eq!(metadata, Some(Part { kind: SegmentKind::Metadata, text: None }));
    }
}
