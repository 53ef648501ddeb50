//! The support crate itself: what the other tests take for granted.

use reqwest::Method;
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::panic::AssertUnwindSafe;
use std::thread;
use std::time::Duration;
use support::{Client, DEADLINE, Gateway, Postgres, Program, Redis, Reply, Response, Socket, eventually};

use futures::{FutureExt, SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn each_database_is_fresh_and_goes_away_with_its_test() {
    let (one, two) = (Postgres::database().await, Postgres::database().await);
    one.execute("CREATE TABLE mine (n BIGINT); INSERT INTO mine VALUES (7)").await;
    assert_eq!(one.number("SELECT n FROM mine").await, 7);
    assert_eq!(two.number("SELECT count(*) FROM pg_tables WHERE tablename = 'mine'").await, 0);

    let holder = one.connect().await;
    assert_eq!(one.disconnect_all().await, 1);
    drop(holder);

    let name = one.url().rsplit('/').next().unwrap().to_owned();
    let count = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
    assert_eq!(two.number(count.clone()).await, 1);
    // Held open by somebody who does not let go.
    let holder = one.connect().await;
    drop(one);
    assert_eq!(two.number(count).await, 0);
    drop(holder);
}

#[tokio::test]
async fn a_private_server_comes_back_with_what_was_committed() {
    let mut server = Postgres::server().await;
    let database = server.database().await;
    database.execute("CREATE TABLE kept AS SELECT 42::bigint AS n").await;
    server.kill9().await;
    assert!(AssertUnwindSafe(database.connect()).catch_unwind().await.is_err(), "a killed server answers nobody");
    server.restart().await;
    assert_eq!(database.number("SELECT n FROM kept").await, 42);
    server.stop().await;
    server.restart().await;
    assert_eq!(database.number("SELECT n FROM kept").await, 42);
}

#[tokio::test]
async fn redis_comes_back_empty() {
    let mut redis = Redis::start().await;
    let url = redis.url().to_owned();
    assert_eq!(redis.command("SET key value").await, "+OK");
    redis.kill9().await;
    redis.restart().await;
    assert_eq!(redis.url(), url);
    assert_eq!(redis.command("EXISTS key").await, ":0");
    redis.command("SET key value").await;
    redis.flushall().await;
    assert_eq!(redis.command("DBSIZE").await, ":0");
}

/// Sends one message as Paceline's gateway client does.
async fn send(gateway: &Gateway, id: &str) -> reqwest::Result<Response> {
    let client = Client::new(gateway.url());
    let body = json!({"to": "60123456789", "message": "hello", "backend_message_id": id});
    client.try_send(client.request(Method::POST, "/send").json(&body)).await
}

#[tokio::test]
async fn the_gateway_does_what_the_script_says_and_remembers_it() {
    let gateway = Gateway::start().await;
    gateway.next([
        Reply::status(429).retry_after(3),
        Reply::close(),
        Reply::rubbish(),
        Reply::cut(),
        Reply::close().taking_effect(),
    ]);
    let limited = send(&gateway, "m1").await.unwrap();
    assert_eq!((limited.status, limited.header("retry-after")), (429, Some("3")));
    assert!(send(&gateway, "m1").await.is_err(), "closed without an answer");
    let rubbish = send(&gateway, "m1").await.unwrap();
    assert_eq!((rubbish.status, rubbish.body), (202, json!(null)));
    let cut = send(&gateway, "m1").await.expect_err("the body was cut");
    assert!(!cut.is_request(), "the head came: {cut}");
    assert_eq!(gateway.sent_count(), 0);
    assert!(send(&gateway, "m1").await.is_err(), "closed after the message had gone out");
    assert_eq!(gateway.sent_of("m1"), 1);
    assert_eq!(send(&gateway, "m1").await.unwrap().status, 202);
    assert_eq!(gateway.sent_of("m1"), 1, "the same id goes out once");
    assert_eq!(gateway.attempts_of("m1"), 6);
    assert_eq!(gateway.attempts().iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);

    gateway.script(|attempt| if attempt.id == "bad" { Reply::status(400) } else { Reply::accept() });
    assert_eq!(send(&gateway, "bad").await.unwrap().status, 400);
    assert_eq!(send(&gateway, "m2").await.unwrap().status, 202);
    gateway.wait_for(2).await;
    assert_eq!(gateway.sent_by_recipient()["60123456789"], 2);
}

#[tokio::test]
async fn a_forgetful_gateway_sends_twice() {
    let gateway = Gateway::forgetful().await;
    for _ in 0..2 {
        assert_eq!(send(&gateway, "m1").await.unwrap().status, 202);
    }
    assert_eq!(gateway.sent_of("m1"), 2);
}

#[tokio::test]
async fn what_hangs_is_let_go() {
    let gateway = Gateway::start().await;
    gateway.next([Reply::hang().taking_effect()]);
    let hanging = send(&gateway, "m1");
    let releasing = async {
        gateway.wait_for(1).await;
        // The effect is there before the handler waits for its release, so let go until it has noticed.
        loop {
            gateway.release();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = hanging => assert!(answer.is_err()),
        never = releasing => never,
    }
}

/// Takes a socket, says what is pushed over it when asked, sends back the first frame that comes, and says goodbye.
async fn echo_once(listener: &tokio::net::TcpListener) {
    let (stream, _) = listener.accept().await.expect("a comer");
    let mut socket = tokio_tungstenite::accept_async(stream).await.expect("a handshake");
    let payload = json!({ "required": ["type", "n"], "properties": { "n": { "type": "integer" } } });
    let document = json!({
        "channels": { "c": { "address": "/ws", "messages": { "hello": { "name": "hello", "payload": payload } } } },
        "operations": { "greet": {
            "action": "send",
            "channel": { "$ref": "#/channels/c" },
            "messages": [{ "$ref": "#/channels/c/messages/hello" }],
        } },
    })
    .to_string();
    let (mut asked, _) = listener.accept().await.expect("a comer");
    let mut request = [0; 1024];
    assert!(asked.read(&mut request).await.expect("a request") > 0 && request.starts_with(b"GET /asyncapi.json "));
    let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", document.len());
    asked.write_all((head + &document).as_bytes()).await.expect("the peer reads");
    let message = socket.next().await.expect("a frame").expect("a whole one");
    socket.send(message).await.expect("the peer reads");
    socket.close(None).await.expect("the peer reads");
    while socket.next().await.is_some() {}
}

#[tokio::test]
async fn a_socket_speaks_json_and_knows_its_end() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(format!("http://{}", listener.local_addr().unwrap())).with_token("secret");
    assert!(client.socket_url("/ws").ends_with("/ws?token=secret"));
    let server = tokio::spawn(async move {
        // The first comer is refused.
        let (mut refused, _) = listener.accept().await.unwrap();
        refused.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        echo_once(&listener).await;
    });
    assert_eq!(Socket::try_open(&client.socket_url("/ws")).await.unwrap_err(), 401);
    let mut socket = Socket::open(&client.socket_url("/ws")).await;
    socket.send(&json!({"type": "hello", "n": 1})).await;
    let kind = socket.wait_for("the echo", |message| message["type"].as_str().map(str::to_owned)).await;
    assert_eq!(kind, "hello");
    assert_eq!(socket.next().await, None, "the server said goodbye");
    server.await.unwrap();
}

#[tokio::test]
async fn a_frame_that_its_document_does_not_describe_fails_the_test_that_reads_it() {
    for (frame, wrong) in [
        (json!({ "type": "hello", "n": "one" }), "\"one\" is not of type"),
        (json!({ "type": "hello" }), "\"n\" is a required property"),
        (json!({ "type": "goodbye", "n": 1 }), "nothing of this type on /ws"),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/ws", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { echo_once(&listener).await });
        let reading = tokio::spawn(async move {
            let mut socket = Socket::open(&url).await;
            socket.send(&frame).await;
            socket.next().await
        });
        let panicked = reading.await.expect_err("the test fails").into_panic();
        let said = panicked.downcast_ref::<String>().expect("a text");
        assert!(said.contains(wrong), "{said}");
        server.abort();
    }
}

/// Answers 200 to everything, as a healthy process does; ends with the test process.
fn healthy() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("a bound address"));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut request = [0; 1024];
            if stream.read(&mut request).is_ok() {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok();
            }
        }
    });
    url
}

