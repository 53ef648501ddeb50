//! `/calendar`: what will start by itself.

use super::envelope::{Envelope, Rejection};
use super::routes::Token;
use super::wire::BatchType;
use crate::App;
use crate::foundation::guard;
use crate::foundation::param::{Lenient, Params};
use crate::foundation::refusal::Refusal;
use crate::foundation::time::{DateOrTime, Time};
use domain::Timestamp;
use domain::batches::{self, Batch};
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::{Enum, Object, OpenApi};
use std::sync::Arc;
use std::time::Duration;

/// How many days are told where no end is given.
const DAYS: u64 = 90;

/// What starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
enum EntryKind {
    /// A batch that was scheduled.
    Batch,
}

/// Something that will start by itself.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct EntryView {
    /// When.
    at: Time,
    /// What.
    kind: EntryKind,
    /// The batch.
    #[oai(validator(pattern = "^[1-9][0-9]{0,18}$"))]
    batch_id: String,
    /// What it does.
    #[oai(rename = "type")]
    batch_type: BatchType,
    /// What it is called: how the text of a send begins; empty for what sends nothing.
    name: String,
    /// How many recipients it has, as far as they are known.
    #[oai(validator(minimum(value = "0")))]
    recipients: i64,
    /// Whether it is paused, or waits for an approval: then it does not start at its time.
    paused: bool,
}

/// The longest name, in characters.
const MAX_NAME: usize = 60;

impl EntryView {
    fn of(batch: &Batch) -> Option<Self> {
        Some(Self {
            at: Time(batch.schedule_at?),
            kind: EntryKind::Batch,
            batch_id: batch.summary.id.to_string(),
            batch_type: batch.summary.batch_type.into(),
            name: batch.name(MAX_NAME),
            recipients: batch.summary.total,
            paused: batch.paused,
        })
    }
}

pub(crate) struct CalendarRoutes {
    pub(super) app: Arc<App>,
}

/// What will start by itself.
#[OpenApi]
impl CalendarRoutes {
    /// The batches that wait for their time, the first to start first; at most 1,000.
    #[oai(path = "/calendar", method = "get")]
    async fn calendar(
        &self,
        #[oai(scope = "guard::BATCHES_READ")] _token: Token,
        /// From this date (UTC midnight) or RFC 3339 time on; now if it is not given.
        from: Query<Option<Lenient<DateOrTime>>>,
        /// Before this date (UTC midnight) or RFC 3339 time; 90 days after `from` if it is not given.
        to: Query<Option<Lenient<DateOrTime>>>,
    ) -> Result<Json<Envelope<Vec<EntryView>>>, Rejection> {
        let mut params = Params::default();
        let when = "a date (2025-10-01) or an RFC 3339 time";
        let from = params.read("from", from.0, when).map_or_else(|| self.app.clock.now(), |at| at.0);
        let to: Option<Timestamp> = params.read("to", to.0, when).map(|at| at.0);
        if !params.errors.is_empty() {
            return Err(Refusal::invalid(params.errors).into());
        }
        let to = to.unwrap_or_else(|| from.plus(Duration::from_secs(DAYS * 86_400)));
        let found = batches::scheduled(self.app.db.read(), from, to).await?;
        Ok(Envelope::new(found.iter().filter_map(EntryView::of).collect()))
    }
}
