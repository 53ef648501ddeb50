//! `/contacts`: finding a person, and what they got.

use super::envelope::{Envelope, Rejection};
use super::routes::{Token, caller, read_item_status};
use super::wire::{BatchStatus, BatchType, ItemStatus, ItemView};
use crate::App;
use crate::foundation::body::SmallBody;
use crate::foundation::fields::Fields;
use crate::foundation::param::{Lenient, Params, PathId};
use crate::foundation::refusal::Refusal;
use crate::foundation::time::Time;
use crate::foundation::{guard, limits, origin, search};
use domain::audit_log::{self, Action, MAX_REASON};
use domain::batches::{self, ContactItem, ItemPosition};
use domain::contacts::find::{self, Contact};
use domain::contacts::phone::mask_digits;
use domain::{ContactId, db};
use faults::Commit;
use poem::Request;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Any;
use poem_openapi::{Object, OpenApi};
use serde_json::Value;
use std::sync::Arc;

/// How many numbers are unmasked for one user in a minute.
const UNMASKED_PER_MINUTE: u32 = 10;

/// Why a whole number is to be shown.
#[derive(Debug, Object)]
struct UnmaskRequest {
    /// The reason, for the audit log.
    #[oai(validator(min_length = 1, max_length = 200))]
    reason: String,
}

/// A contact.
#[derive(Debug, Object)]
#[oai(rename = "Contact", rename_all = "camelCase")]
struct ContactView {
    /// Its number.
    #[oai(validator(pattern = "^[1-9][0-9]{0,18}$"))]
    id: String,
    /// Its identifier.
    identifier: String,
    /// The name.
    name: Option<String>,
    /// Digits without `+`; masked for guests; null where there is none.
    phone: Option<String>,
    /// Where it comes from.
    source: Option<String>,
    /// What else is known: a JSON object.
    attributes: Any<Value>,
    /// The tags.
    tags: Vec<String>,
    /// Since when it gets no bulk messages.
    suppressed_at: Option<Time>,
    /// When it last wrote or was written to.
    last_message_at: Option<Time>,
    /// When it was made.
    created_at: Time,
    /// When it was last changed.
    updated_at: Time,
}

impl ContactView {
    fn of(contact: Contact, whole: bool) -> Self {
        Self {
            id: contact.id.to_string(),
            identifier: contact.identifier,
            name: contact.name,
            phone: contact.phone.map(|phone| if whole { phone } else { mask_digits(&phone) }),
            source: contact.source,
            attributes: Any(contact.attributes.0),
            tags: contact.tags,
            suppressed_at: contact.suppressed_at.map(Time),
            last_message_at: contact.last_message_at.map(Time),
            created_at: Time(contact.created_at),
            updated_at: Time(contact.updated_at),
        }
    }
}

/// What became of a contact in a batch.
#[derive(Debug, Object)]
#[oai(rename = "ContactBatch", rename_all = "camelCase")]
struct ContactBatchView {
    /// The batch.
    #[oai(validator(pattern = "^[1-9][0-9]{0,18}$"))]
    batch_id: String,
    /// What the batch does.
    #[oai(rename = "type")]
    batch_type: BatchType,
    /// Where the batch stands.
    batch_status: BatchStatus,
    /// When the batch was accepted.
    batch_created_at: Time,
    /// When the batch is to start, if it has a time.
    schedule_at: Option<Time>,
    /// The contact's item.
    #[oai(flatten)]
    item: ItemView,
}

impl ContactBatchView {
    fn of(found: ContactItem, whole: bool) -> Self {
        Self {
            batch_id: found.batch.to_string(),
            batch_type: found.batch_type.into(),
            batch_status: found.batch_status.into(),
            batch_created_at: Time(found.created_at),
            schedule_at: found.schedule_at.map(Time),
            item: ItemView::of(found.item, whole),
        }
    }
}

/// A page of what a contact got.
#[derive(Debug, Object)]
struct ContactBatches {
    /// True.
    ok: bool,
    /// The page, the newest batch first.
    data: Vec<ContactBatchView>,
    /// Where to go on.
    meta: PlaceCursor,
}

