//! The audit log: every change on every route leaves a record in its transaction, with who asked and from where.

use crate::access::documented;
use crate::setup::{JWT_SECRET, Served};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use support::{Client, Method};

/// Routes that change nothing of which a record is kept, and why.
const UNRECORDED: &[(&str, &str, &str)] = &[
    ("put", "/drafts/{key}", "a form that is not sent, kept while it is written; nobody else reads it"),
    ("delete", "/drafts/{key}", "a form that is not sent; nobody else reads it"),
    ("post", "/templates/{id}/preview", "writes nothing"),
    ("post", "/messages/inbox", "the message's row is the record; a word that opts out has its own"),
    ("post", "/messages/ack", "the message's row is the record"),
    ("post", "/messages/map", "the message's row is the record"),
    ("post", "/messages/failed", "the message's row is the record"),
    ("post", "/webhooks/whatsapp/seen", "the message's row is the record"),
    ("post", "/api/v1/auth/refresh", "goes on with a session that is there; a token that is used twice has its own"),
];

/// A time that is long in coming, in milliseconds.
const LATER_MS: i64 = 4_000_000_000_000;

const AGENT: &str = "the tests of the audit log";

/// How to change something with a route, and the record of it.
struct Change {
    action: &'static str,
    path: String,
    body: Value,
    status: u16,
}

fn change(action: &'static str, path: impl Into<String>, body: Value, status: u16) -> Change {
    Change { action, path: path.into(), body, status }
}

/// What is there to be changed.
struct There {
    customer: String,
    running: Vec<String>,
    failed: String,
    /// Sends of somebody else that wait for a second person.
    waiting: [String; 2],
    template: String,
    /// Acts on batches that have not begun.
    acts: Vec<String>,
    view: String,
    /// Operations that have not begun.
    operations: Vec<String>,
    /// Jobs: two dead ones and two that wait.
    jobs: Vec<i64>,
    /// The worker's name.
    worker: String,
}

async fn make(served: &Served, admin: &Client) -> There {
    let customer = json!({ "name": "A customer", "phone": "+60123456789" });
    let customer = admin.post("/customers/", &customer).await.expect(201)["id"].to_string();
    let later = json!({ "contactIds": [customer], "content": "x", "scheduleAt": "2099-01-01T00:00:00Z" });
    let mut running = Vec::new();
    for _ in 0..3 {
        running
            .push(admin.post("/batch/send", &later).await.expect(202)["data"]["id"].as_str().expect("id").to_owned());
    }
    admin.post(&format!("/batch/{}/pause", running[2]), &json!({})).await.expect(200);
    let cancellation = admin.request(Method::PUT, &format!("/batch/{}/cancellation", running[1]));
    admin.send(cancellation).await.expect(200);
    // Its item may fail for another reason than that its contact is not there: it is tried again.
    let failed = admin.post("/batch/send", &json!({ "contactIds": [customer], "content": "x" })).await.expect(202);
    let failed = served.ended(admin, failed).await["id"].as_str().expect("id").to_owned();
    served
        .sql(&format!("UPDATE messages SET item_status = 'failed', error_code = 'x' WHERE batch_id = {failed}"))
        .await;
    served.sql(&format!("UPDATE batches SET succeeded = 0, failed = 1, status = 'FAILED' WHERE id = {failed}")).await;
    let number = customer.parse::<i64>().expect("a number");
    admin.post("/messages/send", &json!({ "customer_id": number, "content": "Hi" })).await.expect(200);
    served.sql("UPDATE conversations SET unread = 1").await;
    let mut waiting = [String::new(), String::new()];
    for one in &mut waiting {
        *one = admin.post("/batch/send", &later).await.expect(202)["data"]["id"].as_str().expect("id").to_owned();
        let sql = format!("UPDATE batches SET approval = 'pending', paused = TRUE, created_by = 77 WHERE id = {one}");
        served.sql(&sql).await;
    }
    let template = admin.post("/templates", &json!({ "name": "one", "content": "x" })).await.expect(201);
    let mut jobs = Vec::new();
    for state in ["dead", "dead", "ready", "ready"] {
        let sql = format!(
            "INSERT INTO jobs (kind, lane, state, run_at, created_at, finished_at)
             VALUES ('probe', 'critical', '{state}', {LATER_MS}, 1, CASE WHEN '{state}' = 'dead' THEN {LATER_MS} END)"
        );
        served.sql(&sql).await;
        jobs.push(served.program.number("SELECT max(id) FROM jobs").await);
    }
    let mut operations = Vec::new();
    for _ in 0..2 {
        let body = json!({ "act": "retry", "filter": { "error": "nobody has this" } });
        let made = admin.post("/queue/operations", &body).await.expect(202);
        operations.push(made["data"]["id"].as_str().expect("id").to_owned());
    }
    let mut acts = Vec::new();
    for _ in 0..2 {
        let body = json!({ "act": "pause", "filter": { "type": "TAG" } });
        let made = admin.post("/batch/acts", &body).await.expect(202);
        acts.push(made["data"]["id"].as_str().expect("id").to_owned());
    }
    let view = json!({ "page": "batches", "name": "a", "line": "status:failed" });
    let view = admin.post("/views", &view).await.expect(201)["data"]["id"].as_str().expect("id").to_owned();
    let numbers = admin.request(Method::PUT, "/test-numbers").json(&json!({ "phones": ["+60123456785"] }));
    admin.send(numbers).await.expect(200);
    // They begin long after this test has looked at them.
    served.sql(&format!("UPDATE jobs SET run_at = {LATER_MS} WHERE kind = 'operation'")).await;
    let workers = admin.get("/queue/workers").await.expect(200);
    There {
        worker: workers["data"][0]["name"].as_str().expect("a name").to_owned(),
        operations,
        acts,
        view,
        customer,
        running,
        failed,
        waiting,
        template: template["data"]["id"].as_str().expect("id").to_owned(),
        jobs,
    }
}

