//! Meta's Cloud API, with a client of our own.
//!
//! What holds here: our id goes along with every message (`biz_opaque_callback_data`) and comes back with every status, so
//! a message whose answer was lost is found again by its first status. The Graph API has no idempotency key: what may have
//! been taken is never posted again from here. Webhooks are read only when their signature is right, and what they tell is
//! doubled and out of order as Meta sends it; who listens puts it right.
//!
//! Not here: templates and media to be sent, the registration of numbers, and a stop of the sender, which the process keeps
//! ([`crate::transport::Class::StopSender`]).

mod answer;
mod config;
mod error;
mod inbound;
mod seal;
mod webhook;

pub use config::CloudConfig;

use crate::requests::{self, bounded};
use crate::transport::{
    BodyEvents, Class, EventSink, HookAnswer, HookRequest, Refusal, Session, Settles, Submission, SubmissionOutcome,
    Transport,
};
use answer::GraphAnswer;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Client, Response, Url};
use seal::Seal;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The largest webhook: Meta's have at most 3 MB.
const MAX_WEBHOOK: usize = 4 * 1024 * 1024;

/// The longest challenge that is echoed. Meta's are numbers.
const MAX_CHALLENGE: usize = 256;

/// The longest of our ids that Meta carries along, in characters.
const MAX_CALLBACK_DATA: usize = 512;

/// Where Meta says how long an account has to wait.
const USAGE: &str = "x-business-use-case-usage";

/// Why a transport was not made.
#[derive(Debug, thiserror::Error)]
pub enum CloudError {
    /// The configuration's, with the key and its fix.
    #[error("{0}")]
    Config(String),
    /// The HTTP client's.
    #[error("no HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// Meta's Cloud API as a transport, for one number.
pub struct CloudApi {
    config: CloudConfig,
    client: Client,
    /// Where the default sender's messages go, and those of the others by their names.
    messages: Url,
    others: BTreeMap<String, Url>,
    seal: Seal,
    malformed: AtomicU64,
    refused: AtomicU64,
}

impl fmt::Debug for CloudApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudApi").field("config", &self.config).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Message<'a> {
    messaging_product: &'static str,
    recipient_type: &'static str,
    to: &'a str,
    r#type: &'static str,
    text: Text<'a>,
    biz_opaque_callback_data: &'a str,
}

#[derive(Serialize)]
struct Text<'a> {
    preview_url: bool,
    body: &'a str,
}

impl CloudApi {
    /// A transport with its own pool of connections. Nothing is asked of Meta.
    ///
    /// # Errors
    /// See [`CloudError`].
    pub fn new(config: CloudConfig) -> Result<Self, CloudError> {
        config.validate().map_err(CloudError::Config)?;
        let client = requests::client(
            Duration::from_millis(config.connect_timeout_ms),
            Duration::from_millis(config.timeout_ms),
            config.idle_connections,
        )?;
        let missing = || CloudError::Config("cloud_api.app_secret: is missing".into());
        Ok(Self {
            client,
            messages: config.messages_url().map_err(CloudError::Config)?,
            others: config.messages_urls().map_err(CloudError::Config)?,
            seal: Seal::new(config.app_secret.as_bytes()).ok_or_else(missing)?,
            malformed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            config,
        })
    }

    /// How many elements of webhooks could not be read, or not wholly.
    #[must_use]
    pub fn malformed_elements(&self) -> u64 {
        self.malformed.load(Ordering::Relaxed)
    }

