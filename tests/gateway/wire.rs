//! The contract of the paths: what is refused, and how.

use crate::setup::{SECRET, World, message, now_s, signature, signed};
use gateway::{SIGNATURE_HEADER, TIMESTAMP_HEADER};
use serde_json::{Value, json};
use support::{Method, Response};

async fn start() -> World {
    World::start(&[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_paths_answer_as_the_contract_says() {
    let world = start().await;
    let client = world.gateway.client();
    let status = client.get("/status").await;
    let said = status.clone().expect(200);
    assert!(said["gateway_id"].as_str().is_some_and(|name| name.starts_with("gw-")), "{said}");
    for (name, value) in [
        ("ready", json!(true)),
        ("need_qr", json!(false)),
        ("session_active", json!(true)),
        ("transport", json!("simulator")),
    ] {
        assert_eq!(said[name], value, "{said}");
    }
    assert!(status.header("x-request-id").is_some());
    let qr = client.send(signed(&client, Method::GET, "/qr", "")).await;
    assert_eq!(qr.expect(200), json!({ "qr": null, "ready": true }));
    let sent = world.send("m").await;
    assert_eq!(sent.expect(202), json!({ "status": "accepted", "message": "Message queued for sending" }));
    let by_number = json!({ "to": "60123456789", "message": "Hi", "backend_message_id": 77 }).to_string();
    client.send(signed(&client, Method::POST, "/send", &by_number)).await.expect(202);
    world.told("77", &["map"]).await;
    let told = world.backend.taken();
    assert!(told.iter().any(|told| told.body["backend_id"] == json!(77)), "named as the backend did: {told:?}");
    client.get("/healthz").await.expect(200);
    client.get("/readyz").await.expect(200);
    assert!(client.get("/metrics").await.text.contains("paceline_gateway_accepts_total"));
    assert_eq!(client.get("/webhook").await.status, 404, "the simulator has none");
}

fn detail(answer: &Response, status: u16) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert!(answer.header("x-request-id").is_some());
    answer.body["detail"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_refused_in_the_envelope() {
    let world = start().await;
    let client = world.gateway.client();
    let post = async |body: &str| client.send(signed(&client, Method::POST, "/send", body)).await;
    let bad = detail(&post("{}").await, 422);
    let fields: Vec<&Value> = bad.as_array().expect("a list").iter().map(|issue| &issue["loc"][1]).collect();
    assert_eq!(fields, ["to", "message", "backend_message_id"]);
    assert_eq!(detail(&post("no JSON").await, 422)[0]["loc"], json!(["body"]));
    assert!(detail(&post(&"x".repeat(65 * 1024)).await, 413).is_string());
    assert!(detail(&client.get("/nowhere").await, 404).is_string());
    let other_method = client.get("/send").await;
    assert!(detail(&other_method, 405).is_string());
    assert_eq!(other_method.header("allow"), Some("POST"));
    let other_method = client.send(client.request(Method::DELETE, "/webhook")).await;
    assert_eq!(other_method.header("allow"), Some("GET, POST, HEAD"));
    // What nothing reads is refused by its name; a coding, by what is taken; a method that nobody knows, as that.
    let odd = json!({ "to": "60123456789", "massage": "Hi", "backend_message_id": 1, "extra": true }).to_string();
    let bad = detail(&post(&odd).await, 422);
    let said: Vec<(&Value, &Value)> =
        bad.as_array().expect("a list").iter().map(|issue| (&issue["loc"][1], &issue["msg"])).collect();
    assert_eq!(
        said,
        [
            (&json!("message"), &json!("is required")),
            (&json!("extra"), &json!("is not known here; known are to, message, backend_message_id, sender")),
            (&json!("massage"), &json!("is not known here; did you mean message?")),
        ]
    );
    for (method, path, body) in [
        (Method::GET, "/status?x=1", ""),
        (Method::GET, "/qr?x=1", ""),
        (Method::POST, "/send?x=1", "{}"),
        (Method::GET, "/messages?limits=1", ""),
        (Method::GET, "/sim/messages?limits=1", ""),
        (Method::GET, "/sim/stats?x", ""),
        (Method::GET, "/healthz?x", ""),
        (Method::GET, "/readyz?x", ""),
        (Method::GET, "/metrics?x", ""),
        (Method::GET, "/openapi.json?x", ""),
        (Method::GET, "/qr", "{\"x\": 1}"),
    ] {
        let bad = detail(&client.send(signed(&client, method, path, body)).await, 422);
        assert_eq!(bad[0]["type"], "extra_forbidden", "{path}: {bad}");
    }
    let coded = signed(&client, Method::POST, "/send", &message("m")).header("content-encoding", "gzip");
    let coded = client.send(coded).await;
    assert_eq!(coded.header("accept-encoding"), Some("identity"));
    assert!(detail(&coded, 415).is_string());
    let brew = Method::from_bytes(b"BREW").expect("a method");
    assert!(detail(&client.send(client.request(brew, "/status")).await, 501).is_string());
    assert_eq!(client.send(client.request(Method::OPTIONS, "/send")).await.header("allow"), Some("POST"));
    let at = now_s();
    let text = client
        .request(Method::POST, "/send")
        .header(TIMESTAMP_HEADER, at)
        .header(SIGNATURE_HEADER, signature(at, b"hello"))
        .header("content-type", "text/plain")
        .body("hello");
    assert!(detail(&client.send(text).await, 415).is_string());
    assert_eq!(world.stats().await["attempts"], json!(0), "nothing of it went anywhere");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_knows_the_secret_is_served() {
    let world = start().await;
    let client = world.gateway.client();
    let body = message("m");
    let with = |at: i64, signature: String| {
        let request = client.request(Method::POST, "/send").header("content-type", "application/json");
        request.header(TIMESTAMP_HEADER, at).header(SIGNATURE_HEADER, signature).body(body.clone())
    };
    let now = now_s();
    let old = now - 301;
    let other = gateway::Signer::new(b"another secret").expect("a secret").sign(now, body.as_bytes());
    for request in [
        with(now, signature(now, b"another body")),
        with(now, other),
        with(old, signature(old, body.as_bytes())),
        with(now, String::new()),
        client.request(Method::POST, "/send").header("content-type", "application/json").body(body.clone()),
        client.request(Method::GET, "/qr"),
        client.request(Method::GET, "/sim/messages"),
    ] {
        assert!(detail(&client.send(request).await, 401).is_string());
    }
    client.send(with(now, signature(now, body.as_bytes()))).await.expect(202);
    assert!(
        !world.gateway.log().contains(SECRET) && !world.gateway.log().contains("Hello m"),
        "nothing of it is logged"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_simulator_sent_is_shown_page_by_page() {
    let world = start().await;
    for n in 0..5 {
        world.accept(&format!("m-{n}")).await;
    }
    world.sent(5).await;
    let client = world.gateway.client();
    let page = async |query: &str| {
        let path = format!("/sim/messages?limit=3{query}");
        client.send(signed(&client, Method::GET, &path, "")).await.expect(200)
    };
    let first = page("").await;
    let second = page(&format!("&cursor={}", first["next_cursor"])).await;
    let mut texts: Vec<String> = [&first, &second]
        .iter()
        .flat_map(|page| page["messages"].as_array().expect("a list"))
        .map(|message| message["message"].as_str().expect("a text").to_owned())
        .collect();
    texts.sort();
    assert_eq!(texts, ["Hello m-0", "Hello m-1", "Hello m-2", "Hello m-3", "Hello m-4"]);
    assert_eq!(second["next_cursor"], Value::Null);
    let bad = client.send(signed(&client, Method::GET, "/sim/messages?limit=0", "")).await;
    assert_eq!(detail(&bad, 422)[0]["loc"], json!(["query", "limit"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_says_what_it_lacks() {
    let program = support::Program::new(env!("CARGO_BIN_EXE_paceline"));
    for (env, word) in [
        (vec![], "gateway_secret"),
        (vec![("PACELINE_GATEWAY_SECRET", SECRET), ("PACELINE_GATEWAY_TRANSPORT", "pigeon")], "gateway_transport"),
        (vec![("PACELINE_GATEWAY_SECRET", SECRET), ("PACELINE_BACKEND_URL", "nowhere")], "backend_url"),
        (vec![("PACELINE_GATEWAY_SECRET", SECRET), ("PACELINE_SIMULATOR_TIME_SCALE", "0.5")], "time_scale"),
    ] {
        let program = env.iter().fold(program.elsewhere(), |program, (name, value)| program.env(*name, *value));
        let output = program.output(&["gateway"], "").await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(word), "{said}");
    }
}
