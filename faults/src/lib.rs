//! Fail points: the steps between a request and its last effect, at which a test may let a process fail.
//!
//! [`hit`] marks a point. Without the feature `failpoints` it is nothing at all, and with it the build refuses to be a
//! release build. With it, a process that was started with `PACELINE_TEST_FAULTS=commit.settle.after=kill` ends by SIGKILL
//! the first time it comes there; `error` makes the step fail as if the connection had broken, `panic` panics. Several
//! are joined by commas. Each acts once, and says so in the file that `PACELINE_TEST_FAULTS_LOG` names before it does.

#[cfg(all(feature = "failpoints", not(debug_assertions)))]
compile_error!("fail points are for tests: build the release without the feature `failpoints`");

use std::fmt;
use std::io;

/// A transaction that somebody commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Commit {
    /// A session is opened, renewed or ended.
    Session,
    /// A batch is accepted.
    Create,
    /// A batch is paused, resumed, changed or cancelled.
    Steer,
    /// A batch's failed items are opened again.
    Retry,
    /// Work on a chunk of a send begins.
    Begin,
    /// Items are claimed.
    ClaimItems,
    /// Outcomes are written.
    Settle,
    /// A chunk of a send comes to rest.
    Rest,
    /// A part of an audience becomes chunks.
    Expand,
    /// A scheduled batch starts.
    Start,
    /// A chunk of an import, a tagging or a deletion is done.
    Set,
    /// A job's failure is written.
    Failure,
    /// Reports of the gateway are written.
    Reports,
    /// A single message is written, with its job.
    Compose,
    /// A single message's outcome is written.
    Delivered,
    /// A customer is made, changed or marked as read; a number is suppressed or no longer.
    Customer,
    /// What the support desk works with is made or changed: a label.
    Desk,
    /// Jobs are marked as rung again.
    Sweep,
    /// Leases that ended are taken back.
    Rescue,
    /// What is old is deleted.
    Prune,
}

/// A step of the gateway's own process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GatewayStep {
    /// Messages are taken: the commit before their 202.
    Accept,
    /// Messages are claimed.
    Claim,
    /// A message is handed to the network.
    Hand,
    /// What came of it is written, with its reports.
    Outcome,
    /// What the network told is written, with its reports.
    EventsTaken,
    /// A report goes to the backend.
    Report,
    /// What the backend made of reports is written.
    ReportsSettled,
}

/// On which side of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// It was not done yet.
    Before,
    /// It was done, and nobody was told.
    After,
}

/// A step at which a process can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    /// A commit.
    Commit(Commit, Side),
    /// A job's claim: one statement, its own transaction.
    Claim(Side),
    /// Rings go to the queue.
    Ring(Side),
    /// Events are published.
    Event(Side),
    /// A message goes to the gateway.
    Send(Side),
    /// The simulator takes a message.
    Take(Side),
    /// A step of the gateway's own process.
    Gateway(GatewayStep, Side),
}

impl GatewayStep {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Accept, Self::Claim, Self::Hand, Self::Outcome, Self::EventsTaken, Self::Report, Self::ReportsSettled];

    const fn name(self) -> &'static str {
        match self {
            Self::Accept => "gateway.accept",
            Self::Claim => "gateway.claim",
            Self::Hand => "gateway.hand",
            Self::Outcome => "gateway.outcome",
            Self::EventsTaken => "gateway.events_taken",
            Self::Report => "gateway.report",
            Self::ReportsSettled => "gateway.reports_settled",
        }
    }
}

impl Commit {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Session,
        Self::Create,
        Self::Steer,
        Self::Retry,
        Self::Begin,
        Self::ClaimItems,
        Self::Settle,
        Self::Rest,
        Self::Expand,
        Self::Start,
        Self::Set,
        Self::Failure,
        Self::Reports,
        Self::Compose,
        Self::Delivered,
        Self::Customer,
        Self::Desk,
        Self::Sweep,
        Self::Rescue,
        Self::Prune,
    ];

    /// The step's name, as tests and metrics say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "commit.session",
            Self::Create => "commit.create",
            Self::Steer => "commit.steer",
            Self::Retry => "commit.retry",
            Self::Begin => "commit.begin",
            Self::ClaimItems => "commit.claim_items",
            Self::Settle => "commit.settle",
            Self::Rest => "commit.rest",
            Self::Expand => "commit.expand",
            Self::Start => "commit.start",
            Self::Set => "commit.set",
            Self::Failure => "commit.failure",
            Self::Reports => "commit.reports",
            Self::Compose => "commit.compose",
            Self::Delivered => "commit.delivered",
            Self::Customer => "commit.customer",
            Self::Desk => "commit.desk",
            Self::Sweep => "commit.sweep",
            Self::Rescue => "commit.rescue",
            Self::Prune => "commit.prune",
        }
    }
}

