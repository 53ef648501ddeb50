//! `/customers`.

use super::access::{Asker, Token};
use super::envelope::Rejection;
use super::wire::{CreateCustomer, CustomerSummary, CustomerView, MarkedRead, SetPhoto};
use crate::App;
use crate::foundation::body::{JsonText, SmallBody};
use crate::foundation::fields::Fields;
use crate::foundation::guard;
use crate::foundation::idempotency::{KeyHold, KeyText, KeyedRequest};
use crate::foundation::origin;
use crate::foundation::param::{Lenient, Params, PathId};
use crate::foundation::refusal::{Kind, Refusal, Within};
use crate::foundation::search;
use crate::foundation::to_its_end;
use domain::audit_log::{self, Action, Origin};
use domain::contacts::customers::{self, CreateError, Cursor, NewCustomer, Page};
use domain::contacts::phone::{self, Country, Phone, Unmarked};
use domain::outbox::{self, DomainEvent, NewEvent};
use domain::{ContactId, Timestamp, UserId, conversations, db};
use faults::Commit;
use poem::Request;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::ToJSON;
use poem_openapi::{ApiResponse, OpenApi};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::sync::Arc;

/// The most rows of a list, and how many there are if nobody says.
pub(super) const MAX_ROWS: i64 = 1_000;

pub(crate) struct CustomerRoutes {
    pub(super) app: Arc<App>,
}

/// A page of customers, the latest first.
#[derive(ApiResponse)]
enum Summaries {
    /// The page.
    #[oai(status = 200)]
    Ok(
        Json<Vec<CustomerSummary>>,
        /// Where the next page is: `<…>; rel="next"`; absent after the last.
        #[oai(header = "Link")]
        Option<String>,
    ),
}

/// A page of customers by their numbers.
#[derive(ApiResponse)]
enum Customers {
    /// The page.
    #[oai(status = 200)]
    Ok(
        Json<Vec<CustomerView>>,
        /// Where the next page is: `<…>; rel="next"`; absent after the last.
        #[oai(header = "Link")]
        Option<String>,
    ),
}

/// A customer that was made.
#[derive(ApiResponse)]
enum Created {
    /// The customer.
    #[oai(status = 201)]
    Created(
        JsonText<CustomerView>,
        /// `true` when an Idempotency-Key's first answer is repeated.
        #[oai(header = "Idempotency-Replayed")]
        Option<String>,
    ),
}

/// The number in a path.
pub(super) fn customer_id(text: &str) -> Result<ContactId, Rejection> {
    text.parse()
        .map_err(|_| Refusal::field("customer_id", "must be a whole number from 1 up").within(Within::Path).into())
}

/// The page that a query asks for: how many rows, and from where.
pub(super) fn limit(params: &mut Params, limit: Option<Lenient<i64>>) -> i64 {
    params.number("limit", limit, 1, MAX_ROWS, MAX_ROWS)
}

pub(super) fn link(path: &str, limit: i64, cursor: &str) -> String {
    format!("<{path}?limit={limit}&after={cursor}>; rel=\"next\"")
}

pub(super) fn refuse_query(params: Params) -> Result<(), Rejection> {
    match params.errors.is_empty() {
        true => Ok(()),
        false => Err(Refusal::invalid(params.errors).within(Within::Query).into()),
    }
}

/// Where a page of summaries begins, as a client carries it: `a<milliseconds>-<customer>`, or `q<customer>` among those
/// without a message.
fn read_cursor(text: &str) -> Option<Cursor> {
    if let Some(quiet) = text.strip_prefix('q') {
        return quiet.parse().ok().map(Cursor::Quiet);
    }
    let (at, id) = text.strip_prefix('a')?.split_once('-')?;
    let digits = !at.is_empty() && at.bytes().all(|b| b.is_ascii_digit());
    Some(Cursor::Active(Timestamp(at.parse().ok().filter(|_| digits)?), id.parse().ok()?))
}

fn write_cursor(cursor: Cursor) -> String {
    match cursor {
        Cursor::Active(at, id) => format!("a{}-{id}", at.0),
        Cursor::Quiet(id) => format!("q{id}"),
    }
}

struct Making {
    name: String,
    phone: Phone,
    status: String,
}

fn read_phone(f: &mut Fields<'_>, name: &str, unmarked: Unmarked) -> Option<Phone> {
    let text = f.required_text(name, 1..=40);
    match phone::read(&text, unmarked) {
        Ok(reading) => Some(reading.phone),
        Err(_) if text.is_empty() => None,
        Err(error) => {
            f.bad(name, error.to_string());
            None
        }
    }
}

fn read_making(body: &[u8], home: Option<Country>) -> Result<Making, Refusal> {
    let mut f = Fields::parse(body)?;
    let name = f.required_text("name", 1..=200);
    let phone = read_phone(&mut f, "phone", Unmarked::ByPeople(home));
    let status = f.text("status", 1..=40).unwrap_or_else(|| customers::NEW.into());
    f.finish()?;
    let phone = phone.ok_or_else(|| Refusal::field("phone", "is required"))?;
    Ok(Making { name, phone, status })
}

