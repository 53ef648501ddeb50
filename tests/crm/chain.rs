//! The whole way, with the real gateway: from a reply to its last receipt, and from what a customer writes to the stream.
//! Embedded, the gateway is inside; split, api, worker, scheduler and gateway are processes of their own.

use crate::reports::{customer, history};
use crate::setup::{PATIENCE, Runs, SECRET, Setup};
use serde_json::{Value, json};
use std::collections::HashMap;
use support::{Events, Paceline, Program, eventually};

/// A network whose recipients read everything at once and answer all of it.
const EAGER: [(&str, &str); 8] = [
    ("PACELINE_SIMULATOR_ACKS", "true"),
    ("PACELINE_SIMULATOR_DELIVERED_RATE", "1"),
    ("PACELINE_SIMULATOR_READ_RATE", "1"),
    ("PACELINE_SIMULATOR_REPLY_RATE", "1"),
    ("PACELINE_SIMULATOR_ACK_DELAY_MAX_MS", "20"),
    ("PACELINE_SIMULATOR_READ_DELAY_MAX_MS", "20"),
    ("PACELINE_SIMULATOR_REPLY_DELAY_MAX_MS", "20"),
    ("PACELINE_LIMIT_GENERAL_PER_MIN", "0"),
];

/// The processes; the gateway's is `None` where it is inside.
pub(crate) struct Chain {
    pub(crate) s: Setup,
    gateway: Option<Paceline>,
}

impl Chain {
    pub(crate) async fn embedded(env: &[(&str, &str)]) -> Self {
        let inside = [("PACELINE_GATEWAY_URL", "")];
        let env: Vec<_> = EAGER.iter().chain(&inside).chain(env).copied().collect();
        Self { s: Setup::embedded(&env).await, gateway: None }
    }

    pub(crate) async fn split(env: &[(&str, &str)]) -> Self {
        // Known before it listens, and the same after each restart: workers are told once.
        let listen = format!("127.0.0.1:{}", servers::free_port().expect("a free port"));
        let url = format!("http://{listen}");
        let to_gateway = [("PACELINE_GATEWAY_URL", url.as_str())];
        let env: Vec<_> = EAGER.iter().chain(&to_gateway).chain(env).copied().collect();
        let s = Setup::split(&env).await;
        let mut program = Program::new(env!("CARGO_BIN_EXE_paceline"))
            .env("PACELINE_BACKEND_URL", s.api().url())
            .env("PACELINE_GATEWAY_SECRET", SECRET)
            .env("PACELINE_SQLITE_SYNCHRONOUS", "normal")
            .env("PACELINE_GATEWAY_LISTEN", &listen);
        for (name, value) in env.iter().filter(|(name, _)| name.contains("SIMULATOR")) {
            program = program.env(*name, *value);
        }
        let gateway = Some(program.start(&["gateway"]).await);
        Self { s, gateway }
    }

    /// What the network says that it did, where it can be asked.
    async fn stats(&self) -> Option<Value> {
        let gateway = self.gateway.as_ref()?;
        Some(gateway.client().get("/sim/stats").await.expect(200))
    }
}

