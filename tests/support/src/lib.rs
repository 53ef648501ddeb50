//! What a black-box test of Paceline needs, and nothing that looks inside it.
//!
//! - [`Postgres`] and [`Redis`]: real servers, private or shared by the run, that can be killed and started again.
//! - [`Program`] and [`Paceline`]: the real binary with a hermetic environment, on a free port, in its own directory.
//! - [`Cluster`]: api, workers and scheduler over a fresh database and a Redis.
//! - [`Proxy`]: a network between any two of them that is cut, stalls, loses, resets and takes its time.
//! - [`Gateway`]: a WhatsApp gateway that does what the test's script says and remembers everything.
//! - [`CloudApi`]: Meta's WhatsApp Cloud API, with signed webhooks and faults by number.
//! - [`Backend`]: what a WhatsApp gateway reports to, as the test says.
//! - [`Client`], [`Socket`] and [`Events`]: HTTP, WebSocket and Server-Sent Events as a client of the contracts sees them.
//!   What is pushed is held against the process's own AsyncAPI document ([`Pushed`]).
//! - [`Browser`] and [`Page`]: a real Chromium, as a person sees and steers it.
//! - [`eventually`]: the only way to wait for what nobody announces.
//!
//! What is started here dies with the test, also when the test is killed (see the `servers` crate). Nothing has a fixed
//! port or sleeps for a fixed time. All of it panics when it cannot do its work, with the logs in the message: a test
//! that cannot set up its world has failed, and there is nobody else to tell.

mod backend;
mod browser;
mod client;
mod cloud_api;
mod cluster;
mod events;
mod gateway;
mod poll;
mod postgres;
mod program;
mod proxy;
mod pushed;
mod redis;
mod socket;

pub use backend::{Backend, ReceivedReport, Taking};
pub use browser::{Browser, Page};
pub use client::{Client, Response};
pub use cloud_api::{
    CloudApi, CloudFault, CloudLimit, CloudMessage, CloudOptions, CloudPost, Handshake, Ladder, META_ERRORS, MetaError,
    WebhookDelivery,
};
pub use cluster::{Cluster, ClusterBuilder, Links};
pub use events::{Event, Events};
pub use gateway::{Attempt, Gateway, Reply};
pub use poll::{eventually, eventually_every};
pub use postgres::{Database, Postgres, PostgresServer};
pub use program::{Paceline, Program, User};
pub use proxy::{Proxy, Way};
pub use pushed::Pushed;
pub use redis::Redis;
pub use reqwest::Method;
pub use servers::{Disk, Log, PostgresOptions, RedisOptions, tools};
pub use socket::Socket;

use std::time::Duration;

/// How long a test waits for something that must come. It bounds a hang on a busy machine; it measures nothing.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Holds something that blocks, and lends it to the threads that may block.
#[derive(Debug)]
struct Blocking<T>(Option<T>);

impl<T: Send + 'static> Blocking<T> {
    /// Makes it, away from the runtime's threads.
    async fn make(make: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> Self {
        match tokio::task::spawn_blocking(make).await {
            Ok(Ok(made)) => Self(Some(made)),
            Ok(Err(error)) => panic!("{error:#}"),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Uses it, away from the runtime's threads. If the caller goes away meanwhile, it is dropped after its use.
    async fn with<R: Send + 'static>(&mut self, f: impl FnOnce(&mut T) -> anyhow::Result<R> + Send + 'static) -> R {
        let mut lent = self.0.take().expect("nothing is lent twice: `with` has the only reference");
        let (lent, result) = match tokio::task::spawn_blocking(move || {
            let result = f(&mut lent);
            (lent, result)
        })
        .await
        {
            Ok(back) => back,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        self.0 = Some(lent);
        result.unwrap_or_else(|error| panic!("{error:#}"))
    }

    fn get(&self) -> &T {
        self.0.as_ref().expect("it is lent only while `with` has the only reference")
    }
}
