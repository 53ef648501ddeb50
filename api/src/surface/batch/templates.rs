//! `/templates`.

use super::envelope::{Confirmation, Count, Envelope, Listed, Rejection};
use super::routes::{Token, caller};
use super::wire::{Rendered, TemplatePreviewRequest, TemplateRequest, TemplateView};
use crate::App;
use crate::foundation::body::SmallBody;
use crate::foundation::fields::Fields;
use crate::foundation::guard;
use crate::foundation::origin;
use crate::foundation::param::{Lenient, Params, PathId};
use crate::foundation::refusal::{Kind, Refusal};
use domain::audit_log::{self, Action};
use domain::messages::template::{MAX_CHARS, Recipient, Template};
use domain::messages::templates::{self, StoreError};
use domain::{TemplateId, db};
use faults::Commit;
use poem::Request;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, OpenApi};
use std::sync::Arc;

pub(crate) struct TemplateRoutes {
    pub(super) app: Arc<App>,
}

/// A template that was made.
#[derive(ApiResponse)]
enum Created {
    /// The template.
    #[oai(status = 201)]
    Created(Json<Envelope<TemplateView>>),
}

fn refuse(error: StoreError) -> Refusal {
    match error {
        StoreError::NameTaken => Refusal::new(Kind::Conflict, "another template has this name"),
        StoreError::NotFound => Refusal::not_found("template"),
        StoreError::Invalid(error) => Refusal::field("content", error.to_string()),
        StoreError::Database(error) => error.into(),
    }
}

fn id(text: &str) -> Result<TemplateId, Refusal> {
    text.parse().map_err(|_| Refusal::not_found("template"))
}

fn read(body: &[u8]) -> Result<(String, String), Refusal> {
    let mut f = Fields::parse(body)?;
    let name = f.required_text("name", 1..=120);
    let content = f.required_text("content", 1..=MAX_CHARS);
    if let Err(error) = Template::parse(&content) {
        f.bad("content", error.to_string());
    }
    f.finish()?;
    Ok((name, content))
}

/// Message templates.
#[OpenApi]
impl TemplateRoutes {
    /// Lists templates by name.
    #[oai(path = "/templates", method = "get")]
    async fn list(
        &self,
        #[oai(scope = "guard::BATCHES_READ")] _token: Token,
        /// How many; 50 if it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<Lenient<i64>>>,
        /// How many to pass over.
        #[oai(validator(minimum(value = "0"), maximum(value = "2147483647")))]
        offset: Query<Option<Lenient<i64>>>,
    ) -> Result<Json<Listed<TemplateView>>, Rejection> {
        let mut params = Params::default();
        let limit = params.number("limit", limit.0, 1, 200, 50);
        let offset = params.number("offset", offset.0, 0, i64::from(i32::MAX), 0);
        if !params.errors.is_empty() {
            return Err(Refusal::invalid(params.errors).into());
        }
        let (found, count) = templates::list(self.app.db.read(), limit.unsigned_abs(), offset.unsigned_abs()).await?;
        Ok(Json(Listed { ok: true, data: found.into_iter().map(Into::into).collect(), meta: Count { count } }))
    }

    /// Keeps a new template.
    #[oai(path = "/templates", method = "post")]
    async fn create(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_WRITE")] _token: Token,
        body: SmallBody<TemplateRequest>,
    ) -> Result<Created, Rejection> {
        let (name, content) = read(&body.bytes)?;
        let (now, by) = (self.app.clock.now(), caller(request)?.0.user_id);
        let tx = self.app.db.begin().await?;
        let made = templates::create(&tx, now, by, &name, &content).await.map_err(refuse)?;
        let by = origin::of_user(request, by);
        audit_log::record(&tx, now, &by, Action::TemplateCreate, Some(made.id)).await?;
        db::commit(tx, Commit::Customer).await?;
        Ok(Created::Created(Envelope::new(made.into())))
    }

    /// Reads a template.
    #[oai(path = "/templates/:id", method = "get")]
    async fn get(
        &self,
        #[oai(scope = "guard::BATCHES_READ")] _token: Token,
        /// The template.
        #[oai(name = "id")]
        template: Path<PathId>,
    ) -> Result<Json<Envelope<TemplateView>>, Rejection> {
        let found = templates::get(self.app.db.read(), id(&template)?).await?;
        Ok(Envelope::new(found.ok_or_else(|| Refusal::not_found("template"))?.into()))
    }

    /// Changes a template; batches that were accepted with it keep their text.
    #[oai(path = "/templates/:id", method = "put")]
    async fn update(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_WRITE")] _token: Token,
        /// The template.
        #[oai(name = "id")]
        template: Path<PathId>,
        body: SmallBody<TemplateRequest>,
    ) -> Result<Json<Envelope<TemplateView>>, Rejection> {
        let (name, content) = read(&body.bytes)?;
        let id = id(&template)?;
        let (now, by) = (self.app.clock.now(), origin::of_user(request, caller(request)?.0.user_id));
        let tx = self.app.db.begin().await?;
        let changed = templates::update(&tx, now, id, &name, &content).await.map_err(refuse)?;
        audit_log::record(&tx, now, &by, Action::TemplateUpdate, Some(id)).await?;
        db::commit(tx, Commit::Customer).await?;
        Ok(Envelope::new(changed.into()))
    }

    /// Forgets a template.
    #[oai(path = "/templates/:id", method = "delete")]
    async fn delete(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_WRITE")] _token: Token,
        /// The template.
        #[oai(name = "id")]
        template: Path<PathId>,
    ) -> Result<Json<Confirmation>, Rejection> {
        let (now, by) = (self.app.clock.now(), origin::of_user(request, caller(request)?.0.user_id));
        let (id, tx) = (id(&template)?, self.app.db.begin().await?);
        if !templates::delete(&tx, id).await? {
            return Err(Refusal::not_found("template").into());
        }
        audit_log::record(&tx, now, &by, Action::TemplateDelete, Some(id)).await?;
        db::commit(tx, Commit::Customer).await?;
        Ok(Json(Confirmation { ok: true, message: "Template deleted".into() }))
    }

    /// Renders a template with made-up values.
    #[oai(path = "/templates/:id/preview", method = "post")]
    async fn preview(
        &self,
        #[oai(scope = "guard::BATCHES_READ")] _token: Token,
        /// The template.
        #[oai(name = "id")]
        template: Path<PathId>,
        body: SmallBody<TemplatePreviewRequest>,
    ) -> Result<Json<Envelope<Rendered>>, Rejection> {
        let mut f = Fields::parse(&body.bytes)?;
        let name = f.text("name", 1..=200);
        let phone = f.text("phone", 1..=40).unwrap_or_else(|| "60123456789".into());
        let attributes = match f.raw("attributes").map(|raw| serde_json::from_str::<serde_json::Value>(raw.get())) {
            None => serde_json::json!({}),
            Some(Ok(value)) if value.is_object() => value,
            Some(_) => {
                f.bad("attributes", "must be an object");
                serde_json::json!({})
            }
        };
        f.finish()?;
        let found = templates::get(self.app.db.read(), id(&template)?).await?;
        let found = found.ok_or_else(|| Refusal::not_found("template"))?;
        let recipient = Recipient { name: name.as_deref(), phone: &phone, attributes: &attributes };
        let message = templates::preview(&found.content, &recipient)
            .map_err(|error| Refusal::field("content", error.to_string()))?;
        Ok(Envelope::new(Rendered { message }))
    }
}
