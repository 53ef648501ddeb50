//! Who is told what became of messages: a backend over HTTP, or one in this process.

use crate::report::Outgoing;
use crate::requests::{self, bounded};
use crate::signature::{Request, Signer, target};
use crate::transport::Inbound;
use crate::{ClientError, Clock, Report};
use chrono::{DateTime, SecondsFormat};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode, Url};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// What a backend made of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It took it.
    Taken,
    /// It will never take it.
    Refused {
        /// Its answer's status; 0: it is in this process.
        status: u16,
        /// Its reason.
        detail: String,
    },
    /// It contradicts what the backend has. That may pass, when somebody else was just quicker; it is not told for ever.
    Contradicts {
        /// Its answer's status.
        status: u16,
        /// Its reason.
        detail: String,
    },
    /// Not now.
    Later {
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
        /// The backend is away or takes nothing at all: it is not this report's fault.
        away: bool,
        /// The reason for people.
        detail: String,
    },
}

/// A backend.
#[async_trait::async_trait]
pub trait Backend: Send + Sync {
    /// Takes a report. It may have been taken before; one that was is taken again.
    async fn take(&self, outgoing: &Outgoing) -> Verdict;
}

/// How to reach a backend over HTTP.
#[derive(Clone)]
pub struct BackendSettings {
    /// Where it is.
    pub url: String,
    /// The shared secret.
    pub secret: String,
    /// Whether reports are signed in the old form too, for a backend of the release before.
    pub old_signature: bool,
    /// How long a whole request may take.
    pub timeout: Duration,
    /// How many connections are kept for use again.
    pub pool: usize,
    /// What time it is, in seconds since the epoch.
    pub clock: Clock,
}

impl std::fmt::Debug for BackendSettings {
    /// Without the secret; and without the URL, which may have another.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackendSettings").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// A backend over HTTP.
pub struct HttpBackend {
    client: Client,
    clock: Clock,
    signer: Signer,
    base: Url,
}

impl std::fmt::Debug for HttpBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HttpBackend")
    }
}

impl HttpBackend {
    /// A client with its own pool of connections.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn new(settings: &BackendSettings) -> Result<Self, ClientError> {
        let base = requests::base(&settings.url)?;
        let client = requests::client(Duration::from_secs(2), settings.timeout, settings.pool)?;
        let signer = Signer::new(settings.secret.as_bytes()).ok_or(ClientError::NoSecret)?;
        let signer = signer.with_old_form(settings.old_signature);
        Ok(Self { client, clock: settings.clock.clone(), signer, base })
    }
}

/// A report's path and body, as the contract has them.
fn written(outgoing: &Outgoing) -> (&'static str, Value) {
    let id = |message_id: &str| match (outgoing.numeric, message_id.parse::<i64>()) {
        (true, Ok(number)) => Value::from(number),
        _ => message_id.into(),
    };
    match &outgoing.report {
        Report::Mapped { message_id, whatsapp_id } => {
            ("messages/map", json!({ "backend_id": id(message_id), "whatsapp_id": whatsapp_id }))
        }
        Report::Ack { message_id, whatsapp_id, level } => {
            let body = json!({ "message_id": whatsapp_id, "ack": level, "backend_message_id": id(message_id) });
            ("messages/ack", body)
        }
        Report::Seen { message_id, whatsapp_id, delay_ms, to } => {
            let mut body =
                json!({ "backend_message_id": id(message_id), "whatsapp_id": whatsapp_id, "delay_ms": delay_ms });
            // Of one that was taken for failed the number is not kept.
            if !to.is_empty() {
                body["to"] = to.as_str().into();
            }
            ("webhooks/whatsapp/seen", body)
        }
        Report::Failed { message_id, code, detail } => {
            ("messages/failed", json!({ "backend_message_id": id(message_id), "code": code, "detail": detail }))
        }
        Report::Inbound(inbound) => ("messages/inbox", inbox(inbound)),
    }
}

/// What a customer wrote; what is not known is left out.
fn inbox(inbound: &Inbound) -> Value {
    let mut body = json!({ "content": inbound.text });
    let text = |text: &str| (!text.is_empty()).then(|| Value::from(text));
    let at = DateTime::from_timestamp_millis(inbound.at_ms).filter(|_| inbound.at_ms > 0);
    let identities: Vec<Value> =
        inbound.identities.iter().map(|(kind, value)| json!({ "kind": kind, "value": value })).collect();
    let more = [
        ("phone", text(&inbound.from)),
        ("name", inbound.name.as_deref().and_then(text)),
        ("whatsapp_id", text(&inbound.network_id)),
        ("timestamp", at.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true).into())),
        ("message_type", text(&inbound.kind)),
        ("media", inbound.media.clone()),
        ("identities", (!identities.is_empty()).then(|| identities.into())),
    ];
    for (name, value) in more {
        if let Some(value) = value {
            body[name] = value;
        }
    }
    body
}

/// The most of a reason that is kept.
const MAX_DETAIL: usize = 300;

