//! Schemathesis against the served OpenAPI documents: nothing that a client may send brings a 5xx, an answer that its
//! document does not describe, or success where the document says refusal, and the other way round.

use gateway::{REQUEST_SIGNATURE_HEADER, Signer, TIMESTAMP_HEADER};
use poem::Server;
use poem::listener::TcpAcceptor;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};
use support::{Backend, Gateway, Paceline, Program};
use tokio::net::TcpListener;

/// The one answer that does not end.
const STREAM: &str = "/messages/events/stream";

/// What only the gateway may ask.
const INTERNAL: &str = "^/(messages/(inbox|ack|map|failed)|webhooks/.*)$";

/// The secret that the gateway signs with.
const SECRET: &str = "gateway-secret";

/// What stands where the signature is to be.
const SIGN_HERE: &str = "sign here";

/// The header for it, written as the documents have it: the tool takes another case for another header.
const SIGNED: [&str; 2] = ["--header", "X-Paceline-Signature-V2: sign here"];

/// Passes requests on, under the gateway's signature where they have a place for one; its address.
async fn signing(to: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (client, to) = (reqwest::Client::builder().no_proxy().build().expect("a client"), to.to_owned());
    let pass_on = poem::endpoint::make(move |mut request: poem::Request| {
        let (client, to) = (client.clone(), to.clone());
        async move {
            let body = request.take_body().into_vec().await?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
            let now = i64::try_from(now).expect("not for a while");
            let target = request.original_uri().to_string();
            let signed = gateway::Request { method: request.method().as_str(), target: &target, body: &body };
            let signature = Signer::new(SECRET.as_bytes()).expect("a secret").sign_request(now, &signed);
            let of_the_connection = ["host", "content-length", "connection", "transfer-encoding"];
            let mut headers = request.headers().clone();
            of_the_connection.iter().for_each(|name| drop(headers.remove(*name)));
            let asked = client.request(request.method().clone(), format!("{to}{}", request.original_uri()));
            if headers.get(REQUEST_SIGNATURE_HEADER).is_some_and(|value| value == SIGN_HERE) {
                headers.insert(REQUEST_SIGNATURE_HEADER, signature.parse().expect("a header's value"));
                headers.insert(TIMESTAMP_HEADER, now.into());
            }
            let answer = asked.headers(headers).body(body).send().await.map_err(poem::error::BadGateway)?;
            let mut passed = poem::Response::builder().status(answer.status());
            for (name, value) in answer.headers().iter().filter(|(name, _)| !of_the_connection.contains(&name.as_str()))
            {
                passed = passed.header(name, value);
            }
            Ok::<_, poem::Error>(passed.body(answer.bytes().await.map_err(poem::error::BadGateway)?))
        }
    });
    let acceptor = TcpAcceptor::from_tokio(listener).expect("a listener");
    tokio::spawn(Server::new_with_acceptor(acceptor).run(pass_on));
    url
}

/// Runs it over one document; panics with its report when it finds something.
async fn run(paceline: &Paceline, document: &str, token: &str, more: &[&str]) {
    let bearer = format!("Authorization: Bearer {token}");
    run_at(paceline, paceline.url(), document, &[&["--header", &bearer], more].concat()).await;
}