impl Point {
    /// All of them.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let both = |make: fn(Side) -> Self| [make(Side::Before), make(Side::After)];
        Commit::ALL
            .into_iter()
            .flat_map(|commit| [Self::Commit(commit, Side::Before), Self::Commit(commit, Side::After)])
            .chain([Self::Claim, Self::Ring, Self::Event, Self::Send, Self::Take].into_iter().flat_map(both))
            .chain(
                GatewayStep::ALL
                    .into_iter()
                    .flat_map(|step| [Self::Gateway(step, Side::Before), Self::Gateway(step, Side::After)]),
            )
            .collect()
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (step, side) = match *self {
            Self::Commit(commit, side) => (commit.name(), side),
            Self::Claim(side) => ("claim", side),
            Self::Ring(side) => ("ring", side),
            Self::Event(side) => ("event", side),
            Self::Send(side) => ("send", side),
            Self::Take(side) => ("take", side),
            Self::Gateway(step, side) => (step.name(), side),
        };
        let side = match side {
            Side::Before => "before",
            Side::After => "after",
        };
        write!(f, "{step}.{side}")
    }
}

/// Reads which points are to act. Once, at the start of the process.
pub fn init() {
    #[cfg(feature = "failpoints")]
    active::init();
}

/// Marks a point.
///
/// # Errors
/// When a test asked for it: what a connection that breaks gives.
#[cfg_attr(not(feature = "failpoints"), inline(always))]
pub fn hit(point: Point) -> io::Result<()> {
    #[cfg(feature = "failpoints")]
    return active::hit(point);
    #[cfg(not(feature = "failpoints"))]
    {
        let _: Point = point;
        Ok(())
    }
}

#[cfg(feature = "failpoints")]
mod active {
    use super::Point;
    use rustix::process::{Signal, getpid, kill_process};
    use std::fs::File;
    use std::io::{self, Write};

    pub(super) fn init() {
        let wanted = std::env::var("PACELINE_TEST_FAULTS").unwrap_or_default();
        for (point, action) in wanted.split(',').filter_map(|one| one.split_once('=')) {
            let known = Point::all().iter().any(|known| known.to_string() == point);
            assert!(known, "PACELINE_TEST_FAULTS: there is no point {point}");
            assert!(["error", "panic", "kill"].contains(&action), "PACELINE_TEST_FAULTS: there is no action {action}");
            if let Err(error) = fail::cfg(point, &format!("1*return({action})->off")) {
                panic!("PACELINE_TEST_FAULTS: {error}");
            }
        }
    }

    pub(super) fn hit(point: Point) -> io::Result<()> {
        let name = point.to_string();
        fail::fail_point!(&name, |action| act(&name, &action.unwrap_or_default()));
        Ok(())
    }

    fn act(name: &str, action: &str) -> io::Result<()> {
        if let Some(path) = std::env::var_os("PACELINE_TEST_FAULTS_LOG") {
            let mut log = File::options().create(true).append(true).open(path)?;
            log.write_all(format!("{name}={action}\n").as_bytes())?;
        }
        match action {
            "kill" => {
                kill_process(getpid(), Signal::KILL)?;
                // The signal comes when it comes: nothing more is done until then.
                loop {
                    std::thread::park();
                }
            }
            "panic" => panic!("fail point {name}"),
            _ => Err(io::Error::new(io::ErrorKind::ConnectionReset, format!("fail point {name}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_point_has_its_own_name() {
        let names: HashSet<String> = Point::all().iter().map(Point::to_string).collect();
        assert_eq!(names.len(), Point::all().len());
        assert!(names.contains("commit.settle.after") && names.contains("ring.before"));
    }
}
