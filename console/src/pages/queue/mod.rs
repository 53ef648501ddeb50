//! The operator's pages: jobs, workers, senders.

pub(crate) mod job;
pub(crate) mod jobs;
pub(crate) mod plots;
pub(crate) mod sender;
pub(crate) mod senders;
pub(crate) mod system;
pub(crate) mod workers;

use domain::Timestamp;
use domain::jobs::list::Job;
use domain::model::JobState;
use domain::senders::{Health as Does, Hold, Sender};

/// The one time that matters in a job's present state, with the key of its words.
fn moment(job: &Job, now: Timestamp) -> (&'static str, Timestamp) {
    match job.state {
        JobState::Ready if job.run_at > now => ("moment-scheduled-for", job.run_at),
        JobState::Ready => ("moment-waits-since", job.run_at),
        JobState::Running => ("moment-at-work-since", job.claimed_at.unwrap_or(job.run_at)),
        JobState::Paused | JobState::Parked => ("moment-held-since", job.run_at),
        JobState::Done | JobState::Dead | JobState::Cancelled => {
            ("moment-ended", job.finished_at.unwrap_or(job.run_at))
        }
    }
}

/// A job's state as people see it: one that waits for its time says so.
fn shown_state(job: &Job, now: Timestamp) -> &'static str {
    match job.state {
        JobState::Ready if job.run_at > now => "scheduled",
        state => state.as_str(),
    }
}

/// A sender's state as people see it: its class, the key of why, until when, and what its gateway did.
fn health(sender: &Sender, now: Timestamp) -> Health {
    let (state, until, reason) = match sender.health(now) {
        Does::Active => ("active", None, String::new()),
        Does::Held(Hold::Stopped) => ("stopped", None, String::new()),
        Does::Held(Hold::Capped { until }) => ("capped", Some(until), String::new()),
        Does::Failing { until, reason } => ("failing", Some(until), reason),
        Does::Waiting(until) => ("throttled", Some(until), String::new()),
    };
    Health { state, until, reason }
}

/// How a sender is.
struct Health {
    state: &'static str,
    until: Option<Timestamp>,
    reason: String,
}
