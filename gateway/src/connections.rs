//! Connections to one address without TLS, for what is asked tens of thousands of times a second.
//!
//! reqwest's client is made for any address: each request goes through its layers for proxies, redirects, cookies and TLS, and
//! its connector is cloned for it. Here a request goes straight to a connection that is idle (0030). What the two say of a
//! failure is the same.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use reqwest::Url;
use reqwest::header::{HOST, HeaderValue};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A request with all its headers but `Host`.
pub(crate) type Request = hyper::Request<Full<Bytes>>;
/// The head of an answer, and its body as it comes.
pub(crate) type Response = hyper::Response<Incoming>;

/// How long an idle connection is kept: less than servers and what stands between keep theirs, as a rule.
const IDLE_FOR: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionError {
    /// Nothing was written: there is no connection.
    Unreachable,
    /// The request, or a part of it, was written; then the connection broke.
    BrokeOff,
}

/// The connections.
#[derive(Debug)]
pub(crate) struct Connections {
    host: String,
    port: u16,
    /// What the server is called in each request.
    name: HeaderValue,
    connect_timeout: Duration,
    /// How many are kept.
    kept: usize,
    /// The one that was used last is the last.
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    connection: SendRequest<Full<Bytes>>,
    since: Instant,
}

impl Connections {
    /// Connections to where an address points; `None`: it wants TLS or has a password, which is not for here.
    pub(crate) fn to(url: &Url, connect_timeout: Duration, kept: usize) -> Option<Self> {
        if url.scheme() != "http" || !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        let host = url.host_str()?;
        let name = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        Some(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port_or_known_default()?,
            name: HeaderValue::try_from(name).ok()?,
            connect_timeout,
            kept,
            idle: Mutex::default(),
        })
    }

    /// Asks, over an idle connection or a new one. The connection comes with the answer: once that was read to its end, it is
    /// [given back](Self::give_back).
    pub(crate) async fn ask(
        &self,
        mut request: Request,
    ) -> Result<(Response, SendRequest<Full<Bytes>>), ConnectionError> {
        request.headers_mut().insert(HOST, self.name.clone());
        while let Some(mut connection) = self.take() {
            // The server may have closed it while it was idle. Of what it never saw nothing is lost.
            if connection.ready().await.is_err() {
                continue;
            }
            match connection.try_send_request(request).await {
                Ok(answer) => return Ok((answer, connection)),
                Err(mut unsent) => match unsent.take_message() {
                    Some(again) => request = again,
                    None => return Err(ConnectionError::BrokeOff),
                },
            }
        }
        let mut connection = self.connect().await.ok_or(ConnectionError::Unreachable)?;
        match connection.try_send_request(request).await {
            Ok(answer) => Ok((answer, connection)),
            Err(mut unsent) => match unsent.take_message() {
                Some(_) => Err(ConnectionError::Unreachable),
                None => Err(ConnectionError::BrokeOff),
            },
        }
    }

    /// Keeps a connection whose answer was read, or will not be.
    pub(crate) fn give_back(&self, connection: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.lock();
        if idle.len() < self.kept && !connection.is_closed() {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    fn take(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock();
        let Idle { connection, since } = idle.pop()?;
        if since.elapsed() < IDLE_FOR {
            return Some(connection);
        }
        // The others are idle for longer.
        idle.clear();
        None
    }

    async fn connect(&self) -> Option<SendRequest<Full<Bytes>>> {
        let made = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            stream.set_nodelay(true)?;
            http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)
        };
        let (connection, driver) = timeout(self.connect_timeout, made).await.ok()?.ok()?;
        tokio::spawn(async move {
            // Who waits for an answer over it learns of it.
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection to the gateway ended");
            }
        });
        Some(connection)
    }
}
