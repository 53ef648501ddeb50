//! A private Redis for one test.

use crate::Blocking;
use servers::RedisOptions;

/// A Redis server of this test alone.
#[derive(Debug)]
pub struct Redis {
    server: Blocking<servers::Redis>,
    url: String,
}

impl Redis {
    /// A fresh server that keeps nothing over a kill.
    pub async fn start() -> Self {
        Self::start_with(RedisOptions::default()).await
    }

    /// A fresh server, told what to keep.
    pub async fn start_with(options: RedisOptions) -> Self {
        let server = Blocking::make(move || servers::Redis::start(options)).await;
        let url = server.get().url();
        Self { server, url }
    }

    /// Its URL, the same over restarts.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// SIGKILL. Connections break, and everything in it is lost unless it appends.
    pub async fn kill9(&mut self) {
        self.server.with(servers::Redis::kill9).await;
    }

    /// Starts it again on the same port, killing it first if it runs.
    pub async fn restart(&mut self) {
        self.server.with(servers::Redis::restart).await;
    }

    /// Connections stay open and nothing answers, as when a network swallows packets; until [`Redis::thaw`].
    pub async fn freeze(&mut self) {
        self.server.with(servers::Redis::freeze).await;
    }

    /// Ends the freeze.
    pub async fn thaw(&mut self) {
        self.server.with(servers::Redis::thaw).await;
    }

    /// Removes everything in it.
    pub async fn flushall(&mut self) {
        self.server.with(|server| server.flushall()).await;
    }

    /// Sends one command in Redis' inline form; the first line of the answer, such as `:1` or `+OK`.
    pub async fn command(&mut self, line: impl Into<String>) -> String {
        let line = line.into();
        self.server.with(move |server| server.command(&line)).await
    }
}
