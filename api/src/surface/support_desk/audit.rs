//! The audit log, for who may read users.

use super::auth::Token;
use super::envelope::{Rejection, Success};
use super::paging::{PageMeta, Paging};
use crate::App;
use crate::foundation::guard;
use crate::foundation::param::{Lenient, Params};
use crate::foundation::refusal::Refusal;
use crate::foundation::time::{DateOrTime, Time};
use domain::UserId;
use domain::audit_log::{self, Record, Search};
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use std::sync::Arc;

/// How far records are counted: nobody pages through more, and the log may have millions.
const COUNTED: i64 = 10_000;

/// What was done.
#[derive(Debug, Object)]
struct AuditRecord {
    /// Its number; later ones are higher.
    id: i64,
    /// The kind of actor: `user`, `anonymous`, `gateway` or `system`.
    actor: String,
    /// The user, where it was one.
    user_id: Option<i64>,
    /// What was done, and with what kind of thing: `batch:pause`.
    action: String,
    /// With what.
    resource_id: Option<String>,
    /// From which address.
    ip_address: Option<String>,
    /// By which program.
    user_agent: Option<String>,
    /// For what reason, where one was asked for.
    reason: Option<String>,
    /// When.
    timestamp: Time,
}

impl From<Record> for AuditRecord {
    fn from(record: Record) -> Self {
        Self {
            id: record.id,
            actor: record.actor,
            user_id: record.user.map(|user| user.0),
            action: record.action,
            resource_id: record.resource_id,
            ip_address: record.ip_address,
            user_agent: record.user_agent,
            reason: record.reason,
            timestamp: record.at.into(),
        }
    }
}

/// A page of the audit log.
#[derive(Debug, Object)]
struct AuditPage {
    /// The records, the newest first.
    audit_logs: Vec<AuditRecord>,
    /// Where the page is.
    meta: PageMeta,
}

pub(crate) struct AuditRoutes {
    pub(super) app: Arc<App>,
}

/// Whether a value is one that records have.
fn is_word(text: &str) -> bool {
    (1..=100).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_:-.".contains(&b))
}

/// What was done.
#[OpenApi]
impl AuditRoutes {
    /// The audit log, the newest first.
    #[oai(path = "/api/v1/audit-logs", method = "get")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the contract")]
    async fn list(
        &self,
        #[oai(scope = "guard::USERS_READ")] _token: Token,
        /// Only this action, as `batch:pause`, or those with one kind of thing, as `batch`.
        #[oai(validator(pattern = "^[A-Za-z0-9_:.-]{0,100}$"))]
        action: Query<Option<Lenient<String>>>,
        /// Only what this user did.
        #[oai(validator(minimum(value = "1")))]
        user_id: Query<Option<Lenient<i64>>>,
        /// Only what was done with this, by its id.
        #[oai(validator(pattern = "^[A-Za-z0-9_:.-]{0,100}$"))]
        resource_id: Query<Option<Lenient<String>>>,
        /// Only from this date (UTC midnight) or RFC 3339 time on.
        start_date: Query<Option<Lenient<DateOrTime>>>,
        /// Only before this date (UTC midnight) or RFC 3339 time.
        end_date: Query<Option<Lenient<DateOrTime>>>,
        /// Which page, from 1.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        page: Query<Option<Lenient<i64>>>,
        /// How many a page has; 20 if it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        per_page: Query<Option<Lenient<i64>>>,
    ) -> Result<Json<Success<AuditPage>>, Rejection> {
        let mut params = Params::default();
        let mut word = |name: &str, value: Option<Lenient<String>>| {
            let text = params.read(name, value, "a word").filter(|text| !text.is_empty())?;
            if !is_word(&text) {
                params.bad(name, "must be 1 to 100 letters, digits, and any of _ : - .");
            }
            Some(text)
        };
        let (action, resource) = (word("action", action.0), word("resource_id", resource_id.0));
        let when = "a date (2025-10-01) or an RFC 3339 time";
        let search = Search {
            action,
            resource,
            user: params.number_if_given("user_id", user_id.0, 1, i64::MAX).map(UserId),
            after: params.read("start_date", start_date.0, when).map(|at| at.0),
            before: params.read("end_date", end_date.0, when).map(|at| at.0),
        };
        let paging = Paging::read(&mut params, page.0, per_page.0);
        if !params.errors.is_empty() {
            return Err(Refusal::invalid(params.errors).into());
        }
        let db = self.app.db.read();
        let found = audit_log::page(db, &search, paging.limit(), paging.offset()).await.map_err(Refusal::from)?;
        let total_count = audit_log::count(db, &search, COUNTED).await.map_err(Refusal::from)?;
        let meta = paging.meta(total_count);
        Ok(Success::new(AuditPage { audit_logs: found.into_iter().map(AuditRecord::from).collect(), meta }))
    }
}
