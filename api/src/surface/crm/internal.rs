//! What the gateway tells: signed with the shared secret, and idempotent. What comes from a network is cut at our limits,
//! never refused for them: the network has had its answer, and would not tell it again.

use super::access::{Signature, signed};
use super::envelope::Rejection;
use crate::App;
use crate::foundation::body::JsonBody;
use crate::foundation::fields::Fields;
use crate::foundation::refusal::{Kind, Refusal};
use domain::MessageId;
use domain::ack::{ACK_PLAYED, ACK_SENT};
use domain::contacts::customers::Identity;
use domain::delivery::reports::{Report, ReportOutcome};
use domain::messages::inbox::Inbound;
use domain::messages::limits;
use domain::messages::receipts::{About, Receipt, ReceiptKind};
use listener::lenient_json;
use poem::Request;
use poem_openapi::payload::Json;
use poem_openapi::types::Any;
use poem_openapi::{Enum, Object, OpenApi};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use uuid::Uuid;

/// The largest report: a text of WhatsApp's greatest length and a description of its media, with room. Ours sends less
/// than half of that.
const MAX_REPORT: usize = 1024 * 1024;

type ReportBody<T> = JsonBody<T, MAX_REPORT>;

/// What became of a report.
#[derive(Debug, Object)]
struct Took {
    /// What became of it.
    status: TookStatus,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename_all = "lowercase")]
enum TookStatus {
    /// The ledger says it now, or said it before.
    Ok,
    /// What it is about is not there yet: it is kept for it.
    Kept,
}

/// A message that a customer wrote.
#[derive(Debug, Object)]
struct InboxReport {
    /// The writer's number, digits; may be absent where `identities` tells who it is. What can be no number is kept as an
    /// address of the kind `wa_id`.
    phone: Option<String>,
    /// The text; its first 65,536 characters are kept.
    content: String,
    /// The writer's own name; its first 200 characters are kept.
    name: Option<String>,
    /// The network's id: the same one twice is one message. Of more than 256 characters the beginning and a digest are kept.
    whatsapp_id: Option<String>,
    /// When it was written, RFC 3339.
    timestamp: Option<String>,
    /// `text`, `image`, …: the network's word; its first 40 characters are kept.
    message_type: Option<String>,
    /// What the network says of its media.
    media: Option<Any<Value>>,
    /// The writer's other addresses; the first 16 are kept.
    identities: Option<Vec<IdentityReport>>,
}

/// An address.
#[derive(Debug, Object)]
struct IdentityReport {
    /// `bsuid`, `lid`, `jid`, …; its first 40 characters are kept.
    kind: String,
    /// The address; kept as `whatsapp_id` is.
    value: String,
}

/// A message came further.
#[derive(Debug, Object)]
struct AckReport {
    /// The network's id of the message.
    #[oai(validator(min_length = 1))]
    message_id: String,
    /// 1 sent, 2 delivered, 3 read, 4 played.
    #[oai(validator(minimum(value = "1"), maximum(value = "4")))]
    ack: i64,
    /// The message as `/send` was told, where the gateway knows it.
    backend_message_id: Option<Any<Value>>,
}

/// The network gave a message an id.
#[derive(Debug, Object)]
struct MapReport {
    /// The message as `/send` was told: a number or a text.
    backend_id: Any<Value>,
    /// The network's id.
    #[oai(validator(min_length = 1))]
    whatsapp_id: String,
    /// The account that the network resolved the number to, where that is not the number as it was written: digits. The
    /// customer is known by it from now on.
    #[oai(validator(max_length = 256))]
    wa_id: Option<String>,
}

/// A message could not be delivered.
#[derive(Debug, Object)]
struct FailedReport {
    /// The message as `/send` was told: a number or a text.
    backend_message_id: Any<Value>,
    /// A stable word; `outcome_unknown`: nobody knows whether it was sent. Its first 64 characters are kept.
    #[oai(validator(min_length = 1))]
    code: String,
    /// The reason for people; its first 500 characters are kept.
    detail: Option<String>,
}

