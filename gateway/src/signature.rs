//! The signature of internal requests, under the shared secret. The timestamp is seconds since the epoch, in its own
//! header.
//!
//! What is signed is the whole request ([`REQUEST_SIGNATURE_HEADER`]): time, method, path with query, body. So what was
//! signed for one path is nothing at another. The form before signed time and body alone ([`SIGNATURE_HEADER`]); for one
//! release it is still sent beside the other and taken ([`Signer::with_old_form`] ends both).

use hmac::{Hmac, Mac};
use reqwest::Url;
use sha2::Sha256;
use std::sync::Once;
use std::time::Duration;

/// The signature's header: `sha256=` and the hex HMAC-SHA256 of [`Request`].
pub const REQUEST_SIGNATURE_HEADER: &str = "x-paceline-signature-v2";

/// The old form's header: `sha256=` and the hex HMAC-SHA256 of `<timestamp>.<body>`.
pub const SIGNATURE_HEADER: &str = "x-paceline-signature";

/// The timestamp's header.
pub const TIMESTAMP_HEADER: &str = "x-paceline-timestamp";

/// How far a timestamp may be from the verifier's clock, either way.
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// What the new form's text begins with. An old one's begins with a digit, so that neither is ever the other.
const VERSION: &[u8] = b"v2\n";

/// A request, as far as it is signed: `v2`, the timestamp, the method and the target, each with a line feed behind it, and
/// the body.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// In capitals.
    pub method: &'a str,
    /// The path and, where there is one, `?` and the query, as they stand in the request's first line.
    pub target: &'a str,
    /// The body as it is sent; empty where there is none.
    pub body: &'a [u8],
}

/// The target of a request to an address.
pub(crate) fn target(url: &Url) -> String {
    url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()))
}

/// Why a request is not taken as signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is none, or no timestamp.
    #[error("a signature is required: X-Paceline-Signature-V2 and X-Paceline-Timestamp")]
    Missing,
    /// There is one of the old form, which is switched off.
    #[error("a signature of time and body alone is not taken here: send X-Paceline-Signature-V2")]
    OldForm,
    /// The signature or its timestamp has not the form it must have.
    #[error("the signature is malformed")]
    Malformed,
    /// The timestamp is too far from now: a replay, or a wrong clock.
    #[error("the signature's timestamp is more than {} s from this clock", TOLERANCE.as_secs())]
    Stale,
    /// The signature is of another request or with another secret.
    #[error("the signature does not match")]
    Mismatch,
}

/// Signs and verifies with one secret.
#[derive(Clone)]
pub struct Signer {
    mac: Hmac<Sha256>,
    old_form: bool,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

/// Said once in a process: whoever is between the two changes paths, or does not know the new form yet.
static OLD_FORM_TAKEN: Once = Once::new();

impl Signer {
    /// A signer with a secret of any length; `None` for an empty one. It sends and takes both forms.
    #[must_use]
    pub fn new(secret: &[u8]) -> Option<Self> {
        if secret.is_empty() {
            return None;
        }
        Hmac::new_from_slice(secret).ok().map(|mac| Self { mac, old_form: true })
    }

    /// The same, which sends and takes the old form too, or neither.
    #[must_use]
    pub fn with_old_form(mut self, old_form: bool) -> Self {
        self.old_form = old_form;
        self
    }

    fn old(&self, timestamp: i64, body: &[u8]) -> Hmac<Sha256> {
        self.mac.clone().chain_update(timestamp.to_string()).chain_update(b".").chain_update(body)
    }

    fn new_form(&self, timestamp: i64, request: &Request<'_>) -> Hmac<Sha256> {
        let head = format!("{timestamp}\n{}\n{}\n", request.method, request.target);
        self.mac.clone().chain_update(VERSION).chain_update(head).chain_update(request.body)
    }

    /// The old form's signature of a body at a time in seconds since the epoch.
    #[must_use]
    pub fn sign(&self, timestamp: i64, body: &[u8]) -> String {
        written(self.old(timestamp, body))
    }

    /// The signature of a request at a time in seconds since the epoch.
    #[must_use]
    pub fn sign_request(&self, timestamp: i64, request: &Request<'_>) -> String {
        written(self.new_form(timestamp, request))
    }

    /// The headers that a request at a time is sent with.
    #[must_use]
    pub fn headers(&self, timestamp: i64, request: &Request<'_>) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            (TIMESTAMP_HEADER, timestamp.to_string()),
            (REQUEST_SIGNATURE_HEADER, self.sign_request(timestamp, request)),
        ];
        if self.old_form {
            headers.push((SIGNATURE_HEADER, self.sign(timestamp, request.body)));
        }
        headers
    }