/// The change that each route makes. Over 80 lines: a row for each route.
fn changes(there: &There, user: &support::User) -> BTreeMap<(&'static str, &'static str), Change> {
    let There { customer, running, failed, waiting, template, jobs, operations, acts, view, worker } = there;
    let of_worker = |what: &str| format!("/queue/workers/{worker}{what}");
    let job = |at: usize, what: &str| format!("/queue/jobs/{}{what}", jobs[at]);
    let send = json!({ "contactIds": [customer], "content": "x" });
    let none = || json!({});
    let batch = |of: &str, what: &str| format!("/batch/{of}{what}");
    let password = json!({ "current_password": user.password, "new_password": "another long password" });
    let number = customer.parse::<i64>().expect("a number");
    BTreeMap::from([
        (
            ("post", "/batch/import"),
            change("batch:create", "/batch/import", json!({ "contacts": [{ "phoneE164": "+60123456780" }] }), 202),
        ),
        (("post", "/batch/send"), change("batch:create", "/batch/send", send, 202)),
        (("post", "/batch/test"), change("batch:create", "/batch/test", json!({ "content": "x" }), 202)),
        (
            ("post", "/batch/acts"),
            change("operation:create", "/batch/acts", json!({ "act": "pause", "filter": { "type": "TAG" } }), 202),
        ),
        (
            ("post", "/batch/acts/{act_id}/undo"),
            change("operation:stop", format!("/batch/acts/{}/undo", acts[0]), none(), 200),
        ),
        (
            ("post", "/batch/acts/{act_id}/stop"),
            change("operation:stop", format!("/batch/acts/{}/stop", acts[1]), none(), 200),
        ),
        (
            ("post", "/views"),
            change("view:create", "/views", json!({ "page": "batches", "name": "b", "line": "status:failed" }), 201),
        ),
        (("delete", "/views/{view_id}"), change("view:delete", format!("/views/{view}"), none(), 200)),
        (
            ("put", "/test-numbers"),
            change("user:test_numbers", "/test-numbers", json!({ "phones": ["+60123456784"] }), 200),
        ),
        (
            ("post", "/batch/tags"),
            change(
                "batch:create",
                "/batch/tags",
                json!({ "contactIds": ["77"], "tags": ["a"], "operation": "add" }),
                202,
            ),
        ),
        (("post", "/batch/delete"), change("batch:create", "/batch/delete", json!({ "contactIds": ["77"] }), 202)),
        (("patch", "/batch/{batch_id}"), change("batch:update", batch(&running[0], ""), json!({ "jitterMs": 5 }), 200)),
        (("post", "/batch/{batch_id}/cancel"), change("batch:cancel", batch(&running[0], "/cancel"), none(), 200)),
        (("post", "/batch/{batch_id}/pause"), change("batch:pause", batch(&running[1], "/pause"), none(), 200)),
        (("post", "/batch/{batch_id}/resume"), change("batch:resume", batch(&running[2], "/resume"), none(), 200)),
        // What is taken back first of all routes was asked for before.
        (
            ("delete", "/batch/{batch_id}/cancellation"),
            change("batch:keep", batch(&running[1], "/cancellation"), none(), 200),
        ),
        (
            ("put", "/batch/{batch_id}/cancellation"),
            change("batch:cancel_ask", batch(&running[1], "/cancellation"), none(), 200),
        ),
        (
            ("post", "/contacts/{contact_id}/unmask"),
            change("contact:unmask", format!("/contacts/{customer}/unmask"), json!({ "reason": "a call" }), 200),
        ),
        (("post", "/batch/{batch_id}/approve"), change("batch:approve", batch(&waiting[0], "/approve"), none(), 200)),
        (
            ("post", "/batch/{batch_id}/refuse"),
            change("batch:refuse", batch(&waiting[1], "/refuse"), json!({ "reason": "too many" }), 200),
        ),
        (("post", "/batch/{batch_id}/retry"), change("batch:retry", batch(failed, "/retry"), none(), 200)),
        (
            ("post", "/templates"),
            change("template:create", "/templates", json!({ "name": "two", "content": "x" }), 201),
        ),
        (
            ("put", "/templates/{id}"),
            change("template:update", format!("/templates/{template}"), json!({ "name": "on", "content": "y" }), 200),
        ),
        (("delete", "/templates/{id}"), change("template:delete", "/templates/TEMPLATE", none(), 200)),
        (
            ("post", "/suppressions"),
            change("suppression:create", "/suppressions", json!({ "phones": ["+60123456781"] }), 200),
        ),
        (("delete", "/suppressions"), change("suppression:end", "/suppressions?phone=60123456782", none(), 200)),
        (("post", "/senders"), change("sender:create", "/senders", json!({ "name": "shop" }), 201)),
        (("patch", "/senders/{id}"), change("sender:update", "/senders/1", json!({ "paused": false }), 200)),
        (("post", "/queue/jobs/{job_id}/retry"), change("job:retry", job(0, "/retry"), none(), 200)),
        (("post", "/queue/jobs/{job_id}/cancel"), change("job:cancel", job(1, "/cancel"), none(), 200)),
        (("post", "/queue/jobs/{job_id}/run"), change("job:run", job(2, "/run"), none(), 200)),
        (
            ("patch", "/queue/jobs/{job_id}"),
            change("job:move", job(3, ""), json!({ "runAt": "2099-01-01T00:00:00Z" }), 200),
        ),
        (
            ("post", "/queue/operations"),
            change(
                "operation:create",
                "/queue/operations",
                json!({ "act": "cancel", "filter": { "error": "nobody has this" } }),
                202,
            ),
        ),
        (
            ("post", "/queue/operations/{operation_id}/undo"),
            change("operation:stop", format!("/queue/operations/{}/undo", operations[0]), none(), 200),
        ),
        (
            ("post", "/queue/operations/{operation_id}/stop"),
            change("operation:stop", format!("/queue/operations/{}/stop", operations[1]), none(), 200),
        ),
        (("post", "/queue/examinations"), change("examination:create", "/queue/examinations", none(), 200)),
        (("patch", "/queue/workers/{worker}"), change("worker:update", of_worker(""), json!({ "bulk": 3 }), 200)),
        (("post", "/queue/workers/{worker}/drain"), change("worker:drain", of_worker("/drain"), none(), 200)),
        (("post", "/queue/workers/{worker}/resume"), change("worker:resume", of_worker("/resume"), none(), 200)),
        (("post", "/queue/senders/{name}/pause"), change("sender:update", "/queue/senders/default/pause", none(), 200)),
        (
            ("post", "/queue/senders/{name}/resume"),
            change("sender:update", "/queue/senders/default/resume", none(), 200),
        ),
        (
            ("post", "/customers"),
            change("contact:create", "/customers/", json!({ "name": "B", "phone": "+60123456783" }), 201),
        ),
        (
            ("post", "/customers/photo"),
            change("contact:update", "/customers/photo", json!({ "phone": "60123456789", "photo_url": null }), 200),
        ),
        (
            ("post", "/customers/{customer_id}/read"),
            change("conversation:read", format!("/customers/{customer}/read"), none(), 200),
        ),
        (
            ("post", "/messages/send"),
            change("message:send", "/messages/send", json!({ "customer_id": number, "content": "Hello" }), 200),
        ),
        (
            ("post", "/api/v1/auth/login"),
            change(
                "user:sign_in",
                "/api/v1/auth/login",
                json!({ "email": user.email, "password": user.password }),
                200,
            ),
        ),
        (
            ("post", "/api/v1/users"),
            change(
                "user:create",
                "/api/v1/users",
                json!({ "email": "new@example.com", "full_name": "New", "role": "agent", "password": "a long password" }),
                201,
            ),
        ),
        (("put", "/api/v1/users/{id}"), change("user:role", "/api/v1/users/1", json!({ "role": "supervisor" }), 200)),
        (("post", "/api/v1/labels"), change("label:create", "/api/v1/labels", json!({ "title": "Refund" }), 201)),
        (("post", "/api/v1/auth/password"), change("user:password", "/api/v1/auth/password", password, 200)),
        (("post", "/api/v1/auth/logout"), change("user:sign_out", "/api/v1/auth/logout", none(), 200)),
    ])
}

