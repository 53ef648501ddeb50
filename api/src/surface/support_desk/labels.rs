//! Labels.

use super::auth::Token;
use super::caller;
use super::envelope::{Rejection, Success};
use crate::App;
use crate::foundation::body::SmallBody;
use crate::foundation::fields::Fields;
use crate::foundation::guard;
use crate::foundation::origin;
use crate::foundation::refusal::{Kind, Refusal};
use crate::foundation::time::Time;
use domain::audit_log::{self, Action};
use domain::db;
use domain::labels::{self, Label, LabelError, MAX_TITLE};
use faults::Commit;
use poem::Request;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};
use std::sync::Arc;

pub(crate) struct LabelRoutes {
    pub(super) app: Arc<App>,
}

/// A label to be made.
#[derive(Debug, Object)]
#[oai(example)]
struct LabelRequest {
    /// Its title; no two labels have the same, whatever its case.
    #[oai(validator(min_length = 1, max_length = 50))]
    title: String,
    /// Its colour, as `#1f6feb`; that if it is not given.
    #[oai(validator(pattern = "^#[0-9A-Fa-f]{6}$"))]
    color: Option<String>,
}

impl Example for LabelRequest {
    fn example() -> Self {
        Self { title: "Refund".into(), color: Some("#d73a4a".into()) }
    }
}

/// A label.
#[derive(Debug, Object)]
#[oai(rename = "Label")]
struct LabelView {
    /// Its number.
    id: i64,
    /// Its title.
    title: String,
    /// Its colour.
    color: String,
    /// When it was made.
    created_at: Time,
}

impl From<Label> for LabelView {
    fn from(label: Label) -> Self {
        Self { id: label.id.0, title: label.title, color: label.color, created_at: label.created_at.into() }
    }
}

/// All labels.
#[derive(Debug, Object)]
struct Labels {
    /// The labels, by title.
    labels: Vec<LabelView>,
}

/// One label.
#[derive(Debug, Object)]
struct OneLabel {
    /// The label.
    label: LabelView,
}

/// A label that was made.
#[derive(ApiResponse)]
enum Created {
    /// The label.
    #[oai(status = 201)]
    Created(Json<Success<OneLabel>>),
}

fn refuse(error: LabelError) -> Refusal {
    match error {
        LabelError::BadTitle => Refusal::field("title", error.to_string()),
        LabelError::BadColor => Refusal::field("color", error.to_string()),
        LabelError::TitleTaken | LabelError::TooMany => Refusal::new(Kind::Conflict, error.to_string()),
        LabelError::Database(error) => error.into(),
    }
}

fn read(body: &[u8]) -> Result<(String, Option<String>), Refusal> {
    let mut f = Fields::parse(body)?;
    let title = f.text("title", 1..=MAX_TITLE);
    let color = f.text("color", 1..=MAX_TITLE);
    if let Some(Err(error)) = title.as_deref().map(labels::title) {
        f.bad("title", error.to_string());
    } else if f.raw("title").is_none() {
        f.bad("title", "is required");
    }
    if let Some(Err(error)) = color.as_deref().map(labels::color) {
        f.bad("color", error.to_string());
    }
    f.finish()?;
    Ok((title.unwrap_or_default(), color))
}

/// Labels of conversations.
#[OpenApi]
impl LabelRoutes {
    /// All labels, by title.
    #[oai(path = "/api/v1/labels", method = "get")]
    async fn list(
        &self,
        #[oai(scope = "guard::CONVERSATIONS_READ")] _token: Token,
    ) -> Result<Json<Success<Labels>>, Rejection> {
        let found = labels::list(self.app.db.read()).await.map_err(Refusal::from)?;
        Ok(Success::new(Labels { labels: found.into_iter().map(LabelView::from).collect() }))
    }

    /// Makes a label; there may be 500.
    #[oai(path = "/api/v1/labels", method = "post")]
    async fn create(
        &self,
        request: &Request,
        #[oai(scope = "guard::CONVERSATIONS_WRITE")] _token: Token,
        body: SmallBody<LabelRequest>,
    ) -> Result<Created, Rejection> {
        let (title, color) = read(&body.bytes)?;
        let (now, by) = (self.app.clock.now(), caller(request)?.0.user_id);
        let tx = self.app.db.begin().await.map_err(Refusal::from)?;
        let made = labels::create(&tx, now, by, &title, color.as_deref()).await.map_err(refuse)?;
        let by = origin::of_user(request, by);
        audit_log::record(&tx, now, &by, Action::LabelCreate, Some(made.id)).await.map_err(Refusal::from)?;
        db::commit(tx, Commit::Desk).await.map_err(Refusal::from)?;
        Ok(Created::Created(Success::new(OneLabel { label: made.into() })))
    }
}
