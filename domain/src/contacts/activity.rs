//! When a contact last wrote or was written to: what lists of customers are ordered by.

use crate::db::{self, Dialect, Set};
use crate::time::Timestamp;
use entities::ContactId;
use sea_orm::{ConnectionTrait, DbErr};
use std::collections::BTreeMap;

/// Marks contacts as active at a time. In the order of their numbers, so that two transactions over the same contacts
/// cannot wait for each other. A contact that is deleted meanwhile gets no row.
pub(crate) async fn touch(
    conn: &impl ConnectionTrait,
    contacts: impl IntoIterator<Item = (ContactId, Timestamp)>,
) -> Result<(), DbErr> {
    let mut latest: BTreeMap<ContactId, Timestamp> = BTreeMap::new();
    for (contact, at) in contacts {
        let known = latest.entry(contact).or_insert(at);
        *known = at.max(*known);
    }
    if latest.is_empty() {
        return Ok(());
    }
    let (source, values) = Set::default()
        .ints("contact_id", latest.keys().map(|contact| Some(contact.0)))
        .ints("at", latest.values().map(|at| Some(at.0)))
        .into_source(Dialect::of(conn));
    db::execute(
        conn,
        format!(
            "INSERT INTO contact_activity (contact_id, last_message_at)
             SELECT contact_id, at FROM {source}
             WHERE coalesce((SELECT c.deleted_at IS NULL FROM contacts c WHERE c.id = r.contact_id), FALSE)
             ORDER BY contact_id
             ON CONFLICT (contact_id) DO UPDATE SET last_message_at = excluded.last_message_at
             WHERE contact_activity.last_message_at < excluded.last_message_at"
        ),
        values,
    )
    .await
    .map(|_| ())
}
