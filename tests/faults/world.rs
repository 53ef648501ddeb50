//! A running Paceline whose processes die and come back while it is used, and a client that does not give up.

use crate::reports::reporter;
use crate::setup::{PATIENCE, Runs, Setup, text};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use support::{Attempt, Client, Method, Paceline, Reply, User, eventually, eventually_every};

/// Between two looks at what has not ended: several worlds at once look, and each look costs its process something.
const PAUSE: Duration = Duration::from_millis(150);

/// Which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The only one there is.
    Serve,
    Api,
    Worker,
    Scheduler,
}

/// Everything that a user can start, once: what of it has to come to its end.
pub(crate) struct Started {
    /// Batches and how many successes each ends with.
    batches: Vec<(String, usize)>,
    /// Single messages: whose, and their texts.
    messages: Vec<(i64, String)>,
}

impl Started {
    /// This too.
    pub(crate) fn and(&mut self, more: Self) {
        self.batches.extend(more.batches);
        self.messages.extend(more.messages);
    }
}

pub(crate) struct World {
    pub(crate) s: Setup,
    /// There is no gateway to compare with.
    simulator: bool,
    user: User,
    contacts: Vec<String>,
    nth: usize,
    /// The gateway answers nobody.
    silent: Arc<AtomicBool>,
    /// Every message that the ledger knows, and how it stands.
    by_ledger: HashMap<String, String>,
    /// Batches that were left under way.
    left: Vec<(String, usize)>,
    /// The texts of single messages: each is to take effect once.
    written: Vec<String>,
}

/// The recipient whom the gateway refuses once: what there is to retry.
const REFUSED_ONCE: &str = "60123000017";

/// The last contact's number, which gets no bulk messages.
const SUPPRESSED: &str = "+60123000039";

impl World {
    /// With forty contacts. `simulator`: without a gateway of its own, so that the built-in one is used.
    pub(crate) async fn new(split: bool, simulator: bool) -> Self {
        let mut env = vec![("PACELINE_LIMIT_LOGIN_PER_MIN", "0")];
        if simulator {
            // Empty is as good as absent. The secret stays: customers write all the same.
            env.extend([
                ("PACELINE_GATEWAY_URL", ""),
                ("PACELINE_SIMULATOR_ACKS", "true"),
                ("PACELINE_SIMULATOR_ACK_DELAY_MAX_MS", "20"),
            ]);
        }
        let s = if split { Setup::split(&env).await } else { Setup::embedded(&env).await };
        let silent = Arc::new(AtomicBool::new(false));
        let is_silent = silent.clone();
        s.gateway.script(move |attempt| match (attempt.to.as_str(), attempt.number) {
            _ if is_silent.load(Ordering::SeqCst) => Reply::hang(),
            (REFUSED_ONCE, 1) => Reply::status(404),
            _ => Reply::accept(),
        });
        let user = s.program.user("admin").await;
        let contacts = s.contacts(40).await;
        let tags = json!({ "contactIds": &contacts[..6], "tags": ["few"], "operation": "add" });
        let tagged = text(&s.admin.post("/batch/tags", &tags).await.expect(202)["data"]["id"]);
        s.ended(&tagged).await;
        s.admin.post("/suppressions", &json!({ "phones": [SUPPRESSED] })).await.expect(200);
        Self {
            s,
            simulator,
            user,
            contacts,
            nth: 0,
            silent,
            by_ledger: HashMap::new(),
            left: Vec::new(),
            written: Vec::new(),
        }
    }

    pub(crate) fn process(&mut self, role: Role) -> &mut Paceline {
        match (&mut self.s.runs, role) {
            (Runs::Embedded(serve), _) => serve,
            (Runs::Split(cluster), Role::Api | Role::Serve) => &mut cluster.api,
            (Runs::Split(cluster), Role::Worker) => &mut cluster.workers[0],
            (Runs::Split(cluster), Role::Scheduler) => &mut cluster.scheduler,
        }
    }

