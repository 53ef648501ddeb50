//! Users who never stop: batches of all kinds, steered at random.

use crate::rig::Setup;
use domain::Timestamp;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::task::JoinSet;

/// How many contacts there are at first.
pub(super) const CONTACTS: usize = 2_000;

/// How long a request is repeated under its key.
const PATIENCE: Duration = Duration::from_secs(90);

/// Requests under way at once.
const AT_ONCE: usize = 4;

/// What became of a request for a batch.
#[derive(Debug)]
pub(super) enum Asked {
    /// It was accepted under this id.
    Accepted(String),
    /// It was refused as a whole.
    Refused(String),
    /// There was no answer, as often as it was asked.
    Unanswered,
}

/// What users do.
pub(super) struct Users {
    rng: StdRng,
    new_people: usize,
    asking: JoinSet<Asked>,
    /// Batches that were accepted.
    pub(super) accepted: Vec<String>,
    /// What was refused, and why.
    pub(super) refused: Vec<String>,
    /// Requests that were never answered: nobody knows what became of them.
    pub(super) unanswered: usize,
}

impl Users {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            new_people: 0,
            asking: JoinSet::new(),
            accepted: Vec::new(),
            refused: Vec::new(),
            unanswered: 0,
        }
    }

    /// Takes in what was answered, and asks for one more thing.
    pub(super) fn act(&mut self, setup: &Setup) {
        while let Some(done) = self.asking.try_join_next() {
            self.take(done);
        }
        if self.rng.random_bool(0.4)
            && let Some(id) = self.accepted.choose(&mut self.rng)
        {
            let what = ["pause", "resume", "resume", "cancel", "retry"][self.rng.random_range(0..5)];
            let request = setup.request(Method::POST, &format!("/batch/{id}/{what}"));
            // Whether it makes sense in the batch's state is not known here, and no answer is awaited.
            tokio::spawn(request.send());
        }
        if self.asking.len() < AT_ONCE {
            let (path, body) = self.something();
            let key = uuid::Uuid::new_v4().to_string();
            let request = setup.request(Method::POST, path).header("Idempotency-Key", key).json(&body);
            self.asking.spawn(ask(request.timeout(Duration::from_secs(15))));
        }
    }

    /// Waits for the answers that are still to come.
    pub(super) async fn finish(&mut self) {
        while let Some(done) = self.asking.join_next().await {
            self.take(done);
        }
    }

    fn take(&mut self, done: Result<Asked, tokio::task::JoinError>) {
        match done {
            Ok(Asked::Accepted(id)) => self.accepted.push(id),
            Ok(Asked::Refused(why)) => self.refused.push(why),
            Ok(Asked::Unanswered) | Err(_) => self.unanswered += 1,
        }
    }

    fn contacts(&mut self, most: usize) -> Vec<String> {
        let count = self.rng.random_range(1..=most);
        let first = self.rng.random_range(1..=CONTACTS);
        (0..count).map(|i| (1 + (first + i) % CONTACTS).to_string()).collect()
    }

    fn something(&mut self) -> (&'static str, Value) {
        match self.rng.random_range(0..20) {
            0..12 => {
                let mut body = json!({ "contactIds": self.contacts(300), "content": "Hello {{ name }}" });
                if self.rng.random_bool(0.5) {
                    body["ratePerMinute"] = json!(self.rng.random_range(600..30_000));
                }
                if self.rng.random_bool(0.2) {
                    body["scheduleAt"] = json!(in_a_moment(self.rng.random_range(500..5_000)));
                }
                if self.rng.random_bool(0.2) {
                    body["onUnknown"] = json!("hold");
                }
                ("/batch/send", body)
            }
            12..14 => ("/batch/send", json!({ "audience": { "tagsAny": ["few"] }, "content": "Hello" })),
            14..16 => {
                let people: Vec<Value> = (0..self.rng.random_range(1..200))
                    .map(|_| {
                        self.new_people += 1;
                        json!({ "phoneE164": format!("+6012{:07}", 3_000_000 + self.new_people), "name": "New" })
                    })
                    .collect();
                ("/batch/import", json!({ "contacts": people, "tags": ["new"] }))
            }
            16..19 => {
                let tag = if self.rng.random_bool(0.3) { "few" } else { "some" };
                ("/batch/tags", json!({ "contactIds": self.contacts(50), "tags": [tag], "operation": "add" }))
            }
            _ => ("/batch/delete", json!({ "contactIds": self.contacts(3) })),
        }
    }
}

fn in_a_moment(ms: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Timestamp(i64::try_from(now).unwrap_or(0)).plus(Duration::from_millis(ms)).to_rfc3339()
}

/// Asks under the same key until there is an answer.
async fn ask(request: RequestBuilder) -> Asked {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Some(request) = request.try_clone()
            && let Ok(answer) = request.send().await
        {
            let status = answer.status();
            let body: Value = answer.json().await.unwrap_or_default();
            let id = body["data"]["id"].as_str();
            match (status.as_u16(), id) {
                (202, Some(id)) => return Asked::Accepted(id.to_owned()),
                // The first under this key may still be under way, or its process was killed.
                (409 | 429 | 500.., _) => {}
                // An audience of nobody is refused, which is right when nobody has the tag yet.
                _ => return Asked::Refused(format!("{status} {}", body["error"]["message"])),
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Asked::Unanswered
}
