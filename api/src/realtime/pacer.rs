//! How often a batch may be in the news.
//!
//! Of one batch at most five frames leave in any second: one each [`SPACING`], and the last one at once. The first is
//! never held, the newest of those in between is, until its turn comes. Versions order them, so counts never go back.

use domain::BatchId;
use domain::batches::BatchSummary;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// The shortest time between two frames of one batch, but for the last: four a second, and the last makes five.
pub(super) const SPACING: Duration = Duration::from_millis(250);

/// How long an ended batch is remembered, so that late news of it is known to be old.
const REMEMBERED: Duration = Duration::from_secs(60);

struct Track {
    /// The newest version that was offered.
    version: i64,
    ended: bool,
    last: Instant,
    held: Option<BatchSummary>,
}

/// What was told of each batch, and what waits for its turn.
#[derive(Default)]
pub(super) struct Pacer(HashMap<BatchId, Track>);

impl Pacer {
    /// Takes news; returns it when it may leave now.
    pub(super) fn offer(&mut self, now: Instant, summary: BatchSummary) -> Option<BatchSummary> {
        let (version, ended) = (summary.version, summary.status.is_terminal());
        let Some(track) = self.0.get_mut(&summary.id) else {
            self.0.insert(summary.id, Track { version, ended, last: now, held: None });
            return Some(summary);
        };
        if version <= track.version {
            return None;
        }
        (track.version, track.ended) = (version, ended);
        if !ended && now - track.last < SPACING {
            track.held = Some(summary);
            return None;
        }
        track.held = None;
        track.last = now;
        Some(summary)
    }

    /// Learns of a batch that somebody was told of by another way, so that its end is watched for.
    pub(super) fn know(&mut self, now: Instant, summary: &BatchSummary) {
        let (version, ended) = (summary.version, summary.status.is_terminal());
        self.0.entry(summary.id).or_insert(Track { version, ended, last: now, held: None });
    }

    /// What was held and may leave now. Forgets batches that ended a while ago.
    pub(super) fn due(&mut self, now: Instant) -> Vec<BatchSummary> {
        let mut due = Vec::new();
        self.0.retain(|_, track| {
            let quiet = now - track.last;
            if quiet >= SPACING
                && let Some(summary) = track.held.take()
            {
                track.last = now;
                due.push(summary);
            }
            !track.ended || quiet < REMEMBERED
        });
        due
    }

    /// The batches whose end has not been told, in their order.
    pub(super) fn watched(&self) -> Vec<BatchId> {
        let mut watched: Vec<_> = self.0.iter().filter(|(_, track)| !track.ended).map(|(id, _)| *id).collect();
        watched.sort_unstable();
        watched
    }

    /// Forgets a batch that is no more.
    pub(super) fn forget(&mut self, id: BatchId) {
        self.0.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Timestamp;
    use domain::batches::{BatchStatus, BatchType};
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    fn summary(version: i64, status: BatchStatus) -> BatchSummary {
        BatchSummary {
            id: BatchId(1),
            batch_type: BatchType::Send,
            status,
            total: 100,
            succeeded: version,
            failed: 0,
            skipped: 0,
            paused: false,
            version,
            created_at: Timestamp(0),
            started_at: None,
            completed_at: None,
        }
    }

    /// Offers `versions` at random times, some of them old ones; returns what left, and when.
    fn run(seed: u64, versions: i64) -> Vec<(Duration, i64)> {
        let mut rng = StdRng::seed_from_u64(seed);
        let (start, mut pacer, mut left) = (Instant::now(), Pacer::default(), Vec::new());
        let mut at = Duration::ZERO;
        for version in 1..=versions {
            let mut wait = rng.random_range(0..120);
            while wait > 0 {
                let step = wait.min(25);
                wait -= step;
                at += Duration::from_millis(step);
                left.extend(pacer.due(start + at).into_iter().map(|s| (at, s.version)));
            }
            let status = if version == versions { BatchStatus::Completed } else { BatchStatus::Processing };
            let late = rng.random_range(0..=version);
            for news in [summary(version, status), summary(late, BatchStatus::Processing)] {
                left.extend(pacer.offer(start + at, news).map(|s| (at, s.version)));
            }
        }
        left
    }

    #[test]
    fn at_most_five_leave_in_any_second_and_none_is_older_than_the_one_before() {
        for seed in 0..200 {
            let left = run(seed, 60);
            for (i, (at, _)) in left.iter().enumerate() {
                let within = left[i..].iter().take_while(|(later, _)| *later < *at + Duration::from_secs(1)).count();
                assert!(within <= 5, "seed {seed}: {within} from {at:?}");
            }
            assert!(left.windows(2).all(|pair| pair[0].1 < pair[1].1), "seed {seed}: {left:?}");
            assert_eq!((left.first().map(|f| f.1), left.last().map(|f| f.1)), (Some(1), Some(60)), "seed {seed}");
        }
    }

    #[test]
    fn what_another_way_told_is_watched_and_not_told_again() {
        let (start, mut pacer) = (Instant::now(), Pacer::default());
        pacer.know(start, &summary(3, BatchStatus::Processing));
        assert_eq!(pacer.watched(), [BatchId(1)]);
        assert!(pacer.offer(start, summary(3, BatchStatus::Processing)).is_none());
        assert!(pacer.due(start + SPACING).is_empty());
        // What is known by the news is known better.
        assert!(pacer.offer(start + SPACING, summary(5, BatchStatus::Completed)).is_some());
        pacer.know(start + SPACING, &summary(4, BatchStatus::Processing));
        assert!(pacer.watched().is_empty());
    }

    #[test]
    fn a_quiet_batch_is_watched_until_it_ends() {
        let (start, mut pacer) = (Instant::now(), Pacer::default());
        assert!(pacer.offer(start, summary(1, BatchStatus::Processing)).is_some());
        assert!(pacer.due(start + Duration::from_secs(3600)).is_empty());
        assert_eq!(pacer.watched(), [BatchId(1)]);
        assert!(pacer.offer(start + Duration::from_secs(3600), summary(2, BatchStatus::Completed)).is_some());
        assert!(pacer.watched().is_empty());
        assert!(pacer.offer(start + Duration::from_secs(3601), summary(1, BatchStatus::Processing)).is_none());
    }
}
