//! Who may do what: every route of the served documents, for every role and for nobody.

use crate::setup::{Served, statuses};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use support::{Method, Socket};

/// The one answer that does not end.
const STREAM: &str = "/messages/events/stream";

/// The gateway's signature.
const SIGNED: &str = "a signature";

/// What each route asks for, by the contracts; `None`: it is for everybody.
const ROUTES: &[(&str, &str, Option<&str>)] = &[
    ("get", "/batch", Some("batches:read")),
    ("get", "/batch/stats", Some("batches:read")),
    ("get", "/batch/stats/days", Some("batches:read")),
    ("get", "/api/v1/audit-logs", Some("users:read")),
    ("get", "/api/v1/users", Some("users:read")),
    ("post", "/api/v1/users", Some("users:manage")),
    ("get", "/api/v1/users/{id}", Some("users:read")),
    ("put", "/api/v1/users/{id}", Some("users:manage")),
    ("get", "/api/v1/labels", Some("conversations:read")),
    ("post", "/api/v1/labels", Some("conversations:write")),
    ("post", "/batch/import", Some("contacts:write")),
    ("post", "/batch/send", Some("batches:write")),
    ("post", "/batch/tags", Some("contacts:write")),
    ("post", "/batch/delete", Some("contacts:delete")),
    ("get", "/batch/{batch_id}", Some("batches:read")),
    ("patch", "/batch/{batch_id}", Some("batches:write")),
    ("get", "/batch/{batch_id}/status", Some("batches:read")),
    ("post", "/batch/{batch_id}/cancel", Some("batches:write")),
    ("post", "/batch/{batch_id}/pause", Some("batches:write")),
    ("post", "/batch/{batch_id}/resume", Some("batches:write")),
    ("post", "/batch/{batch_id}/retry", Some("batches:write")),
    ("get", "/batch/{batch_id}/items", Some("batches:read")),
    ("get", "/batch/{batch_id}/items/{seq}", Some("batches:read")),
    ("get", "/batch/{batch_id}/causes", Some("batches:read")),
    ("get", "/batch/{batch_id}/pace", Some("batches:read")),
    ("get", "/batch/{batch_id}/forecast", Some("batches:read")),
    ("get", "/batch/{batch_id}/cancellation", Some("batches:read")),
    ("put", "/batch/{batch_id}/cancellation", Some("batches:write")),
    ("get", "/batch/{batch_id}/approval", Some("batches:read")),
    ("post", "/batch/{batch_id}/approve", Some("batches:approve")),
    ("post", "/batch/{batch_id}/refuse", Some("batches:approve")),
    ("delete", "/batch/{batch_id}/cancellation", Some("batches:write")),
    ("get", "/batch/{batch_id}/items.csv", Some("batches:read")),
    // Contacts' data besides: whoever has the one role has the other.
    ("get", "/batch/{batch_id}/failed-rows.csv", Some("batches:read")),
    ("get", "/contacts", Some("contacts:read")),
    ("get", "/contacts/{contact_id}", Some("contacts:read")),
    ("get", "/contacts/{contact_id}/batches", Some("batches:read")),
    ("post", "/contacts/{contact_id}/unmask", Some("contacts:read")),
    ("get", "/batch/{batch_id}/preview", Some("batches:read")),
    ("post", "/batch/test", Some("batches:write")),
    ("get", "/batch/acts", Some("batches:read")),
    ("post", "/batch/acts", Some("batches:write")),
    ("get", "/batch/acts/{act_id}", Some("batches:read")),
    ("get", "/batch/acts/{act_id}/items", Some("batches:read")),
    ("post", "/batch/acts/{act_id}/undo", Some("batches:write")),
    ("post", "/batch/acts/{act_id}/stop", Some("batches:write")),
    ("get", "/calendar", Some("batches:read")),
    ("get", "/views", Some("batches:read")),
    ("post", "/views", Some("batches:read")),
    ("delete", "/views/{view_id}", Some("batches:read")),
    // Drafts and test numbers are everybody's own.
    ("get", "/drafts", Some("batches:write")),
    ("get", "/drafts/{key}", Some("batches:write")),
    ("put", "/drafts/{key}", Some("batches:write")),
    ("delete", "/drafts/{key}", Some("batches:write")),
    ("get", "/test-numbers", Some("batches:write")),
    ("put", "/test-numbers", Some("batches:write")),
    ("get", "/templates", Some("batches:read")),
    ("post", "/templates", Some("batches:write")),
    ("get", "/templates/{id}", Some("batches:read")),
    ("put", "/templates/{id}", Some("batches:write")),
    ("delete", "/templates/{id}", Some("batches:write")),
    ("post", "/templates/{id}/preview", Some("batches:read")),
    ("get", "/suppressions", Some("contacts:read")),
    ("post", "/suppressions", Some("contacts:write")),
    ("delete", "/suppressions", Some("contacts:write")),
    ("get", "/senders", Some("batches:read")),
    ("post", "/senders", Some("settings:write")),
    ("patch", "/senders/{id}", Some("settings:write")),
    ("get", "/queue/lanes", Some("queues:read")),
    ("get", "/queue/samples", Some("queues:read")),
    ("get", "/queue/jobs", Some("queues:read")),
    ("get", "/queue/jobs/{job_id}", Some("queues:read")),
    ("patch", "/queue/jobs/{job_id}", Some("queues:manage")),
    ("post", "/queue/jobs/{job_id}/retry", Some("queues:manage")),
    ("post", "/queue/jobs/{job_id}/cancel", Some("queues:manage")),
    ("post", "/queue/jobs/{job_id}/run", Some("queues:manage")),
    ("get", "/queue/operations", Some("queues:read")),
    ("post", "/queue/operations", Some("queues:manage")),
    ("get", "/queue/operations/{operation_id}", Some("queues:read")),
    ("get", "/queue/operations/{operation_id}/items", Some("queues:read")),
    ("post", "/queue/operations/{operation_id}/undo", Some("queues:manage")),
    ("post", "/queue/operations/{operation_id}/stop", Some("queues:manage")),
    ("get", "/queue/system", Some("settings:read")),
    ("get", "/queue/workers", Some("queues:read")),
    ("patch", "/queue/workers/{worker}", Some("queues:manage")),
    ("post", "/queue/workers/{worker}/drain", Some("queues:manage")),
    ("post", "/queue/workers/{worker}/resume", Some("queues:manage")),
    ("get", "/queue/examinations", Some("settings:read")),
    ("post", "/queue/examinations", Some("queues:manage")),
    ("get", "/queue/examinations/{examination_id}", Some("settings:read")),
    ("get", "/queue/senders/{name}", Some("queues:read")),
    ("post", "/queue/senders/{name}/pause", Some("queues:manage")),
    ("post", "/queue/senders/{name}/resume", Some("queues:manage")),
    ("get", "/customers/summary", Some("contacts:read")),
    ("get", "/customers", Some("contacts:read")),
    ("post", "/customers", Some("contacts:write")),
    ("post", "/customers/photo", Some("contacts:write")),
    ("get", "/customers/{customer_id}", Some("contacts:read")),
    ("post", "/customers/{customer_id}/read", Some("conversations:write")),
    ("get", "/messages/{customer_id}", Some("conversations:read")),
    ("post", "/messages/send", Some("conversations:write")),
    ("get", STREAM, Some("conversations:read")),
    // No user's token is enough for what the gateway tells.
    ("post", "/messages/inbox", Some(SIGNED)),
    ("post", "/messages/ack", Some(SIGNED)),
    ("post", "/messages/map", Some(SIGNED)),
    ("post", "/messages/failed", Some(SIGNED)),
    ("post", "/webhooks/whatsapp/seen", Some(SIGNED)),
    ("post", "/api/v1/auth/login", None),
    ("post", "/api/v1/auth/refresh", None),
    // Anyone who is signed in may sign out, and change the password.
    ("post", "/api/v1/auth/logout", Some("")),
    ("post", "/api/v1/auth/password", Some("")),
];

