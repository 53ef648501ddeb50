//! The numbers that a user's tests go to: their own phone, a colleague's.

use crate::contacts::addresses;
use crate::contacts::customers::{self, CreateError, NewCustomer};
use crate::contacts::phone::{self, Phone};
use crate::db;
use crate::time::Timestamp;
use entities::{ContactId, UserId};
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr};

/// The most numbers that a user keeps.
pub const MOST: usize = 10;

/// Where a contact comes from that a test made.
pub const SOURCE: &str = "test";

/// A user's numbers, in their order.
///
/// # Errors
/// The database's.
pub async fn list(conn: &impl ConnectionTrait, owner: UserId) -> Result<Vec<String>, DbErr> {
    let rows = db::all(conn, "SELECT phone FROM test_numbers WHERE owner = $1 ORDER BY place", [owner.into()]).await?;
    rows.iter().map(|row| row.try_get("", "phone")).collect()
}

/// Keeps these numbers, at most [`MOST`], in the place of those before.
///
/// # Errors
/// The database's.
pub async fn keep(conn: &impl ConnectionTrait, owner: UserId, phones: &[Phone]) -> Result<(), DbErr> {
    db::execute(conn, "DELETE FROM test_numbers WHERE owner = $1", [owner.into()]).await?;
    for (place, phone) in (0_i64..).zip(phones.iter().take(MOST)) {
        let sql = "INSERT INTO test_numbers (owner, place, phone) VALUES ($1, $2, $3)";
        db::execute(conn, sql, [owner.into(), place.into(), phone.as_digits().into()]).await?;
    }
    Ok(())
}

/// The contacts that have a user's numbers; of a number that nobody has one is made, without a name.
///
/// # Errors
/// The database's.
pub async fn contacts(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    owner: UserId,
    rng: &mut impl Rng,
) -> Result<Vec<ContactId>, DbErr> {
    let mut found = Vec::new();
    for number in list(conn, owner).await? {
        let Ok(phone) = phone::normalise(&format!("+{number}")) else { continue };
        let id = match addresses::owners(conn, phone.as_digits()).await?.into_iter().next() {
            Some(owner) => owner.id,
            None => {
                let new = NewCustomer { name: None, phone: Some(&phone), source: SOURCE, status: customers::NEW };
                match customers::create(conn, now, &new, rng).await {
                    Ok(customer) => customer.id,
                    // Somebody made it meanwhile, and the transaction is spoilt: the next test finds it.
                    Err(CreateError::PhoneTaken) => return Err(DbErr::RecordNotInserted),
                    Err(CreateError::Database(error)) => return Err(error),
                }
            }
        };
        if !found.contains(&id) {
            found.push(id);
        }
    }
    Ok(found)
}
