//! What a gateway tells, signed.

use crate::setup::{SECRET, Setup};
use gateway::{SIGNATURE_HEADER, Signer, TIMESTAMP_HEADER};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};
use support::{Client, Method, Response};

/// Reports as the gateway does.
pub(crate) struct Reporter {
    client: Client,
    signer: Signer,
}

/// Whoever reports to the process that a client asks.
pub(crate) fn reporter(client: &Client) -> Reporter {
    Reporter { client: client.clone(), signer: Signer::new(SECRET.as_bytes()).expect("a secret") }
}

impl Reporter {
    pub(crate) fn of(setup: &Setup) -> Self {
        reporter(&setup.api().client())
    }

    pub(crate) async fn tell(&self, path: &str, body: &Value) -> Response {
        self.try_tell(path, body).await.expect("an answer")
    }

    pub(crate) async fn try_tell(&self, path: &str, body: &Value) -> Result<Response, reqwest::Error> {
        let body = body.to_string();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let now = i64::try_from(now).expect("not for a while");
        let request = self
            .client
            .request(Method::POST, path)
            .header("content-type", "application/json")
            .header(TIMESTAMP_HEADER, now)
            .header(SIGNATURE_HEADER, self.signer.sign(now, body.as_bytes()))
            .body(body);
        self.client.try_send(request).await
    }

    pub(crate) async fn inbox(&self, phone: &str, content: &str, whatsapp_id: &str) -> Value {
        let body = json!({ "phone": phone, "content": content, "name": "Customer", "whatsapp_id": whatsapp_id });
        self.tell("/messages/inbox", &body).await.expect(200)
    }

    pub(crate) async fn map(&self, id: &Value, whatsapp_id: &str) -> Value {
        self.tell("/messages/map", &json!({ "backend_id": id, "whatsapp_id": whatsapp_id })).await.expect(200)
    }

    pub(crate) async fn ack(&self, whatsapp_id: &str, ack: i64) -> Value {
        self.tell("/messages/ack", &json!({ "message_id": whatsapp_id, "ack": ack })).await.expect(200)
    }
}

/// A customer of this number.
pub(crate) async fn customer(setup: &Setup, phone: &str) -> i64 {
    let made = setup.admin.post("/customers/", &json!({ "name": "A customer", "phone": phone })).await.expect(201);
    made["id"].as_i64().expect("a number")
}

/// A customer's history.
pub(crate) async fn history(setup: &Setup, customer: i64) -> Vec<Value> {
    let list = setup.admin.get(&format!("/messages/{customer}")).await.expect(200);
    list.as_array().expect("a list").clone()
}
