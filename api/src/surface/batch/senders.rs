//! `/senders`: the numbers that messages leave from.

use super::envelope::{Count, Envelope, Listed, Rejection};
use super::routes::{Token, caller};
use crate::App;
use crate::foundation::body::SmallBody;
use crate::foundation::fields::Fields;
use crate::foundation::guard;
use crate::foundation::origin;
use crate::foundation::param::PathId;
use crate::foundation::refusal::{Kind, Refusal};
use crate::foundation::time::Time;
use domain::audit_log::{self, Action, Origin};
use domain::db::{self, Trouble};
use domain::gateways;
use domain::senders::{self, Health, Hold, NewSender, Patch, Sender, SenderError};
use domain::{SenderId, Step, Timestamp};
use faults::Commit;
use poem::Request;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use std::sync::Arc;

/// The network that has a window.
const WITH_WINDOW: &str = "cloud-api";

/// What a sender does at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(super) enum SenderState {
    /// Messages leave.
    Active,
    /// A user stopped it.
    Paused,
    /// It took as many messages as it may in a day.
    Capped,
    /// Its gateway does not work.
    Failing,
    /// Its gateway asked it to wait.
    Waiting,
}

/// The business that a sender belongs to.
#[derive(Debug, Object)]
#[oai(rename = "SenderPortfolio", rename_all = "camelCase")]
pub(super) struct Portfolio {
    /// Its number at the network.
    id: String,
    /// How many people its senders may write to first in 24 hours; null: any number.
    limit: Option<i64>,
    /// How many they have.
    used_in24h: i64,
    /// When the next place is free; null: one is.
    frees_at: Option<Time>,
}

/// How far a new sender is.
#[derive(Debug, Object)]
#[oai(rename = "SenderWarmUp", rename_all = "camelCase")]
pub(super) struct WarmUp {
    /// How many messages it may send today.
    today: i64,
    /// When it may send as many as it likes.
    ends_at: Option<Time>,
}

/// A number that messages leave from.
#[derive(Debug, Object)]
#[oai(rename = "Sender", rename_all = "camelCase")]
pub(super) struct SenderView {
    /// Its number.
    id: String,
    /// Its name, by which sends and the gateway call it.
    name: String,
    /// The network that it sends through, as the gateway that was asked last told; null: none was, or it does not tell.
    kind: Option<String>,
    /// Whether that network lets only templates out 24 hours after the customer's last message.
    window: bool,
    /// The business that it belongs to, with what all its senders may do in 24 hours; null: nothing is known of one.
    portfolio: Option<Portfolio>,
    /// How the network rates it; null: it does not tell.
    quality: Option<String>,
    /// How far it is with being let send more by and by; null: it is not.
    warm_up: Option<WarmUp>,
    /// What it does at present.
    state: SenderState,
    /// Why, where it is not active.
    reason: Option<String>,
    /// Until when, where that is known.
    until: Option<Time>,
    /// Whether a user stopped it.
    paused: bool,
    /// Messages a minute; null: no limit.
    #[oai(validator(minimum(value = "1")))]
    rate_per_minute: Option<i64>,
    /// Whether that is the configured limit and not its own.
    rate_is_default: bool,
    /// The most messages in a day of UTC; null: no cap.
    #[oai(validator(minimum(value = "1")))]
    daily_cap: Option<i64>,
    /// Messages that were counted today.
    #[oai(validator(minimum(value = "0")))]
    used_today: i64,
    /// When it was made; that of the default one is the epoch.
    created_at: Time,
    /// When it was last changed.
    updated_at: Time,
}

impl SenderView {
    /// As the API shows it. Of a network's own figures, none is in the ledger yet.
    pub(super) fn of(sender: Sender, now: Timestamp, configured: Option<i64>, network: Option<&str>) -> Self {
        let (state, reason, until) = state(&sender, now);
        Self {
            id: sender.id.to_string(),
            name: sender.name,
            kind: network.map(str::to_owned),
            window: network == Some(WITH_WINDOW),
            portfolio: None,
            quality: None,
            warm_up: None,
            state,
            reason,
            until: until.map(Time),
            paused: sender.allowance.paused,
            rate_per_minute: sender.rate_per_minute.or(configured),
            rate_is_default: sender.rate_per_minute.is_none(),
            daily_cap: sender.allowance.daily_cap,
            used_today: sender.allowance.used_today(now),
            created_at: Time(sender.created_at),
            updated_at: Time(sender.updated_at),
        }
    }
}

