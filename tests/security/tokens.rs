//! Tokens, sessions, sign-ins.

use crate::setup::{JWT_SECRET, PATIENCE, Served};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use std::net::IpAddr;
use support::{Method, Socket, eventually};

/// What a token says.
pub(crate) fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).expect("a JWT");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("claims")
}

/// A token that is signed as ours are.
pub(crate) fn ours(claims: &Value) -> String {
    signed(Algorithm::HS256, JWT_SECRET, claims)
}

fn signed(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).expect("signs")
}

pub(crate) fn with(claims: &Value, name: &str, value: Value) -> Value {
    let mut changed = claims.clone();
    changed[name] = value;
    changed
}

fn without(claims: &Value, name: &str) -> Value {
    let mut changed = claims.clone();
    changed.as_object_mut().expect("an object").remove(name);
    changed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_not_ours_is_refused_everywhere() {
    let served = Served::start(&[]).await;
    let real = served.program.token_for("admin").await;
    let claims = claims(&real);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let headed = |header: Value, signature: &str| format!("{}.{}.{signature}", part(&header), part(&claims));
    let pieces: Vec<&str> = real.split('.').collect();
    let refused = [
        headed(json!({ "alg": "none", "typ": "JWT" }), ""),
        headed(json!({ "alg": "None" }), ""),
        headed(json!({ "alg": "NONE" }), pieces[2]),
        headed(json!({ "typ": "JWT" }), pieces[2]),
        headed(json!({ "alg": "HS256", "kid": "../../../dev/null" }), ""),
        headed(json!({ "alg": "RS256" }), pieces[2]),
        headed(json!({ "alg": "HS256" }), ""),
        signed(Algorithm::HS384, JWT_SECRET, &claims),
        signed(Algorithm::HS512, JWT_SECRET, &claims),
        signed(Algorithm::HS256, "another secret of thirty-two bytes", &claims),
        signed(Algorithm::HS256, "", &claims),
        // Another's claims under a signature that is real.
        format!("{}.{}.{}", pieces[0], part(&with(&claims, "user_id", json!(1))), pieces[2]),
        format!("{}.{}", pieces[0], pieces[1]),
        ours(&with(&claims, "aud", json!("another"))),
        ours(&with(&claims, "aud", json!(["another"]))),
        ours(&without(&claims, "aud")),
        ours(&with(&claims, "iss", json!("another"))),
        ours(&without(&claims, "iss")),
        ours(&without(&claims, "exp")),
        ours(&with(&claims, "exp", json!(1_700_000_000))),
        ours(&with(&claims, "role", json!("root"))),
        ours(&with(&claims, "jti", json!("999999"))),
        ours(&with(&claims, "jti", json!("x"))),
        ours(&with(&claims, "jti", json!("1 OR 1=1"))),
        ours(&json!({ "sub": "admin" })),
    ];
    for token in &refused {
        let client = served.anyone().with_token(token);
        let answer = client.get("/batch").await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")), "{token}");
        client.post("/api/v1/auth/logout", &json!({})).await.expect(401);
        assert_eq!(Socket::try_open(&client.socket_url("/ws")).await.err(), Some(401), "{token}");
    }
    // Not for their form: the same claims signed as ours are taken.
    let client = served.anyone().with_token(ours(&claims));
    client.get("/batch").await.expect(200);
    Socket::open(&client.socket_url("/ws")).await.close().await;
}

/// The code that the server closes a socket with.
async fn closing_code(url: &str, meanwhile: impl Future<Output = ()>) -> Option<u16> {
    let socket = Socket::open(url).await;
    meanwhile.await;
    socket.code().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_token_or_a_session_is_the_end_of_its_sockets() {
    let served = Served::start(&[]).await;
    let user = served.program.user("agent").await;
    let anyone = served.anyone();
    let login = json!({ "email": user.email, "password": user.password });
    let data = anyone.post("/api/v1/auth/login", &login).await.expect(200)["data"].clone();
    let client = anyone.with_token(data["token"].as_str().expect("a token"));
    client.get("/batch").await.expect(200);
    let logout = async {
        client.post("/api/v1/auth/logout", &json!({})).await.expect(200);
    };
    assert_eq!(closing_code(&client.socket_url("/ws"), logout).await, Some(4001), "signed out");
    client.get("/batch").await.expect(401);
    assert_eq!(Socket::try_open(&client.socket_url("/ws")).await.err(), Some(401));
    anyone.post("/api/v1/auth/refresh", &json!({ "refresh_token": data["refresh_token"] })).await.expect(401);
    // A refresh token that is used twice ends the session, and its socket.
    let data = anyone.post("/api/v1/auth/login", &login).await.expect(200)["data"].clone();
    let stolen = json!({ "refresh_token": data["refresh_token"] });
    let client = anyone.with_token(data["token"].as_str().expect("a token"));
    let used_twice = async {
        anyone.post("/api/v1/auth/refresh", &stolen).await.expect(200);
        anyone.post("/api/v1/auth/refresh", &stolen).await.expect(401);
    };
    assert_eq!(closing_code(&client.socket_url("/ws"), used_twice).await, Some(4001), "stolen");
    // A token that expires while its socket is open.
    let token = served.program.run(&["token", "--email", &user.email, "--ttl", "8s"], "").await;
    let client = anyone.with_token(token);
    assert_eq!(closing_code(&client.socket_url("/ws"), async {}).await, Some(4001), "expired");
    client.get("/batch").await.expect(401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_may_no_longer_sign_in_is_out_at_once() {
    let served = Served::start(&[]).await;
    let user = served.program.user("agent").await;
    let client = served.anyone().with_token(&user.token);
    client.get("/batch").await.expect(200);
    let deactivated = served.sql(&format!("UPDATE users SET active = FALSE WHERE email = '{}'", user.email)).await;
    assert_eq!(deactivated, 1);
    eventually("the session to end", PATIENCE, async || match client.get("/batch").await.status {
        401 => Ok(()),
        status => Err(status),
    })
    .await;
    let login = json!({ "email": user.email, "password": user.password });
    served.anyone().post("/api/v1/auth/login", &login).await.expect(401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_does_the_same_work_for_everybody() {
    let served = Served::start(&[]).await;
    let (known, gone) = (served.program.user("agent").await, served.program.user("agent").await);
    served.sql(&format!("UPDATE users SET active = FALSE WHERE email = '{}'", gone.email)).await;
    let broken = served.program.user("agent").await;
    served.sql(&format!("UPDATE users SET password_hash = 'x' WHERE email = '{}'", broken.email)).await;
    let mut refusals = Vec::new();
    for email in ["nobody@example.org", &known.email, &gone.email, &broken.email, "no address", "' OR 1=1 --"] {
        let before = served.metric("paceline_password_verifications_total ").await;
        let login = json!({ "email": email, "password": "a wrong password" });
        let answer = served.anyone().post("/api/v1/auth/login", &login).await.expect(401);
        let after = served.metric("paceline_password_verifications_total ").await;
        assert!((after - before - 1.0).abs() < f64::EPSILON, "{email}: argon2 ran {} times", after - before);
        refusals.push(answer["error"].clone());
    }
    assert!(refusals.iter().all(|refusal| *refusal == refusals[0]), "nor do the answers differ: {refusals:?}");
    let login = json!({ "email": known.email, "password": known.password });
    served.anyone().post("/api/v1/auth/login", &login).await.expect(200);
}

/// A sign-in from an address of this machine; its status.
async fn sign_in(served: &Served, from: [u8; 4], email: &str, password: &str, forwarded: Option<&str>) -> u16 {
    let http = reqwest::Client::builder().no_proxy().local_address(IpAddr::from(from)).build().expect("a client");
    let mut request = http
        .request(Method::POST, format!("{}/api/v1/auth/login", served.paceline.url()))
        .json(&json!({ "email": email, "password": password }));
    if let Some(forwarded) = forwarded {
        request = request.header("x-forwarded-for", forwarded).header("x-real-ip", forwarded);
        request = request.header("forwarded", format!("for={forwarded}"));
    }
    request.send().await.expect("an answer").status().as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_elses_tries_lock_nobody_out() {
    let served = Served::start(&[("PACELINE_LIMIT_LOGIN_PER_MIN", "2")]).await;
    let (owner, other) = (served.program.user("agent").await, served.program.user("agent").await);
    let (home, attacker, helper) = ([127, 0, 0, 1], [127, 0, 0, 2], [127, 0, 0, 3]);
    assert_eq!(sign_in(&served, home, &owner.email, &owner.password, None).await, 200);
    // One try of the account's two is the owner's.
    assert_eq!(sign_in(&served, attacker, &owner.email, "a guess", None).await, 401);
    assert_eq!(sign_in(&served, attacker, &owner.email, "a guess", None).await, 429);
    // Another address guesses no further, nor does one that says it is the owner's.
    for forwarded in [None, Some("127.0.0.1")] {
        assert_eq!(sign_in(&served, helper, &owner.email, "a guess", forwarded).await, 429);
        assert_eq!(sign_in(&served, helper, &owner.email, &owner.password, forwarded).await, 429);
    }
    // The owner, where the owner has been before, is not kept out; nor is anybody else anywhere.
    assert_eq!(sign_in(&served, home, &owner.email, &owner.password, None).await, 200);
    assert_eq!(sign_in(&served, [127, 0, 0, 4], &other.email, &other.password, None).await, 200);
    // An address that says each time to be another one is still the same.
    for (nth, expected) in [(1, 401), (2, 401), (3, 429)] {
        let (email, forwarded) = (format!("nobody{nth}@example.org"), format!("10.0.0.{nth}"));
        assert_eq!(sign_in(&served, [127, 0, 0, 5], &email, "a guess", Some(&forwarded)).await, expected);
    }
}