async fn a_reply_goes_all_the_way(chain: Chain) {
    let s = &chain.s;
    let mut events = Events::open(&s.admin, None).await;
    let id = customer(s, "60123456789").await;
    assert_eq!(events.next().await.data["type"], "new_customer");
    let sent = s.admin.post("/messages/send", &json!({ "customer_id": id, "content": "Hello" })).await.expect(200);

    // Sent, delivered, read: in this order, each once. The customer's answer may overtake them: it is another message.
    let (mut acks, mut seen, mut answers, mut last) = (Vec::new(), 0, Vec::new(), 0);
    while acks.last() != Some(&3) || seen == 0 || answers.is_empty() {
        let event = events.next().await;
        assert!(event.id > last, "{event:?} after {last}");
        last = event.id;
        assert_eq!(event.data["customer_id"], id, "{event:?}");
        match event.data["type"].as_str() {
            Some("message_ack") => {
                assert_eq!(event.data["message_id"], sent["id"], "{event:?}");
                acks.push(event.data["ack"].as_i64().expect("a level"));
            }
            Some("message_seen") => seen += 1,
            Some("inbound_message") => answers.push(event.data["message"]["content"].clone()),
            other => panic!("{other:?}: {event:?}"),
        }
    }
    assert_eq!((acks, seen, answers), (vec![1, 2, 3], 1, vec![json!("Thanks!")]));
    let found = history(s, id).await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!((&found[0]["ack"], &found[0]["status"]), (&json!(3), &json!("read")));
    assert!(found[0]["whatsapp_id"].as_str().is_some_and(|id| !id.is_empty()), "{found:?}");
    assert_eq!(found[1]["direction"], "inbound");
    if let Some(stats) = chain.stats().await {
        assert_eq!((&stats["sent"], &stats["duplicates"]), (&json!(1), &json!(0)), "{stats}");
    }
    s.audited().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_goes_all_the_way_embedded() {
    a_reply_goes_all_the_way(Chain::embedded(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_goes_all_the_way_split() {
    a_reply_goes_all_the_way(Chain::split(&[]).await).await;
}

/// How many are written to while their processes are killed.
const RECIPIENTS: usize = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_ends_whole_and_once_while_gateway_and_worker_are_killed() {
    let mut chain = Chain::split(&[]).await;
    let ids = chain.s.contacts(RECIPIENTS).await;
    let batch = chain.s.send(&ids, json!({ "ratePerMinute": 6_000 })).await;
    for time in 1..=6 {
        let some = RECIPIENTS * time / 8;
        let gateway = chain.gateway.as_ref().expect("a process of its own").client();
        eventually("some to be sent", PATIENCE, async || {
            let stats = gateway.get("/sim/stats").await.expect(200);
            if stats["sent"].as_u64() >= Some(some as u64) { Ok(()) } else { Err(stats.to_string()) }
        })
        .await;
        if time % 2 == 0 {
            chain.gateway.as_mut().expect("a process of its own").restart().await;
        } else if let Runs::Split(cluster) = &mut chain.s.runs {
            for worker in &mut cluster.workers {
                worker.restart().await;
            }
        }
    }
    let done = chain.s.ended(&batch).await;
    assert_eq!((&done["status"], &done["successCount"]), (&json!("COMPLETED"), &json!(RECIPIENTS)), "{done}");
    // Everybody reads it and answers: all of that is told as well, whatever was killed in between.
    eventually("every message to be read and answered", PATIENCE, async || {
        let numbers = chain.s.admin.get("/metrics").await.expect(200);
        if numbers["messages_received_total"] == json!(RECIPIENTS) { Ok(()) } else { Err(numbers.to_string()) }
    })
    .await;
    let mut by_text: HashMap<String, usize> = HashMap::new();
    for id in ids.iter().step_by(20) {
        // A message's reports keep their order; those of two messages may come in any, so an answer may be there before the
        // last receipt of what it answers.
        let mut theirs = serde_json::Value::Null;
        eventually("the message to be read", PATIENCE, async || {
            let found = history(&chain.s, id.parse().expect("a number")).await;
            assert_eq!(found.len(), 2, "{found:?}");
            // The answer may be there first: a message of a batch is written with its outcome, which a kill delays.
            let of = |way: &str| found.iter().find(|message| message["direction"] == way).expect("one each way");
            let ours = of("outbound");
            theirs = of("inbound").clone();
            let read = (&ours["ack"], &ours["status"]) == (&json!(3), &json!("read"));
            if read { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
        *by_text.entry(theirs["content"].to_string()).or_default() += 1;
    }
    assert_eq!(by_text.len(), 1, "{by_text:?}");
    let stats = chain.stats().await.expect("a process of its own");
    assert_eq!((&stats["sent"], &stats["duplicates"]), (&json!(RECIPIENTS), &json!(0)), "{stats}");
    chain.s.audited().await;
}
