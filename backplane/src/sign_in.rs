//! How often somebody may try to sign in: for whoever takes passwords.
//!
//! Sign-ins are limited for an address, and for an account over all addresses, so that many of them guess no faster than
//! one. But whoever uses up an account's limit from elsewhere must not lock out its owner: an address from which the
//! account has signed in before has a limit of its own.

use crate::{Backplane, Decision, Limit};
use domain::users;
use sea_orm::{ConnectionTrait, DbErr};
use sha2::{Digest, Sha256};
use std::net::IpAddr;

/// Why a try is not let pass.
#[derive(Debug)]
pub enum Limited {
    /// It is one too many.
    Over(Decision),
    /// The database's.
    Database(DbErr),
}

/// The network of an address: of IPv6 the first half, for a host has all addresses of the second.
#[must_use]
pub fn network_of(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("{:x}/64", ip.to_bits() >> 64),
    }
}

/// Counts a try to sign in as `email` from an address (`None`: this machine itself). Returns what the limits of the
/// address and of the account said.
///
/// # Errors
/// When it is one too many, or the database is away.
pub async fn check(
    backplane: &Backplane,
    conn: &impl ConnectionTrait,
    email: &str,
    address: Option<IpAddr>,
    per_minute: u32,
) -> Result<[Decision; 2], Limited> {
    let from = address.map_or_else(|| "local".to_owned(), network_of);
    let count = async |key: &str| {
        let decision = backplane.limiter.check(key, Limit { per_minute }).await;
        if decision.allowed { Ok(decision) } else { Err(decision) }
    };
    let of_address = count(&format!("login:ip:{from}")).await.map_err(Limited::Over)?;
    // The account's key is a hash: keys may lie in Redis, and show in its log.
    let account = format!("login:account:{}", hex::encode(Sha256::digest(email.trim().to_lowercase())));
    let of_account = match count(&account).await {
        Ok(decision) => decision,
        Err(over) => {
            let known = users::known_addresses(conn, email).await.map_err(Limited::Database)?;
            if !known.iter().filter_map(|ip| ip.parse().ok()).any(|ip| network_of(ip) == from) {
                return Err(Limited::Over(over));
            }
            count(&format!("{account}:{from}")).await.map_err(Limited::Over)?
        }
    };
    Ok([of_address, of_account])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_one_network() {
        let network = |text: &str| network_of(text.parse().expect("an address"));
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
    }
}
