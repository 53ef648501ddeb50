//! A running Paceline of either kind, and what must hold of it in the end.

use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use support::{Client, Cluster, ClusterBuilder, Gateway, Method, Paceline, Program, Response, eventually};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_paceline");

/// How long anything may take on a busy machine, an outage and what follows it included.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Limits that would only be in the way.
const UNLIMITED: [(&str, &str); 4] = [
    ("PACELINE_LIMIT_LOGIN_PER_MIN", "0"),
    ("PACELINE_LIMIT_BATCH_PER_MIN", "0"),
    ("PACELINE_LIMIT_GENERAL_PER_MIN", "0"),
    ("PACELINE_SENDER_RATE_PER_MIN", "0"),
];

/// A gateway, whoever sends through it, and an admin.
pub(crate) struct World<P> {
    pub(crate) gateway: Gateway,
    pub(crate) admin: Client,
    /// For commands: it sees what the processes see, but goes past every proxy.
    pub(crate) program: Program,
    pub(crate) runs: P,
}

/// All roles, each in a process of its own.
pub(crate) type Split = World<Cluster>;

/// One process on SQLite.
pub(crate) type Embedded = World<Paceline>;

impl Split {
    /// Starts it as `make` says.
    pub(crate) async fn start(make: impl FnOnce(ClusterBuilder) -> ClusterBuilder) -> Self {
        let gateway = Gateway::start().await;
        let usual = UNLIMITED.iter().fold(Cluster::of(BINARY), |cluster, (name, value)| cluster.env(*name, *value));
        let cluster = make(usual.gateway(&gateway)).start().await;
        let admin = cluster.client("admin").await;
        Self { gateway, admin, program: cluster.program.clone(), runs: cluster }
    }

    /// What must hold in the end; see [`World::served`].
    pub(crate) async fn whole(&self, batches: &[String], recipients: usize) {
        self.served(batches, recipients).await;
        self.runs.processes().for_each(sound);
    }

    /// How often all processes together have counted something.
    pub(crate) async fn counted(&self, metric: &str) -> f64 {
        let mut sum = 0.0;
        for process in self.runs.processes() {
            sum += counted(process, metric, "").await;
        }
        sum
    }

    /// Waits until every process says that all it needs is there.
    pub(crate) async fn ready(&self) {
        for process in self.runs.processes() {
            process.ready().await;
        }
    }
}

impl Embedded {
    /// Starts it as `make` says.
    pub(crate) async fn start(make: impl FnOnce(Program) -> Program) -> Self {
        let gateway = Gateway::start().await;
        let usual = UNLIMITED.iter().fold(Program::new(BINARY), |program, (name, value)| program.env(*name, *value));
        let program =
            make(usual).env("PACELINE_GATEWAY_URL", gateway.url()).env("PACELINE_GATEWAY_SECRET", "gateway-secret");
        let serve = program.start(&["serve"]).await;
        let admin = serve.client().with_token(program.token_for("admin").await);
        Self { gateway, admin, program, runs: serve }
    }

    /// What must hold in the end; see [`World::served`].
    pub(crate) async fn whole(&self, batches: &[String], recipients: usize) {
        self.served(batches, recipients).await;
        sound(&self.runs);
    }
}

impl<P> World<P> {
    /// Imports contacts and returns their ids in order.
    pub(crate) async fn contacts(&self, count: usize) -> Vec<String> {
        let contacts: Vec<Value> = (0..count)
            .map(|i| json!({ "phoneE164": format!("+6012{:07}", 3_000_000 + i), "name": format!("Contact {i}") }))
            .collect();
        let id = accepted(self.admin.post("/batch/import", &json!({ "contacts": contacts })).await);
        let done = self.ended(&id).await;
        assert_eq!(done["successCount"], json!(count), "{done}");
        let mut ids = Vec::with_capacity(count);
        let mut cursor = String::new();
        loop {
            let page = self.admin.get(&format!("/batch/{id}/items?limit=1000{cursor}")).await.expect(200);
            ids.extend(page["data"].as_array().expect("a list").iter().map(|item| text(&item["contactId"])));
            match page["meta"]["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return ids,
            }
        }
    }

    /// Begins a send, at so many messages a minute.
    pub(crate) async fn send(&self, ids: &[String], rate_per_minute: u32) -> String {
        accepted(self.try_send(ids, json!({ "ratePerMinute": rate_per_minute })).await.expect("an answer"))
    }

    /// Asks for a send, whatever comes of it.
    pub(crate) async fn try_send(&self, ids: &[String], more: Value) -> Result<Response, String> {
        let mut body = json!({ "contactIds": ids, "content": "Hello {{ name }}" });
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        let request = self.admin.request(Method::POST, "/batch/send").json(&body);
        self.admin.try_send(request).await.map_err(|error| format!("{error:?}"))
    }