/// The records of an action: `actor user resource address agent`.
async fn records(served: &Served, action: &str) -> Vec<String> {
    let sql = format!(
        "SELECT actor || ' ' || coalesce(user_id, '-') || ' ' || coalesce(resource_id, '-') || ' '
                || coalesce(ip_address, '-') || ' ' || coalesce(user_agent, '-')
         FROM audit_logs WHERE action = '{action}' ORDER BY id"
    );
    served.program.texts(sql).await
}

async fn ask(client: &Client, method: &str, path: &str, body: &Value) -> support::Response {
    let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
    client.send(client.request(method, path).header("user-agent", AGENT).json(body)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_of_every_route_leaves_a_record() {
    let served = Served::start(&[]).await;
    let user = served.program.user("admin").await;
    let admin = served.anyone().with_token(&user.token);
    let there = make(&served, &admin).await;
    let own = admin.post("/templates", &json!({ "name": "to be deleted", "content": "x" })).await.expect(201);
    let own = own["data"]["id"].as_str().expect("an id").to_owned();
    admin.post("/suppressions", &json!({ "phones": ["+60123456782"] })).await.expect(200);
    let mut changes = changes(&there, &user);
    // Signing out is last, the password before it: after each of them a token is worth less.
    let mut routes = documented(&served).await;
    routes.retain(|(method, _)| method != "get");
    routes.sort_by_key(|(_, path)| path.ends_with("/auth/password") as u8 + 2 * (path.ends_with("/auth/logout") as u8));
    let mut without = Vec::new();
    for (method, path) in &routes {
        if UNRECORDED.iter().any(|(m, p, _)| m == method && p == path) {
            continue;
        }
        let Some(change) = changes.remove(&(method.as_str(), path.as_str())) else {
            without.push(format!("{method} {path}: a route that is new has no change here yet"));
            continue;
        };
        let target = change.path.replace("TEMPLATE", &own);
        let before = records(&served, change.action).await.len();
        let answer = ask(&admin, method, &target, &change.body).await;
        assert_eq!(answer.status, change.status, "{method} {target}: {}", answer.text);
        let after = records(&served, change.action).await;
        match after.get(before..) {
            Some([one]) if one.starts_with("user ") && one.ends_with(&format!(" 127.0.0.1 {AGENT}")) => {}
            other => without.push(format!("{method} {path}: {:?} in place of {}", other, change.action)),
        }
    }
    assert!(without.is_empty(), "{}", without.join("\n"));
    assert!(changes.is_empty(), "a route is gone: {:?}", changes.keys());
    // The log tells of it, to who may read users.
    let reader = served.client("supervisor").await;
    let found = reader.get("/api/v1/audit-logs?action=batch:keep&per_page=1").await.expect(200);
    let (record, meta) = (&found["data"]["audit_logs"][0], &found["data"]["meta"]);
    assert_eq!((&record["action"], &record["user_agent"]), (&json!("batch:keep"), &json!(AGENT)), "{found}");
    assert_eq!((&meta["total_count"], &meta["current_page"]), (&json!(1), &json!(1)), "{found}");
    reader.get("/api/v1/audit-logs?action=a%20b").await.expect(400);
    // A change that is refused leaves none.
    let before = records(&served, "sender:create").await.len();
    let again = served.client("admin").await;
    again.post("/senders", &json!({ "name": "shop" })).await.expect(409);
    assert_eq!(records(&served, "sender:create").await.len(), before);
    let told = served
        .program
        .texts("SELECT group_concat(coalesce(resource_id, '') || coalesce(user_agent, '')) FROM audit_logs");
    let told = told.await.concat();
    for secret in [user.password.as_str(), "another long password", JWT_SECRET, "60123456781", "60123456782", "Hello"] {
        assert!(!told.contains(secret), "{secret} is in the audit log");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signing_in_in_vain_is_recorded_and_tells_no_more_than_whose_account_it_was() {
    let served = Served::start(&[]).await;
    let user = served.program.user("agent").await;
    for (email, password) in [(user.email.as_str(), "not the one"), ("nobody@example.com", "hunter2")] {
        let body = json!({ "email": email, "password": password });
        ask(&served.anyone(), "post", "/api/v1/auth/login", &body).await.expect(401);
    }
    let failed = records(&served, "user:sign_in_failed").await;
    let id = served.program.number(format!("SELECT id FROM users WHERE email = '{}'", user.email)).await;
    assert_eq!(failed, [format!("anonymous - {id} 127.0.0.1 {AGENT}"), format!("anonymous - - 127.0.0.1 {AGENT}")]);
    // A refresh token that is used twice ends its session.
    let body = json!({ "email": user.email, "password": user.password });
    let signed_in = ask(&served.anyone(), "post", "/api/v1/auth/login", &body).await.expect(200);
    let refresh = json!({ "refresh_token": signed_in["data"]["refresh_token"] });
    for status in [200, 401, 401] {
        ask(&served.anyone(), "post", "/api/v1/auth/refresh", &refresh).await.expect(status);
    }
    assert_eq!(records(&served, "user:session_reused").await, [format!("anonymous - {id} 127.0.0.1 {AGENT}")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_change_users_and_keys_are_recorded() {
    let served = Served::start(&[]).await;
    let run = async |args: &[&str], stdin: &str| served.program.run(args, stdin).await;
    let email = "cli@example.com";
    run(&["user", "add", "--email", email, "--role", "agent", "--password-stdin"], "a long password\n").await;
    run(&["user", "disable", "--email", email], "").await;
    run(&["user", "enable", "--email", email], "").await;
    run(&["user", "password", "--email", email, "--password-stdin"], "another long password\n").await;
    run(&["token", "--email", email], "").await;
    let id = served.program.number(format!("SELECT id FROM users WHERE email = '{email}'")).await;
    let of_user = served
        .program
        .texts(format!("SELECT action FROM audit_logs WHERE actor = 'system' AND resource_id = '{id}' ORDER BY id"));
    let expected = ["user:create", "user:disable", "user:enable", "user:password", "user:token"];
    assert_eq!(of_user.await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_never_changed() {
    let served = Served::start(&[]).await;
    let there = served.program.number("SELECT count(*) FROM audit_logs WHERE action = 'user:create'").await;
    assert!(there > 0, "the first start makes an admin");
    let refused = served.program.try_execute("UPDATE audit_logs SET actor = 'gateway'").await;
    assert!(refused.is_err_and(|why| why.contains("audit_logs is never changed")));
}