/// A message was read.
#[derive(Debug, Object)]
struct SeenReport {
    /// The message as `/send` was told: a number or a text.
    backend_message_id: Any<Value>,
    /// The network's id.
    whatsapp_id: Option<String>,
    /// How long after it was sent, in milliseconds; less than nothing is nothing.
    delay_ms: Option<i64>,
    /// Who read it.
    to: Option<String>,
}

/// A message as we named it to the gateway: its number, or its id.
#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    Number(i64),
    Text(String),
}

impl Named {
    fn about(self) -> Option<About> {
        match self {
            Self::Number(id) => (id > 0).then_some(About::Number(MessageId(id))),
            Self::Text(text) => match text.parse() {
                Ok(id) => Some(About::Number(id)),
                Err(_) => Uuid::try_parse(&text).ok().map(About::Uuid),
            },
        }
    }
}

fn about(f: &mut Fields<'_>, name: &str) -> Option<About> {
    let raw = f.raw(name)?;
    let about = serde_json::from_str::<Named>(raw.get()).ok().and_then(Named::about);
    if about.is_none() {
        f.bad(name, "must be a message's number or id");
    }
    about
}

fn required_about(f: &mut Fields<'_>, name: &str) -> Option<About> {
    if f.raw(name).is_none() {
        f.bad(name, "is required");
    }
    about(f, name)
}

/// What a report must have, once it is known that all of it is there.
fn must<T>(found: Option<T>, name: &str) -> Result<T, Refusal> {
    found.ok_or_else(|| Refusal::field(name, "is required"))
}

fn read_inbox(body: &[u8]) -> Result<Inbound, Refusal> {
    let body = lenient_json(body);
    let mut f = Fields::parse(body.as_bytes())?;
    let from = f.told("phone").filter(|from| !from.trim().is_empty());
    if f.raw("content").is_none() {
        f.bad("content", "is required");
    }
    let content = f.told("content").unwrap_or_default();
    let name = f.told("name");
    let whatsapp_id = f.told("whatsapp_id");
    let at = f.time("timestamp");
    let message_type = f.told("message_type").unwrap_or_default();
    let media = f.raw("media").and_then(|raw| serde_json::from_str(raw.get()).ok());
    let identities = identities(&mut f);
    let told = Inbound { phone: None, identities, name, content, whatsapp_id, message_type, media, at };
    let inbound = limits::inbound(from.as_deref(), told);
    if inbound.phone.is_none() && inbound.identities.is_empty() {
        f.bad("phone", "is required");
    }
    f.finish()?;
    Ok(inbound)
}

fn identities(f: &mut Fields<'_>) -> Vec<Identity> {
    let list = f.objects("identities", 1_000, |one| Identity {
        // One that says nothing is passed over where the report is cut.
        kind: one.told("kind").unwrap_or_default(),
        value: one.told("value").unwrap_or_default(),
    });
    list.unwrap_or_default()
}

type Read = (About, ReceiptKind);

fn read_ack(body: &[u8]) -> Result<Read, Refusal> {
    let body = lenient_json(body);
    let mut f = Fields::parse(body.as_bytes())?;
    let id = f.required_told("message_id");
    let levels = u32::try_from(ACK_SENT).unwrap_or(1)..=u32::try_from(ACK_PLAYED).unwrap_or(4);
    if f.raw("ack").is_none() {
        f.bad("ack", "is required");
    }
    let level = f.integer("ack", levels);
    let ours = about(&mut f, "backend_message_id");
    f.finish()?;
    let level = i64::from(must(level, "ack")?);
    Ok(match ours {
        Some(ours) => (ours, ReceiptKind::Ack { level, whatsapp_id: Some(id) }),
        None => (About::Network(id), ReceiptKind::Ack { level, whatsapp_id: None }),
    })
}

fn read_map(body: &[u8]) -> Result<Read, Refusal> {
    let body = lenient_json(body);
    let mut f = Fields::parse(body.as_bytes())?;
    let ours = required_about(&mut f, "backend_id");
    let whatsapp_id = f.required_told("whatsapp_id");
    // What is no number says nothing; the map is worth more than a word about it.
    let wa_id = f.told("wa_id");
    f.finish()?;
    Ok((must(ours, "backend_id")?, ReceiptKind::Mapped { whatsapp_id, wa_id }))
}

