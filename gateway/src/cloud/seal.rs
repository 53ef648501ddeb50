//! What proves that a webhook is Meta's: `X-Hub-Signature-256`, `sha256=` and the hex HMAC-SHA256 of the body as it came
//! under the app's secret; and, when the address is verified, a token that both know.

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The signature's header, in lower case.
pub(super) const HEADER: &str = "x-hub-signature-256";

/// Verifies with the app's secret, in constant time.
#[derive(Clone)]
pub(super) struct Seal(Hmac<Sha256>);

impl Seal {
    /// `None` without a secret.
    pub(super) fn new(app_secret: &[u8]) -> Option<Self> {
        if app_secret.is_empty() { None } else { Hmac::new_from_slice(app_secret).ok().map(Self) }
    }

    /// Whether a header is the signature of these bytes.
    pub(super) fn verifies(&self, body: &[u8], header: &str) -> bool {
        let given = header.strip_prefix("sha256=").and_then(|given| hex::decode(given).ok());
        given.is_some_and(|given| self.mac(body).verify_slice(&given).is_ok())
    }

    /// Whether two texts are the same. What is compared are their signatures, so that the time tells nothing of either.
    pub(super) fn same(&self, expected: &str, given: &str) -> bool {
        let expected = self.mac(expected.as_bytes()).finalize().into_bytes();
        self.mac(given.as_bytes()).verify_slice(&expected).is_ok()
    }

    fn mac(&self, bytes: &[u8]) -> Hmac<Sha256> {
        self.0.clone().chain_update(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sign(secret: &[u8], body: &[u8]) -> String {
        let mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key of any length").chain_update(body);
        format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
    }

    #[test]
    fn the_form_is_metas() {
        // printf '{"object":"whatsapp_business_account"}' | openssl dgst -sha256 -hmac secret
        let expected = "sha256=03f6dd944ecab4ddac0e3dbc3923b2da4e12b03df679ae23a52efd78ca6056e0";
        let seal = Seal::new(b"secret").expect("a secret");
        let body = br#"{"object":"whatsapp_business_account"}"#;
        assert!(seal.verifies(body, expected));
        assert!(Seal::new(b"").is_none());
    }

    #[test]
    fn texts_are_the_same_or_not() {
        let seal = Seal::new(b"secret").expect("a secret");
        assert!(seal.same("token", "token"));
        for given in ["", "toke", "tokens", "Token", "token\0"] {
            assert!(!seal.same("token", given), "{given:?}");
        }
    }

    proptest! {
        #[test]
        fn a_flipped_bit_never_verifies(secret in "[!-~]{1,40}", body: Vec<u8>, at: usize, bit in 0u8..8) {
            let seal = Seal::new(secret.as_bytes()).expect("a secret");
            let header = sign(secret.as_bytes(), &body);
            prop_assert!(seal.verifies(&body, &header));
            let mut longer = body.clone();
            longer.push(0);
            prop_assert!(!seal.verifies(&longer, &header));
            if !body.is_empty() {
                let mut other = body.clone();
                other[at % body.len()] ^= 1 << bit;
                prop_assert!(!seal.verifies(&other, &header));
            }
            let mut other = header.into_bytes();
            let at = at % other.len();
            other[at] ^= 1 << bit;
            if let Ok(other) = String::from_utf8(other) {
                // Hex means the same in capitals.
                let same = other.to_ascii_lowercase() == sign(secret.as_bytes(), &body) && other.starts_with("sha256=");
                prop_assert_eq!(seal.verifies(&body, &other), same);
            }
        }

        #[test]
        fn any_header_is_judged(header in ".{0,100}", body: Vec<u8>) {
            prop_assert!(!Seal::new(b"secret").expect("a secret").verifies(&body, &header));
        }
    }
}
