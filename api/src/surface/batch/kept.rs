//! What a user keeps: `/views`, `/drafts` and `/test-numbers`. Everybody's own; of views also what others share.

use super::envelope::{Confirmation, Envelope, Rejection};
use super::routes::{Token, caller};
use crate::App;
use crate::foundation::body::SmallBody;
use crate::foundation::fields::Fields;
use crate::foundation::guard;
use crate::foundation::origin;
use crate::foundation::param::{FormKey, Lenient, Params, PathId};
use crate::foundation::refusal::{Kind, Refusal};
use crate::foundation::time::Time;
use domain::audit_log::{self, Action};
use domain::contacts::phone::{self, Phone};
use domain::kept::drafts::{self, Draft};
use domain::kept::numbers;
use domain::kept::views::{self, NewView, View, ViewError};
use domain::users::Permission;
use domain::{ViewId, db};
use faults::Commit;
use poem::Request;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A list that has views.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
enum ListName {
    /// Batches.
    Batches,
    /// Contacts.
    Contacts,
    /// Statistics.
    Statistics,
    /// The audit log.
    Audit,
    /// Jobs.
    Jobs,
}

impl ListName {
    const fn name(self) -> &'static str {
        match self {
            Self::Batches => views::PAGES[0],
            Self::Contacts => views::PAGES[1],
            Self::Statistics => views::PAGES[2],
            Self::Audit => views::PAGES[3],
            Self::Jobs => views::PAGES[4],
        }
    }

    fn of(name: &str) -> Option<Self> {
        let all = [Self::Batches, Self::Contacts, Self::Statistics, Self::Audit, Self::Jobs];
        all.into_iter().find(|one| one.name() == name)
    }
}

/// A filter line of a list, with a name.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct ViewView {
    /// Its number.
    #[oai(validator(pattern = "^[1-9][0-9]{0,18}$"))]
    id: String,
    /// Which list it is of.
    page: ListName,
    /// Its name.
    name: String,
    /// The filter line: `status:failed type:send`.
    line: String,
    /// Whether all who see the list are shown it.
    shared: bool,
    /// Whether it is the caller's own.
    own: bool,
    /// When it was kept.
    created_at: Time,
}

/// A view to be kept.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct ViewRequest {
    /// Which list it is of.
    page: ListName,
    /// Its name; no other of the caller's views of this list has it.
    #[oai(validator(min_length = 1, max_length = 60))]
    name: String,
    /// The filter line.
    #[oai(validator(min_length = 1, max_length = 500))]
    line: String,
    /// Whether all who see the list are shown it: that takes `batches:write`. False if it is not given.
    shared: Option<bool>,
}

/// A send that is filled in and not sent.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct DraftView {
    /// Its key: 32 hexadecimal digits.
    #[oai(validator(pattern = "^[0-9a-f]{32}$"))]
    key: String,
    /// What it is called.
    name: String,
    /// The fields of the console's form, and their texts.
    fields: BTreeMap<String, String>,
    /// When it was last kept.
    updated_at: Time,
}

/// A draft to be kept.
#[derive(Debug, Object)]
struct DraftRequest {
    /// What it is called.
    #[oai(validator(max_length = 80))]
    name: String,
    /// The fields of the console's form, and their texts; at most 64 KiB.
    fields: BTreeMap<String, String>,
}

/// The numbers that a user's tests go to.
#[derive(Debug, Object)]
struct NumbersView {
    /// The numbers, `+` and digits; at most 10.
    #[oai(validator(max_items = 10))]
    phones: Vec<String>,
}

/// A view that was kept.
#[derive(ApiResponse)]
enum CreatedView {
    /// The view.
    #[oai(status = 201)]
    Created(Json<Envelope<ViewView>>),
}

pub(crate) struct KeptRoutes {
    pub(super) app: Arc<App>,
}

fn view(view: View, user: domain::UserId) -> Option<ViewView> {
    Some(ViewView {
        id: view.id.to_string(),
        page: ListName::of(&view.page)?,
        name: view.name,
        line: view.line,
        shared: view.shared,
        own: view.owner == user,
        created_at: Time(view.created_at),
    })
}

fn draft(draft: Draft) -> DraftView {
    DraftView { key: draft.key, name: draft.name, fields: draft.fields, updated_at: Time(draft.updated_at) }
}

fn key(text: &str) -> Result<&str, Refusal> {
    if drafts::is_key(text) { Ok(text) } else { Err(Refusal::not_found("draft")) }
}