fn read_failed(body: &[u8]) -> Result<Read, Refusal> {
    let body = lenient_json(body);
    let mut f = Fields::parse(body.as_bytes())?;
    let ours = required_about(&mut f, "backend_message_id");
    let code = f.required_told("code");
    let detail = f.told("detail").unwrap_or_default();
    f.finish()?;
    Ok((must(ours, "backend_message_id")?, ReceiptKind::Failed { code, detail }))
}

fn read_seen(body: &[u8]) -> Result<Read, Refusal> {
    let body = lenient_json(body);
    let mut f = Fields::parse(body.as_bytes())?;
    let ours = required_about(&mut f, "backend_message_id");
    let whatsapp_id = f.told("whatsapp_id").filter(|id| !id.is_empty());
    let delay_ms = delay(&mut f, "delay_ms");
    // The original's gateway says it; the message says whom it is to.
    f.knows("to");
    f.finish()?;
    Ok((must(ours, "backend_message_id")?, ReceiptKind::Seen { whatsapp_id, delay_ms }))
}

/// A number, which may be any.
fn delay(f: &mut Fields<'_>, name: &str) -> Option<i64> {
    let number = serde_json::from_str::<f64>(f.raw(name)?.get()).ok();
    if number.is_none() {
        f.bad(name, "must be a number");
    }
    // A cast ends at the ends of the range.
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds, whole")]
    number.map(|number| number as i64)
}

pub(crate) struct InternalRoutes {
    pub(super) app: Arc<App>,
}

impl InternalRoutes {
    async fn receipt(
        &self,
        request: &Request,
        body: &[u8],
        read: impl FnOnce(&[u8]) -> Result<Read, Refusal>,
    ) -> Result<Json<Took>, Rejection> {
        signed(&self.app, request, body)?;
        let (about, kind) = read(body)?;
        let receipt = limits::receipt(Receipt { about, kind, at: self.app.clock.now() });
        self.take(Report::Receipt(receipt)).await
    }

    async fn take(&self, report: Report) -> Result<Json<Took>, Rejection> {
        let status = match self.app.intake.take(report).await.map_err(Refusal::from)? {
            ReportOutcome::Applied => TookStatus::Ok,
            ReportOutcome::Kept => TookStatus::Kept,
            ReportOutcome::NoMessage => return Err(Refusal::not_found("message").into()),
            ReportOutcome::Contradicts => {
                let refusal = Refusal::new(Kind::Conflict, "the network's id belongs to another message");
                return Err(refusal.into());
            }
        };
        Ok(Json(Took { status }))
    }
}

/// What the gateway tells.
#[OpenApi]
impl InternalRoutes {
    /// A customer wrote.
    #[oai(path = "/messages/inbox", method = "post")]
    async fn inbox(
        &self,
        request: &Request,
        _signature: Signature,
        body: ReportBody<InboxReport>,
    ) -> Result<Json<Took>, Rejection> {
        signed(&self.app, request, &body.bytes)?;
        let inbound = read_inbox(&body.bytes)?;
        self.take(Report::Inbound(Box::new(inbound))).await
    }

    /// A message came further.
    #[oai(path = "/messages/ack", method = "post")]
    async fn ack(
        &self,
        request: &Request,
        _signature: Signature,
        body: ReportBody<AckReport>,
    ) -> Result<Json<Took>, Rejection> {
        self.receipt(request, &body.bytes, read_ack).await
    }

    /// The network gave a message an id.
    #[oai(path = "/messages/map", method = "post")]
    async fn map(
        &self,
        request: &Request,
        _signature: Signature,
        body: ReportBody<MapReport>,
    ) -> Result<Json<Took>, Rejection> {
        self.receipt(request, &body.bytes, read_map).await
    }

    /// A message could not be delivered, or nobody knows whether it was.
    #[oai(path = "/messages/failed", method = "post")]
    async fn failed(
        &self,
        request: &Request,
        _signature: Signature,
        body: ReportBody<FailedReport>,
    ) -> Result<Json<Took>, Rejection> {
        self.receipt(request, &body.bytes, read_failed).await
    }

