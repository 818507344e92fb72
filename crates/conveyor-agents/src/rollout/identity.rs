use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::Probe;
use super::file::FirstLine;

/// Which file a rollout is, so that offsets into it are never applied to another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolloutIdentity {
    /// Device number, decimal.
    pub device: String,
    /// Inode number, decimal.
    pub inode: String,
    /// SHA-256 of the first line without its newline, lower-case hexadecimal. `None` while the
    /// first line has no newline yet, and for one longer than [`super::MAX_LINE`], which cannot be
    /// a session's.
    pub digest: Option<String>,
}

/// How the file at a path relates to the one that was known there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The same file.
    Same,
    /// The same contents in another file (moved to another disk, restored from a copy): offsets
    /// still hold.
    Moved,
    /// Another rollout: offsets mean nothing.
    Replaced,
}

impl RolloutIdentity {
    pub(super) fn of(probe: &Probe, first_line: &FirstLine) -> Self {
        let digest = match first_line {
            FirstLine::Complete(line) => Some(hex(&Sha256::digest(line))),
            FirstLine::Unterminated(_) | FirstLine::TooLong => None,
        };
        Self { device: probe.device.to_string(), inode: probe.inode.to_string(), digest }
    }

    /// How this file, found now, relates to `known`, found earlier. The first line decides; where
    /// it was not complete when `known` was taken, only the same file on the same device is the
    /// same.
    #[must_use]
    pub fn relation_to(&self, known: &Self) -> Relation {
        let same_place = self.device == known.device && self.inode == known.inode;
        match &known.digest {
            None if same_place => Relation::Same,
            Some(_) if self.digest == known.digest && same_place => Relation::Same,
            Some(_) if self.digest == known.digest => Relation::Moved,
            _ => Relation::Replaced,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(inode: &str, digest: Option<&str>) -> RolloutIdentity {
        RolloutIdentity { device: "1".into(), inode: inode.into(), digest: digest.map(Into::into) }
    }

    #[test]
    fn the_first_line_decides_and_the_place_only_where_there_is_none() {
        let known = identity("7", Some("a"));
        assert_eq!(identity("7", Some("a")).relation_to(&known), Relation::Same);
        assert_eq!(identity("8", Some("a")).relation_to(&known), Relation::Moved);
        assert_eq!(identity("7", Some("b")).relation_to(&known), Relation::Replaced);
        assert_eq!(identity("7", None).relation_to(&known), Relation::Replaced);

        let unfinished = identity("7", None);
        assert_eq!(identity("7", Some("a")).relation_to(&unfinished), Relation::Same);
        assert_eq!(identity("8", Some("a")).relation_to(&unfinished), Relation::Replaced);
        assert_eq!(identity("8", None).relation_to(&unfinished), Relation::Replaced);
    }

    #[test]
    fn digests_are_those_of_sha_256() {
        let probe = Probe { size: 3, modified_ns: 0, device: 5, inode: 6 };
        let identity = RolloutIdentity::of(&probe, &FirstLine::Complete(b"abc".to_vec()));
        assert_eq!((identity.device.as_str(), identity.inode.as_str()), ("5", "6"));
        assert_eq!(
            identity.digest.as_deref(),
            Some("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        );
    }
}
