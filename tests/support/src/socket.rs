//! A WebSocket as a client of the contracts sees it.

use crate::DEADLINE;
use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// An open WebSocket that speaks JSON texts. Pings are answered while something is being awaited.
#[derive(Debug)]
pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

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
    /// When nobody answers with HTTP at all.
    pub async fn try_open(url: &str) -> Result<Self, u16> {
        match timeout(DEADLINE, connect_async(url)).await {
            Ok(Ok((socket, _))) => Ok(Self(socket)),
            Ok(Err(Error::Http(response))) => Err(response.status().as_u16()),
            // The address has a token in it, so the message does not show it.
            Ok(Err(error)) => panic!("cannot open the socket: {error}"),
            Err(_) => panic!("the socket was neither opened nor refused within {DEADLINE:?}"),
        }
    }

    /// Sends a JSON text.
    pub async fn send(&mut self, value: &Value) {
        self.0.send(Message::text(value.to_string())).await.unwrap_or_else(|error| panic!("cannot send: {error}"));
    }

    /// The next JSON text, or `None` when the server has closed the socket.
    ///
    /// # Panics
    /// When nothing comes within [`DEADLINE`], or what comes is no JSON.
    pub async fn next(&mut self) -> Option<Value> {
        let text = async {
            loop {
                match self.0.next().await? {
                    Ok(Message::Text(text)) => return Some(text),
                    Ok(Message::Ping(_) | Message::Pong(_)) => {}
                    Ok(Message::Close(_)) => {
                        // The answer to a goodbye is queued, and would go out with the next read that never comes.
                        self.0.flush().await.ok();
                        return None;
                    }
                    Err(_) => return None,
                    Ok(other @ (Message::Binary(_) | Message::Frame(_))) => panic!("not a text: {other:?}"),
                }
            }
        };
        let text = timeout(DEADLINE, text).await.unwrap_or_else(|_| panic!("no message within {DEADLINE:?}"))?;
        Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}")))
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
        self.0.close(None).await.ok();
        while self.next().await.is_some() {}
    }
}
