//! The CRM's stream as a client of the contracts sees it.

use crate::pushed::{Pushed, STREAM};
use crate::{Client, DEADLINE};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tokio::time::timeout;

/// An open stream of Server-Sent Events. Each event that is read is held against the process's AsyncAPI document.
#[derive(Debug)]
pub struct Events {
    answer: reqwest::Response,
    unread: String,
    pushed: Pushed,
}

/// An event.
#[derive(Debug)]
pub struct Event {
    /// Its number.
    pub id: i64,
    /// What it tells.
    pub data: Value,
}

impl Events {
    /// Opens the stream behind the event `last`, or at what happens from now on.
    ///
    /// # Panics
    /// See [`Events::begin`].
    pub async fn open(client: &Client, last: Option<i64>) -> Self {
        let request = client.request(Method::GET, STREAM);
        Self::begin(client, if let Some(last) = last { request.header("last-event-id", last) } else { request }).await
    }

    /// Opens the stream by a request that was made by hand.
    ///
    /// # Panics
    /// When it is refused, or does not begin as the document says.
    pub async fn begin(client: &Client, request: RequestBuilder) -> Self {
        // The whole answer takes as long as the test.
        let answer = request.timeout(DEADLINE * 10).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let pushed = Pushed::of(client.base()).await;
        let mut events = Self { answer, unread: String::new(), pushed };
        let first = events.block().await;
        assert_eq!(first, Some(events.pushed.hello()), "it begins with how long to wait");
        events
    }

    /// The next block of lines; `None` at the end of the stream.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.unread.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.unread = rest;
                return Some(block);
            }
            let chunk = timeout(DEADLINE, self.answer.chunk()).await.expect("something comes");
            self.unread.push_str(std::str::from_utf8(&chunk.ok()??).expect("text"));
        }
    }

    /// The next event; `None` at the end of the stream.
    async fn try_next(&mut self) -> Option<Event> {
        loop {
            let block = self.block().await?;
            if block == self.pushed.keep_alive() {
                continue;
            }
            let lines = block.split_once('\n').and_then(|(id, data)| {
                Some((id.strip_prefix("id: ")?, data.strip_prefix("data: ").filter(|data| !data.contains('\n'))?))
            });
            let Some((id, data)) = lines else { panic!("neither an event nor what keeps it alive: {block}") };
            let data = serde_json::from_str(data).unwrap_or_else(|error| panic!("not JSON ({error}): {data}"));
            self.pushed.event(id, &data);
            return Some(Event { id: id.parse().expect("a number"), data });
        }
    }

    /// The next event.
    ///
    /// # Panics
    /// When the stream ends, nothing comes within [`DEADLINE`], or what comes is not what the document describes.
    pub async fn next(&mut self) -> Event {
        self.try_next().await.expect("the stream goes on")
    }

    /// Waits for the stream's end.
    ///
    /// # Panics
    /// When something is told before it.
    pub async fn end(mut self) {
        let told = self.try_next().await;
        assert!(told.is_none(), "{told:?}");
    }
}
