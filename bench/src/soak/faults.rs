//! What goes wrong: processes that die, stand still or are told to stop, servers that lose their connections or their
//! memory, a gateway with moods.

use super::gateway::{Gateway, Mood};
use crate::rig::{Kind, Setup};
use anyhow::{Result, bail};
use backplane::Backplane;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::Signal;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};
use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// How long a process may take to end after SIGTERM.
const TERM: Duration = Duration::from_secs(30);

/// Something that is to be undone at its time.
enum Undo {
    Revive(usize),
    Thaw(usize),
    Mood,
}

/// The one who makes things go wrong.
pub(super) struct Faults {
    rng: StdRng,
    undo: Vec<(Instant, Undo)>,
    /// How often each was done.
    pub(super) done: BTreeMap<&'static str, u32>,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed ^ 0x5eed), undo: Vec::new(), done: BTreeMap::new() }
    }

    /// How long until the next.
    pub(super) fn pause(&mut self) -> Duration {
        Duration::from_millis(self.rng.random_range(1_000..5_000))
    }

    fn in_a_moment(&mut self, most_ms: u64) -> Instant {
        Instant::now() + Duration::from_millis(self.rng.random_range(0..most_ms))
    }

    /// A process that nothing is wrong with yet.
    fn victim(&mut self, setup: &Setup) -> Option<usize> {
        let harmed = |which| {
            self.undo.iter().any(|(_, undo)| match undo {
                Undo::Revive(one) | Undo::Thaw(one) => *one == which,
                Undo::Mood => false,
            })
        };
        let well: Vec<usize> = (0..setup.parts().len()).filter(|which| !harmed(*which)).collect();
        (!well.is_empty()).then(|| well[self.rng.random_range(0..well.len())])
    }

    /// Makes one thing go wrong.
    pub(super) async fn strike(&mut self, setup: &mut Setup, kind: Kind, gateway: &Gateway) -> Result<()> {
        let name = match self.rng.random_range(0..if kind == Kind::Split { 12 } else { 9 }) {
            0..3 => {
                let Some(which) = self.victim(setup) else { return Ok(()) };
                self.kill(setup, which).await?;
                "kill -9 of a process"
            }
            3 => {
                for which in 0..setup.parts().len() {
                    if !self.undo.iter().any(|(_, undo)| matches!(undo, Undo::Revive(one) if *one == which)) {
                        self.kill(setup, which).await?;
                    }
                }
                "kill -9 of all processes"
            }
            4 => {
                let Some(which) = self.victim(setup) else { return Ok(()) };
                setup.signal(which, Signal::STOP)?;
                let at = self.in_a_moment(9_000);
                self.undo.push((at, Undo::Thaw(which)));
                "a process stands still"
            }
            5 => {
                let Some(which) = self.victim(setup) else { return Ok(()) };
                setup.signal(which, Signal::TERM)?;
                match setup.wait(which, TERM).await? {
                    Some(status) if status.success() => {}
                    Some(status) => bail!("after SIGTERM {} ended with {status}", setup.parts()[which].role),
                    None => bail!("{} has not ended {TERM:?} after SIGTERM", setup.parts()[which].role),
                }
                self.undo.push((Instant::now(), Undo::Revive(which)));
                "SIGTERM and a new start"
            }
            6..9 => {
                if self.undo.iter().any(|(_, undo)| matches!(undo, Undo::Mood)) {
                    return Ok(());
                }
                let (mood, name) = match self.rng.random_range(0..3) {
                    0 => (Mood::Broken, "a gateway that answers 500"),
                    1 => (Mood::Silent, "a gateway that does not answer"),
                    _ => (Mood::Busy, "a gateway that answers 429"),
                };
                gateway.be(mood);
                let at = self.in_a_moment(6_000);
                self.undo.push((at, Undo::Mood));
                name
            }
            9 => {
                let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                           WHERE datname = current_database() AND pid <> pg_backend_pid()";
                let Some(url) = &setup.ledger.database_url else { return Ok(()) };
                let mut connection = PgConnectOptions::from_str(url)?.connect().await?;
                sqlx::query(sql).execute(&mut connection).await?;
                connection.close().await?;
                "PostgreSQL ends all connections"
            }
            _ => {
                let Some(url) = &setup.ledger.redis_url else { return Ok(()) };
                let queue = Backplane::redis(url)?.queue;
                for lane in domain::Lane::ALL {
                    // All rings are taken, and answered by nobody.
                    while !queue.pop(lane, 1_000, Duration::from_millis(1)).await?.is_empty() {}
                }
                "the queue is emptied"
            }
        };
        *self.done.entry(name).or_default() += 1;
        Ok(())
    }

    async fn kill(&mut self, setup: &mut Setup, which: usize) -> Result<()> {
        setup.signal(which, Signal::KILL)?;
        setup.wait(which, TERM).await?;
        // It is gone: nothing is left to thaw.
        self.undo.retain(|(_, undo)| !matches!(undo, Undo::Thaw(one) if *one == which));
        let at = self.in_a_moment(3_000);
        self.undo.push((at, Undo::Revive(which)));
        Ok(())
    }

    /// Undoes what is due; `all`: everything.
    pub(super) async fn heal(&mut self, setup: &mut Setup, gateway: &Gateway, all: bool) -> Result<()> {
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.undo).into_iter().partition(|(at, _)| all || *at <= now);
        self.undo = later;
        let due: Vec<(Instant, Undo)> = due;
        for (_, undo) in due {
            match undo {
                Undo::Revive(which) => setup.revive(which).await?,
                Undo::Thaw(which) => setup.signal(which, Signal::CONT)?,
                Undo::Mood => gateway.be(Mood::Works),
            }
        }
        Ok(())
    }
}
