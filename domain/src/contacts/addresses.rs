//! Whose a number is, in any spelling, and what a network says about it.

use super::merge::{self, Cause, Merged};
use super::{spelling, suppressions};
use crate::db::{self, Dialect};
use crate::time::Timestamp;
use entities::ContactId;
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use serde_json::json;
use std::collections::{HashMap, HashSet};

/// The kind of an address that is the network's id of a number's account: digits.
pub(crate) const WA_ID: &str = "wa_id";

/// A contact that a number or another address belongs to.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub(crate) struct Owner {
    pub(crate) id: ContactId,
    /// The number that messages go to.
    pub(crate) phone: Option<String>,
}

/// The contacts that a number belongs to, in any spelling, and locks them: the one whose number it is, and those of whom it is
/// known otherwise. Mostly one; more are one person.
pub(crate) async fn owners(conn: &impl ConnectionTrait, digits: &str) -> Result<Vec<Owner>, DbErr> {
    let lock = Dialect::of(conn).for_update();
    let key = || -> [sea_orm::Value; 1] { [spelling::key(digits).into_owned().into()] };
    let sql = format!("SELECT id, phone FROM contacts WHERE phone_key = $1 AND deleted_at IS NULL{lock}");
    let mut found: Vec<Owner> = db::one_as(conn, sql, key()).await?.into_iter().collect();
    // Asked for in this order: who is merged away while this waits for the lock is an address of the other then.
    let sql = format!(
        "SELECT id, phone FROM contacts WHERE deleted_at IS NULL
         AND id IN (SELECT contact_id FROM contact_identities WHERE phone_key = $1) ORDER BY id{lock}"
    );
    for owner in db::all_as(conn, sql, key()).await? {
        if !found.contains(&owner) {
            found.push(owner);
        }
    }
    Ok(found)
}

/// The contact that another address belongs to, and locks it.
pub(crate) async fn owner_of_address(
    conn: &impl ConnectionTrait,
    kind: &str,
    value: &str,
) -> Result<Option<Owner>, DbErr> {
    let sql = format!(
        "SELECT id, phone FROM contacts WHERE deleted_at IS NULL
         AND id IN (SELECT contact_id FROM contact_identities WHERE kind = $1 AND value = $2){}",
        Dialect::of(conn).for_update()
    );
    db::one_as(conn, sql, [kind.into(), value.into()]).await
}

/// The contacts that are known by one of these keys beside their own numbers.
pub(crate) async fn known_by(conn: &impl ConnectionTrait, keys: &[&str]) -> Result<HashMap<String, i64>, DbErr> {
    let sql = format!(
        "SELECT i.phone_key AS phone_key, c.id AS id FROM contact_identities i
         JOIN contacts c ON c.id = i.contact_id AND c.deleted_at IS NULL
         WHERE i.phone_key {} AND (c.phone_key IS NULL OR c.phone_key <> i.phone_key)",
        Dialect::of(conn).one_of(1, "text")
    );
    Ok(db::values(conn, sql, [json!(keys).to_string().into()]).await?.into_iter().collect())
}

/// Keeps a spelling of a contact's number, or another number, that the network uses for its account.
pub(crate) async fn learn_number(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    contact: &Owner,
    digits: &str,
) -> Result<(), DbErr> {
    if contact.phone.as_deref() == Some(digits) || !spelling::is_number(digits) {
        return Ok(());
    }
    merge::add_address(conn, now, contact.id, WA_ID, digits).await?;
    suppressions::repeat(conn, &[contact.id]).await
}

/// What the network answered for numbers that were written to: which account each is. Returns the contacts that turned out to
/// be one.
pub(crate) async fn resolved(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    told: &[(ContactId, String)],
) -> Result<Vec<Merged>, DbErr> {
    let told: Vec<_> = told.iter().filter(|(_, digits)| spelling::is_number(digits)).collect();
    if told.is_empty() {
        return Ok(Vec::new());
    }
    // A campaign hears of the same accounts with each of its batches.
    let sql = format!(
        "SELECT contact_id, value FROM contact_identities WHERE kind = '{WA_ID}' AND value {}",
        Dialect::of(conn).one_of(1, "text")
    );
    let digits: Vec<&str> = told.iter().map(|(_, digits)| digits.as_str()).collect();
    let known: HashSet<(ContactId, String)> =
        db::values(conn, sql, [json!(digits).to_string().into()]).await?.into_iter().collect();
    let mut merged = Vec::new();
    for (contact, digits) in told.into_iter().filter(|told| !known.contains(*told)) {
        let Some(mut person) = there(conn, *contact).await? else { continue };
        for owner in owners(conn, digits).await? {
            if let Some(one) = merge::merge(conn, now, person.id, owner.id, Cause::Network).await? {
                person = there(conn, one.kept).await?.unwrap_or(person);
                merged.push(one);
            }
        }
        learn_number(conn, now, &person, digits).await?;
    }
    Ok(merged)
}

/// A contact, or the one that it was merged into, and locks it. `None`: it was deleted, and nothing is to be learnt of it.
async fn there(conn: &impl ConnectionTrait, contact: ContactId) -> Result<Option<Owner>, DbErr> {
    let sql = format!(
        "SELECT id, phone FROM contacts WHERE id = $1 AND deleted_at IS NULL{}",
        Dialect::of(conn).for_update()
    );
    if let Some(owner) = db::one_as(conn, sql.clone(), [contact.into()]).await? {
        return Ok(Some(owner));
    }
    let Some(kept) = merge::survivor(conn, contact).await? else { return Ok(None) };
    db::one_as(conn, sql, [kept.into()]).await
}
