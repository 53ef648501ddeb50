//! Users, and what whoever manages them may not do.

use crate::setup::{Setup, on_both};
use crate::{fields, number, texts};
use serde_json::{Value, json};
use std::rc::Rc;
use support::{Client, User};

const USERS: &str = "/api/v1/users";
const PASSWORD: &str = "a long password";

fn new(email: &str, role: &str) -> Value {
    json!({ "email": email, "full_name": "Li Wei", "role": role, "password": PASSWORD })
}

async fn make(s: &Setup, email: &str, role: &str) -> i64 {
    let made = s.admin.post(USERS, &new(email, role)).await.expect(201);
    made["data"]["user"]["id"].as_i64().unwrap_or_else(|| panic!("no id: {made}"))
}

fn path(id: i64) -> String {
    format!("{USERS}/{id}")
}

async fn id_of(s: &Setup, user: &User) -> i64 {
    number(s, &format!("SELECT id FROM users WHERE email = '{}'", user.email)).await
}

async fn sign_in(s: &Setup, email: &str, password: &str) -> support::Response {
    s.api().client().post("/api/v1/auth/login", &json!({ "email": email, "password": password })).await
}

/// A client in the session that somebody opens with a password.
async fn session(s: &Setup, email: &str, password: &str) -> Client {
    let signed_in = sign_in(s, email, password).await.expect(200);
    s.api().client().with_token(signed_in["data"]["token"].as_str().expect("a token"))
}

on_both!(a_user_is_made_found_and_signs_in (("PACELINE_LIMIT_LOGIN_PER_MIN", "0")) |s: Rc<Setup>| Box::pin(async move {
    let made = s.admin.post(USERS, &new(" Li_Wei@Example.com", "agent")).await.expect(201);
    let user = made["data"]["user"].clone();
    assert_eq!((&user["email"], &user["role"]), (&json!("li_wei@example.com"), &json!("agent")), "{made}");
    assert_eq!((&user["active"], &user["must_change_password"]), (&json!(true), &json!(false)), "{made}");
    assert!(user["last_login_at"].is_null() && user["created_at"].is_string(), "{made}");
    let id = user["id"].as_i64().expect("an id");
    assert_eq!(s.admin.get(&path(id)).await.expect(200)["data"]["user"], user);
    let taken = s.admin.post(USERS, &new("LI_WEI@example.com", "guest")).await.expect(409);
    assert_eq!(taken["error"]["code"], "CONFLICT", "{taken}");
    make(&s, "lixwei@example.com", "guest").await;
    let found = async |query: &str| {
        let page = s.admin.get(&format!("{USERS}?{query}")).await.expect(200)["data"].clone();
        let emails = page["users"].as_array().expect("a list").iter().map(|user| user["email"].as_str().expect("an address").to_owned());
        (emails.collect::<Vec<_>>(), page["meta"].clone())
    };
    // `_` is a letter like any other.
    assert_eq!(found("search=LI_w").await.0, ["li_wei@example.com"]);
    let (emails, meta) = found("search=li%20WEI&per_page=1&page=2").await;
    assert_eq!(emails, ["lixwei@example.com"], "by the name");
    assert_eq!(meta, json!({ "current_page": 2, "per_page": 1, "total_count": 2, "total_pages": 2 }));
    assert_eq!(found("search=example.com&role=guest").await.0, ["lixwei@example.com"]);
    assert!(found("search=li_wei&active=false").await.0.is_empty());
    // Supervisors read users, and agents do not.
    let client = session(&s, "li_wei@example.com", PASSWORD).await;
    client.get(USERS).await.expect(403);
    let supervisor = s.api().client().with_token(s.program.token_for("supervisor").await);
    assert!(supervisor.get(&path(id)).await.expect(200)["data"]["user"]["last_login_at"].is_string());
    supervisor.put(&path(id), &json!({ "full_name": "x" })).await.expect(403);
    // A password for one sign-in opens the way to another.
    let mut once = new("once@example.com", "agent");
    once["must_change_password"] = json!(true);
    s.admin.post(USERS, &once).await.expect(201);
    let first = session(&s, "once@example.com", PASSWORD).await;
    first.get("/api/v1/labels").await.expect(403);
    let change = json!({ "current_password": PASSWORD, "new_password": "one of their own" });
    first.post("/api/v1/auth/password", &change).await.expect(200);
    first.get("/api/v1/labels").await.expect(200);
}));

on_both!(a_change_ends_what_it_takes_away (("PACELINE_LIMIT_LOGIN_PER_MIN", "0")) |s: Rc<Setup>| Box::pin(async move {
    let email = "li@example.com";
    let id = make(&s, email, "agent").await;
    let client = session(&s, email, PASSWORD).await;
    let profile = json!({ "full_name": " Li Na ", "avatar_url": "https://example.com/li.png" });
    let changed = s.admin.put(&path(id), &profile).await.expect(200)["data"]["user"].clone();
    assert_eq!((&changed["full_name"], &changed["avatar_url"]), (&json!("Li Na"), &profile["avatar_url"]), "{changed}");
    assert_eq!(changed["role"], "agent", "what is not named stays");
    // What is so already changes nothing, and leaves no record.
    let same = json!({ "full_name": "Li Na", "role": "agent", "active": true });
    assert_eq!(s.admin.put(&path(id), &same).await.expect(200)["data"]["user"], changed);
    client.get("/api/v1/labels").await.expect(200);
    let bare = s.admin.put(&path(id), &json!({ "avatar_url": null })).await.expect(200);
    assert!(bare["data"]["user"]["avatar_url"].is_null(), "{bare}");
    s.admin.put(&path(id), &json!({ "role": "supervisor" })).await.expect(200);
    client.get("/api/v1/labels").await.expect(401);
    let client = session(&s, email, PASSWORD).await;
    client.get(USERS).await.expect(200);
    s.admin.put(&path(id), &json!({ "password": "another password", "must_change_password": false })).await.expect(200);
    client.get(USERS).await.expect(401);
    sign_in(&s, email, PASSWORD).await.expect(401);
    let client = session(&s, email, "another password").await;
    s.admin.put(&path(id), &json!({ "active": false })).await.expect(200);
    client.get(USERS).await.expect(401);
    sign_in(&s, email, "another password").await.expect(401);
    s.admin.put(&path(id), &json!({ "active": true })).await.expect(200);
    sign_in(&s, email, "another password").await.expect(200);
    let records = format!("SELECT action FROM audit_logs WHERE resource_id = '{id}' AND action LIKE 'user:%' AND action NOT LIKE 'user:sign_in%' ORDER BY id");
    let expected = ["user:create", "user:update", "user:update", "user:role", "user:password", "user:disable", "user:enable"];
    let of_users = texts(&s, &records).await;
    assert_eq!(of_users, expected);
}));

