//! What becomes of messages, and what customers write, as the webhooks tell it.

use crate::receiver::Receiver;
use crate::{config, hand, transport, word};
use gateway::CloudApi;
use gateway::transport::{Event, Inbound, Status, SubmissionOutcome};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::{CloudOptions, Ladder};

/// An emulator whose webhooks come to a transport's hook.
async fn connected(options: CloudOptions) -> (support::CloudApi, Arc<CloudApi>, Receiver) {
    let emulator = support::CloudApi::with(options).await;
    let transport = Arc::new(transport(config(&emulator)));
    let receiver = Receiver::start(transport.clone()).await;
    emulator.set_callback(&receiver.url);
    (emulator, transport, receiver)
}

/// The statuses of a message, in the order in which they were heard, each with the network's id.
fn statuses(receiver: &Receiver, message_id: &str) -> Vec<(Status, String)> {
    let of = |event| match event {
        Event::Status { message_id: Some(of), network_id, status, .. } if of == message_id => {
            Some((status, network_id))
        }
        Event::Status { .. } | Event::Inbound(_) => None,
    };
    receiver.events().into_iter().filter_map(of).collect()
}

async fn taken(transport: &CloudApi, message_id: &str) -> String {
    match hand(transport, "60123456789", message_id).await {
        SubmissionOutcome::Taken { network_id, .. } => network_id,
        other => panic!("{}", word(&other)),
    }
}

#[tokio::test]
async fn a_message_goes_up_the_ladder() {
    let (emulator, transport, receiver) = connected(CloudOptions::default()).await;
    let start = now_ms();
    let network_id = taken(&transport, "m").await;
    emulator.wait_until_told().await;
    let expected = [Status::Sent, Status::Delivered, Status::Read].map(|status| (status, network_id.clone()));
    assert_eq!(statuses(&receiver, "m"), expected);
    for event in receiver.events() {
        let Event::Status { at_ms, .. } = event else { panic!("{event:?}") };
        // Meta tells whole seconds.
        assert!(start - 1_000 <= at_ms && at_ms <= now_ms(), "{at_ms} after {start}");
    }
    assert_eq!(transport.malformed_elements(), 0);
}

#[tokio::test]
async fn statuses_are_told_as_they_come() {
    let (emulator, transport, receiver) = connected(CloudOptions::default()).await;
    let soon = Duration::from_millis(5);
    let read = [("delivered", soon), ("read", soon)];
    for (id, ladder, expected) in [
        (
            "turned",
            Ladder::at_once(["read", "delivered", "sent"]),
            &[Status::Read, Status::Delivered, Status::Sent][..],
        ),
        (
            "doubled",
            Ladder::at_once(["sent", "read"]).copies(2),
            &[Status::Sent, Status::Sent, Status::Read, Status::Read],
        ),
        ("lost", Ladder::of(read), &[Status::Delivered, Status::Read]),
        ("played", Ladder::at_once(["sent", "played"]), &[Status::Sent, Status::Played]),
        ("new", Ladder::at_once(["sent", "something_new", "read"]), &[Status::Sent, Status::Read]),
        ("silent", Ladder::silent(), &[]),
    ] {
        emulator.set_ladder(ladder);
        taken(&transport, id).await;
        emulator.wait_until_told().await;
        let heard: Vec<_> = statuses(&receiver, id).into_iter().map(|(status, _)| status).collect();
        assert_eq!(heard, expected, "{id}");
    }
    // A status that is not known is no malformed one.
    assert_eq!(transport.malformed_elements(), 0);
}

#[tokio::test]
async fn what_could_not_be_stored_is_told_again() {
    let (emulator, transport, receiver) = connected(CloudOptions::default()).await;
    receiver.is_full(3);
    taken(&transport, "m").await;
    emulator.wait_until_told().await;
    let heard: Vec<_> = statuses(&receiver, "m").into_iter().map(|(status, _)| status).collect();
    assert_eq!(heard, [Status::Sent, Status::Delivered, Status::Read]);
    let attempts: Vec<_> = emulator.deliveries().iter().map(|told| (told.attempt, told.status)).collect();
    let refused = |attempt| (attempt, Some(503));
    assert_eq!(attempts, [refused(1), refused(2), refused(3), (4, Some(200)), (1, Some(200)), (1, Some(200))]);
}

#[tokio::test]
async fn many_messages_each_have_their_own_ladder() {
    let (emulator, transport, receiver) = connected(CloudOptions::default()).await;
    let ids: Vec<String> = (0..200).map(|number| format!("m{number}")).collect();
    let handed = futures::future::join_all(ids.iter().map(|id| taken(&transport, id))).await;
    emulator.wait_until_told().await;
    for (id, network_id) in ids.iter().zip(handed) {
        let expected = [Status::Sent, Status::Delivered, Status::Read].map(|status| (status, network_id.clone()));
        assert_eq!(statuses(&receiver, id), expected, "{id}");
    }
    assert!(emulator.duplicates().is_empty());
}

#[tokio::test]
async fn a_customer_writes() {
    let (emulator, transport, receiver) = connected(CloudOptions::default()).await;
    let start = now_ms() / 1_000 * 1_000;
    let text = "Hi \u{1f44b}, caf\u{e9} at https://example.org/a?";
    let network_id = emulator.writes("60123456789", "Ann \u{1f600}", text);
    emulator.wait_until_told().await;
    let [Event::Inbound(heard)] = &receiver.events()[..] else { panic!("{:?}", receiver.events()) };
    let expected = Inbound {
        from: "60123456789".into(),
        identities: vec![("bsuid".into(), support::CloudApi::user_id("60123456789"))],
        name: Some("Ann \u{1f600}".into()),
        text: text.into(),
        network_id,
        kind: "text".into(),
        media: None,
        at_ms: heard.at_ms,
    };
    assert_eq!(*heard, expected);
    assert!(start <= heard.at_ms && heard.at_ms <= now_ms());

    let picture = json!({"id": "1", "mime_type": "image/jpeg", "sha256": "x", "caption": "look"});
    emulator.writes_kind("60123456789", "Ann", "image", &picture);
    emulator.wait_until_told().await;
    let events = receiver.events();
    let Some(Event::Inbound(heard)) = events.last() else { panic!("{events:?}") };
    assert_eq!((heard.kind.as_str(), heard.text.as_str(), &heard.media), ("image", "look", &Some(picture)));
    assert_eq!(transport.malformed_elements(), 0);
}

#[tokio::test]
async fn what_cannot_be_read_costs_nothing_else() {
    let (emulator, transport, receiver) = connected(CloudOptions::default()).await;
    let status = json!({"id": "wamid.A", "status": "read", "timestamp": "1749416383", "biz_opaque_callback_data": "m"});
    emulator.tells(json!({
        "statuses": [7, {"status": "read"}, status],
        "messages": [{"id": "wamid.B", "type": "hologram", "from": "60123456789", "hologram": {"sides": 8}}, {}],
        "errors": [{"code": 130_429, "title": "Rate limit hit"}],
        "user_preferences": [{"value": "stop"}],
    }));
    emulator.wait_until_told().await;
    let events = receiver.events();
    let [Event::Status { message_id: Some(id), status: Status::Read, at_ms, .. }, Event::Inbound(inbound)] =
        &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((id.as_str(), *at_ms, inbound.kind.as_str()), ("m", 1_749_416_383_000, "hologram"));
    assert_eq!(transport.malformed_elements(), 3);
    // It was taken: it would not be better the next time.
    assert_eq!(emulator.deliveries().len(), 1);
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since.as_millis()).expect("a clock before the year 292 million")
}
