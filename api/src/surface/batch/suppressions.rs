//! `/suppressions`: who wants no bulk messages.

use super::envelope::{Count, Envelope, Listed, Rejection};
use super::routes::{Token, caller};
use crate::App;
use crate::foundation::body::JsonBody;
use crate::foundation::fields::Fields;
use crate::foundation::guard;
use crate::foundation::origin;
use crate::foundation::param::{Lenient, Params};
use crate::foundation::refusal::Refusal;
use crate::foundation::time::Time;
use domain::audit_log::{self, Action};
use domain::contacts::phone::{self, Country, Phone, Unmarked, mask_digits};
use domain::contacts::suppressions::{self, Begun, Cause, Filter, Reason, Suppression};
use domain::db;
use faults::Commit;
use poem::Request;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::{Enum, Object, OpenApi};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// The most numbers of one request, and the most bytes that they take.
const MAX_PHONES: usize = 1_000;
const MAX_LIST: usize = 256 * 1024;

/// How many characters a number may be written in.
const PHONE: RangeInclusive<usize> = 1..=40;

/// Why a suppression began or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
enum SuppressionReason {
    /// The person wrote a word that says so.
    Word,
    /// A user did it.
    User,
    /// The network reported that the person wants nothing from businesses.
    Network,
    /// Two spellings of one number had one each; the earlier one holds.
    Merged,
}

impl From<Reason> for SuppressionReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Word => Self::Word,
            Reason::User => Self::User,
            Reason::Network => Self::Network,
            Reason::Merged => Self::Merged,
        }
    }
}

/// A number that gets no bulk messages, or got none for a while, and the trail of it.
#[derive(Debug, Object)]
#[oai(rename = "Suppression", rename_all = "camelCase")]
struct SuppressionView {
    /// Its number.
    id: String,
    /// The phone number: digits without `+`; masked for guests.
    phone: String,
    /// The contact that had the number then.
    contact_id: Option<String>,
    /// Why.
    reason: SuppressionReason,
    /// By which word.
    word: Option<String>,
    /// By which message.
    message_id: Option<String>,
    /// By which user.
    created_by: Option<String>,
    /// When.
    created_at: Time,
    /// When it ended; null while it holds.
    ended_at: Option<Time>,
    /// Why it ended.
    ended_reason: Option<SuppressionReason>,
    /// By which word it ended.
    ended_word: Option<String>,
    /// By which message it ended.
    ended_message_id: Option<String>,
    /// By which user it was ended.
    ended_by: Option<String>,
}

impl SuppressionView {
    fn of(row: Suppression, whole: bool) -> Self {
        let ended = row.ended;
        Self {
            id: row.id.to_string(),
            phone: if whole { row.phone } else { mask_digits(&row.phone) },
            contact_id: row.contact.map(|id| id.to_string()),
            reason: row.reason.into(),
            word: row.word,
            message_id: row.message.map(|id| id.to_string()),
            created_by: row.created_by.map(|id| id.to_string()),
            created_at: Time(row.created_at),
            ended_at: ended.as_ref().map(|ended| Time(ended.at)),
            ended_reason: ended.as_ref().map(|ended| ended.reason.into()),
            ended_message_id: ended.as_ref().and_then(|ended| ended.message).map(|id| id.to_string()),
            ended_by: ended.as_ref().and_then(|ended| ended.by).map(|id| id.to_string()),
            ended_word: ended.and_then(|ended| ended.word),
        }
    }
}

/// Numbers that shall get no bulk messages.
#[derive(Debug, Object)]
struct SuppressRequest {
    /// Numbers, as +60123456789; one without `+` is read as at home in `default_country`, or where that is not configured
    /// taken only if it can be nothing but an international one.
    #[oai(validator(min_items = 1, max_items = 1000, min_length = 1, max_length = 40))]
    phones: Vec<String>,
}

fn read(body: &[u8], home: Option<Country>) -> Result<Vec<Phone>, Refusal> {
    let mut f = Fields::parse(body)?;
    if f.raw("phones").is_none() {
        f.bad("phones", "is required");
    }
    let list = f.texts("phones", 1..=MAX_PHONES, PHONE).unwrap_or_default();
    let mut phones = Vec::with_capacity(list.len());
    let mut bad = Vec::new();
    // What is too short or too long is named already.
    for (at, text) in list.iter().enumerate().filter(|(_, text)| PHONE.contains(&text.chars().count())) {
        match phone::read(text, Unmarked::ByPeople(home)) {
            Ok(reading) => phones.push(reading.phone),
            Err(error) if bad.len() < 20 => bad.push((at, error)),
            Err(_) => {}
        }
    }
    for (at, error) in bad {
        f.bad(format!("phones[{at}]"), error.to_string());
    }
    f.finish()?;
    Ok(phones)
}

pub(crate) struct SuppressionRoutes {
    pub(super) app: Arc<App>,
}

