//! What takes too long to be played by the clock on the wall.

use crate::gateway::Mood;
use crate::ledger;
use crate::world::{PATIENCE, World};
use domain::jobs::{self, Claim};
use domain::{JobId, JobKind, Lane};
use sea_orm::ConnectionTrait;

#[test]
fn ten_minutes_without_a_gateway_cost_no_attempts() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for mood in [Mood::Away, Mood::Broken] {
            let mut world = World::new().await;
            world.begin(3).await;
            world.create_plain(40).await;
            world.gateway.mood = mood;
            for _ in 0..600 {
                world.run_for(1_000).await;
            }
            // The first few, and one every thirty seconds.
            assert!(world.gateway.asked <= 50, "{mood:?}: asked {} times", world.gateway.asked);
            world.come_to_the_end().await;
            world.check_the_end().await;
            let most = crate::ledger::number(&world.db, "SELECT max(attempts) AS n FROM messages").await;
            let failed = crate::ledger::number(&world.db, "SELECT sum(failed) AS n FROM batches").await;
            let allowed = if mood == Mood::Away { 1 } else { 3 };
            assert!(most <= allowed && failed == 0, "{mood:?}: {most} attempts, {failed} failed");
        }
    });
}

#[test]
fn jobs_that_only_another_release_knows_wait_and_stop_nobody() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut world = World::new().await;
        world.begin(5).await;
        let later = |count: usize, columns: &str| {
            format!(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
                 INSERT INTO jobs (state, run_at, created_at, kind, lane, payload_version) SELECT 'ready', 0, 0, {columns} FROM n"
            )
        };
        // More than a sweep takes at once, older than everything, and one of each way not to be known.
        for sql in [later(2_500, "'remind', 'bulk', 1"), later(1, "'probe', 'urgent', 1"), later(1, "'probe', 'bulk', 2")] {
            world.db.execute_unprepared(&sql).await.expect("written");
        }
        let remind = JobId(ledger::number(&world.db, "SELECT min(id) AS n FROM jobs WHERE kind = 'remind'").await);
        let claim = jobs::claim(&world.db, world.now, remind, "worker-1").await.expect("asked");
        assert_eq!(claim, Claim::Unknown { kind: "remind".into(), version: 1 });
        assert!(jobs::due(&world.db, world.now, Lane::Bulk, 10).await.expect("read").is_empty());
        world.create_plain(40).await;
        // Nobody hears of it but by the sweep.
        world.rings.clear();
        world.calm = true;
        world.gateway.mood = Mood::Flawless;
        let waiting = "SELECT count(*) AS n FROM batches WHERE status IN ('PENDING', 'PROCESSING')";
        for _ in 0..PATIENCE {
            let mut busy = false;
            for which in 0..world.workers.len() {
                busy |= world.advance(which).await;
            }
            if !busy {
                if ledger::number(&world.db, waiting).await == 0 {
                    break;
                }
                world.wait(700).await;
                world.schedule().await;
            }
        }
        let sent = "SELECT sum(succeeded) AS n FROM batches WHERE status = 'COMPLETED'";
        assert_eq!(ledger::number(&world.db, sent).await, 40, "the batch ends beside them");
        assert!(world.findings().await.is_empty(), "{:?}", world.findings().await);
        let parked = "SELECT count(*) AS n FROM jobs WHERE state = 'parked'";
        assert_eq!(ledger::number(&world.db, parked).await, 2_502);
        let unknown = jobs::unknown(&world.db, 10).await.expect("read");
        let told: Vec<_> = unknown.iter().map(|u| (u.kind.as_str(), u.lane.as_str(), u.version, u.jobs)).collect();
        assert_eq!(told, [("probe", "bulk", 2, 1), ("probe", "urgent", 1, 1), ("remind", "bulk", 1, 2_500)]);
        assert!(!jobs::any_known(&world.db).await.expect("read"));
        assert!(jobs::unpark(&world.db, world.now, 10_000).await.expect("done").is_empty());
        // The release that knows them.
        let back = "UPDATE jobs SET kind = 'probe', lane = 'bulk', payload_version = 1 WHERE state = 'parked'";
        world.db.execute_unprepared(back).await.expect("written");
        assert!(jobs::any_known(&world.db).await.expect("read"));
        let rings = jobs::unpark(&world.db, world.now, 10_000).await.expect("done");
        assert_eq!((rings.len(), ledger::number(&world.db, parked).await), (2_502, 0));
        let claim = jobs::claim(&world.db, world.now, remind, "worker-1").await.expect("asked");
        assert!(matches!(claim, Claim::Taken(job) if job.kind == JobKind::Probe), "it goes on");
    });
}