/// The key of a draft.
const KEY: &str = "00112233445566778899aabbccddeeff";

/// What each role permits of that, by the support desk's contract.
const ROLES: &[(&str, &[&str])] = &[
    (
        "admin",
        &[
            "",
            "batches:read",
            "batches:write",
            "batches:approve",
            "contacts:read",
            "contacts:write",
            "contacts:delete",
            "conversations:read",
            "conversations:write",
            "settings:write",
            "users:read",
            "users:manage",
            "settings:read",
            "queues:read",
            "queues:manage",
        ],
    ),
    (
        "supervisor",
        &[
            "",
            "batches:read",
            "batches:write",
            "batches:approve",
            "contacts:read",
            "contacts:write",
            "conversations:read",
            "conversations:write",
            "users:read",
            "settings:read",
            "queues:read",
            "queues:manage",
        ],
    ),
    ("agent", &["", "batches:read", "contacts:read", "contacts:write", "conversations:read", "conversations:write"]),
    ("guest", &["", "contacts:read", "conversations:read"]),
];

/// The routes of a document, as `(method, path)`.
fn routes(document: &Value) -> impl Iterator<Item = (String, String)> {
    document["paths"].as_object().expect("paths").iter().flat_map(|(path, methods)| {
        methods.as_object().expect("methods").keys().map(|method| (method.clone(), path.clone()))
    })
}