/// What a sender does, why, and until when.
fn state(sender: &Sender, now: Timestamp) -> (SenderState, Option<String>, Option<Timestamp>) {
    match sender.health(now) {
        Health::Active => (SenderState::Active, None, None),
        Health::Held(hold @ Hold::Stopped) => (SenderState::Paused, Some(hold.message().into()), None),
        Health::Held(hold @ Hold::Capped { until }) => (SenderState::Capped, Some(hold.message().into()), Some(until)),
        Health::Failing { until, reason } => {
            (SenderState::Failing, Some(format!("its gateway does not work: {reason}")), Some(until))
        }
        Health::Waiting(until) => (SenderState::Waiting, Some("its gateway asked it to wait".into()), Some(until)),
    }
}

/// A sender to be made.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct SenderRequest {
    /// Its name; it never changes. The gateway must have a sender of that name (`gateway_senders`).
    #[oai(validator(pattern = "^[A-Za-z0-9._-]{1,64}$"))]
    name: String,
    /// Messages a minute; without it, the configured limit.
    #[oai(validator(minimum(value = "1"), maximum(value = "6000000")))]
    rate_per_minute: Option<i64>,
    /// The most messages in a day of UTC; without it, no cap.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000000000")))]
    daily_cap: Option<i64>,
    /// Whether it begins stopped.
    paused: Option<bool>,
}

/// A change of a sender. What is absent stays.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct SenderPatchRequest {
    /// Messages a minute; null: the configured limit again.
    #[oai(validator(minimum(value = "1"), maximum(value = "6000000")))]
    rate_per_minute: Option<i64>,
    /// The most messages in a day of UTC; null: no cap.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000000000")))]
    daily_cap: Option<i64>,
    /// Stops it, or lets it go on.
    paused: Option<bool>,
}

/// A sender that was made.
#[derive(ApiResponse)]
enum Created {
    /// The sender.
    #[oai(status = 201)]
    Created(Json<Envelope<SenderView>>),
}

pub(super) fn refuse(error: SenderError) -> Refusal {
    match error {
        SenderError::NameTaken => Refusal::new(Kind::Conflict, "another sender has this name"),
        SenderError::NotFound => Refusal::not_found("sender"),
        SenderError::Database(error) => error.into(),
    }
}

fn id(text: &str) -> Result<SenderId, Refusal> {
    text.parse().map_err(|_| Refusal::not_found("sender"))
}

fn read_new(body: &[u8]) -> Result<NewSender, Refusal> {
    let mut f = Fields::parse(body)?;
    let name = f.required_text("name", 1..=senders::MAX_NAME);
    if !name.is_empty() && name.len() <= senders::MAX_NAME && !senders::is_name(&name) {
        f.bad("name", "must have letters of A to Z, digits, dots, underscores and hyphens only");
    }
    let rate_per_minute = f.integer("ratePerMinute", 1..=senders::MAX_RATE);
    let daily_cap = f.integer("dailyCap", 1..=senders::MAX_CAP);
    let paused = f.boolean("paused").unwrap_or(false);
    f.finish()?;
    Ok(NewSender { name, rate_per_minute, daily_cap, paused })
}

fn read_patch(body: &[u8]) -> Result<Patch, Refusal> {
    let mut f = Fields::parse(body)?;
    let given = f.names().any(|name| ["ratePerMinute", "dailyCap", "paused"].contains(&name));
    let patch = Patch {
        rate_per_minute: f.integer_or_null("ratePerMinute", 1..=senders::MAX_RATE),
        daily_cap: f.integer_or_null("dailyCap", 1..=senders::MAX_CAP),
        paused: f.boolean("paused"),
    };
    if !given {
        f.bad("body", "must have ratePerMinute, dailyCap or paused");
    }
    f.finish()?;
    Ok(patch)
}

