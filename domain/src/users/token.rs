//! Access tokens: JWT, HS256 and nothing else.

use super::role::{Permission, Role};
use super::store::User;
use crate::time::Timestamp;
use entities::{SessionId, UserId};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long an access token is good.
pub const ACCESS_TTL: Duration = Duration::from_secs(15 * 60);

const ISSUER: &str = "paceline";

/// The fewest bytes of a secret: as many as the hash has (RFC 7518, 3.2).
pub const MIN_SECRET: usize = 32;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who.
    pub user_id: UserId,
    /// The address.
    pub email: String,
    /// What the user is.
    pub role: Role,
    /// What the user may do.
    pub permissions: Vec<Permission>,
    /// The name.
    pub name: String,
    /// Whether the user is an administrator of the chat.
    pub is_admin: bool,
    /// The session, as a decimal number.
    pub jti: String,
    /// Who issued it.
    pub iss: String,
    /// For whom.
    pub aud: String,
    /// Since when, in seconds since the epoch.
    pub iat: i64,
    /// Until when, in seconds since the epoch.
    pub exp: i64,
}

impl Claims {
    /// What a token of a user's session says, with all that the role permits; times in seconds since the epoch.
    #[must_use]
    pub(super) fn of(user: &User, session: SessionId, iat: i64, exp: i64) -> Self {
        Self {
            user_id: user.id,
            email: user.email.clone(),
            role: user.role,
            permissions: user.role.permissions(),
            name: user.full_name.clone(),
            is_admin: user.role == Role::Admin,
            jti: session.to_string(),
            iss: ISSUER.into(),
            aud: ISSUER.into(),
            iat,
            exp,
        }
    }

    /// The session that the token belongs to.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.jti.parse().ok()
    }

    /// Whether the token permits it.
    #[must_use]
    pub fn permits(&self, permission: Permission) -> bool {
        self.permissions.contains(&permission)
    }
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is no token of ours: malformed, badly signed, for somebody else, with another algorithm.
    #[error("the token is invalid")]
    Invalid,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// The secret is too short to sign with.
    #[error("the secret has fewer than {MIN_SECRET} bytes")]
    ShortSecret,
}

/// Signs and verifies.
#[derive(Clone)]
pub struct TokenKeys {
    encoding: EncodingKey,
    decoding: Vec<DecodingKey>,
    validation: Validation,
}

impl std::fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKeys")
    }
}

impl TokenKeys {
    /// Keys from a secret of at least [`MIN_SECRET`] bytes.
    ///
    /// # Errors
    /// [`TokenError::ShortSecret`].
    pub fn new(secret: &[u8]) -> Result<Self, TokenError> {
        if secret.len() < MIN_SECRET {
            return Err(TokenError::ShortSecret);
        }
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        // By our own clock, which a test can move.
        validation.validate_exp = false;
        Ok(Self {
            encoding: EncodingKey::from_secret(secret),
            decoding: vec![DecodingKey::from_secret(secret)],
            validation,
        })
    }

    /// The same, taking tokens too that were signed with another secret: one that was the secret until now, or will be.
    ///
    /// # Errors
    /// [`TokenError::ShortSecret`].
    pub fn accepting(mut self, secret: &[u8]) -> Result<Self, TokenError> {
        if secret.len() < MIN_SECRET {
            return Err(TokenError::ShortSecret);
        }
        self.decoding.push(DecodingKey::from_secret(secret));
        Ok(self)
    }