#[async_trait::async_trait]
impl Backend for HttpBackend {
    async fn take(&self, outgoing: &Outgoing) -> Verdict {
        let (path, body) = written(outgoing);
        let away = |detail: &str| Verdict::Later { retry_after: None, away: true, detail: detail.to_owned() };
        let Ok(url) = self.base.join(path) else { return away("backend_url has no place for paths") };
        let (body, timestamp) = (body.to_string().into_bytes(), (self.clock)());
        let headers = self.signer.headers(timestamp, &Request { method: "POST", target: &target(&url), body: &body });
        let request = self.client.post(url).header(CONTENT_TYPE, "application/json");
        match requests::with(request, headers).body(body).send().await {
            Ok(answer) => {
                let retry_after = requests::retry_after(answer.headers());
                let status = answer.status();
                let body = bounded(answer).await;
                judge(status, retry_after, || String::from_utf8_lossy(&body).chars().take(MAX_DETAIL).collect())
            }
            Err(error) if error.is_connect() => away("the backend cannot be reached"),
            Err(error) if error.is_timeout() => away("the backend does not answer in time"),
            Err(_) => away("the connection to the backend broke off"),
        }
    }
}

/// What follows from an answer. What may pass is told again, for ever; what the backend says that it will never take is not.
fn judge(status: StatusCode, retry_after: Option<Duration>, detail: impl FnOnce() -> String) -> Verdict {
    let later = || Verdict::Later { retry_after, away: true, detail: format!("the backend answers {status}") };
    match status {
        status if status.is_success() => Verdict::Taken,
        StatusCode::CONFLICT => Verdict::Contradicts { status: status.as_u16(), detail: detail() },
        // Ours is the wrong secret or clock, or the backend has enough for now: it is so for all.
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS => later(),
        status if status.is_client_error() => Verdict::Refused { status: status.as_u16(), detail: detail() },
        _ => later(),
    }
}

/// A report on its way to a backend in this process.
#[derive(Debug)]
pub struct Delivery {
    /// What is told.
    pub report: Report,
    /// Told when the backend has made it durable. Dropped, it means that the backend has not: it is told again.
    pub taken: Option<oneshot::Sender<Verdict>>,
}

/// A backend in this process, which takes reports from a channel in groups.
#[derive(Clone, Debug)]
pub struct LocalBackend(mpsc::Sender<Delivery>);

impl LocalBackend {
    /// The backend, and what it takes. So many wait in between.
    #[must_use]
    pub fn new(capacity: usize) -> (Self, mpsc::Receiver<Delivery>) {
        let (deliveries, delivered) = mpsc::channel(capacity);
        (Self(deliveries), delivered)
    }

    /// For a gateway that forgets what it told: nobody waits for an answer.
    #[must_use]
    pub fn sender(&self) -> mpsc::Sender<Delivery> {
        self.0.clone()
    }
}

#[async_trait::async_trait]
impl Backend for LocalBackend {
    async fn take(&self, outgoing: &Outgoing) -> Verdict {
        let gone = || Verdict::Later { retry_after: None, away: true, detail: "the backend has ended".into() };
        let (taken, is_taken) = oneshot::channel();
        let delivery = Delivery { report: outgoing.report.clone(), taken: Some(taken) };
        match self.0.send(delivery).await {
            Ok(()) => is_taken.await.unwrap_or_else(|_| gone()),
            Err(_) => gone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_told_again_and_what_cannot_is_not() {
        let judged = |status| judge(StatusCode::from_u16(status).expect("a status"), None, || "why".into());
        for status in [200, 202, 204] {
            assert_eq!(judged(status), Verdict::Taken, "{status}");
        }
        for status in [301, 401, 403, 408, 429, 500, 502, 503] {
            assert!(matches!(judged(status), Verdict::Later { away: true, .. }), "{status}");
        }
        assert_eq!(judged(409), Verdict::Contradicts { status: 409, detail: "why".into() });
        for status in [400, 404, 413, 422] {
            assert_eq!(judged(status), Verdict::Refused { status, detail: "why".into() });
        }
    }

    #[test]
    fn a_report_names_the_message_as_the_backend_did() {
        let mapped = |id: &str, numeric| {
            let report = Report::Mapped { message_id: id.into(), whatsapp_id: "w".into() };
            written(&Outgoing { report, numeric }).1
        };
        assert_eq!(mapped("7", true), json!({ "backend_id": 7, "whatsapp_id": "w" }));
        assert_eq!(mapped("7", false), json!({ "backend_id": "7", "whatsapp_id": "w" }));
    }

    #[test]
    fn what_is_not_known_of_a_writer_is_left_out() {
        let inbound = Inbound {
            identities: vec![("bsuid".into(), "MY.1".into())],
            text: "hi".into(),
            network_id: "w".into(),
            kind: "text".into(),
            at_ms: 1_700_000_000_123,
            ..Inbound::default()
        };
        let expected = json!({
            "content": "hi", "whatsapp_id": "w", "message_type": "text", "timestamp": "2023-11-14T22:13:20.123Z",
            "identities": [{ "kind": "bsuid", "value": "MY.1" }],
        });
        assert_eq!(inbox(&inbound), expected);
    }
}
