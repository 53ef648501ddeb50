//! Servers and networks that fail in the middle. The rule: before the request could leave, nothing was taken; after it, a
//! message without an answer may have been.

use crate::raw::{Raw, Then, answer};
use crate::{client, client_with, send, word};
use gateway::{Gateway, SendOutcome};
use std::time::Duration;
use support::Reply;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

#[tokio::test]
async fn a_gateway_that_is_not_there_took_nothing() {
    // A port that is ours, and that nobody listens on.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let client = client(format!("http://{}", socket.local_addr().expect("an address")));
    assert_eq!(word(&send(&client, "m").await), "unreachable");
    assert_eq!(client.check().await, Err("the gateway could not be reached".into()));
    let nowhere = crate::client("http://gateway.invalid");
    assert_eq!(word(&send(&nowhere, "m").await), "unreachable");
}

#[tokio::test]
async fn a_server_without_tls_took_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let client = client(format!("https://{}", listener.local_addr().expect("an address")));
    let server = async {
        let (mut stream, _) = listener.accept().await.expect("a client");
        stream.read_u8().await.expect("the client's greeting");
        stream.write_all(&answer("202 Accepted", "")).await.expect("it listens");
    };
    let (outcome, ()) = futures::join!(send(&client, "m"), server);
    assert_eq!(word(&outcome), "unreachable");
}

#[tokio::test]
async fn a_connection_that_breaks_off_leaves_it_open() {
    let server = support::Gateway::start().await;
    let client = client(server.url());
    server.next([Reply::close(), Reply::close().taking_effect()]);
    for id in ["not taken", "taken"] {
        assert_eq!(word(&send(&client, id).await), "unknown gateway_broke_off", "{id}");
    }
    assert_eq!((server.sent_of("not taken"), server.sent_of("taken")), (0, 1));
    // The next send has a connection that works.
    assert_eq!(send(&client, "next").await, SendOutcome::Accepted);

    for part in ["", "HTTP/1.1", "HTTP/1.1 202 Acc", "HTTP/1.1 202 Accepted\r\nContent-Len"] {
        let server = Raw::always(Then::Close(part.into())).await;
        let outcome = send(&crate::client(&server.url), "m").await;
        assert_eq!(word(&outcome), "unknown gateway_broke_off", "{part:?}");
    }
}

#[tokio::test]
async fn the_head_of_an_answer_is_enough() {
    let server = support::Gateway::start().await;
    server.next([Reply::cut(), Reply::rubbish()]);
    let client = client(server.url());
    for _ in 0..2 {
        assert_eq!(send(&client, "m").await, SendOutcome::Accepted);
    }
    let cut = |head: &str| format!("HTTP/1.1 {head}\r\nContent-Length: 64\r\n\r\n{{\"detail\":\"ha").into_bytes();
    let cases = [
        ("202 Accepted", "accepted"),
        ("400 Bad Request", "rejected gateway_400"),
        ("500 Internal Server Error", "failed gateway_500"),
        ("429 Too Many Requests", "throttled"),
    ];
    for (head, expected) in cases {
        let server = Raw::always(Then::Close(cut(head))).await;
        assert_eq!(word(&send(&crate::client(&server.url), "m").await), expected);
        // A body that never ends its wait. A failure's reason is waited for as long as the whole request may take.
        let server = Raw::always(Then::Silence(cut(head))).await;
        let client = client_with(&server.url, Duration::from_millis(500));
        assert_eq!(word(&send(&client, "m").await), expected);
    }
    // One that was taken does not wait for the rest of the answer as long as for an answer.
    let server = Raw::always(Then::Silence(cut("202 Accepted"))).await;
    assert_eq!(send(&crate::client(&server.url), "m").await, SendOutcome::Accepted);
}

#[tokio::test]
async fn rubbish_is_no_answer() {
    let binary: Vec<u8> = (0..=255).cycle().take(5_000).collect();
    let too_many = format!("HTTP/1.1 202 Accepted\r\n{}\r\n", "X: y\r\n".repeat(10_000));
    let rubbish: [&[u8]; 8] = [
        b"hello\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/9.9 202 Accepted\r\n\r\n",
        b"HTTP/1.1 2x2 Accepted\r\n\r\n",
        b"HTTP/1.1 99999 Accepted\r\n\r\n",
        b"HTTP/1.1 202 Accepted\r\nContent-Length: minus\r\n\r\n",
        &binary,
        too_many.as_bytes(),
    ];
    for bytes in rubbish {
        let server = Raw::always(Then::Close(bytes.to_vec())).await;
        let outcome = send(&client(&server.url), "m").await;
        assert_eq!(word(&outcome), "unknown gateway_broke_off", "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_not_waited_for_longer_than_told() {
    let server = support::Gateway::start().await;
    server.next([Reply::hang().taking_effect()]);
    let client = client_with(server.url(), Duration::from_millis(300));
    assert_eq!(word(&send(&client, "m").await), "unknown gateway_timeout");
    assert_eq!(server.sent_of("m"), 1);
    let server = Raw::always(Then::Silence(b"HTTP/1.1 202 Acc".to_vec())).await;
    let client = client_with(&server.url, Duration::from_millis(300));
    assert_eq!(word(&send(&client, "m").await), "unknown gateway_timeout");
    assert_eq!(client.check().await, Err("the gateway did not answer in time".into()));
}

#[tokio::test]
async fn an_endless_answer_is_not_read() {
    let cases = [
        ("202 Accepted", "accepted"),
        ("400 Bad Request", "rejected gateway_400"),
        ("500 Internal Server Error", "failed gateway_500"),
    ];
    for (head, expected) in cases {
        let head = format!("HTTP/1.1 {head}\r\nContent-Length: 1000000000000\r\n\r\n");
        let server = Raw::always(Then::Endless(head.into_bytes(), vec![b'x'; 64 * 1024])).await;
        assert_eq!(word(&send(&client(&server.url), "m").await), expected);
        // What the system's buffers hold on the way is some megabytes; the answer is a terabyte.
        let taken = server.taken().await;
        assert!(taken < 64 * 1024 * 1024, "{taken} bytes taken");
    }
    // The same for a head, and for the answer to a check.
    let head = b"HTTP/1.1 202 Accepted\r\n".to_vec();
    let server = Raw::always(Then::Endless(head, b"X-More: and more\r\n".repeat(1_000))).await;
    assert_eq!(word(&send(&client(&server.url), "m").await), "unknown gateway_broke_off");
    assert!(server.taken().await < 64 * 1024 * 1024);
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n".to_vec();
    let server = Raw::always(Then::Endless(head, b" ".repeat(64 * 1024))).await;
    assert!(client(&server.url).check().await.is_err());
    assert!(server.taken().await < 64 * 1024 * 1024);
}