/// How often a sender is tried to be changed when others are in the way.
const TRIES: u32 = 3;

pub(crate) struct SenderRoutes {
    pub(super) app: Arc<App>,
}

impl SenderRoutes {
    async fn view(&self, sender: Sender) -> Result<SenderView, Rejection> {
        let network = gateways::latest_transport(self.app.db.read()).await?;
        let configured = self.app.settings.sender_rate_per_minute;
        Ok(SenderView::of(sender, self.app.clock.now(), configured, network.as_deref()))
    }

    async fn try_patch(&self, id: SenderId, patch: Patch, by: &Origin) -> Result<Step<Sender>, SenderError> {
        let (now, configured) = (self.app.clock.now(), self.app.settings.sender_rate_per_minute);
        let tx = self.app.db.begin().await?;
        let step = senders::patch(&tx, now, id, patch, configured).await?;
        audit_log::record(&tx, now, by, Action::SenderUpdate, Some(id)).await?;
        db::commit(tx, Commit::Steer).await?;
        Ok(step)
    }
}

/// The numbers that messages leave from.
#[OpenApi]
impl SenderRoutes {
    /// Lists the senders in the order in which they were made.
    #[oai(path = "/senders", method = "get")]
    async fn list(
        &self,
        #[oai(scope = "guard::BATCHES_READ")] _token: Token,
    ) -> Result<Json<Listed<SenderView>>, Rejection> {
        let found = senders::list(self.app.db.read()).await?;
        let count = i64::try_from(found.len()).unwrap_or(i64::MAX);
        let network = gateways::latest_transport(self.app.db.read()).await?;
        let (now, configured) = (self.app.clock.now(), self.app.settings.sender_rate_per_minute);
        let view = |sender| SenderView::of(sender, now, configured, network.as_deref());
        let data = found.into_iter().map(view).collect();
        Ok(Json(Listed { ok: true, data, meta: Count { count } }))
    }

    /// Makes a sender.
    #[oai(path = "/senders", method = "post")]
    async fn create(
        &self,
        request: &Request,
        #[oai(scope = "guard::SETTINGS_WRITE")] _token: Token,
        body: SmallBody<SenderRequest>,
    ) -> Result<Created, Rejection> {
        let caller = caller(request)?;
        let new = read_new(&body.bytes)?;
        let (now, by) = (self.app.clock.now(), origin::of_user(request, caller.0.user_id));
        let tx = self.app.db.begin().await?;
        let made = senders::create(&tx, now, &new).await.map_err(refuse)?;
        audit_log::record(&tx, now, &by, Action::SenderCreate, Some(made.id)).await?;
        db::commit(tx, Commit::Steer).await?;
        Ok(Created::Created(Envelope::new(self.view(made).await?)))
    }

    /// Changes a sender's pace or cap, stops it or lets it go on: holds with the next claim, in all processes.
    #[oai(path = "/senders/:id", method = "patch")]
    async fn patch(
        &self,
        request: &Request,
        #[oai(scope = "guard::SETTINGS_WRITE")] _token: Token,
        /// The sender.
        #[oai(name = "id")]
        sender: Path<PathId>,
        body: SmallBody<SenderPatchRequest>,
    ) -> Result<Json<Envelope<SenderView>>, Rejection> {
        let caller = caller(request)?;
        let by = origin::of_user(request, caller.0.user_id);
        let patch = read_patch(&body.bytes)?;
        let id = id(&sender)?;
        let mut tries = 1;
        loop {
            match self.try_patch(id, patch, &by).await {
                Err(SenderError::Database(error)) if tries < TRIES && Trouble::of(&error) == Trouble::Conflict => {
                    tries += 1;
                }
                done => {
                    let sender = self.app.after(done.map_err(refuse)?);
                    return Ok(Envelope::new(self.view(sender).await?));
                }
            }
        }
    }
}
