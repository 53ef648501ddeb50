//! What takes too long to be played by the clock on the wall.

use crate::gateway::Mood;
use crate::world::World;

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
            let most = crate::ledger::number(&world.db, "SELECT max(attempts) AS n FROM batch_items").await;
            let failed = crate::ledger::number(&world.db, "SELECT sum(failed) AS n FROM batches").await;
            let allowed = if mood == Mood::Away { 1 } else { 3 };
            assert!(most <= allowed && failed == 0, "{mood:?}: {most} attempts, {failed} failed");
        }
    });
}
