//! What the network told and was answered with 200 is never lost: it is kept before it is read, read part by part, and what
//! cannot be read is set aside for a release that can.

use crate::setup::{PATIENCE, World};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use support::{CloudApi, Method, Taking, eventually};

/// A gateway that Meta knows.
async fn start() -> (World, CloudApi) {
    let meta = CloudApi::start().await;
    let (url, options) = (meta.url(), meta.options().clone());
    let world = World::start(&[
        ("PACELINE_GATEWAY_TRANSPORT", "cloud-api"),
        ("PACELINE_CLOUD_API_BASE_URL", &url),
        ("PACELINE_CLOUD_API_PHONE_NUMBER_ID", &options.phone_number_id),
        ("PACELINE_CLOUD_API_ACCESS_TOKEN", &options.access_token),
        ("PACELINE_CLOUD_API_APP_SECRET", &options.app_secret),
        ("PACELINE_CLOUD_API_VERIFY_TOKEN", "verify"),
    ])
    .await;
    (world, meta)
}

/// A webhook's body in which somebody wrote, as Meta would write it.
fn written(meta: &CloudApi, id: &str, name: &str, more: &Value) -> String {
    let mut value = json!({
        "messaging_product": "whatsapp", "metadata": { "phone_number_id": meta.options().phone_number_id },
        "contacts": [{ "wa_id": "60123456789", "profile": { "name": name } }],
        "messages": [{ "from": "60123456789", "id": id, "timestamp": "1749416383", "type": "text", "text": { "body": "Hi" } }],
    });
    for (key, member) in more.as_object().expect("an object") {
        value[key] = member.clone();
    }
    json!({ "object": "whatsapp_business_account", "entry": [{ "id": "1", "changes": [{ "field": "messages", "value": value }] }] })
        .to_string()
}

/// Meta posts it, and is answered so.
async fn post(world: &World, meta: &CloudApi, body: &str) -> u16 {
    let client = world.gateway.client();
    let request =
        client.request(Method::POST, "/webhook").header("x-hub-signature-256", meta.signature(body.as_bytes()));
    client.send(request.body(body.to_owned())).await.status
}

/// What the backend took of what people wrote: the network's ids with the names.
fn inbox(world: &World) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let taken = world.backend.taken().into_iter().filter(|told| told.path == "/messages/inbox");
    taken.map(|told| (text(&told.body["whatsapp_id"]), text(&told.body["name"]))).collect()
}

async fn store(world: &World) -> SqliteConnection {
    let file = world.program.dir().join("paceline-data/gateway.db");
    SqliteConnectOptions::new().filename(file).busy_timeout(PATIENCE).connect().await.expect("opened")
}

async fn kept(world: &World) -> i64 {
    let mut store = store(world).await;
    let kept = sqlx::query_scalar("SELECT count(*) FROM webhooks").fetch_one(&mut store).await.expect("counted");
    store.close().await.expect("closed");
    kept
}

async fn told(world: &World, expected: &[(&str, &str)]) {
    eventually("the customers' messages to be told", PATIENCE, async || {
        let mut told = inbox(world);
        told.sort();
        let expected: Vec<(String, String)> =
            expected.iter().map(|(id, name)| ((*id).into(), (*name).into())).collect();
        if told == expected { Ok(()) } else { Err(format!("{told:?}\n{}", world.gateway.log().tail(20))) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_an_emoji_and_what_no_parser_takes_cost_themselves_alone() {
    let (world, meta) = start().await;
    world.backend.script(|_| Taking::Take);
    let half = written(&meta, "wamid.1", "Ann HALF", &json!({})).replace("HALF", "\\ud83d");
    assert_eq!(post(&world, &meta, &half).await, 200);
    // An element that nobody can read, beside others.
    let odd = written(&meta, "wamid.2", "Ben", &json!({ "statuses": ["ODD"] })).replace("\"ODD\"", "{\"id\": 1e999}");
    assert_eq!(post(&world, &meta, &odd).await, 200);
    told(&world, &[("wamid.1", "Ann \u{fffd}"), ("wamid.2", "Ben")]).await;
    assert_eq!(kept(&world).await, 1, "what was read wholly is not kept");
    assert_eq!(world.metric("paceline_gateway_webhooks_set_aside").await, 1.0);
    // No JSON at all: set aside as well.
    assert_eq!(post(&world, &meta, "{\"entry\": [").await, 200);
    assert_eq!(world.metric("paceline_gateway_webhooks_set_aside").await, 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_set_aside_is_read_again_by_a_later_start() {
    let (mut world, meta) = start().await;
    assert_eq!(post(&world, &meta, "nothing that could be read").await, 200);
    world.gateway.kill9().await;
    // As an earlier release leaves what it could not read, and a process that was killed before it had read it.
    let mut store = store(&world).await;
    for (body, unread, read_by) in [
        (written(&meta, "wamid.1", "Ann", &json!({})), Some(1), Some("0.0.1")),
        (written(&meta, "wamid.2", "Ben", &json!({})), None, None),
    ] {
        let sql = "INSERT INTO webhooks (body, kept_at, unread, read_by) VALUES (?1, 4102444800000, ?2, ?3)";
        let insert = sqlx::query(sql).bind(body.into_bytes()).bind(unread).bind(read_by);
        insert.execute(&mut store).await.expect("kept");
    }
    store.close().await.expect("closed");
    world.gateway.restart().await;
    told(&world, &[("wamid.1", "Ann"), ("wamid.2", "Ben")]).await;
    assert_eq!(kept(&world).await, 1, "only what nobody can read is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_backend_refused_of_what_people_wrote_is_told_again_by_a_later_start() {
    let (mut world, meta) = start().await;
    world.backend.script(|_| Taking::Refuse(422));
    assert_eq!(post(&world, &meta, &written(&meta, "wamid.1", "Ann", &json!({}))).await, 200);
    eventually("it to be refused", PATIENCE, async || {
        let refused = world.metric("paceline_gateway_reports_refused").await;
        if refused == 1.0 { Ok(()) } else { Err(refused) }
    })
    .await;
    world.backend.script(|_| Taking::Take);
    world.gateway.restart().await;
    told(&world, &[("wamid.1", "Ann")]).await;
    assert_eq!(world.metric("paceline_gateway_reports_refused").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_says_which_it_is_and_takes_no_others_messages() {
    let (mut world, _meta) = start().await;
    let status = world.gateway.client().get("/status").await.expect(200);
    let name = status["gateway_id"].as_str().expect("a name").to_owned();
    assert_eq!(status["transport"], json!("cloud-api"));
    world.gateway.restart().await;
    let again = world.gateway.client().get("/status").await.expect(200);
    assert_eq!(again["gateway_id"], json!(name), "it is the same over restarts");
    let client = world.gateway.client();
    let send = |gateway: &str| {
        let request = crate::setup::signed(&client, Method::POST, "/send", &crate::setup::message("m"));
        client.send(request.header("x-gateway-id", gateway))
    };
    let refused = send("gw-another").await.expect(421);
    assert!(refused["detail"].is_string(), "{refused}");
    send(&name).await.expect(202);
}
