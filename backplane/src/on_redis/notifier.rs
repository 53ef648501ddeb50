//! News through one pub/sub channel: one connection of this process, fanned out here. After each reconnect listeners are
//! told that they may have missed some.

use super::server::Server;
use crate::{BackplaneError, NEWS_BUFFER, Notice, Notifier, Subscription};
use async_trait::async_trait;
use domain::Event;
use futures::StreamExt;
use std::sync::{Arc, Once};
use std::time::Duration;
use tokio::sync::broadcast;

const CHANNEL: &str = "paceline:events";

/// How long after a broken connection the next one is tried.
const RECONNECT: Duration = Duration::from_millis(500);

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
        if let Err(error) = listen_once(&server, &fan).await
            && !std::mem::replace(&mut away, true)
        {
            tracing::warn!(%error, "no news from redis; trying again");
        } else {
            away = false;
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

async fn listen_once(server: &Server, fan: &broadcast::Sender<Notice>) -> Result<(), BackplaneError> {
    let client = server.pubsub_client().await?;
    let mut pubsub = client.get_async_pubsub().await?;
    pubsub.subscribe(CHANNEL).await?;
    tracing::debug!("listening for news");
    // An error says that nobody listens here.
    drop(fan.send(Notice::Missed));
    let mut messages = pubsub.into_on_message();
    while let Some(message) = messages.next().await {
        match serde_json::from_slice(message.get_payload_bytes()) {
            Ok(event) => drop(fan.send(Notice::Event(event))),
            Err(error) => {
                metrics::counter!("paceline_news_malformed_total").increment(1);
                tracing::debug!(%error, "news that this build cannot read");
            }
        }
    }
    Ok(())
}