/// Where the list goes on.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct PlaceCursor {
    /// The `cursor` of the next page; null after the last.
    #[oai(validator(pattern = "^[0-9]{1,18}-[0-9]{1,18}$"))]
    next_cursor: Option<String>,
}

fn read_place(text: &str) -> Option<ItemPosition> {
    let number = |part: &str| {
        let digits = (1..=18).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        part.parse().ok().filter(|_| digits)
    };
    let (batch, seq) = text.split_once('-')?;
    Some(ItemPosition { batch: number(batch)?, seq: number(seq)? })
}

pub(crate) struct ContactRoutes {
    pub(super) app: Arc<App>,
}

/// An answer that is a page of contacts.
#[derive(Debug, Object)]
struct Contacts {
    /// True.
    ok: bool,
    /// The page.
    data: Vec<ContactView>,
    /// Where to go on.
    meta: ContactCursor,
}

/// Where a list of contacts goes on.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct ContactCursor {
    /// The `cursor` of the next page; null after the last.
    #[oai(validator(pattern = "^[0-9]{1,18}$"))]
    next_cursor: Option<String>,
    /// Whether the page may have fewer than it could, because no more contacts were looked at.
    partial: bool,
}

impl ContactRoutes {
    async fn named(&self, text: &str) -> Result<ContactId, Rejection> {
        let found = find::resolve(self.app.db.read(), text).await?;
        Ok(found.ok_or_else(|| Refusal::not_found("contact"))?)
    }
}

