//! Who may tell us something: the handshake and the signature.

use crate::receiver::Receiver;
use crate::{VERIFY_TOKEN, config, transport};
use gateway::CloudApi;
use gateway::transport::{Event, HookRequest, Transport};
use std::sync::Arc;
use support::Handshake;

const WEBHOOK: &[u8] =
    br#"{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"field":"messages","value":{
    "messaging_product":"whatsapp","metadata":{"phone_number_id":"106540352242922"},
    "statuses":[{"id":"wamid.A","status":"read","timestamp":"1749416383","biz_opaque_callback_data":"m"}]}}]}]}"#;

/// An answer, and what the request told.
struct Answered {
    status: u16,
    events: Vec<Event>,
}

async fn posted(transport: &CloudApi, body: &[u8], signature: Option<&str>) -> Answered {
    let headers: Vec<_> =
        signature.map(|value| ("x-hub-signature-256".to_owned(), value.to_owned())).into_iter().collect();
    let request = HookRequest { method: "POST", query: &[], headers: &headers, body };
    let answer = transport.hook(&request).await.expect("a webhook");
    let events = if answer.tells { transport.read(body).events } else { Vec::new() };
    Answered { status: answer.status, events }
}

async fn asked(transport: &CloudApi, method: &str, query: &[(&str, &str)]) -> (u16, String) {
    let query: Vec<_> = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let request = HookRequest { method, query: &query, headers: &[], body: b"" };
    let answer = transport.hook(&request).await.expect("a webhook");
    assert!(!answer.tells);
    (answer.status, answer.body)
}

#[tokio::test]
async fn the_address_is_verified() {
    let emulator = support::CloudApi::start().await;
    let transport = Arc::new(transport(config(&emulator)));
    let receiver = Receiver::start(transport.clone()).await;
    emulator.set_callback(&receiver.url);
    assert_eq!(emulator.handshake(VERIFY_TOKEN).await, Handshake { status: 200, echoed: true });
    for token in ["", "another", "a-token-that-both-kno", "a-token-that-both-know ", "A-TOKEN-THAT-BOTH-KNOW"] {
        assert_eq!(emulator.handshake(token).await, Handshake { status: 403, echoed: false }, "{token}");
    }
}

#[tokio::test]
async fn only_a_whole_handshake_is_answered() {
    let emulator = support::CloudApi::start().await;
    let transport = transport(config(&emulator));
    let (mode, token, challenge) =
        (("hub.mode", "subscribe"), ("hub.verify_token", VERIFY_TOKEN), ("hub.challenge", "1158201444"));
    assert_eq!(asked(&transport, "GET", &[challenge, token, mode]).await, (200, "1158201444".to_owned()));
    let long = "1".repeat(257);
    for query in [
        &[][..],
        &[mode, token],
        &[mode, challenge],
        &[token, challenge],
        &[("hub.mode", "unsubscribe"), token, challenge],
        &[mode, token, ("hub.challenge", &long)],
        &[mode, ("hub_verify_token", VERIFY_TOKEN), challenge],
    ] {
        assert_eq!(asked(&transport, "GET", query).await.0, 403, "{query:?}");
    }
    for method in ["PUT", "DELETE", "HEAD", "get", ""] {
        assert_eq!(asked(&transport, method, &[mode, token, challenge]).await.0, 405, "{method}");
    }
}

#[tokio::test]
async fn only_what_meta_signed_is_heard() {
    let emulator = support::CloudApi::start().await;
    let transport = transport(config(&emulator));
    let signature = emulator.signature(WEBHOOK);
    let answer = posted(&transport, WEBHOOK, Some(&signature)).await;
    assert_eq!((answer.status, answer.events.len()), (200, 1));

    let other =
        support::CloudApi::with(support::CloudOptions { app_secret: "another".into(), ..Default::default() }).await;
    let of_another = other.signature(WEBHOOK);
    let mut refused = 0;
    for wrong in [
        None,
        Some(""),
        Some("sha256="),
        Some(&signature[..signature.len() - 2]),
        Some(&signature["sha256=".len()..]),
        Some(&*signature.replace("sha256=", "sha1=")),
        Some(&*format!("{signature}00")),
        Some(&*format!(" {signature}")),
        Some(&of_another),
        Some(&emulator.signature(b"")),
    ] {
        let answer = posted(&transport, WEBHOOK, wrong).await;
        assert_eq!((answer.status, answer.events), (401, Vec::new()), "{wrong:?}");
        refused += 1;
    }
    // The same words, written otherwise: what was signed are the bytes.
    let rewritten: serde_json::Value = serde_json::from_slice(WEBHOOK).expect("JSON");
    assert_eq!(posted(&transport, rewritten.to_string().as_bytes(), Some(&signature)).await.status, 401);
    for at in (0..WEBHOOK.len()).step_by(7) {
        let mut flipped = WEBHOOK.to_vec();
        flipped[at] ^= 1;
        assert_eq!(posted(&transport, &flipped, Some(&signature)).await.status, 401, "byte {at}");
        refused += 1;
    }
    assert_eq!(transport.refused_webhooks(), refused + 1);
    assert_eq!(transport.malformed_elements(), 0);
}

#[tokio::test]
async fn a_webhook_of_any_size_is_answered() {
    let emulator = support::CloudApi::start().await;
    let transport = transport(config(&emulator));
    // More than Meta's largest, which are heard; and nobody hashes what is larger.
    let mut body = WEBHOOK.to_vec();
    body.resize(4 * 1024 * 1024, b' ');
    let answer = posted(&transport, &body, Some(&emulator.signature(&body))).await;
    assert_eq!((answer.status, answer.events.len()), (200, 1));
    body.push(b' ');
    let answer = posted(&transport, &body, Some(&emulator.signature(&body))).await;
    assert_eq!((answer.status, answer.events.len()), (413, 0));
    // Signed, and nothing that can be read: it would come again for days, and be no better.
    for body in [&b""[..], b"{", b"[]", b"\xff\xfe"] {
        let answer = posted(&transport, body, Some(&emulator.signature(body))).await;
        assert_eq!((answer.status, answer.events.len()), (200, 0));
    }
    assert_eq!(transport.malformed_elements(), 4);
}

#[tokio::test]
async fn another_number_of_the_app_is_not_ours() {
    let emulator = support::CloudApi::start().await;
    let transport = transport(config(&emulator));
    let theirs = String::from_utf8(WEBHOOK.to_vec()).expect("UTF-8").replace("106540352242922", "106540352242923");
    let answer = posted(&transport, theirs.as_bytes(), Some(&emulator.signature(theirs.as_bytes()))).await;
    assert_eq!((answer.status, answer.events.len()), (200, 0));
    assert_eq!(transport.malformed_elements(), 0);
}