/// A stand-in for the binary: it says where it listens, and ends with code 7 when asked to.
const STAND_IN: &str = r#"
trap 'echo goodbye; exit 7' TERM
touch started-$$
echo "INFO listening on $PACELINE_STAND_IN role=test"
while :; do sleep 0.05; done
"#;

#[tokio::test]
async fn a_process_is_started_asked_to_end_killed_and_restarted() {
    let program = Program::new("sh").env("PACELINE_STAND_IN", healthy());
    let mut process = program.start(&["-c", STAND_IN]).await;
    assert!(process.is_running().await);
    process.terminate().await;
    assert_eq!(process.wait(DEADLINE).await.code(), Some(7));
    assert!(process.log().wait_for(DEADLINE, |line| (line == "goodbye").then_some(())).is_some());

    let first = process.pid();
    process.restart().await;
    assert_ne!(process.pid(), first);
    process.kill9().await;
    assert!(!process.is_running().await);
    let started = std::fs::read_dir(program.dir()).unwrap().count();
    assert_eq!(started, 2, "both times in the same directory");
    assert_eq!(std::fs::read_dir(program.elsewhere().dir()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_process_that_dies_at_once_is_reported_with_its_log() {
    let program = Program::new("sh");
    let launch = AssertUnwindSafe(program.launch(&["-c", "echo no database >&2; exit 1"]));
    let panic = launch.catch_unwind().await.unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains("no database"), "{message}");
}

#[tokio::test]
async fn commands_get_their_input_and_a_clean_environment() {
    let program = Program::new("sh").env("PACELINE_ONLY", "this");
    assert_eq!(program.run(&["-c", "cat"], "a password").await, "a password");
    let names = program.run(&["-c", "env | grep ^PACELINE_ | sort"], "").await;
    assert_eq!(names, "PACELINE_LISTEN=127.0.0.1:0\nPACELINE_ONLY=this");
    assert_eq!(program.output(&["-c", "exit 3"], "").await.status.code(), Some(3));
}

#[tokio::test]
async fn eventually_returns_what_it_found_or_says_what_it_saw() {
    let mut looks = 0;
    let found = eventually("the third look", DEADLINE, async || {
        looks += 1;
        if looks == 3 { Ok(looks) } else { Err(format!("look {looks}")) }
    })
    .await;
    assert_eq!(found, 3);

    let never = eventually("the impossible", Duration::from_millis(50), async || Err::<(), _>("still impossible"));
    let panic = AssertUnwindSafe(never).catch_unwind().await.unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains("the impossible") && message.contains("still impossible"), "{message}");
}