/// Who wants no bulk messages.
#[OpenApi]
impl SuppressionRoutes {
    /// Lists suppressed numbers, the newest first; with `ended`, the whole trail.
    #[oai(path = "/suppressions", method = "get")]
    async fn list(
        &self,
        request: &Request,
        #[oai(scope = "guard::CONTACTS_READ")] _token: Token,
        /// Only of this number.
        phone: Query<Option<Lenient<String>>>,
        /// Those that ended too.
        ended: Query<Option<Lenient<bool>>>,
        /// How many; 50 if it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<Lenient<i64>>>,
        /// How many to pass over.
        #[oai(validator(minimum(value = "0"), maximum(value = "2147483647")))]
        offset: Query<Option<Lenient<i64>>>,
    ) -> Result<Json<Listed<SuppressionView>>, Rejection> {
        let caller = caller(request)?;
        let mut params = Params::default();
        let phone = params
            .read("phone", phone.0, "a phone number")
            .map(|text| read_phone(&mut params, &text, self.app.settings.default_country));
        let with_ended = params.read("ended", ended.0, "true or false").unwrap_or(false);
        let limit = params.number("limit", limit.0, 1, 200, 50);
        let offset = params.number("offset", offset.0, 0, i64::from(i32::MAX), 0);
        if !params.errors.is_empty() {
            return Err(Refusal::invalid(params.errors).into());
        }
        let filter = Filter { phone: phone.flatten(), with_ended };
        let (limit, offset) = (limit.unsigned_abs(), offset.unsigned_abs());
        let (found, count) = suppressions::list(self.app.db.read(), &filter, limit, offset).await?;
        let whole = caller.sees_phones();
        let data = found.into_iter().map(|row| SuppressionView::of(row, whole)).collect();
        Ok(Json(Listed { ok: true, data, meta: Count { count } }))
    }

    /// Suppresses numbers: they are skipped by batches from now on. Those that are suppressed already stay as they are.
    #[oai(path = "/suppressions", method = "post")]
    async fn create(
        &self,
        request: &Request,
        #[oai(scope = "guard::CONTACTS_WRITE")] _token: Token,
        body: JsonBody<SuppressRequest, MAX_LIST>,
    ) -> Result<Json<Envelope<Vec<SuppressionView>>>, Rejection> {
        let caller = caller(request)?;
        let phones = read(&body.bytes, self.app.settings.default_country)?;
        // In one order, so that two requests over the same numbers cannot wait for each other; answered in the request's.
        let mut held: BTreeMap<&str, Option<Suppression>> =
            phones.iter().map(|phone| (phone.as_digits(), None)).collect();
        let tx = self.app.db.begin().await?;
        let (now, by) = (self.app.clock.now(), origin::of_user(request, caller.0.user_id));
        for (phone, row) in &mut held {
            let begun = suppressions::begin(&tx, now, phone, Cause::User(caller.0.user_id)).await?;
            if let Begun::New(new) = &begun {
                audit_log::record(&tx, now, &by, Action::SuppressionCreate, Some(new.id)).await?;
            }
            *row = Some(begun.into_suppression());
        }
        db::commit(tx, Commit::Customer).await?;
        let rows = phones.iter().filter_map(|phone| held.get_mut(phone.as_digits()).and_then(Option::take));
        let whole = caller.sees_phones();
        Ok(Envelope::new(rows.map(|row| SuppressionView::of(row, whole)).collect()))
    }

    /// Ends the suppression of a number: batches write to it again. The trail keeps it.
    #[oai(path = "/suppressions", method = "delete")]
    async fn end(
        &self,
        request: &Request,
        #[oai(scope = "guard::CONTACTS_WRITE")] _token: Token,
        /// The number; required.
        phone: Query<Option<Lenient<String>>>,
    ) -> Result<Json<Envelope<SuppressionView>>, Rejection> {
        let caller = caller(request)?;
        let mut params = Params::default();
        let phone = match params.read("phone", phone.0, "a phone number") {
            Some(text) => read_phone(&mut params, &text, self.app.settings.default_country),
            None => {
                params.bad("phone", "is required");
                None
            }
        };
        let Some(phone) = phone.filter(|_| params.errors.is_empty()) else {
            return Err(Refusal::invalid(params.errors).into());
        };
        let tx = self.app.db.begin().await?;
        let (now, by) = (self.app.clock.now(), origin::of_user(request, caller.0.user_id));
        let ended = suppressions::end(&tx, now, &phone, Cause::User(caller.0.user_id)).await?;
        let ended = ended.ok_or_else(|| Refusal::not_found("suppression of this number"))?;
        audit_log::record(&tx, now, &by, Action::SuppressionEnd, Some(ended.id)).await?;
        db::commit(tx, Commit::Customer).await?;
        Ok(Envelope::new(SuppressionView::of(ended, caller.sees_phones())))
    }
}

/// A number in a query, where a `+` that was not escaped arrives as a space. Digits alone that do not begin with a 0 are a
/// number as the list shows it.
fn read_phone(params: &mut Params, text: &str, home: Option<Country>) -> Option<String> {
    let as_listed = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    let unmarked = if as_listed || text.starts_with(' ') { Unmarked::International } else { Unmarked::ByPeople(home) };
    match phone::read(text, unmarked) {
        Ok(reading) => Some(reading.phone.as_digits().to_owned()),
        Err(error) => {
            params.bad("phone", error.to_string());
            None
        }
    }
}
