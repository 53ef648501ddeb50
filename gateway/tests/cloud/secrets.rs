//! What may be read by others: no secret, no text, no whole number.

use crate::raw::{Raw, Then, answer};
use crate::{VERIFY_TOKEN, config, config_at};
use gateway::transport::{HookRequest, Submission, Transport};
use gateway::{CloudApi, CloudConfig};
use std::io;
use std::sync::{Arc, Mutex};
use tracing_subscriber::fmt::MakeWriter;

const TOKEN: &str = "EAAhunterToken";
const APP_SECRET: &str = "hunter-app-secret";
const TEXT: &str = "for Ann alone";
const NUMBER: &str = "60123456789";

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panics with it").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn assert_clean(what: &str) {
    for secret in [TOKEN, APP_SECRET, VERIFY_TOKEN, TEXT, NUMBER] {
        assert!(!what.contains(secret), "{secret} in {what}");
    }
}

#[tokio::test]
async fn nothing_secret_is_shown_or_logged() {
    let log = Log::default();
    // All of this test runs on one thread, and so does its log.
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(log.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());

    let emulator = support::CloudApi::start().await;
    let config = CloudConfig { access_token: TOKEN.into(), app_secret: APP_SECRET.into(), ..config(&emulator) };
    let cloud = CloudApi::new(config.clone()).expect("a transport");
    assert_clean(&format!("{config:?} {cloud:?}"));
    let handing = Submission { message_id: "m", to: NUMBER, text: TEXT, sender: "main" };

    // The Graph API repeats a token that it does not take, and an error may have the recipient in it.
    let handed = format!("{:?}", cloud.hand(&handing).await);
    assert!(handed.contains("190") && handed.contains("Malformed access token"), "{handed}");
    assert_clean(&handed);
    let body = format!(r#"{{"error":{{"code":131026,"message":"cannot write to {NUMBER}"}}}}"#);
    let server = Raw::always(Then::Answer(answer("400 Bad Request", &body))).await;
    let other = CloudConfig { access_token: TOKEN.into(), ..config_at(&server.url) };
    let handed = format!("{:?}", CloudApi::new(other).expect("a transport").hand(&handing).await);
    assert!(handed.contains("cannot write to …89"), "{handed}");
    assert_clean(&handed);

    // Webhooks that are refused or cannot be read are logged without what is in them.
    let secret =
        support::CloudApi::with(support::CloudOptions { app_secret: APP_SECRET.into(), ..Default::default() }).await;
    let body = format!(
        r#"{{"entry":[7,{{"changes":[{{"field":"messages","value":{{"metadata":{{"phone_number_id":"106540352242922"}},
        "errors":[{{"code":130429,"title":"{TEXT}"}}],
        "messages":[{{"from":"{NUMBER}","text":{{"body":"{TEXT}"}}}}]}}}}]}}]}}"#
    );
    for signature in [secret.signature(body.as_bytes()), "sha256=00".to_owned()] {
        let headers = [("x-hub-signature-256".to_owned(), signature)];
        let request = HookRequest { method: "POST", query: &[], headers: &headers, body: body.as_bytes() };
        let answer = cloud.hook(&request).await.expect("a webhook");
        assert_clean(&format!("{answer:?}"));
    }
    // It is read once it is kept.
    assert!(cloud.read(body.as_bytes()).unread > 0, "parts of it cannot be read");
    let query = [("hub.mode", "subscribe"), ("hub.verify_token", TEXT), ("hub.challenge", "1")];
    let query = query.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let request = HookRequest { method: "GET", query: &query, headers: &[], body: b"" };
    assert_eq!(cloud.hook(&request).await.expect("a webhook").status, 403);

    let logged = String::from_utf8(log.0.lock().expect("no test panics with it").clone()).expect("text");
    for expected in ["has parts that cannot be read", "130429", "app_secret", "verify_token"] {
        assert!(logged.contains(expected), "{expected} in {logged}");
    }
    assert_clean(&logged);
}