on_both!(a_bad_user_is_refused_whole () |s: Rc<Setup>| Box::pin(async move {
    let before = number(&s, "SELECT count(*) FROM users").await;
    for (body, expected) in [
        (json!({}), vec!["email", "full_name", "role", "password"]),
        (json!({ "email": "a@example.com", "full_name": " ", "role": "boss", "password": "short" }), vec!["full_name", "role", "password"]),
        (json!({ "email": "nobody", "full_name": "x", "role": "agent", "password": PASSWORD }), vec!["email"]),
        (json!({ "email": "a@example.com", "name": "x", "full_name": "x", "role": "agent", "password": PASSWORD }), vec!["name"]),
    ] {
        let refused = s.admin.post(USERS, &body).await.expect(400);
        assert_eq!(fields(&refused), expected, "{body} {refused}");
    }
    assert_eq!(number(&s, "SELECT count(*) FROM users").await, before, "nobody was made");
    let id = make(&s, "li@example.com", "agent").await;
    for (body, expected) in [
        (json!({ "avatar_url": "javascript:alert(1)", "full_name": "" }), vec!["full_name", "avatar_url"]),
        (json!({ "must_change_password": true }), vec!["must_change_password"]),
        (json!({ "email": "other@example.com" }), vec!["email"]),
    ] {
        let refused = s.admin.put(&path(id), &body).await.expect(400);
        assert_eq!(fields(&refused), expected, "{body} {refused}");
    }
    s.admin.put(&path(id + 1_000), &json!({ "full_name": "x" })).await.expect(404);
    s.admin.get(&format!("{USERS}/abc")).await.expect(404);
    let refused = s.admin.get(&format!("{USERS}?role=boss&active=maybe&page=0&per_page=101")).await.expect(400);
    assert_eq!(fields(&refused), ["role", "active", "page", "per_page"]);
}));

on_both!(nobody_gives_more_than_they_have () |s: Rc<Setup>| Box::pin(async move {
    let boss = s.program.user("admin").await;
    let own = path(id_of(&s, &boss).await);
    let client = s.api().client().with_token(&boss.token);
    for change in [json!({ "role": "agent" }), json!({ "active": false }), json!({ "password": "another password" })] {
        let refused = client.put(&own, &change).await.expect(409);
        assert_eq!(refused["error"]["code"], "CONFLICT", "{change} {refused}");
    }
    client.put(&own, &json!({ "full_name": "The boss", "role": "admin" })).await.expect(200);
    // A key that may manage users, and nothing else, makes nobody who may do more.
    let key = ["key", "add", "--email", &boss.email, "--name", "hr", "--scope", "users:manage,users:read,conversations:read,contacts:read"];
    let key = s.api().client().with_token(s.program.run(&key, "").await.trim());
    for role in ["admin", "supervisor", "agent"] {
        let refused = key.post(USERS, &new(&format!("{role}@example.com"), role)).await.expect(403);
        assert_eq!(refused["error"]["code"], "PERMISSION_DENIED", "{refused}");
    }
    let made = key.post(USERS, &new("guest@example.com", "guest")).await.expect(201);
    let guest = path(made["data"]["user"]["id"].as_i64().expect("an id"));
    key.put(&guest, &json!({ "role": "admin" })).await.expect(403);
    key.put(&guest, &json!({ "full_name": "A guest" })).await.expect(200);
    let other = s.program.user("admin").await;
    let others = path(id_of(&s, &other).await);
    key.put(&others, &json!({ "password": "another password" })).await.expect(403);
    // Of two who take each other's role at once, one does.
    let second = s.api().client().with_token(&other.token);
    let demote = json!({ "role": "agent" });
    let (one, two) = futures::join!(client.put(&others, &demote), second.put(&own, &demote));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert!(matches!(statuses, [200, 401 | 403]), "{} {}", one.text, two.text);
}));

on_both!(requests_of_a_user_are_counted (("PACELINE_LIMIT_GENERAL_PER_MIN", "3")) |s: Rc<Setup>| Box::pin(async move {
    let agent = s.api().client().with_token(s.program.token_for("agent").await);
    for _ in 0..3 {
        let answer = agent.get("/api/v1/labels").await;
        assert_eq!((answer.status, answer.header("ratelimit-limit")), (200, Some("3")));
    }
    let refused = agent.post("/api/v1/labels", &json!({ "title": "one more" })).await;
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refused.expect(429)["error"]["code"], "RATE_LIMIT_EXCEEDED");
    assert_eq!(number(&s, "SELECT count(*) FROM labels").await, 0);
    let other = s.api().client().with_token(s.program.token_for("agent").await);
    other.get("/api/v1/labels").await.expect(200);
}));