/// Reads the fields of a draft.
fn read_draft(body: &[u8]) -> Result<(String, BTreeMap<String, String>), Refusal> {
    let mut f = Fields::parse(body)?;
    let name = f.required_text("name", 0..=drafts::MAX_NAME);
    let fields: BTreeMap<String, String> = match f.raw("fields").map(|raw| serde_json::from_str(raw.get())) {
        Some(Ok(fields)) => fields,
        Some(Err(_)) | None => {
            f.bad("fields", "must be an object of texts");
            BTreeMap::new()
        }
    };
    if fields.iter().map(|(name, text)| name.len() + text.len()).sum::<usize>() > drafts::MAX_BYTES {
        f.bad("fields", format!("must have at most {} bytes", drafts::MAX_BYTES));
    }
    if fields.iter().any(|(name, text)| name.contains('\0') || text.contains('\0')) {
        f.bad("fields", "must have no NUL");
    }
    f.finish()?;
    Ok((name, fields))
}

/// Reads the numbers of a list, each once.
fn read_phones(body: &[u8]) -> Result<Vec<Phone>, Refusal> {
    let mut f = Fields::parse(body)?;
    let texts = f.texts("phones", 0..=numbers::MOST, 1..=64).unwrap_or_default();
    if f.raw("phones").is_none() {
        f.bad("phones", "is required");
    }
    let mut phones: Vec<Phone> = Vec::new();
    for (place, text) in texts.iter().enumerate() {
        match phone::normalise(text) {
            Ok(phone) if phones.iter().any(|known| known.as_digits() == phone.as_digits()) => {}
            Ok(phone) => phones.push(phone),
            Err(error) => f.bad(format!("phones[{place}]"), error.to_string()),
        }
    }
    f.finish()?;
    Ok(phones)
}

/// What users keep for themselves.
#[OpenApi]
impl KeptRoutes {
    /// The caller's own views of lists, then those that others share, each by name.
    #[oai(path = "/views", method = "get")]
    async fn views(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_READ")] _token: Token,
        /// Only of this list.
        page: Query<Option<Lenient<ListName>>>,
    ) -> Result<Json<Envelope<Vec<ViewView>>>, Rejection> {
        let caller = caller(request)?;
        let user = caller.0.user_id;
        let mut params = Params::default();
        let page = params.read("page", page.0, "one of batches, contacts, statistics, audit, jobs");
        if !params.errors.is_empty() {
            return Err(Refusal::invalid(params.errors).into());
        }
        let found = views::list(self.app.db.read(), user, page.map(ListName::name)).await?;
        // Whoever may not see a list is told of no filter of it.
        let seen = found.into_iter().filter(|one| caller.0.permits(views::needs(&one.page)));
        Ok(Envelope::new(seen.filter_map(|one| view(one, user)).collect()))
    }

    /// Keeps a view. 409 where the caller has one of this list and name, or as many as can be kept.
    #[oai(path = "/views", method = "post")]
    async fn keep_view(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_READ")] _token: Token,
        body: SmallBody<ViewRequest>,
    ) -> Result<CreatedView, Rejection> {
        let caller = caller(request)?;
        let mut f = Fields::parse(&body.bytes)?;
        let page = f.required_text("page", 1..=20);
        if ListName::of(&page).is_none() && !page.is_empty() {
            f.bad("page", "must be one of batches, contacts, statistics, audit, jobs");
        }
        let name = f.required_text("name", 1..=views::MAX_NAME);
        let line = f.required_text("line", 1..=views::MAX_LINE);
        let shared = f.boolean("shared").unwrap_or(false);
        f.finish()?;
        caller.needs(views::needs(&page))?;
        if shared {
            caller.needs(Permission::BatchesWrite)?;
        }
        let (user, by) = (caller.0.user_id, origin::of_user(request, caller.0.user_id));
        let new = NewView { page: &page, name: &name, line: &line, shared };
        let tx = self.app.db.begin().await?;
        let now = self.app.clock.now();
        let kept = views::keep(&tx, now, user, new).await.map_err(|error| match error {
            ViewError::NameTaken | ViewError::TooMany => Refusal::new(Kind::Conflict, error.to_string()),
            ViewError::Database(error) => error.into(),
        })?;
        audit_log::record(&tx, now, &by, Action::ViewCreate, Some(kept.id)).await?;
        db::commit(tx, Commit::Customer).await?;
        let made = view(kept, user).ok_or_else(|| Refusal::not_found("list"))?;
        Ok(CreatedView::Created(Envelope::new(made)))
    }