    /// Waits until the batch has ended. Nobody need answer meanwhile.
    pub(crate) async fn ended(&self, id: &str) -> Value {
        let path = format!("/batch/{id}");
        eventually(&format!("the end of batch {id}"), PATIENCE, async || {
            let answer = self.admin.try_send(self.admin.request(Method::GET, &path)).await;
            let answer = answer.map_err(|error| format!("{error:?}"))?;
            let batch = &answer.body["data"];
            if answer.status == 200 && batch["completedAt"].is_string() { Ok(batch.clone()) } else { Err(answer.text) }
        })
        .await
    }

    /// The batches end by themselves, to each of the same recipients exactly one message of each batch went out, under one
    /// id, and the ledger agrees with itself.
    pub(crate) async fn served(&self, batches: &[String], recipients: usize) {
        for id in batches {
            let done = self.ended(id).await;
            let counts = (&done["status"], &done["successCount"], &done["failedCount"]);
            assert_eq!(counts, (&json!("COMPLETED"), &json!(recipients), &json!(0)), "{done}");
        }
        let by_recipient = self.gateway.sent_by_recipient();
        let wrong: HashMap<_, _> =
            by_recipient.iter().filter(|(_, times)| usize::try_from(**times) != Ok(batches.len())).collect();
        assert_eq!((by_recipient.len(), wrong), (recipients, HashMap::new()), "each is written to once");
        let repeats = self.gateway.attempts().len() - recipients * batches.len();
        figure("repeats at the gateway", repeats);
        let output = self.program.output(&["doctor"], "").await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("every batch's counts equal its items") && !said.contains("FAIL  ledger"), "{said}");
    }
}

/// A process that never panicked.
pub(crate) fn sound(process: &Paceline) {
    for sign in ["panicked", "\"panic\"", " panic "] {
        assert!(!process.log().contains(sign), "{sign:?} is in the log:\n{}", process.log().tail(200));
    }
}

/// How often a process has counted something, over all its labels that have this in them.
pub(crate) async fn counted(process: &Paceline, metric: &str, label: &str) -> f64 {
    let client = process.client();
    let Ok(answer) = client.try_send(client.request(Method::GET, "/metrics").header("accept", "text/plain")).await
    else {
        return 0.0;
    };
    let of_metric = |line: &&str| {
        let labels = line.strip_prefix(metric);
        labels.is_some_and(|rest| (rest.starts_with('{') || rest.starts_with(' ')) && rest.contains(label))
    };
    let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
    answer.text.lines().filter(of_metric).filter_map(value).sum()
}

/// Waits until a process has counted so many more.
pub(crate) async fn counted_more(process: &Paceline, metric: &str, label: &str, more: f64) {
    let before = counted(process, metric, label).await;
    eventually(&format!("{more} more of {metric} {label}"), PATIENCE, async || {
        let now = counted(process, metric, label).await;
        if now >= before + more { Ok(()) } else { Err(now - before) }
    })
    .await;
}

/// The id of an accepted batch.
#[track_caller]
pub(crate) fn accepted(answer: Response) -> String {
    let body = answer.expect(202);
    assert_eq!(body["ok"], json!(true), "{body}");
    text(&body["data"]["id"])
}

/// A refusal that a client can wait out: 503, in the envelope, with a reason that has this in it.
#[track_caller]
pub(crate) fn refused(answer: &Response, reason: &str) {
    assert_eq!((answer.status, &answer.body["ok"]), (503, &json!(false)), "{}", answer.text);
    assert!(answer.body["error"]["message"].as_str().is_some_and(|m| m.contains(reason)), "{}", answer.text);
    assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
}

/// What `/readyz` says.
pub(crate) async fn readiness(process: &Paceline) -> Result<(u16, Value), String> {
    let client = process.client();
    let answer = client.try_send(client.request(Method::GET, "/readyz")).await.map_err(|error| format!("{error:?}"))?;
    Ok((answer.status, answer.body))
}

/// Waits until `/readyz` says that a part is away.
pub(crate) async fn not_ready(process: &Paceline, part: &str) {
    eventually(&format!("{part} to be away"), PATIENCE, async || match readiness(process).await? {
        (503, body) if body[part] == "away" => Ok(()),
        (status, body) => Err(format!("{status} {body}")),
    })
    .await;
}

#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no string: {value}")).to_owned()
}

/// Tells how long something took since `began`, and panics when it was longer than `most`.
#[track_caller]
pub(crate) fn within(most: Duration, began: Instant, what: &str) {
    let took = began.elapsed();
    figure(what, format!("{:.1} s", took.as_secs_f64()));
    assert!(took <= most, "{what} took {took:?}");
}

/// A figure for whoever runs the tests with `--nocapture`.
#[expect(clippy::print_stderr, reason = "what was measured, beside the test's name")]
pub(crate) fn figure(what: &str, value: impl std::fmt::Display) {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    eprintln!("{test}: {what}: {value}");
}