/// The routes of all documents that are served. The one of all surfaces has each of them once.
pub(crate) async fn documented(served: &Served) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for page in served.anyone().get("/docs").await.text.split("href=\"").skip(1) {
        let path = page.split('"').next().expect("a quote ends it");
        if path.starts_with("/openapi/") {
            found.extend(routes(&served.anyone().get(path).await.expect(200)));
        }
    }
    found.sort();
    let whole = served.anyone().get("/openapi.json").await.expect(200);
    let mut merged: Vec<_> = routes(&whole).collect();
    merged.sort();
    assert_eq!(merged, found, "the document of all surfaces is of others");
    found
}

async fn ask(client: &support::Client, method: &str, path: &str, body: &Value) -> support::Response {
    let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
    let request = client.request(method.clone(), path);
    client.send(if method == Method::GET { request } else { request.json(body) }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_role_may_do_what_its_contract_says_on_every_route() {
    let served = Served::start(&[("PACELINE_APPROVAL_ABOVE", "2")]).await;
    let mut table: Vec<_> = ROUTES.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    table.sort();
    assert_eq!(table, documented(&served).await, "a route that is new has no rule here yet");
    // There is a batch and a template to ask for, so that nobody is refused for want of them.
    let admin = served.client("admin").await;
    let later = json!({ "contactIds": ["1"], "content": "x", "scheduleAt": "2099-01-01T00:00:00Z" });
    admin.post("/batch/send", &later).await.expect(202);
    let import = json!({ "contacts": [{ "phoneE164": "+60123456780" }] });
    let import =
        admin.post("/batch/import", &import).await.expect(202)["data"]["id"].as_str().expect("an id").to_owned();
    let waiting =
        admin.post("/batch/send", &json!({ "contactIds": ["1", "2", "3"], "content": "x" })).await.expect(202);
    let waiting = waiting["data"]["id"].as_str().expect("an id").to_owned();
    let operation = json!({ "act": "retry", "filter": { "state": "dead" } });
    admin.post("/queue/operations", &operation).await.expect(202);
    let act = json!({ "act": "pause", "filter": { "status": "PENDING" } });
    let act = admin.post("/batch/acts", &act).await.expect(202)["data"]["id"].as_str().expect("an id").to_owned();
    let customer = json!({ "name": "A customer", "phone": "+60123456789" });
    let customer = admin.post("/customers/", &customer).await.expect(201)["id"].to_string();
    admin.post("/queue/examinations", &json!({})).await.expect(200);
    let workers = admin.get("/queue/workers").await.expect(200);
    let worker = workers["data"][0]["name"].as_str().expect("a name");
    for (role, permitted) in ROLES {
        let user = served.program.user(role).await;
        let client = served.anyone().with_token(&user.token);
        for (method, path, needs) in ROUTES.iter().filter(|route| route.1 != "/api/v1/auth/logout") {
            let name = format!("for {role} to {method} {path}");
            let template = json!({ "name": name, "content": "x" });
            let made = admin.post("/templates", &template).await.expect(201);
            let id = made["data"]["id"].as_str().expect("an id");
            let batch = match *path {
                "/batch/{batch_id}/failed-rows.csv" => import.as_str(),
                "/batch/{batch_id}/approval" => waiting.as_str(),
                _ => "1",
            };
            let id = if path.starts_with("/api/v1/users") { "1" } else { id };
            let path = path.replace("{batch_id}", batch).replace("{id}", id).replace("{customer_id}", &customer);
            let path = path.replace("{operation_id}", "1").replace("{act_id}", &act).replace("{key}", KEY);
            let path = path.replace("{examination_id}", "1").replace("{worker}", worker);
            let path = path
                .replace("{contact_id}", &customer)
                .replace("{seq}", "0")
                .replace("{job_id}", "1")
                .replace("{name}", "default");
            // What is everybody's own is there to be asked for.
            let own = json!({ "page": "batches", "name": name, "line": "status:failed" });
            let view = client.post("/views", &own).await.body["data"]["id"].as_str().unwrap_or("1").to_owned();
            let path = path.replace("{view_id}", &view);
            let draft = json!({ "name": "x", "fields": { "content": "x" } });
            drop(client.send(client.request(Method::PUT, &format!("/drafts/{KEY}")).json(&draft)).await);
            let body = if *method == "put" { &template } else { &json!({}) };
            let may = needs.is_none_or(|needs| permitted.contains(&needs));
            if path == STREAM && may {
                let answer = client.request(Method::GET, STREAM).send().await.expect("an answer");
                assert_eq!(answer.status(), 200, "{role}: {path}");
                continue;
            }
            let answer = ask(&client, method, &path, body).await;
            let told = format!("{role}: {method} {path}: {} {}", answer.status, answer.text);
            match (needs, may) {
                (None, _) => assert_eq!(answer.status, 400, "{told}"),
                (_, true) => assert!(!matches!(answer.status, 401 | 403 | 404 | 405 | 500..), "{told}"),
                (Some(SIGNED), _) => assert_eq!(answer.status, 401, "{told}"),
                (_, false) => {
                    assert_eq!(answer.status, 403, "{told}");
                    let said = &answer.body;
                    assert!(said["error"]["code"] == "PERMISSION_DENIED" || said["detail"].is_string(), "{told}");
                }
            }
        }
        assert_eq!(client.post("/api/v1/auth/logout", &json!({})).await.status, 200, "{role}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_token_every_route_but_those_for_everybody_is_401() {
    let served = Served::start(&[]).await;
    let nobody = served.anyone();
    let odd = [nobody.clone(), nobody.with_token(""), nobody.with_token("a.b.c"), nobody.with_token("null")];
    for client in &odd {
        for (method, path, needs) in ROUTES {
            let path = path.replace("{batch_id}", "1").replace("{id}", "1").replace("{customer_id}", "1");
            let path = path.replace("{operation_id}", "1").replace("{act_id}", "1").replace("{key}", KEY);
            let path = path.replace("{examination_id}", "1").replace("{worker}", "nobody");
            let path = path
                .replace("{view_id}", "1")
                .replace("{contact_id}", "1")
                .replace("{seq}", "0")
                .replace("{job_id}", "1")
                .replace("{name}", "default");
            let answer = ask(client, method, &path, &json!({})).await;
            assert_eq!(answer.status, if needs.is_none() { 400 } else { 401 }, "{method} {path}: {}", answer.text);
        }
    }
    let basic = nobody.request(Method::GET, "/batch").header("authorization", "Basic YWRtaW46YWRtaW4=");
    nobody.send(basic).await.expect(401);
    assert_eq!(Socket::try_open(&nobody.socket_url("/ws")).await.err(), Some(401));
    // A path below a surface that is not there tells nobody so.
    for path in ["/batch/1/nope", "/batch/1/items/2/3", "/templates/1/2", "/customers", "/messages/1", "/customers/1/2"]
    {
        nobody.get(path).await.expect(401);
    }
    let said = served.exchange("GET /batch/../healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert_eq!(statuses(&said), [401], "{said}");
    // All else that is served is for everybody, or is nothing.
    for path in ["/healthz", "/readyz", "/metrics", "/docs", "/redoc", "/docs/batch", "/openapi/batch.json"] {
        assert_eq!(nobody.get(path).await.status, 200, "{path}");
    }
    for index in ["/docs", "/redoc"] {
        let page = nobody.get(index).await.text;
        for document in ["/openapi.json", "/asyncapi.json"] {
            assert!(page.contains(&format!("href=\"{document}\"")), "{index} does not lead to {document}");
            assert!(nobody.get(document).await.expect(200)["info"]["title"].is_string(), "{document}");
        }
    }
    let home = nobody.get("/").await;
    assert_eq!((home.status, home.header("location")), (303, Some("/console")));
    for path in ["/api/v2/sessions", "/admin/chat/sessions", "/webhooks/x", "/.env", "/debug"] {
        assert_eq!(nobody.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_user_asked_for_once_is_nobody_elses_answer() {
    let served = Served::start(&[]).await;
    let body = json!({ "contactIds": ["1"], "content": "x" });
    let mut ids = BTreeMap::new();
    for role in ["admin", "supervisor"] {
        let client = served.client(role).await;
        for replayed in [None, Some("true")] {
            let request = client.request(Method::POST, "/batch/send").header("idempotency-key", "same").json(&body);
            let answer = client.send(request).await;
            assert_eq!(answer.header("idempotency-replayed"), replayed, "{role}");
            let data = answer.expect(202)["data"].clone();
            ids.entry(role).or_insert_with(Vec::new).push(data["id"].clone());
        }
    }
    assert!(ids.values().all(|ids| ids[0] == ids[1]), "{ids:?}");
    assert_ne!(ids["admin"], ids["supervisor"]);
}
