//! A pace that four workers keep together while they come and go.

use crate::setup::{Runs, Setup};
use serde_json::json;
use std::time::Duration;

/// Messages a minute, and the time between two of them.
const RATE: u32 = 3_000;
const INTERVAL: Duration = Duration::from_millis(20);

/// Keeps every slot that a message left at or waited for.
const REMEMBER_SLOTS: &str = "CREATE TABLE slots (slot_us BIGINT NOT NULL);
    CREATE FUNCTION remember_slot() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN
            IF NEW.slot_us IS NOT NULL AND (TG_OP = 'INSERT' OR NEW.slot_us IS DISTINCT FROM OLD.slot_us) THEN
                INSERT INTO slots VALUES (NEW.slot_us);
            END IF;
            RETURN NULL;
        END $$;
    CREATE TRIGGER remember_slot AFTER INSERT OR UPDATE ON messages FOR EACH ROW EXECUTE FUNCTION remember_slot()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: a minute at a set pace"]
async fn four_workers_two_of_them_killed() {
    let mut s = Setup::split(&[]).await;
    let ids = s.contacts(3_000).await;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(s.program.elsewhere().start(&["worker"]).await);
    }
    let Runs::Split(cluster) = &s.runs else { unreachable!() };
    cluster.database.execute(REMEMBER_SLOTS).await;
    let batch = s.send(&ids, json!({ "ratePerMinute": RATE })).await;
    s.gateway.wait_for(600).await;
    let Runs::Split(cluster) = &s.runs else { unreachable!() };
    let owners = "SELECT count(DISTINCT lease_owner) FROM jobs WHERE state = 'running' AND kind = 'send_chunk'";
    let owners = cluster.database.number(owners).await;
    assert!(owners >= 2, "{owners} of four workers have the batch: its rings go to all who wait");
    others[0].kill9().await;
    s.gateway.wait_for(1_200).await;
    let Runs::Split(cluster) = &mut s.runs else { unreachable!() };
    cluster.workers[0].kill9().await;
    s.gateway.wait_for(1_600).await;
    others[0].restart().await;
    cluster.workers[0].restart().await;
    let done = s.ended(&batch).await;
    assert_eq!(done["successCount"], json!(3_000), "{done}");
    // What was promised, free of what the network and a busy machine add: no two slots are closer than the rate allows,
    // whoever handed them out, and so no window holds too many. Those that died with their worker are known to nobody.
    let Runs::Split(cluster) = &s.runs else { unreachable!() };
    let mut ledger = cluster.database.connect().await;
    let slots: Vec<i64> = sqlx::query_scalar("SELECT slot_us FROM slots ORDER BY slot_us")
        .fetch_all(&mut ledger)
        .await
        .expect("the slots");
    assert!(slots.len() >= 3_000, "each message had its slot: {}", slots.len());
    let interval_us = i64::try_from(INTERVAL.as_micros()).expect("small");
    assert!(slots.windows(2).all(|two| two[1] - two[0] >= interval_us), "two slots are closer than the rate allows");
    let there_were = (slots[slots.len() - 1] - slots[0]) / interval_us + 1;
    // How many a machine loses to two deaths depends on it; `paceline bench pace` measures it.
    println!("3000 messages in {} slots of {there_were}", slots.len());
    let mut at: Vec<_> = s.gateway.attempts().iter().map(|attempt| attempt.at).collect();
    at.sort();
    // A message leaves at its slot, or on a busy machine up to a second after it: those that leave within a second have slots
    // within two. Nothing is caught up beyond that.
    let allowed = 2 * 50 + 1;
    for (first, from) in at.iter().enumerate() {
        let within = at[first..].iter().take_while(|to| **to - *from < Duration::from_secs(1)).count();
        assert!(within <= allowed, "{within} messages within a second from message {first} on");
    }
    let total = at[at.len() - 1] - at[0];
    let slots = u32::try_from(at.len() - 1).expect("few");
    assert!(total + Duration::from_secs(1) >= INTERVAL * slots, "{slots} messages within {total:?}");
    s.audited().await;
}
