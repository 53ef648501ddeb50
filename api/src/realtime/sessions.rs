//! The ends of sessions and API keys, from the database: they are told as news, and news may be lost, or come from a
//! command that has no way to tell it (`paceline key revoke` beside an embedded set-up).

use crate::App;
use domain::{SessionId, users};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often is looked: an end holds within a second.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How far back is looked: longer than a commit takes to be seen after its time was read.
const BACK: Duration = Duration::from_secs(30);

/// Closes what ended sessions have open, until told to stop.
pub(crate) async fn follow(app: Arc<App>, stop: CancellationToken) {
    let mut told: HashSet<SessionId> = HashSet::new();
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        match users::revoked_since(app.db.read(), app.clock.now().minus(BACK)).await {
            Ok(ended) => {
                for session in ended.iter().filter(|session| !told.contains(session)) {
                    app.sessions.forget(*session);
                    app.hub.end(*session);
                    app.streams.end(*session);
                }
                told = ended.into_iter().collect();
            }
            Err(error) => tracing::debug!(%error, "ended sessions were not read; the next look tries again"),
        }
    }
}