/// An address that a browser can show; it is kept, and never asked for by us.
fn read_photo(body: &[u8]) -> Result<(Phone, Option<String>), Refusal> {
    let mut f = Fields::parse(body)?;
    // A gateway names the number as its network does.
    let phone = read_phone(&mut f, "phone", Unmarked::International);
    let url = f.text("photo_url", 0..=2_048).filter(|url| !url.is_empty());
    let fine = |url: &str| {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        rest.is_some_and(|rest| !rest.is_empty()) && !url.contains(|c: char| c.is_whitespace() || c.is_control())
    };
    if url.as_deref().is_some_and(|url| !fine(url)) {
        f.bad("photo_url", "must be an http:// or https:// address");
    }
    f.finish()?;
    Ok((phone.ok_or_else(|| Refusal::field("phone", "is required"))?, url))
}

impl CustomerRoutes {
    async fn make(app: &App, body: &[u8], whole: bool, hold: &KeyHold) -> Result<String, Refusal> {
        let making = read_making(body, app.settings.default_country)?;
        let now = app.clock.now();
        let rng = &mut StdRng::from_rng(&mut rand::rng());
        let tx = app.db.begin().await?;
        let new =
            NewCustomer { phone: Some(&making.phone), name: Some(&making.name), status: &making.status, source: "crm" };
        let made = customers::create(&tx, now, &new, rng).await.map_err(|error| match error {
            CreateError::PhoneTaken => Refusal::new(Kind::Conflict, "a customer with this phone exists"),
            CreateError::Database(error) => error.into(),
        })?;
        let contact = made.id;
        let identities = customers::identities(&tx, &made).await?;
        audit_log::record(&tx, now, hold.origin(), Action::ContactCreate, Some(contact)).await?;
        let body = CustomerView::of(made, Some(identities), whole).to_json_string();
        hold.complete(&tx, 201, &body, Some(contact)).await?;
        let created = DomainEvent::ContactCreated { contact, first_message: None };
        let step = outbox::append(&tx, now, &[NewEvent::of(contact, created)]).await?;
        db::commit(tx, Commit::Customer).await?;
        app.after(step);
        Ok(body)
    }

    async fn mark_read(&self, id: ContactId, user: Option<UserId>, by: &Origin) -> Result<MarkedRead, Rejection> {
        let (now, tx) = (self.app.clock.now(), self.app.db.begin().await?);
        let marked = conversations::mark_read(&tx, now, id, user).await?;
        let marked = marked.ok_or_else(|| Refusal::not_found("customer"))?;
        if marked.count > 0 {
            audit_log::record(&tx, now, by, Action::ConversationRead, Some(id)).await?;
        }
        let step = outbox::append(&tx, now, marked.event.as_slice()).await?;
        db::commit(tx, Commit::Customer).await?;
        self.app.after(step);
        Ok(MarkedRead { customer_id: id.0, marked: marked.count, unread_count: 0 })
    }
}

/// Customers.
#[OpenApi]
impl CustomerRoutes {
    /// Lists customers with their last message, the latest first.
    #[oai(path = "/customers/summary", method = "get")]
    async fn summaries(
        &self,
        request: &Request,
        #[oai(scope = "guard::CONTACTS_READ")] _token: Token,
        /// How many; 1,000 if it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<Lenient<i64>>>,
        /// Where the page begins: from the `Link` of the one before.
        after: Query<Option<Lenient<String>>>,
    ) -> Result<Summaries, Rejection> {
        let asker = Asker::found(request)?;
        let mut params = Params::default();
        let limit = self::limit(&mut params, limit.0);
        let after = params.read("after", after.0, "a cursor").map(|text| read_cursor(&text));
        if after == Some(None) {
            params.bad("after", "must be the `after` of a `Link` header");
        }
        refuse_query(params)?;
        let rows = usize::try_from(limit).unwrap_or(1);
        let Page { rows, next } = customers::summaries(self.app.db.read(), after.flatten(), rows).await?;
        let whole = asker.sees_phones();
        let rows = rows.into_iter().map(|row| CustomerSummary::of(row, whole)).collect();
        Ok(Summaries::Ok(Json(rows), next.map(|next| link("/customers/summary", limit, &write_cursor(next)))))
    }

    /// Lists customers by their numbers, or finds them.
    #[oai(path = "/customers/", method = "get")]
    #[expect(clippy::too_many_arguments, reason = "one for each parameter")]
    async fn list(
        &self,
        request: &Request,
        #[oai(scope = "guard::CONTACTS_READ")] _token: Token,
        /// How many; 1,000 if it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<Lenient<i64>>>,
        /// From behind this customer on.
        #[oai(validator(minimum(value = "0")))]
        after: Query<Option<Lenient<i64>>>,
        /// A phone number in any spelling, or a part of one of 4 digits or more; or a part of a name.
        search: Query<Option<Lenient<String>>>,
        /// A phone number in any spelling, or a part of one of 4 digits or more.
        phone: Query<Option<Lenient<String>>>,
        /// Only those with this tag.
        tag: Query<Option<Lenient<String>>>,
    ) -> Result<Customers, Rejection> {
        let asker = Asker::found(request)?;
        let mut params = Params::default();
        let limit = self::limit(&mut params, limit.0);
        let after = params.number("after", after.0, 0, i64::MAX, 0);
        let search = search::read(&mut params, search.0, phone.0, tag.0);
        refuse_query(params)?;
        let rows = usize::try_from(limit).unwrap_or(1);
        let Page { rows, next } = customers::list(self.app.db.read(), &search, Some(ContactId(after)), rows).await?;
        let whole = asker.sees_phones();
        let rows = rows.into_iter().map(|row| CustomerView::of(row, None, whole)).collect();
        Ok(Customers::Ok(
            Json(rows),
            next.map(|next| link("/customers/", limit, &format!("{next}{}", search::query(&search)))),
        ))
    }