/// The same, asking at another address and in nobody's name.
async fn run_at(paceline: &Paceline, url: &str, document: &str, more: &[&str]) {
    let tool = std::env::var_os("PACELINE_TEST_SCHEMATHESIS").map(PathBuf::from);
    let tool = tool.expect("PACELINE_TEST_SCHEMATHESIS is set by `cargo xtask test`");
    let settings = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemathesis.toml");
    let output = tokio::process::Command::new(tool)
        .args(["--config-file", settings, "run", &format!("{}{document}", paceline.url()), "--url", url])
        .arg("--no-color")
        .args(more)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .current_dir(paceline.program().dir())
        .output()
        .await
        .expect("schemathesis runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{document}:\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// The body that a document gives as an example of a request.
fn example(document: &Value, schema: &str) -> Value {
    let example = document["components"]["schemas"][schema]["example"].clone();
    assert!(example.is_object(), "no example of {schema}");
    example
}

/// The binary with so many requests a minute; 0: without a limit.
fn program(gateway: &Gateway, per_minute: &str) -> Program {
    Program::new(env!("CARGO_BIN_EXE_paceline"))
        .env("PACELINE_GATEWAY_URL", gateway.url())
        .env("PACELINE_GATEWAY_SECRET", SECRET)
        .env("PACELINE_LIMIT_BATCH_PER_MIN", per_minute)
        .env("PACELINE_LIMIT_GENERAL_PER_MIN", per_minute)
        .env("PACELINE_LIMIT_LOGIN_PER_MIN", per_minute)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: schemathesis"]
async fn the_documents_and_the_answers_agree() {
    let gateway = Gateway::start().await;
    let program = program(&gateway, "0");
    let paceline = program.start(&["serve"]).await;
    let token = program.token_for("admin").await;
    let admin = paceline.client().with_token(token.clone());

    // What the document shows as an example works, and is there for the operations that need something to work on.
    let document = admin.get("/openapi/batch.json").await.expect(200);
    admin.post("/batch/import", &example(&document, "ImportRequest")).await.expect(202);
    admin.post("/templates", &example(&document, "TemplateRequest")).await.expect(201);
    let mut later = example(&document, "SendRequest");
    later["scheduleAt"] = json!("2099-01-01T00:00:00Z");
    admin.post("/batch/send", &later).await.expect(202);
    run(&paceline, "/openapi/batch.json", &token, &[]).await;

    let document = admin.get("/openapi/crm.json").await.expect(200);
    let made = admin.post("/customers/", &example(&document, "CreateCustomer")).await.expect(201);
    let mut message = example(&document, "SendMessage");
    message["customer_id"] = made["id"].clone();
    admin.post("/messages/send", &message).await.expect(200);
    // The stream does not end; its own tests know it. No scenarios: the tool takes numbers for values of `X-Request-Id`.
    let phases = ["--phases", "examples,coverage,fuzzing"];
    let frontend = ["--exclude-path", STREAM, "--exclude-path-regex", INTERNAL];
    run(&paceline, "/openapi/crm.json", &token, &[&phases[..], &frontend].concat()).await;
    let signed = signing(paceline.url()).await;
    let internal = ["--include-path-regex", INTERNAL];
    run_at(&paceline, &signed, "/openapi/crm.json", &[&phases[..], &SIGNED, &internal].concat()).await;

    // The user of the example can sign in, so that signing in is not only refused.
    let document = admin.get("/openapi/support-desk.json").await.expect(200);
    let login = example(&document, "LoginRequest");
    let (email, password) = (login["email"].as_str().expect("email"), login["password"].as_str().expect("password"));
    program.run(&["user", "add", "--email", email, "--role", "agent", "--password-stdin"], password).await;
    paceline.client().post("/api/v1/auth/login", &login).await.expect(200);
    // Whoever signs out has no session for the rest of a run: that is a run of its own, by somebody else, whom the first run
    // has not changed.
    let logout = "/api/v1/auth/logout";
    let all_but = ["--exclude-path", logout];
    run(&paceline, "/openapi/support-desk.json", &token, &[&phases[..], &all_but].concat()).await;
    let other = program.user("agent").await;
    let login = json!({ "email": other.email, "password": other.password });
    let session = paceline.client().post("/api/v1/auth/login", &login).await.expect(200);
    let leaving = session["data"]["token"].as_str().expect("a token");
    run(&paceline, "/openapi/support-desk.json", leaving, &["--include-path", logout]).await;
    paceline.client().with_token(leaving).post(logout, &json!({})).await.expect(401);

    // All that was a lot of odd requests: the ledger agrees with itself, and nothing panicked.
    let doctor = program.output(&["doctor"], "").await;
    let said = String::from_utf8_lossy(&doctor.stdout);
    assert!(said.contains("every batch's counts equal its items"), "{said}");
    assert!(!paceline.log().contains("panicked"), "a request panicked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: schemathesis"]
async fn the_gateway_answers_as_its_document_says() {
    let backend = Backend::start().await;
    let program = Program::new(env!("CARGO_BIN_EXE_paceline"))
        .env("PACELINE_BACKEND_URL", backend.url())
        .env("PACELINE_GATEWAY_LISTEN", "127.0.0.1:0")
        .env("PACELINE_GATEWAY_SECRET", SECRET);
    let paceline = program.start(&["gateway"]).await;
    let signed = signing(paceline.url()).await;
    run_at(&paceline, &signed, "/openapi.json", &[&["--phases", "examples,coverage,fuzzing"], &SIGNED[..]].concat())
        .await;
    let metrics = paceline.client().metrics().await;
    let accepts = metrics.lines().filter_map(|line| line.strip_prefix("paceline_gateway_accepts_total{"));
    let accepts: f64 = accepts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
    assert!(accepts > 10.0, "hardly any message was taken: {accepts}");
    assert!(!paceline.log().contains("panicked"), "a request panicked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: schemathesis"]
async fn the_answers_of_who_asks_too_often_are_described() {
    let gateway = Gateway::start().await;
    let program = program(&gateway, "20");
    let paceline = program.start(&["serve"]).await;
    let token = program.token_for("admin").await;
    // Hardly any request gets as far as to be warned about.
    let more = [
        "--phases",
        "examples,coverage",
        "--warnings",
        "off",
        "--exclude-path",
        "/api/v1/auth/logout",
        "--exclude-path",
        STREAM,
    ];
    for document in ["/openapi/batch.json", "/openapi/crm.json", "/openapi/support-desk.json"] {
        run(&paceline, document, &token, &more).await;
    }
    let metrics = paceline.client().metrics().await;
    let limited = metrics.lines().find_map(|line| line.strip_prefix("paceline_http_limited_total ")).expect("counted");
    assert!(limited.parse::<f64>().is_ok_and(|limited| limited > 100.0), "hardly any request was refused: {limited}");
}