    /// Signs a token for a user's session.
    ///
    /// # Errors
    /// [`TokenError::Invalid`], when the library cannot sign.
    pub fn issue(&self, user: &User, session: SessionId, now: Timestamp, ttl: Duration) -> Result<String, TokenError> {
        let claims = Claims::of(user, session, now.0 / 1000, now.plus(ttl).0 / 1000);
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding).map_err(|_| TokenError::Invalid)
    }

    /// Reads a token. Whether its session was revoked is another question.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        let decoded =
            self.decoding.iter().find_map(|key| jsonwebtoken::decode::<Claims>(token, key, &self.validation).ok());
        let claims = decoded.ok_or(TokenError::Invalid)?.claims;
        if claims.exp <= now.0 / 1000 { Err(TokenError::Expired) } else { Ok(claims) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const NOW: Timestamp = Timestamp(1_763_690_400_000);

    fn keys() -> TokenKeys {
        TokenKeys::new(&[7; 32]).expect("long enough")
    }

    fn user() -> User {
        User {
            id: UserId(3),
            email: "a@b".into(),
            full_name: "Ann".into(),
            role: Role::Agent,
            avatar_url: None,
            active: true,
        }
    }

    fn signed(algorithm: Algorithm, secret: &[u8], change: impl FnOnce(&mut Value)) -> String {
        let mut claims = json!({ "user_id": 3, "email": "a@b", "role": "agent", "permissions": [], "name": "",
            "is_admin": false, "jti": "9", "iss": ISSUER, "aud": ISSUER, "iat": 0, "exp": NOW.0 / 1000 + 60 });
        change(&mut claims);
        jsonwebtoken::encode(&Header::new(algorithm), &claims, &EncodingKey::from_secret(secret)).expect("signs")
    }

    #[test]
    fn a_token_reads_back() {
        let token = keys().issue(&user(), SessionId(9), NOW, ACCESS_TTL).expect("token");
        let claims = keys().verify(&token, NOW).expect("valid");
        assert_eq!((claims.user_id, claims.session(), claims.role), (UserId(3), Some(SessionId(9)), Role::Agent));
        assert!(claims.permits(Permission::BatchesRead) && !claims.permits(Permission::BatchesWrite));
        assert_eq!(keys().verify(&token, NOW.plus(ACCESS_TTL)), Err(TokenError::Expired));
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        assert!(keys().verify(&signed(Algorithm::HS256, &[7; 32], |_| {}), NOW).is_ok());
        for token in [
            String::new(),
            "x.y.z".into(),
            "eyJhbGciOiJub25lIn0.eyJ1c2VyX2lkIjoxfQ.".into(),
            signed(Algorithm::HS512, &[7; 32], |_| {}),
            signed(Algorithm::HS256, &[8; 32], |_| {}),
            signed(Algorithm::HS256, &[7; 32], |c| c["aud"] = json!("other")),
            signed(Algorithm::HS256, &[7; 32], |c| c["iss"] = json!("other")),
            signed(Algorithm::HS256, &[7; 32], |c| c["role"] = json!("root")),
        ] {
            assert_eq!(keys().verify(&token, NOW), Err(TokenError::Invalid), "{token}");
        }
        assert_eq!(TokenKeys::new(&[7; 31]).err(), Some(TokenError::ShortSecret));
    }

    #[test]
    fn a_secret_is_changed_without_an_end_of_sessions() {
        let old = keys().issue(&user(), SessionId(9), NOW, ACCESS_TTL).expect("token");
        let new = TokenKeys::new(&[8; 32]).expect("long enough");
        assert_eq!(new.verify(&old, NOW), Err(TokenError::Invalid));
        assert_eq!(new.clone().accepting(&[7; 31]).err(), Some(TokenError::ShortSecret));
        let both = new.clone().accepting(&[7; 32]).expect("long enough");
        assert!(both.verify(&old, NOW).is_ok());
        assert_eq!(both.verify(&old, NOW.plus(ACCESS_TTL)), Err(TokenError::Expired));
        let signed = both.issue(&user(), SessionId(9), NOW, ACCESS_TTL).expect("token");
        assert!(new.verify(&signed, NOW).is_ok(), "the new one signs");
        assert_eq!(keys().verify(&signed, NOW), Err(TokenError::Invalid));
    }
}