    /// Deletes a view of the caller's own, or, with `settings:write`, one that is shared.
    #[oai(path = "/views/:view_id", method = "delete")]
    async fn delete_view(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_READ")] _token: Token,
        /// The view.
        view_id: Path<PathId>,
    ) -> Result<Json<Confirmation>, Rejection> {
        let caller = caller(request)?;
        let (user, by) = (caller.0.user_id, origin::of_user(request, caller.0.user_id));
        let id: ViewId = view_id.parse().map_err(|_| Refusal::not_found("view"))?;
        let tx = self.app.db.begin().await?;
        if !views::delete(&tx, user, id, caller.0.permits(Permission::SettingsWrite)).await? {
            return Err(Refusal::not_found("view of yours").into());
        }
        audit_log::record(&tx, self.app.clock.now(), &by, Action::ViewDelete, Some(id)).await?;
        db::commit(tx, Commit::Customer).await?;
        Ok(Json(Confirmation { ok: true, message: "View deleted successfully".into() }))
    }

    /// The caller's drafts of sends, the last touched first; at most 50.
    #[oai(path = "/drafts", method = "get")]
    async fn drafts(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_WRITE")] _token: Token,
    ) -> Result<Json<Envelope<Vec<DraftView>>>, Rejection> {
        let user = caller(request)?.0.user_id;
        let found = drafts::list(self.app.db.read(), user).await?;
        Ok(Envelope::new(found.into_iter().map(draft).collect()))
    }

    /// One of the caller's drafts.
    #[oai(path = "/drafts/:key", method = "get")]
    async fn draft(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_WRITE")] _token: Token,
        /// The draft.
        key: Path<FormKey>,
    ) -> Result<Json<Envelope<DraftView>>, Rejection> {
        let user = caller(request)?.0.user_id;
        let found = drafts::get(self.app.db.read(), user, self::key(&key)?).await?;
        Ok(Envelope::new(draft(found.ok_or_else(|| Refusal::not_found("draft"))?)))
    }

    /// Keeps a draft, in the place of what it was before. Of more than 50 the oldest goes; one that nobody touches for 90 days
    /// goes, too.
    #[oai(path = "/drafts/:key", method = "put")]
    async fn keep_draft(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_WRITE")] _token: Token,
        /// The draft: 32 hexadecimal digits that the client makes up.
        key: Path<FormKey>,
        body: SmallBody<DraftRequest>,
    ) -> Result<Json<Envelope<DraftView>>, Rejection> {
        let user = caller(request)?.0.user_id;
        let (name, fields) = read_draft(&body.bytes)?;
        let key: &str = &key;
        if !drafts::is_key(key) {
            return Err(Refusal::field("key", "must be 32 hexadecimal digits, in lower case").into());
        }
        let now = self.app.clock.now();
        let tx = self.app.db.begin().await?;
        drafts::keep(&tx, now, user, (key, &name), &fields).await?;
        db::commit(tx, Commit::Customer).await?;
        Ok(Envelope::new(draft(Draft { key: key.to_owned(), name, fields, updated_at: now })))
    }

    /// Deletes one of the caller's drafts.
    #[oai(path = "/drafts/:key", method = "delete")]
    async fn delete_draft(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_WRITE")] _token: Token,
        /// The draft.
        key: Path<FormKey>,
    ) -> Result<Json<Confirmation>, Rejection> {
        let user = caller(request)?.0.user_id;
        if !drafts::delete(self.app.db.write(), user, self::key(&key)?).await? {
            return Err(Refusal::not_found("draft").into());
        }
        Ok(Json(Confirmation { ok: true, message: "Draft deleted successfully".into() }))
    }

    /// The numbers that the caller's tests go to.
    #[oai(path = "/test-numbers", method = "get")]
    async fn numbers(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_WRITE")] _token: Token,
    ) -> Result<Json<Envelope<NumbersView>>, Rejection> {
        let user = caller(request)?.0.user_id;
        let phones = numbers::list(self.app.db.read(), user).await?;
        Ok(Envelope::new(NumbersView { phones: phones.into_iter().map(|digits| format!("+{digits}")).collect() }))
    }

    /// Keeps the numbers that the caller's tests go to, in the place of those before: `POST /batch/test` writes to them.
    #[oai(path = "/test-numbers", method = "put")]
    async fn keep_numbers(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_WRITE")] _token: Token,
        body: SmallBody<NumbersView>,
    ) -> Result<Json<Envelope<NumbersView>>, Rejection> {
        let user = caller(request)?.0.user_id;
        let (phones, by) = (read_phones(&body.bytes)?, origin::of_user(request, user));
        let tx = self.app.db.begin().await?;
        numbers::keep(&tx, user, &phones).await?;
        audit_log::record(&tx, self.app.clock.now(), &by, Action::TestNumbers, Some(user)).await?;
        db::commit(tx, Commit::Customer).await?;
        Ok(Envelope::new(NumbersView { phones: phones.iter().map(Phone::e164).collect() }))
    }
}
