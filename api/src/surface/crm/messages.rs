//! `/messages`: histories, sending, the stream.

use super::access::{Asker, Token};
use super::customers::{customer_id, limit, refuse_query};
use super::envelope::Rejection;
use super::wire::{MessageView, SendMessage};
use crate::App;
use crate::foundation::body::{JsonText, SmallBody};
use crate::foundation::fields::Fields;
use crate::foundation::guard;
use crate::foundation::idempotency::{KeyHold, KeyText, KeyedRequest};
use crate::foundation::param::{Lenient, Params, PathId};
use crate::foundation::refusal::{Kind, Refusal};
use crate::foundation::to_its_end;
use crate::realtime::stream::{self, Seen, Watcher};
use domain::ack::ACK_SENT;
use domain::audit_log::{self, Action};
use domain::messages::compose::{self, Author, ComposeError};
use domain::messages::history::{self, Part};
use domain::{ContactId, MessageId, Timestamp, db, outbox};
use faults::Commit;
use poem::{Body, IntoResponse, Request, Response};
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::{Json, Payload};
use poem_openapi::registry::MetaSchemaRef;
use poem_openapi::types::{ToJSON, Type};
use poem_openapi::{ApiResponse, OpenApi};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::sync::Arc;

pub(crate) struct MessageRoutes {
    pub(super) app: Arc<App>,
}

/// A part of a history.
#[derive(ApiResponse)]
enum History {
    /// The messages, the oldest first.
    #[oai(status = 200)]
    Ok(
        Json<Vec<MessageView>>,
        /// Where there are more: `<…>; rel="next"`, or `rel="prev"` for a history that is read backwards; absent at its end.
        #[oai(header = "Link")]
        Option<String>,
    ),
}

/// A message that is on its way.
#[derive(ApiResponse)]
enum Sent {
    /// The message.
    #[oai(status = 200)]
    Ok(
        JsonText<MessageView>,
        /// `true` when an Idempotency-Key's first answer is repeated.
        #[oai(header = "Idempotency-Replayed")]
        Option<String>,
    ),
}

/// Server-Sent Events.
struct Stream(Body);

impl Payload for Stream {
    const CONTENT_TYPE: &'static str = "text/event-stream";

    fn schema_ref() -> MetaSchemaRef {
        <String as Type>::schema_ref()
    }
}

impl IntoResponse for Stream {
    fn into_response(self) -> Response {
        // Proxies that gather an answer before they pass it on would keep it for ever.
        Response::builder()
            .content_type(Self::CONTENT_TYPE)
            .header("cache-control", "no-cache")
            .header("x-accel-buffering", "no")
            .body(self.0)
    }
}

/// Events as they happen.
#[derive(ApiResponse)]
enum Events {
    /// The stream: each event's `data` has as its `type` one of `inbound_message`, `new_customer`, `message_seen`,
    /// `message_ack`, `customer_merged`, `reset`; `/asyncapi.json` describes each.
    #[oai(status = 200)]
    Ok(Stream),
}

fn read_send(body: &[u8]) -> Result<(ContactId, String), Refusal> {
    let mut f = Fields::parse(body)?;
    let customer = match f.raw("customer_id").map(|raw| serde_json::from_str::<i64>(raw.get())) {
        Some(Ok(id)) if id > 0 => Some(ContactId(id)),
        Some(_) => {
            f.bad("customer_id", "must be a whole number from 1 up");
            None
        }
        None => {
            f.bad("customer_id", "is required");
            None
        }
    };
    let content = f.required_text("content", 1..=4_096);
    f.finish()?;
    Ok((customer.ok_or_else(|| Refusal::field("customer_id", "is required"))?, content))
}

async fn send(app: &App, body: &[u8], author: Author, hold: &KeyHold) -> Result<String, Refusal> {
    let (customer, content) = read_send(body)?;
    let rng = &mut StdRng::from_rng(&mut rand::rng());
    let tx = app.db.begin().await?;
    let now = app.clock.now();
    let composed = compose::compose(&tx, now, customer, &content, author, rng).await.map_err(|error| match error {
        ComposeError::NoContact => Refusal::not_found("customer"),
        ComposeError::NoPhone => Refusal::new(Kind::Conflict, error.to_string()),
        ComposeError::Database(error) => error.into(),
    })?;
    audit_log::record(&tx, now, hold.origin(), Action::MessageSend, Some(composed.message.id)).await?;
    // Not the one that was named: that may have been merged into another.
    let shows = composed.message.contact;
    let mut view = MessageView::from(composed.message);
    // The contract's word for "accepted"; the ledger's own is `queued`, and the history shows it.
    view.ack = ACK_SENT;
    let body = view.to_json_string();
    hold.complete(&tx, 200, &body, Some(shows)).await?;
    let mut step = outbox::append(&tx, now, &composed.to_append).await?;
    step.rings = composed.rings;
    db::commit(tx, Commit::Compose).await?;
    app.after(step);
    Ok(body)
}

