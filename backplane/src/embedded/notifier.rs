//! News in memory.

use crate::{BackplaneError, NEWS_BUFFER, Notice, Notifier, Subscription};
use async_trait::async_trait;
use domain::Event;
use tokio::sync::broadcast;

pub(crate) struct EmbeddedNotifier(broadcast::Sender<Notice>);

impl EmbeddedNotifier {
    pub(crate) fn new() -> Self {
        Self(broadcast::channel(NEWS_BUFFER).0)
    }
}

#[async_trait]
impl Notifier for EmbeddedNotifier {
    async fn publish(&self, events: &[Event]) -> Result<(), BackplaneError> {
        for event in events {
            // An error says that nobody listens.
            drop(self.0.send(Notice::Event(event.clone())));
        }
        Ok(())
    }

    fn subscribe(&self) -> Subscription {
        Subscription(self.0.subscribe())
    }
}
