//! The numbers that a user's tests go to: their own phone, a colleague's.

use crate::contacts::addresses;
use crate::contacts::customers::{self, NewCustomer};
use crate::contacts::phone::{self, Phone};
use crate::contacts::spelling;
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

/// The contacts that have a user's numbers, in their order; of a number that nobody has one is made, without a name. Two who
/// ask at once for one that is new get the same contact.
///
/// # Errors
/// The database's.
pub async fn contacts(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    owner: UserId,
    rng: &mut impl Rng,
) -> Result<Vec<ContactId>, DbErr> {
    let numbers = list(conn, owner).await?;
    let read = |(place, number): (usize, &String)| Some((place, phone::normalise(&format!("+{number}")).ok()?));
    let mut phones: Vec<(usize, Phone)> = numbers.iter().enumerate().filter_map(read).collect();
    // In an order that all have in common: who asks for the same numbers at once waits, and never in a circle.
    phones.sort_by(|(_, one), (_, other)| spelling::key(one.as_digits()).cmp(&spelling::key(other.as_digits())));
    let mut found = Vec::with_capacity(phones.len());
    for (place, phone) in phones {
        found.push((place, contact(conn, now, &phone, rng).await?));
    }
    found.sort_by_key(|(place, _)| *place);
    let mut contacts: Vec<ContactId> = Vec::with_capacity(found.len());
    for (_, id) in found {
        if !contacts.contains(&id) {
            contacts.push(id);
        }
    }
    Ok(contacts)
}

/// The contact that has a number, or a new one.
async fn contact(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    phone: &Phone,
    rng: &mut impl Rng,
) -> Result<ContactId, DbErr> {
    let owner = async || Ok::<_, DbErr>(addresses::owners(conn, phone.as_digits()).await?.into_iter().next());
    if let Some(owner) = owner().await? {
        return Ok(owner.id);
    }
    let new = NewCustomer { name: None, phone: Some(phone), source: SOURCE, status: customers::NEW };
    if let Some(id) = customers::create_unless_there(conn, now, &new, rng).await? {
        return Ok(id);
    }
    // Another made it since, and has committed: this waited for that.
    owner().await?.map(|owner| owner.id).ok_or(DbErr::RecordNotInserted)
}