/// Messages.
#[OpenApi]
impl MessageRoutes {
    /// Sends a message to a customer, ahead of all batches.
    #[oai(path = "/messages/send", method = "post")]
    async fn send(
        &self,
        request: &Request,
        #[oai(scope = "guard::CONVERSATIONS_WRITE")] _token: Token,
        /// Does the request once, however often it comes.
        #[oai(name = "Idempotency-Key")]
        _key: Header<Option<KeyText>>,
        body: SmallBody<SendMessage>,
    ) -> Result<Sent, Rejection> {
        let asker = Asker::found(request)?;
        let author = asker.signed_in().map_or(Author::System, Author::User);
        let (asked, app) = (KeyedRequest::of(request, asker.user())?, self.app.clone());
        to_its_end(async move {
            let work = async |hold: &KeyHold| send(&app, &body.bytes, author, hold).await;
            let (body, replayed) = asked.once(&app, &body.bytes, work).await?;
            Ok(Sent::Ok(JsonText::new(body), replayed))
        })
        .await
    }

    /// Reads a customer's history, the oldest message first, whoever wrote it: users, customers, batches.
    ///
    /// Messages stand in the order of their `timestamp`, those of one moment in the order of their `id`, and pages are cut
    /// in that order. A message that reaches us late stands at its own time, which may be on a page that was read already:
    /// the stream's `inbound_message` tells of it.
    #[oai(path = "/messages/:customer_id", method = "get")]
    async fn history(
        &self,
        #[oai(scope = "guard::CONVERSATIONS_READ")] _token: Token,
        /// The customer.
        customer_id: Path<PathId>,
        /// How many; 1,000 if it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<Lenient<i64>>>,
        /// From behind this message on.
        #[oai(validator(minimum(value = "0")))]
        after: Query<Option<Lenient<i64>>>,
        /// The last ones before this message, in place of `after`.
        #[oai(validator(minimum(value = "1")))]
        before: Query<Option<Lenient<i64>>>,
    ) -> Result<History, Rejection> {
        let id = self::customer_id(&customer_id)?;
        let mut params = Params::default();
        let rows = self::limit(&mut params, limit.0);
        let whole = "a whole number from 0 up";
        let after = params.read("after", after.0, whole).map(|n| (n >= 0).then_some(MessageId(n)));
        let before = params.read("before", before.0, whole).map(|n| (n >= 1).then_some(MessageId(n)));
        for (name, value) in [("after", after), ("before", before)] {
            if value == Some(None) {
                params.bad(name, format!("must be {whole}"));
            }
        }
        if after.is_some() && before.is_some() {
            params.bad("before", "takes the place of after: give one of them");
        }
        refuse_query(params)?;
        let part = match before.flatten() {
            Some(before) => Part::Before(before),
            None => after.flatten().filter(|after| after.0 > 0).map_or(Part::First, Part::After),
        };
        let found = history::list(self.app.db.read(), id, part, usize::try_from(rows).unwrap_or(1)).await?;
        let (messages, more) = found.ok_or_else(|| Refusal::not_found("customer"))?;
        let edge = match part {
            Part::First | Part::After(_) => messages.last().map(|message| ("after", "next", message.id)),
            Part::Before(_) => messages.first().map(|message| ("before", "prev", message.id)),
        };
        let link = edge
            .filter(|_| more)
            .map(|(name, rel, edge)| format!("</messages/{id}?limit={rows}&{name}={edge}>; rel=\"{rel}\""));
        Ok(History::Ok(Json(messages.into_iter().map(Into::into).collect()), link))
    }

    /// Tells what happens as Server-Sent Events. A client that comes again with `Last-Event-ID` goes on behind it.
    ///
    /// Decided: events are kept for 24 hours, the last 10,000 about people and the last 50,000 with the receipts of
    /// batches, so that a campaign does not push out what people wrote. A client that comes from before what is kept, or
    /// with an id that was never given, gets `{"type": "reset", "missed": "all", "reason": "too_old" | "unknown_id"}` and
    /// everything from now on: it reads the lists again. Where only receipts of batches are gone, it gets `"missed":
    /// "receipts"` and then everything that is kept.
    #[oai(path = "/messages/events/stream", method = "get")]
    async fn stream(
        &self,
        request: &Request,
        #[oai(scope = "guard::CONVERSATIONS_READ")] _token: Token,
        /// The last event that the client saw. A browser sends it by itself.
        #[oai(name = "Last-Event-ID")]
        last_event_id: Header<Option<String>>,
        /// The token, for `EventSource`, which cannot send headers.
        #[oai(name = "token")]
        _query_token: Query<Option<String>>,
    ) -> Result<Events, Rejection> {
        let asker = Asker::found(request)?;
        let seen = Seen::read(last_event_id.0.as_deref());
        let (session, until) = match asker {
            Asker::User(caller) => (caller.0.session(), Some(Timestamp(caller.0.exp.saturating_mul(1_000)))),
            Asker::Anybody => (None, None),
        };
        let permit = self.app.streams.permit();
        let permit = permit.ok_or_else(|| Refusal::new(Kind::Unavailable, "too many streams are open"))?;
        let stream =
            stream::watch(self.app.clone(), Watcher { session, until, seen, sees_phones: asker.sees_phones() }, permit)
                .await?;
        Ok(Events::Ok(Stream(Body::from_bytes_stream(stream))))
    }
}
