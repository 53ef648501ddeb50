//! What the client asks, and how it uses its connections.

use crate::raw::{Raw, Then, answer};
use crate::{SECRET, client, send};
use futures::future::join_all;
use gateway::{ClientSettings, Gateway, HttpGateway, Outbound, SendOutcome};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::time::{SystemTime, UNIX_EPOCH};

/// The contract's: `sha256=<hex HMAC-SHA256 of "<timestamp>.<body>">`. Nothing of the crate's own is in it.
fn signature(secret: &str, timestamp: &str, body: &[u8]) -> String {
    let mut mac: Hmac<Sha256> = Hmac::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(&[timestamp.as_bytes(), b".", body].concat());
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

#[test]
fn the_tests_own_signature_is_that_of_openssl() {
    // printf '1700000000.{"to":"60123456789"}' | openssl dgst -sha256 -hmac 'a shared secret'
    assert_eq!(
        signature(SECRET, "1700000000", br#"{"to":"60123456789"}"#),
        "sha256=ee53ebb4801604fc056b792c674674d0647cb36c46c8d8f7f15d7f2ffc1d2b13"
    );
}

#[tokio::test]
async fn a_message_goes_as_the_contract_says_and_is_signed() {
    let server = support::Gateway::start().await;
    let client = client(server.url());
    for (id, text) in ["Hello", "", "„Grüße“\n\t\"\\ 👋🏽 \u{0} \u{7f}", &"long ".repeat(20_000)].into_iter().enumerate()
    {
        let id = format!("id-{id}");
        let before = SystemTime::now();
        let message = Outbound { to: "60123456789", text, message_id: &id, sender: None, gateway: None };
        assert_eq!(client.send(&message).await, SendOutcome::Accepted);

        let attempt = server.attempts().pop().expect("an attempt");
        let body: Value = serde_json::from_slice(&attempt.raw).expect("JSON");
        assert_eq!(body, json!({ "to": "60123456789", "message": text, "backend_message_id": id }));
        let header = |name: &str| attempt.headers[name].to_str().expect("text").to_owned();
        assert_eq!(header("content-type"), "application/json");
        let timestamp = header("x-paceline-timestamp");
        assert_eq!(header("x-paceline-signature"), signature(SECRET, &timestamp, &attempt.raw));
        // The whole request: in this form nothing signed is anything at another path.
        let request = ["v2\n", &timestamp, "\nPOST\n/send\n"].concat();
        let mut mac: Hmac<Sha256> = Hmac::new_from_slice(SECRET.as_bytes()).expect("any length");
        mac.update(&[request.as_bytes(), &attempt.raw].concat());
        let signed = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
        assert_eq!(header("x-paceline-signature-v2"), signed);
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let stamped: u64 = timestamp.parse().expect("seconds");
        assert!((seconds(before)..=seconds(SystemTime::now())).contains(&stamped), "{stamped}");
        // The secret itself stays here.
        assert!(!format!("{:?}{body}", attempt.headers).contains(SECRET));
    }
    assert_eq!(server.sent_count(), 4);
}

#[tokio::test]
async fn the_old_form_is_not_sent_where_it_is_switched_off() {
    let server = support::Gateway::start().await;
    let settings = ClientSettings { old_signature: false, ..ClientSettings::new(server.url(), SECRET, 1) };
    let client = HttpGateway::new(&settings).expect("a client");
    assert_eq!(send(&client, "m").await, SendOutcome::Accepted);
    let attempt = server.attempts().pop().expect("an attempt");
    assert!(attempt.headers.contains_key("x-paceline-signature-v2"), "{:?}", attempt.headers);
    assert!(!attempt.headers.contains_key("x-paceline-signature"), "{:?}", attempt.headers);
}

#[tokio::test]
async fn a_message_that_is_sent_again_has_the_same_id() {
    let server = support::Gateway::start().await;
    server.next([support::Reply::close().taking_effect()]);
    let client = client(server.url());
    assert!(matches!(send(&client, "same").await, SendOutcome::Unknown { .. }));
    assert_eq!(send(&client, "same").await, SendOutcome::Accepted);
    assert_eq!((server.attempts_of("same"), server.sent_of("same")), (2, 1));
}

#[tokio::test]
async fn a_gateway_below_a_path_is_found_there() {
    let server = Raw::always(Then::Answer(answer("202 Accepted", ""))).await;
    for url in [server.url.clone(), format!("{}/", server.url), format!("{}/a/b", server.url)] {
        assert_eq!(send(&client(url), "m").await, SendOutcome::Accepted);
    }
    let missing = support::Gateway::start().await;
    let outcome = send(&client(format!("{}/below", missing.url())), "m").await;
    assert!(matches!(outcome, SendOutcome::Rejected { .. }), "/below/send is not there: {outcome:?}");
    assert!(missing.attempts().is_empty());
}

#[tokio::test]
async fn one_connection_serves_one_send_after_the_other() {
    // Refusals and failures too: what they say is read to its end.
    let server = Raw::start(|request| {
        Then::Answer(match request % 4 {
            0 => answer("202 Accepted", r#"{"status":"accepted"}"#),
            1 => answer("400 Bad Request", r#"{"detail":"no"}"#),
            2 => answer("500 Internal Server Error", &"oops ".repeat(2_000)),
            _ => answer("429 Too Many Requests\r\nRetry-After: 1", "slowly"),
        })
    })
    .await;
    let client = client(&server.url);
    for request in 0..40 {
        let outcome = send(&client, "m").await;
        assert_eq!(outcome == SendOutcome::Accepted, request % 4 == 0, "{outcome:?}");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_was_closed_after_its_answer_is_not_used_again() {
    let server = Raw::always(Then::Close(answer("202 Accepted\r\nConnection: close", "{}"))).await;
    let client = client(&server.url);
    for _ in 0..5 {
        assert_eq!(send(&client, "m").await, SendOutcome::Accepted);
    }
    assert_eq!(server.connections(), 5);
}

#[tokio::test]
async fn sends_at_once_have_connections_of_their_own_and_keep_them() {
    let server = support::Gateway::start().await;
    let client = client(server.url());
    server.script(|_| support::Reply::hang());
    let ids: Vec<String> = (0..6).map(|i| format!("m{i}")).collect();
    let sends = join_all(ids.iter().map(|id| send(&client, id)));
    let all_there = async {
        server.wait_for_attempts(6).await;
        server.release();
    };
    let (outcomes, ()) = futures::join!(sends, all_there);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, SendOutcome::Unknown { .. })), "{outcomes:?}");

    let server = Raw::always(Then::Answer(answer("202 Accepted", "{}"))).await;
    let client = crate::client(&server.url);
    for _ in 0..10 {
        join_all(ids.iter().map(|id| send(&client, id))).await;
    }
    assert!(server.connections() <= 6, "{} connections for six at once", server.connections());
}
