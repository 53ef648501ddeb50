//! Passwords: argon2id with OWASP's parameters (19 MiB, two passes, one lane; Password Storage Cheat Sheet).

use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use std::sync::LazyLock;
use tokio::sync::Semaphore;

/// Why a password cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too short.
    #[error("a password has at least 8 characters")]
    TooShort,
    /// Too long.
    #[error("a password has at most 256 characters")]
    TooLong,
    /// The hash could not be made.
    #[error("the password could not be hashed")]
    Hash,
}

/// Each verification takes 19 MiB: this many at once, whatever comes in.
static VERIFICATIONS: Semaphore = Semaphore::const_new(2);

/// What an unknown user's password is verified against, so that the answer takes as long.
static NOBODY: LazyLock<String> = LazyLock::new(|| hash("nobody has this password").unwrap_or_default());

fn argon2() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(19_456, 2, 1, None).unwrap_or_default())
}

/// Hashes a new password into a PHC string.
///
/// # Errors
/// See [`PasswordError`].
pub fn hash(password: &str) -> Result<String, PasswordError> {
    match password.trim().chars().count() {
        ..8 => return Err(PasswordError::TooShort),
        257.. => return Err(PasswordError::TooLong),
        _ => {}
    }
    let salt = SaltString::generate(&mut OsRng);
    argon2().hash_password(password.as_bytes(), &salt).map(|hash| hash.to_string()).map_err(|_| PasswordError::Hash)
}

/// Hashes a new password off the async threads.
///
/// # Errors
/// See [`PasswordError`].
pub async fn hashed(password: String) -> Result<String, PasswordError> {
    tokio::task::spawn_blocking(move || hash(&password)).await.map_err(|_| PasswordError::Hash)?
}

/// Verifies a password off the async threads, in the same time whether or not there is a hash to verify against.
pub async fn verify(password: String, hash: Option<String>) -> bool {
    let Ok(_place) = VERIFICATIONS.acquire().await else { return false };
    tokio::task::spawn_blocking(move || {
        // Made for everybody at the first need, not only for the first unknown one.
        let nobody = LazyLock::force(&NOBODY);
        let known = hash.as_deref().and_then(|hash| PasswordHash::new(hash).ok());
        let is_known = known.is_some();
        let Some(against) = known.or_else(|| PasswordHash::new(nobody).ok()) else { return false };
        let fits = argon2().verify_password(password.as_bytes(), &against).is_ok();
        metrics::counter!("paceline_password_verifications_total").increment(1);
        fits && is_known
    })
    .await
    .unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_verifies_against_its_hash_alone() {
        let hashed = hash("correct horse").expect("hash");
        assert!(hashed.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(verify("correct horse".into(), Some(hashed.clone())).await);
        assert!(!verify("wrong horse".into(), Some(hashed)).await);
        assert!(!verify("nobody has this password".into(), None).await);
        assert_eq!(hash("short"), Err(PasswordError::TooShort));
        assert_eq!(hash(&"x".repeat(257)), Err(PasswordError::TooLong));
    }
}
