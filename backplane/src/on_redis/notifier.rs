//! News through one pub/sub channel: one connection of this process, fanned out here. After each reconnect listeners are
//! told that they may have missed some.

use super::server::{ANSWER, Server, within};
use crate::{BackplaneError, NEWS_BUFFER, Notice, Notifier, Subscription};
use async_trait::async_trait;
use domain::Event;
use futures::StreamExt;
use std::io;
use std::sync::{Arc, Once};
use std::time::Duration;
use tokio::sync::broadcast;

const CHANNEL: &str = "paceline:events";

/// How long after a broken connection the next one is tried.
const RECONNECT: Duration = Duration::from_millis(500);

/// After so much silence Redis is asked whether it is still there: a connection that a network swallowed is silent too.
const SILENCE: Duration = Duration::from_secs(5);

pub(crate) struct RedisNotifier {
    server: Arc<Server>,
    fan: broadcast::Sender<Notice>,
    listening: Once,
}

impl RedisNotifier {
    pub(crate) fn new(server: Arc<Server>) -> Self {
        Self { server, fan: broadcast::channel(NEWS_BUFFER).0, listening: Once::new() }
    }
}

#[async_trait]
impl Notifier for RedisNotifier {
    async fn publish(&self, events: &[Event]) -> Result<(), BackplaneError> {
        let mut pipeline = redis::pipe();
        for event in events {
            match serde_json::to_string(event) {
                Ok(text) => pipeline.cmd("PUBLISH").arg(CHANNEL).arg(text).ignore(),
                Err(error) => {
                    tracing::error!(%error, "an event that cannot be written");
                    continue;
                }
            };
        }
        if pipeline.is_empty() { Ok(()) } else { self.server.run::<()>(&pipeline).await }
    }

    fn subscribe(&self) -> Subscription {
        let subscription = Subscription(self.fan.subscribe());
        self.listening.call_once(|| {
            tokio::spawn(listen(self.server.clone(), self.fan.clone()));
        });
        subscription
    }
}

/// Listens for as long as the process lives.
async fn listen(server: Arc<Server>, fan: broadcast::Sender<Notice>) {
    let mut away = false;
    loop {
        let error = listen_once(&server, &fan, &mut away).await;
        if !std::mem::replace(&mut away, true) {
            tracing::warn!(%error, "no news from redis; trying again");
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

/// Listens until it cannot any more.
async fn listen_once(server: &Server, fan: &broadcast::Sender<Notice>, away: &mut bool) -> BackplaneError {
    let (mut sink, mut messages) = match server.pubsub().await {
        Ok(pubsub) => pubsub.split(),
        Err(error) => return error,
    };
    if let Err(error) = within(ANSWER, sink.subscribe(CHANNEL)).await {
        return error;
    }
    if std::mem::take(away) {
        tracing::info!("there is news from redis again");
    }
    // An error says that nobody listens here.
    drop(fan.send(Notice::Missed));
    loop {
        match tokio::time::timeout(SILENCE, messages.next()).await {
            Ok(Some(message)) => match serde_json::from_slice(message.get_payload_bytes()) {
                Ok(event) => drop(fan.send(Notice::Event(event))),
                Err(error) => {
                    metrics::counter!("paceline_news_malformed_total").increment(1);
                    tracing::debug!(%error, "news that this build cannot read");
                }
            },
            Ok(None) => return BackplaneError::Redis(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Err(_) => {
                if let Err(error) = within(ANSWER, sink.ping::<redis::Value>()).await {
                    return error;
                }
            }
        }
    }
}
