//! The token that every change must bring back.
//!
//! What it proves follows from the cookie, which pages of other origins cannot read. It stands in pages that are compressed,
//! together with what others can put there: were it the same in each, the length of the answers would tell it sign by sign
//! (BREACH). So each answer has it under a pad of its own, and the pad beside it (0044).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// How many bytes it has.
const LENGTH: usize = 32;

/// What the tokens of a session have in common.
pub(crate) struct Csrf([u8; LENGTH]);

impl Csrf {
    /// What follows from a cookie.
    pub(crate) fn of(cookie: &str) -> Self {
        Self(Sha256::digest(format!("paceline console csrf {cookie}")).into())
    }

    /// A token for one answer; `pad` is random, and of no other.
    pub(crate) fn token(&self, pad: [u8; LENGTH]) -> String {
        let mut both = [0; 2 * LENGTH];
        let (first, last) = both.split_at_mut(LENGTH);
        first.copy_from_slice(&pad);
        last.copy_from_slice(&xor(pad, self.0));
        URL_SAFE_NO_PAD.encode(both)
    }

    /// Whether a token is one of this session, whichever answer it stood in.
    pub(crate) fn takes(&self, token: &str) -> bool {
        let Ok(both) = URL_SAFE_NO_PAD.decode(token) else { return false };
        let Some((pad, masked)) = both.split_first_chunk::<LENGTH>() else { return false };
        let Ok(masked) = <[u8; LENGTH]>::try_from(masked) else { return false };
        // All bytes are looked at, so that the time tells nothing of where they differ.
        xor(xor(*pad, masked), self.0).into_iter().fold(0, |differs, byte| differs | byte) == 0
    }
}

fn xor(mut one: [u8; LENGTH], other: [u8; LENGTH]) -> [u8; LENGTH] {
    one.iter_mut().zip(other).for_each(|(byte, other)| *byte ^= other);
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_of_a_session_is_taken_and_no_other() {
        let (mine, other) = (Csrf::of("a cookie"), Csrf::of("another"));
        let [one, two] = [[7; LENGTH], [9; LENGTH]].map(|pad| mine.token(pad));
        assert_ne!(one, two);
        assert!(mine.takes(&one) && mine.takes(&two));
        for bad in ["", "x", "%", &one[1..], &format!("{one}AAAA"), &other.token([7; LENGTH])] {
            assert!(!mine.takes(bad), "{bad}");
        }
        let mut changed = one.clone().into_bytes();
        changed[70] = if changed[70] == b'A' { b'B' } else { b'A' };
        assert!(!mine.takes(&String::from_utf8_lossy(&changed)));
    }
}
