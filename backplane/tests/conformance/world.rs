//! A backplane of each kind, and what the tests ask of all.

use crate::server::Server;
use backplane::{Backplane, Notice, Subscription};
use domain::{BatchId, Event, JobId, JobKind, JobRef, Lane, Ring};
use std::time::Duration;
use support::{DEADLINE, eventually};

/// A backplane, and its server if it has one.
pub(crate) struct World {
    pub(crate) backplane: Backplane,
    pub(crate) server: Option<Server>,
}

impl World {
    pub(crate) async fn embedded() -> Self {
        Self { backplane: Backplane::embedded(), server: None }
    }

    pub(crate) async fn redis() -> Self {
        Self::on(Server::single().await)
    }

    pub(crate) async fn cluster() -> Self {
        Self::on(Server::cluster().await)
    }

    fn on(server: Server) -> Self {
        Self { backplane: Backplane::redis(&server.url).expect("the server's own URL"), server: Some(server) }
    }

    /// The backplane as another process has it; in memory there is none but this one.
    pub(crate) fn another(&self) -> Backplane {
        match &self.server {
            Some(server) => Backplane::redis(&server.url).expect("the server's own URL"),
            None => self.backplane.clone(),
        }
    }

    /// Waits until so many pops wait. In memory a pop waits as soon as it was polled, and nobody can ask.
    pub(crate) async fn wait_for_poppers(&self, count: u64) {
        if let Some(server) = &self.server {
            server.wait_for_blocked(count).await;
        }
    }
}

/// Makes a test of each function on each kind of backplane.
macro_rules! on_all {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            use crate::world::World;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn embedded() {
                super::$name(World::embedded().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn redis() {
                super::$name(World::redis().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn cluster() {
                super::$name(World::cluster().await).await;
            }
        })+
    };
}
pub(crate) use on_all;

/// The job with a number, from 0; rows count from 1.
pub(crate) fn job(number: i64) -> JobRef {
    JobRef { kind: JobKind::SendChunk, id: JobId(number + 1) }
}

pub(crate) fn ring(lane: Lane, number: i64) -> Ring {
    Ring { lane, job: job(number) }
}

pub(crate) fn rings(lane: Lane, numbers: impl IntoIterator<Item = i64>) -> Vec<Ring> {
    numbers.into_iter().map(|number| ring(lane, number)).collect()
}

/// What must come, or the test has failed.
pub(crate) async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.unwrap_or_else(|_| panic!("{what} did not come within {DEADLINE:?}"))
}

/// One piece of news with a number.
pub(crate) fn news(number: i64) -> Event {
    Event::BatchControl(BatchId(number))
}

/// Tells that everyone listens; see [`listening`].
const MARK: i64 = -1;

/// Waits until all of them hear what `publisher` says. A listener that has just come may have missed some, and is told so.
pub(crate) async fn listening(publisher: &Backplane, subscriptions: &mut [Subscription]) {
    for subscription in subscriptions {
        eventually("the mark", DEADLINE, async || {
            publisher.notifier.publish(&[news(MARK)]).await.map_err(|error| error.to_string())?;
            loop {
                match tokio::time::timeout(Duration::from_millis(100), subscription.recv()).await {
                    Ok(Notice::Event(event)) if event == news(MARK) => return Ok(()),
                    Ok(_) => {}
                    Err(_) => return Err("nothing".to_owned()),
                }
            }
        })
        .await;
    }
}

/// The next notice that is no mark.
pub(crate) async fn next(subscription: &mut Subscription) -> Notice {
    loop {
        let notice = in_time("news", subscription.recv()).await;
        if notice != Notice::Event(news(MARK)) {
            return notice;
        }
    }
}