    fn roles(&self) -> &'static [Role] {
        match self.s.runs {
            Runs::Embedded(_) => &[Role::Serve],
            Runs::Split(_) => &[Role::Api, Role::Worker, Role::Scheduler],
        }
    }

    /// What an operator's supervisor does: starts again what has died, without its faults.
    async fn heal(&mut self) {
        for role in self.roles() {
            let process = self.process(*role);
            if !process.is_running().await {
                process.set_env("PACELINE_TEST_FAULTS", None);
                process.restart().await;
            }
        }
        if self.s.api().url() != self.s.admin.base() {
            self.s.admin = self.s.api().client().with_token(self.user.token.clone());
        }
    }

    /// Asks until there is an answer that `take` takes.
    async fn ask<T, E: Display>(&mut self, what: &str, ask: impl AsyncFn(&Client) -> Result<T, E>) -> T {
        eventually_every(PAUSE, what, PATIENCE * 2, async || {
            self.heal().await;
            ask(&self.s.admin).await
        })
        .await
    }

    /// A request that is repeated under the same key until it is done; what the envelope holds.
    async fn post(&mut self, path: &str, body: Value) -> Value {
        self.post_bare(path, body).await["data"].clone()
    }

    /// The same, and the whole answer.
    async fn post_bare(&mut self, path: &str, body: Value) -> Value {
        let key = uuid::Uuid::new_v4().to_string();
        self.ask(path, async |client| {
            let request = client.request(Method::POST, path).header("Idempotency-Key", &key).json(&body);
            let answer = client.try_send(request).await.map_err(|error| format!("{error:?}"))?;
            match answer.status {
                200..=202 => Ok(answer.body),
                status => Err(format!("{status} {}", answer.text)),
            }
        })
        .await
    }

    /// A request that may be repeated: the second time it is refused, because it was done.
    async fn steer(&mut self, path: &str) {
        self.ask(path, async |client| {
            let answer = client.try_send(client.request(Method::POST, path)).await.map_err(|e| format!("{e:?}"))?;
            if matches!(answer.status, 200 | 409) { Ok(()) } else { Err(format!("{} {}", answer.status, answer.text)) }
        })
        .await;
    }

    async fn sign_in(&mut self) {
        let login = json!({ "email": self.user.email, "password": self.user.password });
        self.ask("to sign in", async |client| {
            let request = client.request(Method::POST, "/api/v1/auth/login").json(&login);
            let answer = client.try_send(request).await.map_err(|error| format!("{error:?}"))?;
            if answer.status == 200 { Ok(()) } else { Err(answer.text) }
        })
        .await;
    }

    /// Makes a label: the second time it is refused, because it was made.
    async fn label(&mut self) {
        let label = json!({ "title": format!("Label {}", self.nth) });
        self.ask("a label to be made", async |client| {
            let request = client.request(Method::POST, "/api/v1/labels").json(&label);
            let answer = client.try_send(request).await.map_err(|error| format!("{error:?}"))?;
            if matches!(answer.status, 201 | 409) { Ok(()) } else { Err(format!("{} {}", answer.status, answer.text)) }
        })
        .await;
    }

    /// Waits until a batch has ended with so many items processed.
    async fn processed(&mut self, batch: &str, items: usize) -> Value {
        self.wait(batch, |data| data["processedCount"] == json!(items)).await
    }

    async fn ended(&mut self, batch: &str, successes: usize) -> Value {
        self.wait(batch, |data| data["successCount"] == json!(successes)).await
    }

    async fn wait(&mut self, batch: &str, so: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/batch/{batch}");
        self.ask("a batch to end", async |client| {
            let answer = client.try_send(client.request(Method::GET, &path)).await.map_err(|e| format!("{e:?}"))?;
            let data = answer.body["data"].clone();
            if data["completedAt"].is_string() && so(&data) { Ok(data) } else { Err(answer.text) }
        })
        .await
    }

    /// Leaves a message in the middle of its way when the worker is killed, so that there is a lease to take back: now, where
    /// the worker is a process of its own, or with the next start.
    pub(crate) async fn leave_work_behind(&mut self) {
        self.silent.store(true, Ordering::SeqCst);
        let seen = self.s.gateway.attempts().len();
        let ids = self.contacts[..3].to_vec();
        let batch = self.post("/batch/send", json!({ "contactIds": ids, "content": "Hello" })).await;
        self.left.push((text(&batch["id"]), 3));
        self.s.gateway.wait_for_attempts(seen + 3).await;
        if matches!(self.s.runs, Runs::Split(_)) {
            self.process(Role::Worker).restart().await;
        }
    }

    /// The gateway answers from now on.
    pub(crate) fn answer_again(&self) {
        self.silent.store(false, Ordering::SeqCst);
        self.s.gateway.release();
    }

    /// Uses everything once that may come by the process of this role: every kind of batch, a schedule, a pause and a retry.
    pub(crate) async fn use_everything(&mut self, role: Role) -> Started {
        self.nth += 1;
        let mut batches = std::mem::take(&mut self.left);
        // Passwords are slow to hash on purpose, and no worker or scheduler ever sees one.
        if matches!(role, Role::Serve | Role::Api) {
            self.sign_in().await;
        }
        self.label().await;
        let people: Vec<Value> = (0..3)
            .map(|i| json!({ "phoneE164": format!("+6011{:08}", 10_000_000 + self.nth * 10 + i), "name": "New" }))
            .collect();
        let import = self.post("/batch/import", json!({ "contacts": people })).await;
        batches.push((text(&import["id"]), 3));
        let ids = self.contacts.clone();
        let soon = domain::Timestamp(
            i64::try_from(
                SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after it").as_millis() + 1_500,
            )
            .expect("fits"),
        );
        let later = json!({ "contactIds": &ids[20..23], "content": "Later", "scheduleAt": soon.to_rfc3339() });
        let scheduled = self.post("/batch/send", later).await;
        batches.push((text(&scheduled["id"]), 3));
        let all = self.post("/batch/send", json!({ "contactIds": &ids[..20], "content": "Hello {{ name }}" })).await;
        let audience = json!({ "audience": { "tagsAll": ["few"] }, "content": "Hello" });
        let few = self.post("/batch/send", audience).await;
        batches.push((text(&few["id"]), 6));
        let tags = json!({ "contactIds": &ids[..10], "tags": [format!("t{}", self.nth)], "operation": "add" });
        let tagged = self.post("/batch/tags", tags).await;
        batches.push((text(&tagged["id"]), 10));
        // More than the slots of one claim, and nobody whose message is refused once.
        let slow = json!({ "contactIds": &ids[20..39], "content": "Slowly", "ratePerMinute": 900 });
        let slow = text(&self.post("/batch/send", slow).await["id"]);
        self.steer(&format!("/batch/{slow}/pause")).await;
        self.steer(&format!("/batch/{slow}/resume")).await;
        batches.push((slow, 19));
        // Nothing is sent of it: its job ends without an outcome.
        let nobody = self.post("/batch/send", json!({ "contactIds": &ids[39..], "content": "Never" })).await;
        batches.push((text(&nobody["id"]), 0));
        let all = text(&all["id"]);
        // One that was refused when nobody could hear it was tried again, and is not refused any more.
        if self.processed(&all, 20).await["failedCount"] == json!(1) {
            self.post(&format!("/batch/{all}/retry"), json!({})).await;
        }
        batches.push((all, 20));
        Started { batches, messages: vec![self.talk().await] }
    }

    /// Somebody new writes, is read and answered, and wants no campaigns any more.
    async fn talk(&mut self) -> (i64, String) {
        let phone = format!("+6012{:08}", 90_000_000 + self.nth);
        let made = self.post_bare("/customers/", json!({ "name": "Somebody", "phone": &phone })).await;
        let customer = made["id"].as_i64().expect("a number");
        let said = json!({ "phone": &phone, "content": "stop", "whatsapp_id": format!("in-{phone}") });
        self.ask("a report to be taken", async |client| {
            let answer = reporter(client).try_tell("/messages/inbox", &said).await.map_err(|e| format!("{e:?}"))?;
            if answer.status == 200 { Ok(()) } else { Err(format!("{} {}", answer.status, answer.text)) }
        })
        .await;
        self.steer(&format!("/customers/{customer}/read")).await;
        let text = format!("reply {phone}");
        self.post_bare("/messages/send", json!({ "customer_id": customer, "content": &text })).await;
        self.written.push(text.clone());
        (customer, text)
    }

    /// Waits until a customer's history says that a message with this text was sent; there is one.
    async fn sent(&mut self, customer: i64, text: &str) {
        let path = format!("/messages/{customer}");
        self.ask("a message to be sent", async |client| {
            let answer = client.try_send(client.request(Method::GET, &path)).await.map_err(|e| format!("{e:?}"))?;
            let messages = answer.body.as_array().ok_or_else(|| answer.text.clone())?;
            let is = |message: &&Value, content: &str| message["content"].as_str() == Some(content);
            let ours: Vec<_> = messages.iter().filter(|message| is(message, text)).collect();
            assert!(ours.len() < 2, "written twice: {ours:?}");
            // What they wrote is there once too, and was answered once.
            let theirs = messages.iter().filter(|message| is(message, "stop")).count();
            let answers = messages.iter().filter(|m| m["direction"] == "outbound").count() - ours.len();
            assert!(theirs < 2 && answers < 2, "taken in twice: {messages:?}");
            match ours.as_slice() {
                [one] if one["ack"].as_i64() >= Some(1) && (theirs, answers) == (1, 1) => Ok(()),
                _ => Err(answer.text.clone()),
            }
        })
        .await;
    }

    /// Waits until all that was started has ended as it should: nothing is lost. True when the fault was `hit` by then, and
    /// a process that it killed is up again.
    pub(crate) async fn ended_with(&mut self, started: &Started, hit: impl Fn() -> bool) -> bool {
        for (batch, successes) in &started.batches {
            let done = self.ended(batch, *successes).await;
            assert_eq!((&done["status"], &done["failedCount"]), (&json!("COMPLETED"), &json!(0)), "{done}");
        }
        for (customer, text) in &started.messages {
            self.sent(*customer, text).await;
        }
        let hit = hit();
        self.heal().await;
        hit
    }

    /// Nothing was sent twice, and the ledger agrees with itself and with what the gateway says that it sent, id by id.
    pub(crate) async fn assert_consistent(&mut self, started: &Started) {
        // Leases and rings of what has ended may be on their way.
        let program = self.s.program.clone();
        eventually("the ledger to agree with itself", PATIENCE, async || {
            let doctor = program.output(&["doctor"], "").await;
            let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
            let agrees = said.contains("ok    ledger") && !said.contains("FAIL  ledger");
            // The gateway inside is asked as well; a worker's simulator remembers nothing.
            let inside = self.simulator && matches!(self.s.runs, Runs::Embedded(_));
            let same = !inside || said.contains("ok    messages") && said.contains("id by id");
            if agrees && same { Ok(()) } else { Err(said) }
        })
        .await;
        if self.simulator {
            return;
        }
        for (batch, _) in &started.batches {
            for item in self.s.items(batch).await {
                if let Some(id) = item["messageId"].as_str() {
                    self.by_ledger.insert(id.to_owned(), text(&item["status"]));
                }
            }
        }
        let by_ledger = &self.by_ledger;
        let sent = self.s.gateway.sent();
        let by_gateway: HashSet<&str> = sent.iter().map(|attempt| attempt.id.as_str()).collect();
        assert_eq!(by_gateway.len(), sent.len(), "an id took effect twice");
        for (id, status) in by_ledger {
            let took_effect = by_gateway.contains(id.as_str());
            let agrees = match status.as_str() {
                "succeeded" => took_effect,
                "unknown" | "sending" => true,
                _ => !took_effect,
            };
            assert!(agrees, "message {id} is {status}, and took effect: {took_effect}");
        }
        for text in &self.written {
            let times = sent.iter().filter(|attempt| attempt.text == *text).count();
            assert_eq!(times, 1, "{text:?} took effect {times} times");
        }
        let is_single = |attempt: &Attempt| attempt.to.starts_with("60129") || self.written.contains(&attempt.text);
        let strangers: Vec<_> =
            sent.iter().filter(|a| !by_ledger.contains_key(&a.id) && !is_single(a)).map(|a| &a.id).collect();
        assert!(strangers.is_empty(), "the ledger knows nothing of {strangers:?}");
    }
}