    /// Verifies a request by its headers, in constant time: of two values, one who may not sign has neither.
    ///
    /// # Errors
    /// See [`SignatureError`].
    pub fn verify_request<'a>(
        &self,
        now: i64,
        request: &Request<'_>,
        header: impl Fn(&'static str) -> Option<&'a str>,
    ) -> Result<(), SignatureError> {
        let timestamp = header(TIMESTAMP_HEADER).ok_or(SignatureError::Missing)?;
        let old = header(SIGNATURE_HEADER);
        let new = match header(REQUEST_SIGNATURE_HEADER) {
            Some(signature) => judged(now, timestamp, signature, |at| self.new_form(at, request)),
            None if old.is_some() => Err(SignatureError::OldForm),
            None => Err(SignatureError::Missing),
        };
        match (new, old) {
            (Err(_), Some(old)) if self.old_form => {
                self.verify(now, timestamp, request.body, old)?;
                OLD_FORM_TAKEN.call_once(|| {
                    tracing::warn!(
                        path = request.target.split('?').next(),
                        "a request is signed in the old form alone, or its path was changed on the way; \
                         with gateway_old_signature = false it would be refused"
                    );
                });
                Ok(())
            }
            (new, _) => new,
        }
    }

    /// Verifies the old form of what came with a body, in constant time.
    ///
    /// # Errors
    /// See [`SignatureError`].
    pub fn verify(&self, now: i64, timestamp: &str, body: &[u8], signature: &str) -> Result<(), SignatureError> {
        judged(now, timestamp, signature, |at| self.old(at, body))
    }
}

fn written(mac: Hmac<Sha256>) -> String {
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

fn judged(
    now: i64,
    timestamp: &str,
    signature: &str,
    mac: impl FnOnce(i64) -> Hmac<Sha256>,
) -> Result<(), SignatureError> {
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
    mac(timestamp).verify_slice(&given).map_err(|_| SignatureError::Mismatch)
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

    const NOW: i64 = 1_700_000_000;

    fn signed(
        headers: &[(&'static str, String)],
        method: &str,
        target: &str,
        signer: &Signer,
    ) -> Result<(), SignatureError> {
        let header = |name| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
        signer.verify_request(NOW, &Request { method, target, body: b"body" }, header)
    }

    #[test]
    fn the_new_form_is_the_documents() {
        // printf 'v2\n1700000000\nPOST\n/send?a=1\n{"a":1}' | openssl dgst -sha256 -hmac secret
        let signer = Signer::new(b"secret").expect("not empty");
        let request = Request { method: "POST", target: "/send?a=1", body: b"{\"a\":1}" };
        assert_eq!(
            signer.sign_request(NOW, &request),
            "sha256=ff417230da5381b1625467aaae4e4c90fa98cdb532b96a94c2b19def50fdb8f0"
        );
    }

    #[test]
    fn what_is_signed_for_one_path_is_nothing_at_another() {
        let strict = Signer::new(b"secret").expect("not empty").with_old_form(false);
        let both = Signer::new(b"secret").expect("not empty");
        let request = Request { method: "POST", target: "/messages/ack", body: b"body" };
        let headers = both.headers(NOW, &request);
        assert_eq!(strict.headers(NOW, &request).len(), 2, "no old form beside it");
        assert_eq!(signed(&headers, "POST", "/messages/ack", &strict), Ok(()));
        for (method, target) in
            [("PUT", "/messages/ack"), ("POST", "/messages/map"), ("POST", "/messages/ack?a"), ("POST", "/messages/ac")]
        {
            assert_eq!(signed(&headers, method, target, &strict), Err(SignatureError::Mismatch), "{method} {target}");
        }
        let new_alone = &headers[..2];
        assert_eq!(signed(new_alone, "POST", "/messages/map", &both), Err(SignatureError::Mismatch));
    }

    #[test]
    fn the_old_form_is_taken_until_it_is_switched_off() {
        let both = Signer::new(b"secret").expect("not empty");
        let strict = both.clone().with_old_form(false);
        let old = [(TIMESTAMP_HEADER, NOW.to_string()), (SIGNATURE_HEADER, both.sign(NOW, b"body"))];
        assert_eq!(signed(&old, "POST", "/send", &both), Ok(()));
        assert_eq!(signed(&old, "POST", "/send", &strict), Err(SignatureError::OldForm));
        assert_eq!(signed(&old[..1], "POST", "/send", &both), Err(SignatureError::Missing));
        assert_eq!(signed(&old[1..], "POST", "/send", &both), Err(SignatureError::Missing));
        // Who only knows the old form reads the headers of who sends both.
        let headers = both.headers(NOW, &Request { method: "POST", target: "/send", body: b"body" });
        assert_eq!(both.verify(NOW, &headers[0].1, b"body", &headers[2].1), Ok(()));
    }
}
