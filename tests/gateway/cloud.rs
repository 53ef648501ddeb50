//! The process over Meta's Cloud API, emulated: what it was asked to send goes out once, whatever becomes of the answers, and
//! the webhooks settle the rest.
//!
//! Meta knows no idempotency: the emulator itself says whether somebody got a message twice.

use crate::setup::{PATIENCE, SECRET, World, is_signed, now_s, recipient, signed};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::{CloudApi, CloudFault, Handshake, Ladder, Method, Response, eventually};

const VERIFY_TOKEN: &str = "the-webhook's-own-token";

/// What is told of a message that was read.
const WHOLE: [&str; 5] = ["map", "ack 1", "ack 2", "ack 3", "seen"];

/// A wait for a status, in seconds, that no test sees the end of.
const FOR_EVER: &str = "3600";

struct Cloud {
    world: World,
    meta: CloudApi,
}

/// A number of its own for an id that ends as the emulator's faults are asked for.
fn asking_for(id: &str, fault: &str) -> String {
    format!("6{}{fault}", &recipient(id)[5..])
}

impl Cloud {
    /// A gateway that Meta knows; the status of a message whose answer was lost is waited for so many seconds.
    async fn start(status_wait_secs: &str, env: &[(&str, &str)]) -> Self {
        let meta = CloudApi::start().await;
        let url = meta.url();
        let options = meta.options().clone();
        let mut all = vec![
            ("PACELINE_GATEWAY_TRANSPORT", "cloud-api"),
            ("PACELINE_CLOUD_API_BASE_URL", url.as_str()),
            ("PACELINE_CLOUD_API_PHONE_NUMBER_ID", options.phone_number_id.as_str()),
            ("PACELINE_CLOUD_API_ACCESS_TOKEN", options.access_token.as_str()),
            ("PACELINE_CLOUD_API_APP_SECRET", options.app_secret.as_str()),
            ("PACELINE_CLOUD_API_VERIFY_TOKEN", VERIFY_TOKEN),
            ("PACELINE_CLOUD_API_STATUS_WAIT_SECS", status_wait_secs),
            ("PACELINE_LOG_LEVEL", "debug"),
        ];
        all.extend(env);
        let cloud = Self { world: World::start(&all).await, meta };
        cloud.tell_meta();
        cloud
    }

    /// Gives Meta the address at which the gateway listens now.
    fn tell_meta(&self) {
        self.meta.set_callback(format!("{}/webhook", self.world.gateway.url()));
    }

    /// Meta's webhooks reach nobody, and are told again until they do.
    fn keep_from_meta(&self) {
        self.meta.set_callback("http://127.0.0.1:1/webhook");
    }

    async fn send_to(&self, id: &str, to: &str) -> Response {
        let body = json!({ "to": to, "message": format!("Hello {id}"), "backend_message_id": id }).to_string();
        let client = self.world.gateway.client();
        client.send(signed(&client, Method::POST, "/send", &body)).await
    }

    async fn accept_to(&self, id: &str, to: &str) {
        assert_eq!(self.send_to(id, to).await.expect(202)["status"], json!("accepted"));
    }

    /// Waits until this was told of each message, and Meta and the gateway have nothing left to tell; then shows that it
    /// was told once and in this order, and that nobody got anything twice.
    async fn told_once(&self, about: &[&str], story: &[&str]) {
        for id in about {
            self.world.told(id, story).await;
        }
        self.meta.wait_until_told().await;
        self.nothing_is_left().await;
        for id in about {
            let taken = self.world.backend.taken();
            let told: Vec<String> = taken.iter().filter(|told| told.about() == *id).map(|told| told.what()).collect();
            assert_eq!(told, story, "{id}");
        }
        assert!(self.meta.duplicates().is_empty(), "{:?}", self.meta.duplicates());
        assert!(self.world.backend.asked().iter().all(is_signed), "every report is signed");
        self.keeps_secrets();
    }

    async fn nothing_is_left(&self) {
        eventually("no report to be left", PATIENCE, async || {
            let left = self.world.metric("paceline_gateway_reports_waiting").await;
            if left == 0.0 { Ok(()) } else { Err(left) }
        })
        .await;
    }

    /// Nothing secret, no text and no number whole is in the log.
    fn keeps_secrets(&self) {
        let options = self.meta.options();
        let log = self.world.gateway.log();
        for secret in [SECRET, VERIFY_TOKEN, &options.access_token, &options.app_secret] {
            assert!(!log.contains(secret), "the log has a secret: {}", log.tail(100));
        }
        for message in self.meta.messages() {
            assert!(!log.contains(&message.to) && !log.contains(&message.text), "{}", log.tail(100));
        }
    }

