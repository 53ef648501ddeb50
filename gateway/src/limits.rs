//! How much is kept of what networks tell. They have limits of their own, which they may change; what is longer than
//! ours is cut at a character, and never refused: nobody would tell it again.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A writer's name, in characters.
pub(crate) const NAME: usize = 200;

/// A text or a caption, in characters.
pub(crate) const TEXT: usize = 65_536;

/// The network's word for a message's kind, in characters.
pub(crate) const KIND: usize = 40;

/// A network's id of anything, in characters.
pub(crate) const ID: usize = 256;

/// The digits of a number: fewer or more are no number that could be called (E.164).
pub(crate) const NUMBER: std::ops::RangeInclusive<usize> = 6..=15;

/// What a network says of a message's media, in bytes of JSON. A report has at most 512 KiB, and the longest text may
/// take most of them.
const MEDIA: usize = 64 * 1024;

/// The beginning of a text, without NUL, which PostgreSQL does not store.
pub(crate) fn clip(text: &str, most: usize) -> String {
    text.chars().filter(|c| *c != '\0').take(most).collect()
}

/// An id. Of one that is too long the beginning and a digest of all are kept, so that two of them stay two.
pub(crate) fn id(id: &str) -> String {
    if id.chars().count() <= ID && !id.contains('\0') {
        return id.to_owned();
    }
    let digest = hex::encode(Sha256::digest(id.as_bytes()));
    format!("{}~{digest}", clip(id, ID - 1 - digest.len()))
}

/// What is said of media; of too much, only how much it was.
pub(crate) fn media(media: &Value) -> Value {
    let bytes = media.to_string().len();
    if bytes <= MEDIA { media.clone() } else { json!({ "too_large": true, "bytes": bytes }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_a_character() {
        assert_eq!(clip("\u{1f600}\0\u{e9}x", 2), "\u{1f600}\u{e9}");
        assert_eq!(clip("short", 200), "short");
    }

    #[test]
    fn ids_that_are_too_long_stay_apart() {
        let (one, other) = (format!("{}1", "\u{e9}".repeat(300)), format!("{}2", "\u{e9}".repeat(300)));
        assert_eq!((id(&one).chars().count(), id(&other).chars().count()), (ID, ID));
        assert_ne!(id(&one), id(&other));
        assert_eq!(id(&id(&one)), id(&one));
        assert_eq!(id("wamid.A"), "wamid.A");
    }

    #[test]
    fn media_without_end_is_told_by_its_size() {
        assert_eq!(media(&json!({"id": "1"})), json!({"id": "1"}));
        assert_eq!(media(&json!("x".repeat(MEDIA)))["too_large"], json!(true));
    }
}
