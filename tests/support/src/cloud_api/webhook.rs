//! The emulator's webhooks: signed, one after another for one message, and again until they are taken.

use super::fault::MetaError;
use super::{CloudMessage, Shared};
use bytes::Bytes;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest pause between two attempts to deliver a webhook.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// The statuses that follow a message that was taken, in the order in which they are told.
///
/// Out of order is another order, a lost status is one that is left out.
#[derive(Clone, Debug)]
pub struct Ladder {
    steps: Vec<(String, Duration)>,
    copies: u32,
}

impl Ladder {
    /// These statuses, each after a pause.
    #[must_use]
    pub fn of<'a>(steps: impl IntoIterator<Item = (&'a str, Duration)>) -> Self {
        Self { steps: steps.into_iter().map(|(status, pause)| (status.to_owned(), pause)).collect(), copies: 1 }
    }

    /// These statuses, without a pause.
    #[must_use]
    pub fn at_once<'a>(statuses: impl IntoIterator<Item = &'a str>) -> Self {
        Self::of(statuses.into_iter().map(|status| (status, Duration::ZERO)))
    }

    /// No status ever.
    #[must_use]
    pub fn silent() -> Self {
        Self::at_once([])
    }

    /// Each status so many times.
    #[must_use]
    pub fn copies(mut self, copies: u32) -> Self {
        self.copies = copies;
        self
    }
}

impl Default for Ladder {
    /// sent, delivered, read; without a pause.
    fn default() -> Self {
        Self::at_once(["sent", "delivered", "read"])
    }
}

/// A webhook that was posted.
#[derive(Clone, Debug)]
pub struct WebhookDelivery {
    /// Its body as it was signed.
    pub body: Bytes,
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// The answer's status, if there was an answer.
    pub status: Option<u16>,
}

/// Something to be told.
pub(super) enum Job {
    /// A message's statuses, with what it failed for.
    Statuses { message: CloudMessage, ladder: Ladder, failure: Option<MetaError> },
    /// A `value` of ours.
    Value(Value),
}

impl Job {
    /// Tells all of it, one after the other.
    pub(super) async fn tell(self, shared: Arc<Shared>) {
        match self {
            Self::Statuses { message, ladder, failure } => {
                for (status, pause) in &ladder.steps {
                    tokio::time::sleep(*pause).await;
                    for _ in 0..ladder.copies {
                        let status = status_of(&message, status, failure);
                        shared.post(&json!({"statuses": [status]})).await;
                    }
                }
            }
            Self::Value(value) => shared.post(&value).await,
        }
    }
}

fn status_of(message: &CloudMessage, status: &str, failure: Option<MetaError>) -> Value {
    let mut told = json!({
        "id": message.network_id,
        "status": status,
        "timestamp": now().to_string(),
        "recipient_id": super::account_of(message.to.trim_start_matches('+')),
    });
    if let Some(data) = &message.callback_data {
        told["biz_opaque_callback_data"] = data.as_str().into();
    }
    match failure {
        Some(error) if status == "failed" => told["errors"] = json!([error.told()]),
        _ => {
            told["pricing"] =
                json!({"billable": true, "pricing_model": "PMP", "type": "regular", "category": "service"})
        }
    }
    told
}

impl Shared {
    /// Posts a webhook with this value until it is answered with a 2xx. Without a callback nobody is told.
    async fn post(&self, value: &Value) {
        let mut value = value.clone();
        value["messaging_product"] = "whatsapp".into();
        value["metadata"] =
            json!({"display_phone_number": "15550783881", "phone_number_id": self.options.phone_number_id});
        let change = json!({"field": "messages", "value": value});
        let webhook =
            json!({"object": "whatsapp_business_account", "entry": [{"id": "102290129340398", "changes": [change]}]});
        let body = Bytes::from(escaped(&webhook.to_string()));
        let mut pause = self.options.webhook_pause;
        for attempt in 1.. {
            // Asked anew each time: who restarts may come back at another address.
            let Some(callback) = self.state.lock().callback.clone() else { return };
            let posted = self
                .http
                .post(callback)
                .header("content-type", "application/json")
                .header("x-hub-signature-256", sign(&self.options.app_secret, &body))
                .body(body.clone())
                .send()
                .await;
            let status = posted.ok().map(|response| response.status().as_u16());
            self.state.lock().deliveries.push(WebhookDelivery { body: body.clone(), attempt, status });
            self.changed.send_replace(());
            if status.is_some_and(|status| (200..300).contains(&status)) {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }
}

/// What Meta's `X-Hub-Signature-256` has for a body.
#[must_use]
pub(super) fn sign(app_secret: &str, body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(app_secret.as_bytes()).expect("HMAC takes keys of any length");
    format!("sha256={}", hex::encode(mac.chain_update(body).finalize().into_bytes()))
}

/// JSON as Meta writes it: slashes and everything beyond ASCII escaped. So a receiver that signs what it has parsed and
/// written again finds no signature right.
fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            // In JSON these stand in texts alone.
            '/' => escaped.push_str("\\/"),
            c if c.is_ascii() => escaped.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(escaped, "\\u{unit:04x}").expect("a String takes all");
                }
            }
        }
    }
    escaped
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped_means_the_same() {
        let value = json!({"a/b": "ä 👍 \" \\ \n"});
        let escaped = escaped(&value.to_string());
        assert!(escaped.is_ascii() && escaped.contains("\\ud83d\\udc4d") && escaped.contains("a\\/b"), "{escaped}");
        assert_eq!(serde_json::from_str::<Value>(&escaped).expect("JSON"), value);
    }
}