    /// Waits until its sender is stopped.
    async fn stopped(&self) {
        eventually("the sender to be stopped", PATIENCE, async || {
            let status = self.status().await;
            if status["ready"] == json!(false) { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
    }

    async fn status(&self) -> Value {
        self.world.gateway.client().get("/status").await.expect(200)
    }

    async fn posts_at(&self, count: usize) {
        self.meta.wait_until(&format!("{count} posts"), |meta| meta.posts().len() >= count).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_webhooks_address_is_verified_with_the_token_alone() {
    let cloud = Cloud::start(FOR_EVER, &[]).await;
    assert_eq!(cloud.meta.handshake(VERIFY_TOKEN).await, Handshake { status: 200, echoed: true });
    for wrong in ["", "another", SECRET, cloud.meta.options().app_secret.as_str()] {
        assert_eq!(cloud.meta.handshake(wrong).await, Handshake { status: 403, echoed: false }, "{wrong}");
    }
    cloud.keeps_secrets();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_is_told_in_order_and_once_although_webhooks_come_doubled_and_late() {
    let cloud = Cloud::start(FOR_EVER, &[]).await;
    cloud.meta.set_ladder(Ladder::at_once(["sent", "delivered", "sent", "read", "delivered", "sent"]).copies(2));
    let ids: Vec<String> = (0..20).map(|n| format!("m-{n}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    for id in &ids {
        cloud.world.accept(id).await;
    }
    cloud.told_once(&ids, &WHOLE).await;
    // Before what it follows from: what is told afterwards tells nothing new.
    cloud.meta.set_ladder(Ladder::at_once(["read", "delivered", "sent"]).copies(2));
    cloud.world.accept("backwards").await;
    cloud.told_once(&["backwards"], &["map", "ack 3", "seen"]).await;
    assert_eq!(cloud.meta.posts().len(), ids.len() + 1);
    for id in ids.iter().chain(&["backwards"]) {
        let messages = cloud.meta.messages();
        let of: Vec<_> = messages.iter().filter(|taken| taken.callback_data.as_deref() == Some(*id)).collect();
        let [taken] = of[..] else { panic!("{id} was taken {} times", of.len()) };
        assert_eq!((taken.to.trim_start_matches('+'), &taken.text), (recipient(id).as_str(), &format!("Hello {id}")));
        let reports = cloud.world.backend.taken();
        let map = reports.iter().find(|told| told.about() == *id && told.what() == "map").expect("mapped");
        assert_eq!(map.body["whatsapp_id"], json!(taken.network_id), "by Meta's id");
    }
}

/// Meta's own id of an account is not always the number that was written to: whoever answers comes from that id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_account_that_a_number_was_resolved_to_is_told_with_the_map() {
    let cloud = Cloud::start(FOR_EVER, &[]).await;
    for (id, to, account) in [
        ("brazil", "5531987654321", json!("553187654321")),
        ("mexico", "525512345678", json!("5215512345678")),
        ("same", "60123456789", json!(null)),
    ] {
        cloud.accept_to(id, to).await;
        cloud.told_once(&[id], &WHOLE).await;
        let reports = cloud.world.backend.taken();
        let map = reports.iter().find(|told| told.about() == id && told.what() == "map").expect("mapped");
        assert_eq!(map.body["wa_id"], account, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_meta_will_not_deliver_has_failed_with_its_code() {
    let cloud = Cloud::start(FOR_EVER, &[]).await;
    cloud.accept_to("refused", &asking_for("refused", "771026")).await;
    cloud.accept_to("undelivered", &asking_for("undelivered", "881026")).await;
    cloud.told_once(&["refused"], &["failed 131026"]).await;
    cloud.told_once(&["undelivered"], &["map", "failed 131026"]).await;
    assert_eq!((cloud.meta.taken_of("refused"), cloud.meta.taken_of("undelivered")), (0, 1));
    assert_eq!(cloud.meta.posts().len(), 2, "neither is tried again");
    // Another number is not held up.
    cloud.world.accept("another").await;
    cloud.told_once(&["another"], &WHOLE).await;
    assert_eq!(cloud.status().await["ready"], json!(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_meta_blocks_stops_until_a_person_lets_it_go_on() {
    let mut cloud = Cloud::start(FOR_EVER, &[]).await;
    cloud.meta.next([Some(CloudFault::Error { code: 131_048, retry_after_s: None })]);
    cloud.world.accept("m").await;
    cloud.stopped().await;
    let refused = cloud.world.send("another").await;
    assert_eq!(refused.status, 503, "{}", refused.text);
    let wait: u64 = refused.header("retry-after").and_then(|wait| wait.parse().ok()).expect("Retry-After");
    assert!(wait >= 1 && refused.text.contains("131048"), "{wait}: {}", refused.text);
    let list = cloud.world.program.run(&["sender", "list"], "").await;
    assert!(list.contains("stopped") && list.contains("131048: (#131048) Spam rate limit hit"), "{list}");
    // Meta would take it now, and nobody asks it to: not after a restart either.
    cloud.world.gateway.kill9().await;
    cloud.world.gateway.restart().await;
    cloud.tell_meta();
    assert_eq!(cloud.status().await["ready"], json!(false));
    assert_eq!((cloud.world.send("another").await.status, cloud.meta.posts().len()), (503, 1));
    cloud.world.program.run(&["sender", "resume"], "").await;
    cloud.told_once(&["m"], &WHOLE).await;
    cloud.world.accept("another").await;
    cloud.told_once(&["another"], &WHOLE).await;
    let list = cloud.world.program.run(&["sender", "list"], "").await;
    assert!(list.contains("ok") && !list.contains("131048"), "{list}");
    assert_eq!(cloud.status().await["ready"], json!(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_is_blocked_for_what_was_taken_stops_as_well() {
    let cloud = Cloud::start(FOR_EVER, &[]).await;
    cloud.accept_to("m", &asking_for("m", "881048")).await;
    cloud.told_once(&["m"], &["map", "failed 131048"]).await;
    assert_eq!(cloud.status().await["ready"], json!(false));
    assert_eq!(cloud.world.send("another").await.status, 503);
    cloud.world.program.run(&["sender", "resume"], "").await;
    cloud.world.accept("another").await;
    cloud.told_once(&["another"], &WHOLE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_meta_does_not_take_stops_the_number_and_is_not_repeated() {
    let wrong = "EAAnotTheToken";
    let mut cloud = Cloud::start(FOR_EVER, &[("PACELINE_CLOUD_API_ACCESS_TOKEN", wrong)]).await;
    cloud.world.accept("m").await;
    cloud.stopped().await;
    let refused = cloud.world.send("another").await;
    let list = cloud.world.program.run(&["sender", "list"], "").await;
    // Meta's own words have it.
    assert!(refused.status == 503 && refused.text.contains("190") && list.contains("190: "), "{list}{}", refused.text);
    assert!(!refused.text.contains(wrong) && !list.contains(wrong), "{list}{}", refused.text);
    assert!(!cloud.world.gateway.log().contains(wrong), "{}", cloud.world.gateway.log().tail(100));
    let token = cloud.meta.options().access_token.clone();
    cloud.world.gateway.set_env("PACELINE_CLOUD_API_ACCESS_TOKEN", Some(&token));
    cloud.world.gateway.restart().await;
    cloud.tell_meta();
    cloud.world.program.run(&["sender", "resume"], "").await;
    cloud.told_once(&["m"], &WHOLE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_fast_for_meta_waits_and_loses_no_attempt() {
    let cloud = Cloud::start(FOR_EVER, &[]).await;
    let too_fast = |seconds| Some(CloudFault::Error { code: 130_429, retry_after_s: Some(seconds) });
    // Oftener than a message may be tried in vain.
    let refusals = 8;
    cloud.meta.next((0..refusals).map(|_| too_fast(0)));
    // One that counts: had those counted, it were the last.
    cloud.meta.next([Some(CloudFault::Error { code: 131_000, retry_after_s: None })]);
    cloud.world.accept("m").await;
    cloud.told_once(&["m"], &WHOLE).await;
    assert_eq!(cloud.meta.posts().len(), refusals + 2);
    // As long as Meta asks, and everybody of this sender.
    cloud.meta.next([too_fast(2)]);
    let began = Instant::now();
    cloud.world.accept("slow").await;
    cloud.posts_at(refusals + 3).await;
    eventually("the sender to wait", PATIENCE, async || {
        let list = cloud.world.program.run(&["sender", "list"], "").await;
        // On a busy machine it may have waited already.
        if list.contains("waiting") || cloud.meta.taken_of("slow") == 1 { Ok(()) } else { Err(list) }
    })
    .await;
    cloud.world.accept("behind").await;
    cloud.told_once(&["slow", "behind"], &WHOLE).await;
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(cloud.status().await["ready"], json!(true), "who waits takes messages");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recipient_that_gets_too_many_holds_up_nobody_else() {
    let cloud = Cloud::start(FOR_EVER, &[]).await;
    // As long as Meta asks, and this recipient alone.
    cloud.meta.next([Some(CloudFault::Error { code: 131_056, retry_after_s: Some(3_600) })]);
    cloud.world.accept("in-an-hour").await;
    cloud.posts_at(1).await;
    let often = asking_for("often", "771056");
    cloud.accept_to("first", &often).await;
    cloud.accept_to("second", &often).await;
    cloud.posts_at(2).await;
    cloud.world.accept("another").await;
    cloud.told_once(&["another"], &WHOLE).await;
    assert!(["in-an-hour", "first"].iter().all(|id| cloud.world.backend.story(id).is_empty()), "they wait");
    // Meta lets them through, whatever the number asks for.
    cloud.meta.next([None, None]);
    cloud.told_once(&["first", "second"], &WHOLE).await;
    let order: Vec<_> = cloud.meta.messages().into_iter().filter_map(|message| message.callback_data).collect();
    assert_eq!(order, ["another", "first", "second"]);
}

/// The numbers for which Meta takes the message, and its answer is lost.
const LOST: [(&str, &str); 5] =
    [("hang", "990001"), ("close", "990002"), ("cut", "990003"), ("rubbish", "990004"), ("no-id", "990005")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_settled_by_the_webhook() {
    let cloud = Cloud::start(
        FOR_EVER,
        &[("PACELINE_CLOUD_API_TIMEOUT_MS", "1000"), ("PACELINE_CLOUD_API_CONNECT_TIMEOUT_MS", "1000")],
    )
    .await;
    // While the answer is waited for.
    for (id, fault) in LOST {
        cloud.accept_to(id, &asking_for(id, fault)).await;
    }
    let ids = LOST.map(|(id, _)| id);
    cloud.told_once(&ids, &WHOLE).await;
    // After it was given up.
    cloud.keep_from_meta();
    let late = LOST.map(|(id, fault)| (format!("late-{id}"), fault));
    for (id, fault) in &late {
        cloud.accept_to(id, &asking_for(id, fault)).await;
    }
    eventually("all answers to be lost", PATIENCE, async || {
        let lost = cloud.world.metric("paceline_gateway_outcomes_total{outcome=\"unknown\"}").await;
        if lost >= 2.0 * LOST.len() as f64 { Ok(()) } else { Err(lost) }
    })
    .await;
    assert!(late.iter().all(|(id, _)| cloud.world.backend.story(id).is_empty()), "nobody knows yet");
    cloud.tell_meta();
    let ids: Vec<&str> = late.iter().map(|(id, _)| id.as_str()).collect();
    cloud.told_once(&ids, &WHOLE).await;
    assert_eq!(cloud.meta.posts().len(), 2 * LOST.len(), "nothing was posted twice");
    cloud.meta.release();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_after_a_lost_answer_is_told_as_not_known() {
    let cloud = Cloud::start("1", &[]).await;
    cloud.meta.set_ladder(Ladder::silent());
    // Taken, and not: nobody can tell them apart.
    cloud.accept_to("taken", &asking_for("taken", "990002")).await;
    cloud.accept_to("dropped", &asking_for("dropped", "990006")).await;
    // With an answer, silence says nothing.
    cloud.accept_to("silent", &asking_for("silent", "990007")).await;
    cloud.told_once(&["taken", "dropped"], &["failed outcome_unknown"]).await;
    cloud.told_once(&["silent"], &["map"]).await;
    assert_eq!(cloud.meta.posts().len(), 3, "none is posted again");
    // Meta's late word is believed.
    let messages = cloud.meta.messages();
    let taken = messages.iter().find(|message| message.callback_data.as_deref() == Some("taken")).expect("taken");
    cloud.meta.tells(json!({ "statuses": [{
        "id": taken.network_id, "status": "delivered", "timestamp": now_s().to_string(), "recipient_id": taken.to,
        "biz_opaque_callback_data": "taken",
    }] }));
    cloud.told_once(&["taken"], &["failed outcome_unknown", "map", "ack 2"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_customer_writes_is_told_once_and_only_on_metas_word() {
    let cloud = Cloud::start(FOR_EVER, &[]).await;
    let (from, text) = ("60198765432", "Where is it? 👍 \"a/b\"\n…");
    let before = now_s();
    let network_id = cloud.meta.writes(from, "Zoë / Ann", text);
    cloud.meta.wait_until_told().await;
    let delivery = cloud.meta.deliveries().into_iter().next().expect("told");
    let client = cloud.world.gateway.client();
    let post = async |body: &[u8], signature: Option<String>| {
        let mut request = client.request(Method::POST, "/webhook").header("content-type", "application/json");
        if let Some(signature) = signature {
            request = request.header("x-hub-signature-256", signature);
        }
        client.send(request.body(body.to_vec())).await.status
    };
    // Meta tells it again.
    assert_eq!(post(&delivery.body, Some(cloud.meta.signature(&delivery.body))).await, 200);
    // Somebody else tells what Meta might, with another's name and with what was signed for another body.
    let forged = String::from_utf8_lossy(&delivery.body).replace(from, "60111111111").replace("wamid", "forged");
    assert!(forged.contains("60111111111") && forged.contains("forged"), "{forged}");
    let rightly = cloud.meta.signature(&delivery.body);
    let another = format!("sha256={}", "0".repeat(64));
    for signature in [None, Some(String::new()), Some("sha256=".into()), Some(another), Some(rightly)] {
        assert_eq!(post(forged.as_bytes(), signature).await, 401);
    }
    let known = cloud.meta.writes(from, "Zoë / Ann", "the last word");
    cloud
        .world
        .backend
        .wait_until("the last word", |backend| {
            backend.taken().iter().any(|told| told.body["whatsapp_id"] == json!(known))
        })
        .await;
    cloud.nothing_is_left().await;
    let told = cloud.world.backend.taken();
    let [first, _last] = &told[..] else { panic!("two messages, each once: {told:?}") };
    assert_eq!((first.path.as_str(), is_signed(first)), ("/messages/inbox", true));
    let expected = [
        ("phone", json!(from)),
        ("name", json!("Zoë / Ann")),
        ("content", json!(text)),
        ("whatsapp_id", json!(network_id)),
        ("message_type", json!("text")),
    ];
    for (field, value) in expected {
        assert_eq!(first.body[field], value, "{field}: {}", first.body);
    }
    let at = first.body["timestamp"].as_str().and_then(|at| chrono::DateTime::parse_from_rfc3339(at).ok());
    let at = at.expect("a timestamp").timestamp();
    assert!((before..=now_s()).contains(&at), "{at}");
    assert!(!cloud.world.gateway.log().contains(from) && !cloud.world.gateway.log().contains("Where is it"));
    cloud.keeps_secrets();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_meta_took_at_a_kill_is_not_sent_again() {
    let mut cloud = Cloud::start(FOR_EVER, &[]).await;
    // Its webhooks find nobody until the next start.
    cloud.keep_from_meta();
    let ids: Vec<String> = (0..10).map(|n| format!("m-{n}")).collect();
    for id in &ids {
        cloud.accept_to(id, &asking_for(id, "990001")).await;
    }
    // Meta has them all, and has answered for none.
    cloud.meta.wait_until("all to be taken", |meta| meta.messages().len() == ids.len()).await;
    cloud.world.gateway.kill9().await;
    cloud.world.gateway.restart().await;
    for id in &ids {
        cloud.accept_to(id, &asking_for(id, "990001")).await;
    }
    cloud.tell_meta();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    cloud.told_once(&ids, &WHOLE).await;
    // Somebody who came later was sent meanwhile.
    cloud.world.accept("after").await;
    cloud.told_once(&["after"], &WHOLE).await;
    assert_eq!(cloud.meta.posts().len(), ids.len() + 1, "nothing was posted twice");
    cloud.meta.release();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_after_a_kill_is_told_as_not_known() {
    let mut cloud = Cloud::start("1", &[]).await;
    cloud.meta.set_ladder(Ladder::silent());
    cloud.accept_to("m", &asking_for("m", "990001")).await;
    cloud.meta.wait_until("it to be taken", |meta| meta.taken_of("m") == 1).await;
    cloud.world.gateway.kill9().await;
    cloud.world.gateway.restart().await;
    cloud.told_once(&["m"], &["failed outcome_unknown"]).await;
    cloud.accept_to("m", &asking_for("m", "990001")).await;
    cloud.world.accept("after").await;
    cloud.told_once(&["after"], &["map"]).await;
    assert_eq!((cloud.meta.posts().len(), cloud.meta.taken_of("m")), (2, 1), "it is not posted again");
    cloud.meta.release();
}
