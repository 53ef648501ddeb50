//! Sessions and refresh tokens that nobody can use any more are thrown away.

use crate::ledger;
use domain::users::{self, ENDED_KEPT, REFRESH_TTL, Refreshed, SessionAccess};
use domain::{SessionId, Timestamp, UserId, db};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sea_orm::DatabaseConnection;
use std::time::Duration;

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const STEP: u64 = 3;

async fn prune_all(db: &DatabaseConnection, now: Timestamp) {
    let mut steps = 0;
    loop {
        let gone = users::prune(db, now, STEP).await.expect("pruned");
        assert!(gone <= 3 * STEP, "{gone} rows in one step");
        if gone == 0 {
            return;
        }
        steps += 1;
        assert!(steps < 100, "no end");
    }
}

async fn count(db: &DatabaseConnection, table: &str) -> i64 {
    ledger::number(db, &format!("SELECT count(*) AS n FROM {table}")).await
}

#[tokio::test]
async fn sessions_that_ended_are_pruned_in_steps_and_those_that_go_on_stay() {
    let db = ledger::open().await;
    let rng = &mut StdRng::seed_from_u64(1);
    db::execute(
        &db,
        "INSERT INTO users (id, email, full_name, role, password_hash, created_at, updated_at)
         VALUES (1, 'a@b.c', 'A', 'admin', '', 0, 0)",
        [],
    )
    .await
    .expect("written");
    let mut opened = Vec::new();
    for _ in 0..10 {
        opened
            .push(users::open_session(&db, NOW, UserId(1), Some("10.0.0.1"), None, false, rng).await.expect("opened"));
    }
    // Tokens of the command line: they end soon, and come from no address.
    for _ in 0..10 {
        users::open_token_session(&db, NOW, UserId(1), Duration::from_secs(60)).await.expect("opened");
    }
    let tokens = async || count(&db, "refresh_tokens").await;
    let sessions = async || count(&db, "sessions").await;
    prune_all(&db, NOW).await;
    assert_eq!((sessions().await, tokens().await), (20, 10), "all go on");

    // Four sign out; the address they came from is remembered for a while, their tokens are not.
    for one in &opened[..4] {
        drop(users::revoke(&db, NOW, one.session).await.expect("revoked"));
    }
    // Who has not heard of an end within the first minute reads of it.
    prune_all(&db, NOW.plus(Duration::from_secs(61))).await;
    assert_eq!((sessions().await, tokens().await), (20, 6));
    let later = NOW.plus(Duration::from_secs(121));
    prune_all(&db, later).await;
    assert_eq!((sessions().await, tokens().await), (10, 6));
    assert_eq!(users::known_addresses(&db, "a@b.c").await.expect("read"), ["10.0.0.1"]);

    // One goes on: its used token tells a thief as long as it could be used.
    let half = NOW.plus(REFRESH_TTL / 2);
    let going = &opened[9];
    let Refreshed::Granted { signed_in, .. } =
        users::refresh(&db, half, &going.refresh_token, rng).await.expect("refreshed").value
    else {
        panic!("not granted")
    };
    prune_all(&db, half).await;
    assert_eq!((sessions().await, tokens().await), (10, 7));

    // The others expire, and are forgotten a while later.
    let expired = NOW.plus(REFRESH_TTL);
    prune_all(&db, expired).await;
    assert_eq!((sessions().await, tokens().await), (6, 1), "those revoked long ago are gone, and every token but one");
    assert_eq!(users::standing(&db, expired, going.session).await.expect("read"), Some(SessionAccess::Open));
    // The one that was refreshed went on for as long again.
    let long_after = half.plus(REFRESH_TTL).plus(ENDED_KEPT);
    prune_all(&db, long_after).await;
    assert_eq!((sessions().await, tokens().await), (0, 0));
    let refused = users::refresh(&db, long_after, &signed_in.refresh_token, rng).await.expect("asked");
    assert!(matches!(refused.value, Refreshed::Refused));
    assert_eq!(users::standing(&db, expired, SessionId(1)).await.expect("read"), None);
}
