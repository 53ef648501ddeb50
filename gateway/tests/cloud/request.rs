//! What is posted, and what is said of the transport itself.

use crate::raw::{Raw, Then, answer};
use crate::{config, config_at, hand, transport, word};
use gateway::CloudConfig;
use gateway::transport::{Session, Settles, Submission, SubmissionOutcome, Transport};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn a_message_goes_out_with_our_id() {
    let emulator = support::CloudApi::start().await;
    let transport = transport(CloudConfig { api_version: "v25.0".into(), ..config(&emulator) });
    let text = "Hello \"Ann\" \u{1f44d}\n see https://example.org";
    let message = Submission { message_id: "m-1", to: "60123456789", text, sender: "main" };
    let handed = transport.hand(&message).await;

    let taken = emulator.messages();
    assert_eq!(handed, SubmissionOutcome::Taken { network_id: taken[0].network_id.clone(), wa_id: None });
    assert_eq!((taken.len(), taken[0].text.as_str(), taken[0].callback_data.as_deref()), (1, text, Some("m-1")));
    let posts = emulator.posts();
    assert_eq!(posts[0].path, "/v25.0/106540352242922/messages");
    assert_eq!(posts[0].headers["content-type"], "application/json");
    let expected = json!({
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": "60123456789",
        "type": "text",
        "text": {"preview_url": false, "body": text},
        "biz_opaque_callback_data": "m-1",
    });
    assert_eq!(posts[0].body, expected);
}

#[tokio::test]
async fn what_meta_would_refuse_is_refused() {
    let emulator = support::CloudApi::start().await;
    let transport = transport(config(&emulator));
    let long = "x".repeat(4_097);
    for (to, text, id, expected) in [
        ("60123456789", "", "m", "message 100"),
        ("60123456789", long.as_str(), "m", "message 100"),
        ("nobody", "Hello", "m", "message 131009"),
        ("60123456789", "Hello", &long[..513], "message message_id_too_long"),
        ("60123456789", &long[1..], &long[..512], "taken"),
    ] {
        let handed = transport.hand(&Submission { message_id: id, to, text, sender: "main" }).await;
        assert_eq!(word(&handed), expected, "{to}");
    }
    // The one whose id Meta could not carry along was not even posted.
    assert_eq!((emulator.posts().len(), emulator.messages().len()), (4, 1));
}

#[tokio::test]
async fn a_wrong_token_or_number_stops_the_sender() {
    let emulator = support::CloudApi::start().await;
    let wrong = transport(CloudConfig { access_token: "another".into(), ..config(&emulator) });
    assert_eq!(word(&hand(&wrong, "60123456789", "m").await), "stop 190");
    let wrong = transport(CloudConfig { phone_number_id: "1".into(), ..config(&emulator) });
    assert_eq!(word(&hand(&wrong, "60123456789", "m").await), "stop 100");
    assert!(emulator.messages().is_empty());
}

#[tokio::test]
async fn nothing_is_posted_twice() {
    let emulator = support::CloudApi::start().await;
    let transport = transport(config(&emulator));
    for id in ["a", "b", "a"] {
        assert_eq!(word(&hand(&transport, "60123456789", id).await), "taken");
    }
    // Twice by the caller: the Graph API knows no idempotency, and neither does the emulator.
    assert_eq!((emulator.taken_of("a"), emulator.taken_of("b")), (2, 1));
    assert_eq!(emulator.duplicates(), [("a".to_owned(), 2)].into());
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let server = Raw::always(Then::Answer(answer("200 OK", r#"{"messages":[{"id":"wamid.A"}]}"#))).await;
    let transport = transport(config_at(&server.url));
    for _ in 0..5 {
        assert_eq!(word(&hand(&transport, "60123456789", "m").await), "taken");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn it_needs_no_qr_code_and_settles_by_its_statuses() {
    let transport = transport(CloudConfig { status_wait_secs: 90, ..config_at("https://graph.invalid") });
    assert_eq!(transport.name(), "cloud-api");
    assert_eq!(transport.session(), Session { ready: true, need_qr: false, active: true, qr: None });
    assert_eq!(transport.settles(), Settles::ByEvent { within: Duration::from_secs(90) });
}
