//! A WebSocket as a client of the contracts sees it.

use crate::{DEADLINE, Pushed};
use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// An open WebSocket that speaks JSON texts. Pings are answered while something is being awaited. Each frame that is read is
/// held against the process's AsyncAPI document.
#[derive(Debug)]
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pushed: Pushed,
    /// What the server closed it with, if it gave a code.
    code: Option<u16>,
}

impl Socket {
    /// Opens a socket; the URL is [`crate::Client::socket_url`]'s.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn open(url: &str) -> Self {
        Self::try_open(url).await.unwrap_or_else(|status| panic!("the socket was refused with {status}"))
    }

    /// Opens a socket that may be refused.
    ///
    /// # Errors
    /// The HTTP status of the refusal.
    ///
    /// # Panics
    /// When nobody answers with HTTP at all, or whoever opens it has no AsyncAPI document.
    pub async fn try_open(url: &str) -> Result<Self, u16> {
        match timeout(DEADLINE, connect_async(url)).await {
            Ok(Ok((stream, _))) => Ok(Self { stream, pushed: Pushed::of(&base(url)).await, code: None }),
            Ok(Err(Error::Http(response))) => Err(response.status().as_u16()),
            // The address has a token in it, so the message does not show it.
            Ok(Err(error)) => panic!("cannot open the socket: {error}"),
            Err(_) => panic!("the socket was neither opened nor refused within {DEADLINE:?}"),
        }
    }

    /// Sends a JSON text.
    pub async fn send(&mut self, value: &Value) {
        self.stream.send(Message::text(value.to_string())).await.unwrap_or_else(|error| panic!("cannot send: {error}"));
    }

    /// The next JSON text, or `None` when the server has closed the socket.
    ///
    /// # Panics
    /// When nothing comes within [`DEADLINE`], or what comes is not what the document describes.
    pub async fn next(&mut self) -> Option<Value> {
        let text = async {
            loop {
                match self.stream.next().await? {
                    Ok(Message::Text(text)) => return Some(text),
                    Ok(Message::Ping(_) | Message::Pong(_)) => {}
                    Ok(Message::Close(said)) => {
                        self.code = said.map(|said| said.code.into());
                        // The answer to a goodbye is queued, and would go out with the next read that never comes.
                        self.stream.flush().await.ok();
                        return None;
                    }
                    Err(_) => return None,
                    Ok(other @ (Message::Binary(_) | Message::Frame(_))) => panic!("not a text: {other:?}"),
                }
            }
        };
        let text = timeout(DEADLINE, text).await.unwrap_or_else(|_| panic!("no message within {DEADLINE:?}"));
        let Some(text) = text else {
            self.code.into_iter().for_each(|code| self.pushed.close(code));
            return None;
        };
        let frame = serde_json::from_str(&text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}"));
        self.pushed.frame(&frame);
        Some(frame)
    }

    /// Reads until a message of which `pick` makes something.
    ///
    /// # Panics
    /// When the socket is closed before, or [`DEADLINE`] passes; the message has the last messages seen.
    pub async fn wait_for<T>(&mut self, what: &str, mut pick: impl FnMut(&Value) -> Option<T>) -> T {
        let mut seen: Vec<String> = Vec::new();
        let found = timeout(DEADLINE, async {
            while let Some(message) = self.next().await {
                if let Some(found) = pick(&message) {
                    return Some(found);
                }
                seen.push(message.to_string());
            }
            None
        })
        .await;
        let last = || seen.iter().rev().take(10).rev().map(String::as_str).collect::<Vec<_>>().join("\n");
        match found {
            Ok(Some(found)) => found,
            Ok(None) => panic!("waited for {what}; the socket was closed after:\n{}", last()),
            Err(_) => panic!("waited {DEADLINE:?} for {what}; it came:\n{}", last()),
        }
    }

    /// Says goodbye and waits until the server does the same.
    pub async fn close(mut self) {
        // A server that is gone already has closed it too.
        self.stream.close(None).await.ok();
        while self.next().await.is_some() {}
    }

    /// Waits until the server closes the socket; the code that it gives, if it gives one.
    pub async fn code(mut self) -> Option<u16> {
        while self.next().await.is_some() {}
        self.code
    }
}

/// Where the process of a socket's address answers HTTP.
fn base(url: &str) -> String {
    let http = url.replacen("ws", "http", 1);
    let path = http.match_indices('/').nth(2).map_or(http.len(), |(at, _)| at);
    http[..path].to_owned()
}
