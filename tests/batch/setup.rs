//! A running Paceline of either kind.

use serde_json::{Value, json};
use std::time::Duration;
use support::{Client, Cluster, Gateway, Paceline, Program, eventually};

/// The secret that the processes share with the gateway.
pub(crate) const SECRET: &str = "gateway-secret";

const BINARY: &str = env!("CARGO_BIN_EXE_paceline");

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running Paceline, its gateway and an admin.
pub(crate) struct Setup {
    pub(crate) gateway: Gateway,
    pub(crate) admin: Client,
    pub(crate) program: Program,
    pub(crate) runs: Runs,
}

/// What runs.
pub(crate) enum Runs {
    Embedded(Box<Paceline>),
    Split(Box<Cluster>),
}

impl Setup {
    pub(crate) async fn embedded(env: &[(&str, &str)]) -> Self {
        let gateway = Gateway::start().await;
        let mut program = Program::new(BINARY)
            .env("PACELINE_GATEWAY_URL", gateway.url())
            .env("PACELINE_GATEWAY_SECRET", SECRET)
            .env("PACELINE_SQLITE_SYNCHRONOUS", "normal");
        for (name, value) in unlimited().iter().chain(env) {
            program = program.env(*name, *value);
        }
        let serve = program.start(&["serve"]).await;
        let admin = serve.client().with_token(program.token_for("admin").await);
        Self { gateway, admin, program, runs: Runs::Embedded(Box::new(serve)) }
    }

    pub(crate) async fn split(env: &[(&str, &str)]) -> Self {
        let gateway = Gateway::start().await;
        let mut cluster = Cluster::of(BINARY).gateway(&gateway);
        for (name, value) in unlimited().iter().chain(env) {
            cluster = cluster.env(*name, *value);
        }
        let cluster = cluster.start().await;
        let admin = cluster.client("admin").await;
        let program = cluster.program.clone();
        Self { gateway, admin, program, runs: Runs::Split(Box::new(cluster)) }
    }

    pub(crate) fn api(&self) -> &Paceline {
        match &self.runs {
            Runs::Embedded(serve) => serve,
            Runs::Split(cluster) => &cluster.api,
        }
    }

    /// Imports contacts `+60123000000 + i` and returns their ids in order.
    pub(crate) async fn contacts(&self, count: usize) -> Vec<String> {
        let contacts: Vec<Value> = (0..count)
            .map(|i| json!({ "phoneE164": format!("+6012{:07}", 3_000_000 + i), "name": format!("Contact {i}") }))
            .collect();
        let body = json!({ "contacts": contacts, "tags": ["imported"] });
        let id = accepted(self.admin.post("/batch/import", &body).await.expect(202));
        let done = self.ended(&id).await;
        assert_eq!(done["successCount"], json!(count), "{done}");
        self.items(&id).await.iter().map(|item| text(&item["contactId"])).collect()
    }

    pub(crate) async fn send(&self, ids: &[String], more: Value) -> String {
        let mut body = json!({ "contactIds": ids, "content": "Hello {{ name }}" });
        merge(&mut body, more);
        accepted(self.admin.post("/batch/send", &body).await.expect(202))
    }

    pub(crate) async fn get(&self, id: &str) -> Value {
        self.admin.get(&format!("/batch/{id}")).await.expect(200)["data"].clone()
    }

    /// Waits until the batch has ended.
    pub(crate) async fn ended(&self, id: &str) -> Value {
        self.wait(id, "its end", |batch| batch["completedAt"].is_string()).await
    }

    /// Waits until the batch is so.
    pub(crate) async fn wait(&self, id: &str, what: &str, so: impl Fn(&Value) -> bool) -> Value {
        eventually(what, PATIENCE, async || {
            let batch = self.get(id).await;
            if so(&batch) { Ok(batch) } else { Err(batch.to_string()) }
        })
        .await
    }

    pub(crate) async fn items(&self, id: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.admin.get(&format!("/batch/{id}/items?limit=1000{cursor}")).await.expect(200);
            items.extend(page["data"].as_array().expect("a list").iter().cloned());
            match page["meta"]["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    /// The ledger agrees with itself, and with the gateway's store where the gateway is Paceline's.
    pub(crate) async fn audited(&self) {
        let output = self.program.output(&["doctor"], "").await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!said.contains("FAIL  ledger") && !said.contains("FAIL  messages"), "{said}");
        assert!(said.contains("every batch's counts equal its items"), "{said}");
    }
}

fn unlimited() -> [(&'static str, &'static str); 3] {
    [
        ("PACELINE_LIMIT_BATCH_PER_MIN", "0"),
        ("PACELINE_LIMIT_GENERAL_PER_MIN", "0"),
        ("PACELINE_SENDER_RATE_PER_MIN", "0"),
    ]
}

/// The id of an accepted batch.
pub(crate) fn accepted(answer: Value) -> String {
    assert_eq!(answer["ok"], json!(true), "{answer}");
    text(&answer["data"]["id"])
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no string: {value}")).to_owned()
}

fn merge(into: &mut Value, more: Value) {
    if let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
}

/// The same test on both set-ups.
macro_rules! on_both {
    ($(#[$meta:meta])* $name:ident ($($env:expr),*) $body:expr) => {
        mod $name {
            use super::*;

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn embedded() {
                let body: fn(std::rc::Rc<$crate::setup::Setup>) -> futures::future::LocalBoxFuture<'static, ()> = $body;
                body($crate::setup::Setup::embedded(&[$($env),*]).await.into()).await;
            }

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn split() {
                let body: fn(std::rc::Rc<$crate::setup::Setup>) -> futures::future::LocalBoxFuture<'static, ()> = $body;
                body($crate::setup::Setup::split(&[$($env),*]).await.into()).await;
            }
        }
    };
}
pub(crate) use on_both;
