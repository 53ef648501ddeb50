//! Answers that get lost. The rule: before the request could leave, nothing was taken; after it, a message without an id
//! may have been, and its first status settles it.

use crate::raw::{Raw, Then, answer};
use crate::receiver::Receiver;
use crate::{config, config_at, hand, transport, word};
use gateway::CloudConfig;
use gateway::transport::{Event, Status, SubmissionOutcome};
use std::sync::Arc;
use support::CloudFault;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

/// The numbers whose messages are taken and whose answers are lost, with what is known then.
const LOST: [(&str, &str); 5] = [
    ("60123990001", "unknown cloud_timeout"),
    ("60123990002", "unknown cloud_broke_off"),
    ("60123990003", "unknown cloud_no_id"),
    ("60123990004", "unknown cloud_no_id"),
    ("60123990005", "unknown cloud_no_id"),
];

#[tokio::test]
async fn a_lost_answer_is_settled_by_a_status_with_our_id() {
    let emulator = support::CloudApi::start().await;
    let transport = Arc::new(transport(config(&emulator)));
    // For the answer that never comes. Time enough for the message to be taken on a busy machine.
    let hasty = crate::transport(CloudConfig { connect_timeout_ms: 3_000, timeout_ms: 3_000, ..config(&emulator) });
    let receiver = Receiver::start(transport.clone()).await;
    emulator.set_callback(&receiver.url);
    for (to, expected) in LOST {
        let by = if expected == "unknown cloud_timeout" { &hasty } else { &*transport };
        assert_eq!(word(&hand(by, to, to).await), expected, "{to}");
        assert_eq!(emulator.taken_of(to), 1, "{to}");
    }
    // One that was not taken looks the same, and no status ever comes.
    assert_eq!(word(&hand(&transport, "60123990006", "dropped").await), "unknown cloud_broke_off");
    assert_eq!(emulator.taken_of("dropped"), 0);
    emulator.wait_until_told().await;
    let events = receiver.events();
    let settled = |id: &str| {
        let of = |event: &&Event| matches!(event, Event::Status { message_id: Some(of), status: Status::Sent, .. } if of == id);
        events.iter().filter(of).count()
    };
    for (to, _) in LOST {
        assert_eq!(settled(to), 1, "{to}");
    }
    assert_eq!(settled("dropped"), 0);
    emulator.release();
}

#[tokio::test]
async fn the_next_message_has_a_connection_that_works() {
    let emulator = support::CloudApi::start().await;
    let transport = transport(config(&emulator));
    emulator.next([Some(CloudFault::Close), None, Some(CloudFault::Cut), None, Some(CloudFault::Drop), None]);
    let mut words = Vec::new();
    for _ in 0..6 {
        words.push(word(&hand(&transport, "60123456789", "m").await));
    }
    let lost = ["unknown cloud_broke_off", "unknown cloud_no_id", "unknown cloud_broke_off"];
    assert_eq!(words, [lost[0], "taken", lost[1], "taken", lost[2], "taken"]);
    assert_eq!(emulator.messages().len(), 5);
}

#[tokio::test]
async fn what_never_left_was_not_taken() {
    // A port that is ours, and that nobody listens on.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let url = format!("http://{}", socket.local_addr().expect("an address"));
    for url in [url.as_str(), "https://graph.invalid"] {
        let handed = hand(&transport(config_at(url)), "60123456789", "m").await;
        assert_eq!(word(&handed), "trouble cloud_unreachable", "{url}");
    }
}

#[tokio::test]
async fn a_server_without_tls_was_told_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let transport = transport(config_at(&format!("https://{}", listener.local_addr().expect("an address"))));
    let server = async {
        let (mut stream, _) = listener.accept().await.expect("a client");
        stream.read_u8().await.expect("the client's greeting");
        stream.write_all(&answer("200 OK", "")).await.expect("it listens");
    };
    let (handed, ()) = futures::join!(hand(&transport, "60123456789", "m"), server);
    assert_eq!(word(&handed), "trouble cloud_unreachable");
}

#[tokio::test]
async fn rubbish_is_no_answer() {
    let binary: Vec<u8> = (0..=255).cycle().take(5_000).collect();
    let rubbish: [&[u8]; 7] = [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Len",
        b"hello\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: minus\r\n\r\n",
        &binary,
    ];
    for bytes in rubbish {
        let server = Raw::always(Then::Close(bytes.to_vec())).await;
        let handed = hand(&transport(config_at(&server.url)), "60123456789", "m").await;
        assert_eq!(word(&handed), "unknown cloud_broke_off", "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[tokio::test]
async fn an_answer_that_stops_is_not_waited_for_longer_than_told() {
    let id = r#"{"messages":[{"id":"wamid.A"}]}"#;
    let cases = [
        ("HTTP/1.1 200 O".to_owned(), "unknown cloud_timeout"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"messages\":".to_owned(), "unknown cloud_no_id"),
        ("HTTP/1.1 500 X\r\nContent-Length: 99\r\n\r\n{\"error\":{\"code\":131026".to_owned(), "trouble cloud_500"),
        // All of it is there, though the server says that there is more.
        (format!("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{id}"), "taken"),
    ];
    let all = cases.map(|(said, expected)| async move {
        let server = Raw::always(Then::Silence(said.clone().into_bytes())).await;
        let config = CloudConfig { connect_timeout_ms: 2_000, timeout_ms: 2_000, ..config_at(&server.url) };
        assert_eq!(word(&hand(&transport(config), "60123456789", "m").await), expected, "{said}");
    });
    futures::future::join_all(all).await;
}

#[tokio::test]
async fn an_endless_answer_is_not_read() {
    for (head, expected) in [("200 OK", "unknown cloud_no_id"), ("400 Bad Request", "trouble cloud_400")] {
        let head = format!("HTTP/1.1 {head}\r\nContent-Length: 1000000000000\r\n\r\n");
        let server = Raw::always(Then::Endless(head.into_bytes(), vec![b' '; 64 * 1024])).await;
        assert_eq!(word(&hand(&transport(config_at(&server.url)), "60123456789", "m").await), expected);
        // What the system's buffers hold on the way is some megabytes; the answer is a terabyte.
        let taken = server.taken().await;
        assert!(taken < 64 * 1024 * 1024, "{taken} bytes taken");
    }
    // The same for a head.
    let server =
        Raw::always(Then::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), b"X-More: and more\r\n".repeat(1_000))).await;
    assert_eq!(word(&hand(&transport(config_at(&server.url)), "60123456789", "m").await), "unknown cloud_broke_off");
    assert!(server.taken().await < 64 * 1024 * 1024);
}

#[tokio::test]
async fn a_first_answer_decides() {
    // The second request would be taken; there is none.
    let server = Raw::start(|request| {
        let status = if request == 0 { "500 Internal Server Error" } else { "200 OK" };
        Then::Answer(answer(status, r#"{"messages":[{"id":"wamid.A"}]}"#))
    })
    .await;
    let handed = hand(&transport(config_at(&server.url)), "60123456789", "m").await;
    assert!(matches!(handed, SubmissionOutcome::Refused(_)), "{handed:?}");
}