    /// Makes a customer.
    #[oai(path = "/customers/", method = "post")]
    async fn create(
        &self,
        request: &Request,
        #[oai(scope = "guard::CONTACTS_WRITE")] _token: Token,
        /// Does the request once, however often it comes.
        #[oai(name = "Idempotency-Key")]
        _key: Header<Option<KeyText>>,
        body: SmallBody<CreateCustomer>,
    ) -> Result<Created, Rejection> {
        let asker = Asker::found(request)?;
        let (asked, app, whole) = (KeyedRequest::of(request, asker.user())?, self.app.clone(), asker.sees_phones());
        to_its_end(async move {
            let work = async |hold: &KeyHold| Self::make(&app, &body.bytes, whole, hold).await;
            let (body, replayed) = asked.once(&app, &body.bytes, work).await?;
            Ok(Created::Created(JsonText::new(body), replayed))
        })
        .await
    }

    /// Sets where a customer's photo is.
    #[oai(path = "/customers/photo", method = "post")]
    async fn photo(
        &self,
        request: &Request,
        #[oai(scope = "guard::CONTACTS_WRITE")] _token: Token,
        body: SmallBody<SetPhoto>,
    ) -> Result<Json<CustomerView>, Rejection> {
        let asker = Asker::found(request)?;
        let (phone, url) = read_photo(&body.bytes)?;
        let (now, by) = (self.app.clock.now(), origin::of_user(request, asker.user()));
        let tx = self.app.db.begin().await?;
        let set = customers::set_photo(&tx, now, phone.as_digits(), url.as_deref()).await?;
        let id = set.ok_or_else(|| Refusal::not_found("customer"))?;
        audit_log::record(&tx, now, &by, Action::ContactUpdate, Some(id)).await?;
        let changed = customers::get(&tx, id).await?.ok_or_else(|| Refusal::not_found("customer"))?;
        let identities = customers::identities(&tx, &changed).await?;
        db::commit(tx, Commit::Customer).await?;
        Ok(Json(CustomerView::of(changed, Some(identities), asker.sees_phones())))
    }

    /// Reads a customer, with every address.
    #[oai(path = "/customers/:customer_id", method = "get")]
    async fn get(
        &self,
        request: &Request,
        #[oai(scope = "guard::CONTACTS_READ")] _token: Token,
        /// The customer.
        customer_id: Path<PathId>,
    ) -> Result<Json<CustomerView>, Rejection> {
        let asker = Asker::found(request)?;
        let found = customers::get(self.app.db.read(), self::customer_id(&customer_id)?).await?;
        let found = found.ok_or_else(|| Refusal::not_found("customer"))?;
        let identities = customers::identities(self.app.db.read(), &found).await?;
        Ok(Json(CustomerView::of(found, Some(identities), asker.sees_phones())))
    }

    /// Marks all that a customer wrote as read.
    #[oai(path = "/customers/:customer_id/read", method = "post")]
    async fn read(
        &self,
        request: &Request,
        #[oai(scope = "guard::CONVERSATIONS_WRITE")] _token: Token,
        /// The customer.
        customer_id: Path<PathId>,
    ) -> Result<Json<MarkedRead>, Rejection> {
        let asker = Asker::found(request)?;
        let by = origin::of_user(request, asker.user());
        Ok(Json(self.mark_read(self::customer_id(&customer_id)?, asker.signed_in(), &by).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_as_it_was_written() {
        for cursor in [Cursor::Active(Timestamp(1_700_000_000_000), ContactId(7)), Cursor::Quiet(ContactId(9))] {
            assert_eq!(read_cursor(&write_cursor(cursor)), Some(cursor));
        }
        for bad in ["", "a", "a1", "a-1", "a1-", "a-5-1", "a+1-1", "q", "q0", "q-1", "x1", "1"] {
            assert_eq!(read_cursor(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_photo_is_an_address_of_the_web() {
        let read = |url: &str| read_photo(format!("{{\"phone\": \"60123456789\", \"photo_url\": {url}}}").as_bytes());
        assert_eq!(read("\"https://pps.whatsapp.net/x\"").map(|(_, url)| url.is_some()), Ok(true));
        assert_eq!(read("null").map(|(_, url)| url), Ok(None));
        for bad in ["\"javascript:alert(1)\"", "\"file:///etc/passwd\"", "\"https://\"", "\"http://a b\"", "5"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