    /// A message was read.
    #[oai(path = "/webhooks/whatsapp/seen", method = "post")]
    async fn seen(
        &self,
        request: &Request,
        _signature: Signature,
        body: ReportBody<SeenReport>,
    ) -> Result<Json<Took>, Rejection> {
        self.receipt(request, &body.bytes, read_seen).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::foundation::refusal::FieldError;

    fn fields(refusal: Refusal) -> Vec<String> {
        refusal.details.into_iter().map(|FieldError { field, .. }| field).collect()
    }

    #[test]
    fn a_message_is_named_by_number_or_id() {
        let map = |id: &str| read_map(format!("{{\"backend_id\": {id}, \"whatsapp_id\": \"w\"}}").as_bytes());
        assert_eq!(map("123").map(|(about, _)| about), Ok(About::Number(MessageId(123))));
        assert_eq!(map("\"123\"").map(|(about, _)| about), Ok(About::Number(MessageId(123))));
        let uuid = "019aa5c0-0000-7000-8000-000000000001";
        let about = map(&format!("\"{uuid}\"")).map(|(about, _)| about);
        assert_eq!(about, Ok(About::Uuid(Uuid::try_parse(uuid).expect("a UUID"))));
        for bad in ["0", "-1", "\"x\"", "1.5", "true", "null", "[]"] {
            assert_eq!(map(bad).map_err(fields).expect_err("refused"), ["backend_id"], "{bad}");
        }
    }

    #[test]
    fn every_bad_field_of_a_report_is_named() {
        let bad = read_inbox(br#"{"phone": 7, "timestamp": "soon", "identities": [{"kind": ""}]}"#);
        assert_eq!(bad.map_err(fields).expect_err("refused"), ["phone", "content", "timestamp", "phone"]);
        let bad = read_ack(br#"{"ack": 5}"#);
        assert_eq!(bad.map_err(fields).expect_err("refused"), ["message_id", "ack"]);
        let bad = read_seen(br#"{"delay_ms": "soon"}"#);
        assert_eq!(bad.map_err(fields).expect_err("refused"), ["backend_message_id", "delay_ms"]);
    }

    #[test]
    fn what_comes_from_a_network_is_cut_and_not_refused() {
        let long = "\u{e9}".repeat(300);
        let body = format!(
            r#"{{"phone": "60123456789", "content": "half \ud83d", "name": "{long}", "message_type": "{long}",
                "whatsapp_id": "{long}", "identities": [{{"kind": "{long}", "value": "{long}"}}, {{"kind": "", "value": ""}}]}}"#
        );
        let read = read_inbox(body.as_bytes()).expect("taken");
        assert_eq!(read.content, "half \u{fffd}");
        let length = |text: &str| text.chars().count();
        assert_eq!(read.name.as_deref().map(length), Some(200));
        assert_eq!((length(&read.message_type), read.whatsapp_id.as_deref().map(length)), (40, Some(256)));
        assert_eq!((read.identities.len(), length(&read.identities[0].kind)), (1, 40));
        let (_, kind) =
            read_failed(format!(r#"{{"backend_message_id": 1, "code": "{long}", "detail": "\ude00"}}"#).as_bytes())
                .expect("taken");
        assert_eq!(kind, ReceiptKind::Failed { code: long, detail: "\u{fffd}".into() }, "cut when it is taken");
        let (_, kind) = read_seen(br#"{"backend_message_id": 1, "delay_ms": -1.5e300}"#).expect("taken");
        assert_eq!(kind, ReceiptKind::Seen { whatsapp_id: None, delay_ms: Some(i64::MIN) });
    }

    #[test]
    fn a_writer_may_be_known_by_another_address_alone() {
        let read = read_inbox(br#"{"content": "hi", "identities": [{"kind": "bsuid", "value": "MY.123"}]}"#);
        let read = read.expect("taken");
        assert_eq!((read.phone, read.identities.len()), (None, 1));
        assert!(read_inbox(br#"{"content": "hi"}"#).is_err());
    }
}