/// Contacts.
#[OpenApi]
impl ContactRoutes {
    /// Finds contacts, by their numbers. Attributes are looked for among 5,000 contacts at a time: `partial` says that a page has
    /// fewer than it may and goes on.
    #[oai(path = "/contacts", method = "get")]
    #[expect(clippy::too_many_arguments, reason = "one for each parameter")]
    async fn list(
        &self,
        request: &Request,
        #[oai(scope = "guard::CONTACTS_READ")] _token: Token,
        /// A phone number in any spelling, or a part of one of 4 digits or more; or a part of a name.
        search: Query<Option<Lenient<String>>>,
        /// A phone number in any spelling, or a part of one of 4 digits or more.
        phone: Query<Option<Lenient<String>>>,
        /// Only those with this tag.
        tag: Query<Option<Lenient<String>>>,
        /// Only those with this attribute, as `city:Berlin`.
        attribute: Query<Option<Lenient<String>>>,
        /// How many; 50 if it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<Lenient<i64>>>,
        /// The `nextCursor` of the page before.
        #[oai(validator(pattern = "^[0-9]{0,18}$"))]
        cursor: Query<Option<Lenient<String>>>,
    ) -> Result<Json<Contacts>, Rejection> {
        let caller = caller(request)?;
        let mut params = Params::default();
        let mut search = search::read(&mut params, search.0, phone.0, tag.0);
        search.attributes = search::attribute(&mut params, attribute.0).into_iter().collect();
        let limit = params.number("limit", limit.0, 1, 200, 50);
        let cursor = params.read("cursor", cursor.0, "a nextCursor").filter(|cursor| !cursor.is_empty());
        let fine = |text: &String| text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit());
        if cursor.as_ref().is_some_and(|text| !fine(text)) {
            params.bad("cursor", "must be a nextCursor");
        }
        if !params.errors.is_empty() {
            return Err(Refusal::invalid(params.errors).into());
        }
        let after = cursor.and_then(|text| text.parse().ok()).unwrap_or(0);
        let rows = usize::try_from(limit).unwrap_or(1);
        let page = find::find(self.app.db.read(), &search, after, rows).await?;
        let whole = caller.sees_phones();
        let data = page.rows.into_iter().map(|contact| ContactView::of(contact, whole)).collect();
        let meta = ContactCursor { next_cursor: page.next.map(|id| id.to_string()), partial: page.partial };
        Ok(Json(Contacts { ok: true, data, meta }))
    }

    /// Reads a contact. The number of one that was merged into another finds the other.
    #[oai(path = "/contacts/:contact_id", method = "get")]
    async fn get(
        &self,
        request: &Request,
        #[oai(scope = "guard::CONTACTS_READ")] _token: Token,
        /// The contact.
        contact_id: Path<PathId>,
    ) -> Result<Json<Envelope<ContactView>>, Rejection> {
        let caller = caller(request)?;
        let id = self.named(&contact_id).await?;
        let found = find::get(self.app.db.read(), id).await?.ok_or_else(|| Refusal::not_found("contact"))?;
        Ok(Envelope::new(ContactView::of(found, caller.sees_phones())))
    }

    /// Shows the whole number to somebody who sees numbers masked, for a reason: both are in the audit log. At most 10 a minute.
    #[oai(path = "/contacts/:contact_id/unmask", method = "post")]
    async fn unmask(
        &self,
        request: &Request,
        #[oai(scope = "guard::CONTACTS_READ")] _token: Token,
        /// The contact.
        contact_id: Path<PathId>,
        body: SmallBody<UnmaskRequest>,
    ) -> Result<Json<Envelope<ContactView>>, Rejection> {
        let caller = caller(request)?;
        let mut f = Fields::parse(&body.bytes)?;
        let reason = f.required_text("reason", 1..=MAX_REASON);
        f.finish()?;
        limits::check(&self.app, &format!("unmask:{}", caller.0.user_id), UNMASKED_PER_MINUTE).await?;
        let id = self.named(&contact_id).await?;
        let (now, by) = (self.app.clock.now(), origin::of_user(request, caller.0.user_id));
        let tx = self.app.db.begin().await?;
        let found = find::get(&tx, id).await?.ok_or_else(|| Refusal::not_found("contact"))?;
        audit_log::record_for(&tx, now, &by, Action::ContactUnmask, Some(id), Some(&reason)).await?;
        db::commit(tx, Commit::Customer).await?;
        Ok(Envelope::new(ContactView::of(found, true)))
    }

    /// What a contact got, waits for, was skipped for and why, over all batches, the newest first.
    #[oai(path = "/contacts/:contact_id/batches", method = "get")]
    async fn batches(
        &self,
        request: &Request,
        #[oai(scope = "guard::CONTACTS_READ", scope = "guard::BATCHES_READ")] _token: Token,
        /// The contact.
        contact_id: Path<PathId>,
        /// Only items in this status.
        status: Query<Option<Lenient<ItemStatus>>>,
        /// How many; 50 if it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<Lenient<i64>>>,
        /// The `nextCursor` of the page before.
        #[oai(validator(pattern = "^([0-9]{1,18}-[0-9]{1,18})?$"))]
        cursor: Query<Option<Lenient<String>>>,
    ) -> Result<Json<ContactBatches>, Rejection> {
        let caller = caller(request)?;
        let mut params = Params::default();
        let status = read_item_status(&mut params, status.0);
        let limit = params.number("limit", limit.0, 1, 200, 50);
        let after = params.read("cursor", cursor.0, "a nextCursor").filter(|cursor| !cursor.is_empty());
        let after = after.map(|text| read_place(&text));
        if after == Some(None) {
            params.bad("cursor", "must be a nextCursor");
        }
        if !params.errors.is_empty() {
            return Err(Refusal::invalid(params.errors).into());
        }
        let id = self.named(&contact_id).await?;
        let rows = usize::try_from(limit).unwrap_or(1);
        let found = batches::items_of_contact(self.app.db.read(), id, status, after.flatten(), rows).await?;
        let (items, next) = found.ok_or_else(|| Refusal::not_found("contact"))?;
        let whole = caller.sees_phones();
        let data = items.into_iter().map(|item| ContactBatchView::of(item, whole)).collect();
        let next_cursor = next.map(|place| format!("{}-{}", place.batch, place.seq));
        Ok(Json(ContactBatches { ok: true, data, meta: PlaceCursor { next_cursor } }))
    }
}
