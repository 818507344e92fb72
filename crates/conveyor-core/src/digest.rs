//! Digests of contents.

use sha2::{Digest, Sha256};

/// The SHA-256 of these bytes in lower-case hexadecimal digits.
pub(crate) fn of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