    /// How many webhooks had no right signature.
    #[must_use]
    pub fn refused_webhooks(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// What the answer says of the message.
    async fn judge(&self, response: Response) -> SubmissionOutcome {
        let status = response.status().as_u16();
        let retry_after = wait_of(response.headers());
        let body = bounded(response).await;
        answer::judge(&GraphAnswer { status, retry_after, body: &body }, &self.config.access_token)
    }

    /// Shows that the address is ours: echoes the challenge to who knows the token.
    fn handshake(&self, request: &HookRequest<'_>) -> HookAnswer {
        let asked = |key: &str| request.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        let token = asked("hub.verify_token").unwrap_or_default();
        let known = self.seal.same(&self.config.verify_token, token);
        match (asked("hub.mode"), asked("hub.challenge")) {
            (Some("subscribe"), Some(challenge)) if known && challenge.len() <= MAX_CHALLENGE => {
                answered(200, challenge)
            }
            _ => {
                tracing::warn!(
                    "the webhook's address was not verified; is cloud_api.verify_token the same as in Meta's?"
                );
                answered(403, "not verified")
            }
        }
    }

    fn webhook(&self, request: &HookRequest<'_>) -> HookAnswer {
        if request.body.len() > MAX_WEBHOOK {
            return answered(413, "too large");
        }
        let signature = request.headers.iter().find(|(name, _)| name == seal::HEADER).map(|(_, value)| value.as_str());
        if !signature.is_some_and(|signature| self.seal.verifies(request.body, signature)) {
            let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
            // Anybody can send these: not a line for each, but a wrong secret must be seen.
            if refused.is_power_of_two() {
                tracing::warn!(refused, "webhooks without Meta's signature; is cloud_api.app_secret that of the app?");
            }
            return answered(401, "no valid signature");
        }
        // Also for what cannot be read: it was Meta that said it, and would say it again for days, and be no better.
        HookAnswer { tells: true, ..answered(200, "") }
    }
}

#[async_trait::async_trait]
impl Transport for CloudApi {
    fn name(&self) -> &'static str {
        "cloud-api"
    }

    fn session(&self) -> Session {
        Session { ready: true, need_qr: false, active: true, qr: None }
    }

    fn settles(&self) -> Settles {
        Settles::ByEvent { within: self.config.status_wait() }
    }

    async fn hand(&self, message: &Submission<'_>) -> SubmissionOutcome {
        if message.message_id.chars().count() > MAX_CALLBACK_DATA {
            // Meta would cut or refuse it, and the message could not be found again.
            return refused(
                Class::Message,
                "message_id_too_long",
                "the message's id is longer than Meta carries along",
            );
        }
        let body = Message {
            messaging_product: "whatsapp",
            recipient_type: "individual",
            to: message.to,
            r#type: "text",
            text: Text { preview_url: false, body: message.text },
            biz_opaque_callback_data: message.message_id,
        };
        let body = match serde_json::to_vec(&body) {
            Ok(body) => body,
            Err(error) => return refused(Class::Message, "unserialisable", &error.to_string()),
        };
        let sent = self
            .client
            .post(self.others.get(message.sender).unwrap_or(&self.messages).clone())
            .bearer_auth(&self.config.access_token)
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .send()
            .await;
        match sent {
            Ok(response) => self.judge(response).await,
            // Before the connection stood nothing was written; after it, nobody knows.
            Err(error) if error.is_connect() || error.is_builder() => {
                refused(Class::Trouble, "cloud_unreachable", "Meta could not be reached")
            }
            Err(error) if error.is_timeout() => unknown("cloud_timeout", "Meta did not answer in time"),
            Err(_) => unknown("cloud_broke_off", "the connection to Meta broke off"),
        }
    }

    async fn hook(&self, request: &HookRequest<'_>) -> Option<HookAnswer> {
        Some(match request.method {
            "GET" => self.handshake(request),
            "POST" => self.webhook(request),
            _ => answered(405, "GET or POST"),
        })
    }

    fn read(&self, body: &[u8]) -> BodyEvents {
        let told = webhook::read(body, |id| self.config.has_number(id), now_ms());
        if told.malformed > 0 {
            self.malformed.fetch_add(told.malformed, Ordering::Relaxed);
            tracing::warn!(malformed = told.malformed, "a webhook has parts that cannot be read; it is set aside");
        }
        if told.passed_over > 0 {
            tracing::debug!(passed_over = told.passed_over, "a webhook told what means nothing here");
        }
        for code in told.errors {
            tracing::warn!(code, "Meta tells of an error of the account");
        }
        BodyEvents { events: told.events, unread: told.malformed }
    }

    async fn listen(&self, _listener: Arc<dyn EventSink>) {
        std::future::pending().await
    }
}

fn refused(class: Class, code: &str, detail: &str) -> SubmissionOutcome {
    SubmissionOutcome::Refused(Refusal { class, code: code.into(), detail: detail.into(), retry_after: None })
}

fn unknown(code: &str, detail: &str) -> SubmissionOutcome {
    SubmissionOutcome::Unknown { code: code.into(), detail: detail.into() }
}

fn answered(status: u16, body: &str) -> HookAnswer {
    HookAnswer { status, body: body.into(), tells: false }
}

/// How long an answer asks to be left alone.
fn wait_of(headers: &HeaderMap) -> Option<Duration> {
    let told = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    requests::retry_after(headers).or_else(|| told(USAGE).and_then(answer::regain_access))
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
