//! What a network told is kept before it is read, and read again at the next start where it could not be.

use super::{PAUSE, Server};
use crate::sqlite::StoreError;
use crate::transport::BodyEvents;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

impl Server {
    /// Takes what a network told: what it told is durable when this returns, whether or not it can be read.
    pub(super) async fn hear(&self, body: Vec<u8>) -> Result<(), StoreError> {
        let seq = self.store.keep(body.clone()).await?;
        self.read_kept(seq, &body).await
    }

    /// Reads a body that is kept, and writes what it tells.
    async fn read_kept(&self, seq: i64, body: &[u8]) -> Result<(), StoreError> {
        let heard = catch_unwind(AssertUnwindSafe(|| self.transport.read(body))).unwrap_or_else(|_| {
            metrics::counter!("paceline_panics_total", "in" => "gateway webhook").increment(1);
            tracing::error!("a webhook's reading panicked; it is set aside, and the log has its place");
            BodyEvents { events: Vec::new(), unread: 1 }
        });
        metrics::counter!("paceline_gateway_webhook_parts_unread_total").increment(heard.unread);
        self.store.heard_at(seq, heard).await
    }

    /// Once at the start: reads again what the last process or an earlier release could not read, and tells the backend
    /// again what it refused of what people wrote.
    pub(super) async fn reread(self: Arc<Self>, stop: CancellationToken) {
        while let Err(error) = self.reread_all(&stop).await {
            tracing::warn!(%error, "what was set aside is not read again yet");
            if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                return;
            }
        }
    }

    async fn reread_all(&self, stop: &CancellationToken) -> Result<(), StoreError> {
        let (last_webhook, last_refused) = self.store.last_set_aside().await.map_err(|_| StoreError::Away)?;
        let mut after = 0;
        while !stop.is_cancelled()
            && let Some(seq) = self.store.begin_rereading(after, last_webhook).await?
        {
            after = seq;
            if let Some(body) = self.store.webhook(seq).await.map_err(|_| StoreError::Away)? {
                self.read_kept(seq, &body).await?;
            }
        }
        let mut next = Some(0);
        while let Some(after) = next.filter(|_| !stop.is_cancelled()) {
            next = self.store.tell_refused_again(after, last_refused).await?;
        }
        Ok(())
    }
}
