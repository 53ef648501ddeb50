//! The signature of internal requests: `sha256=` and the hex HMAC-SHA256 of `<timestamp>.<body>` under the shared secret,
//! the timestamp being seconds since the epoch in its own header.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::time::Duration;

/// The signature's header.
pub const SIGNATURE_HEADER: &str = "x-paceline-signature";

/// The timestamp's header.
pub const TIMESTAMP_HEADER: &str = "x-paceline-timestamp";

/// How far a timestamp may be from the verifier's clock, either way.
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// Why a request is not taken as signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The signature or its timestamp has not the form it must have.
    #[error("the signature is malformed")]
    Malformed,
    /// The timestamp is too far from now: a replay, or a wrong clock.
    #[error("the signature's timestamp is more than {} s from this clock", TOLERANCE.as_secs())]
    Stale,
    /// The signature is of another body or with another secret.
    #[error("the signature does not match")]
    Mismatch,
}

/// Signs and verifies with one secret.
#[derive(Clone)]
pub struct Signer(Hmac<Sha256>);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// A signer with a secret of any length; `None` for an empty one.
    #[must_use]
    pub fn new(secret: &[u8]) -> Option<Self> {
        if secret.is_empty() { None } else { Hmac::new_from_slice(secret).ok().map(Self) }
    }

    fn mac(&self, timestamp: i64, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(timestamp.to_string().as_bytes());
        mac.update(b".");
        mac.update(body);
        mac
    }

    /// The signature of a body at a time in seconds since the epoch.
    #[must_use]
    pub fn sign(&self, timestamp: i64, body: &[u8]) -> String {
        format!("sha256={}", hex::encode(self.mac(timestamp, body).finalize().into_bytes()))
    }

    /// Verifies what came with a body, in constant time.
    ///
    /// # Errors
    /// See [`SignatureError`].
    pub fn verify(&self, now: i64, timestamp: &str, body: &[u8], signature: &str) -> Result<(), SignatureError> {
        let written = timestamp;
        let timestamp: i64 = written.parse().map_err(|_| SignatureError::Malformed)?;
        // One request, one way to write its headers: no sign, no zeros before, and a signature in lower case.
        if timestamp.to_string() != written || signature.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(SignatureError::Malformed);
        }
        let given = signature.strip_prefix("sha256=").ok_or(SignatureError::Malformed)?;
        let given = hex::decode(given).map_err(|_| SignatureError::Malformed)?;
        if now.abs_diff(timestamp) > TOLERANCE.as_secs() {
            return Err(SignatureError::Stale);
        }
        self.mac(timestamp, body).verify_slice(&given).map_err(|_| SignatureError::Mismatch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn only_the_signed_body_verifies(secret in "[ -~]{1,40}", body: Vec<u8>, flip: usize, now in 0i64..4_000_000_000) {
            let signer = Signer::new(secret.as_bytes()).expect("not empty");
            let signature = signer.sign(now, &body);
            prop_assert_eq!(signer.verify(now, &now.to_string(), &body, &signature), Ok(()));
            prop_assert_eq!(signer.verify(now + 301, &now.to_string(), &body, &signature), Err(SignatureError::Stale));
            prop_assert_eq!(
                signer.verify(now, &(now + 1).to_string(), &body, &signature), Err(SignatureError::Mismatch)
            );
            if !body.is_empty() {
                let mut other = body;
                let at = flip % other.len();
                other[at] ^= 1;
                prop_assert_eq!(signer.verify(now, &now.to_string(), &other, &signature), Err(SignatureError::Mismatch));
            }
        }

        #[test]
        fn any_header_is_judged(timestamp in ".{0,20}", signature in ".{0,80}") {
            let signer = Signer::new(b"secret").expect("not empty");
            prop_assert!(signer.verify(0, &timestamp, b"body", &signature).is_err());
        }
    }

    #[test]
    fn the_form_is_the_contracts() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac secret
        let signer = Signer::new(b"secret").expect("not empty");
        let expected = "sha256=49f24e537407743fa4a0242bb63b94b9a47ee99cbbe071ccd8a22550ae411686";
        assert_eq!(signer.sign(1_700_000_000, b"{\"a\":1}"), expected);
        assert!(Signer::new(b"").is_none());
    }
}
