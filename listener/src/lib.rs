//! Accepting connections, and serving them for as long as they behave.
//!
//! A connection costs its client something at every moment: a head comes whole and soon, a body keeps a least pace, an
//! answer is taken (`PATIENCE`), and there are at most `MAX_CONNECTIONS` at once. HTTP/1.1 alone is spoken: there is
//! no TLS here, so only a proxy would speak anything else, and that one can do this as well.

mod framing;
mod lenient;
pub mod names;
mod target;

pub use lenient::lenient_json;

use framing::{Framing, MAX_HEAD, Offence};
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::endpoint::BoxEndpoint;
use poem::http::StatusCode;
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint, Request, Response};
use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long nothing is accepted after an error: there are no more files to be opened, and a loop would only burn the
/// time in which some are closed.
const PAUSE: Duration = Duration::from_millis(50);

/// Connections at once that speak HTTP; further ones wait to be accepted. A socket is none of them any more: it has a
/// limit of its own.
const MAX_CONNECTIONS: usize = 4_096;

/// How long a client is waited for.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// For a whole head, from the moment at which one may come: so an idle connection too.
    head: Duration,
    /// For a body in all, beside what its bytes earn it.
    body: Duration,
    /// For something of an answer to be taken.
    take: Duration,
}

const PATIENCE: Patience =
    Patience { head: Duration::from_secs(20), body: Duration::from_secs(20), take: Duration::from_secs(30) };

/// How many bytes of a body earn it another second.
const BODY_PACE: u64 = 1_024;

/// Serves until told to stop, and lets what is under way end for as long as `grace`.
///
/// # Errors
/// The listener's.
pub async fn serve(
    listener: TcpListener,
    endpoint: BoxEndpoint<'static, Response>,
    stop: CancellationToken,
    grace: Duration,
) -> io::Result<()> {
    serve_so(listener, endpoint, stop, grace, MAX_CONNECTIONS, PATIENCE).await
}

async fn serve_so(
    listener: TcpListener,
    endpoint: BoxEndpoint<'static, Response>,
    stop: CancellationToken,
    grace: Duration,
    most: usize,
    patience: Patience,
) -> io::Result<()> {
    let local = LocalAddr(Addr::SocketAddr(listener.local_addr()?));
    let endpoint: Arc<BoxEndpoint<'static, Response>> = Arc::new(endpoint);
    let places = Arc::new(Semaphore::new(most));
    let (connections, cut) = (TaskTracker::new(), CancellationToken::new());
    while let Some((stream, from, place)) = stop.run_until_cancelled(accept(&listener, &places)).await {
        let serving = connection(stream, local.clone(), from, endpoint.clone(), stop.clone(), patience);
        let cut = cut.clone();
        connections.spawn(async move {
            let _place = place;
            cut.run_until_cancelled(serving).await
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(grace, connections.wait()).await.is_err() {
        tracing::info!(connections = connections.len(), "connections are cut");
        cut.cancel();
        connections.wait().await;
    }
    Ok(())
}

/// The next connection, once there is a place for it. Outlives errors.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed.
    let place = places.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection goes on with Nagle's algorithm");
                }
                return (stream, from, place);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    local: LocalAddr,
    from: SocketAddr,
    endpoint: Arc<BoxEndpoint<'static, Response>>,
    stop: CancellationToken,
    patience: Patience,
) {
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let (endpoint, local) = (endpoint.clone(), local.clone());
        async move {
            let (mut head, body) = request.into_parts();
            if let Some(answer) = target::settle(&mut head) {
                return Ok::<_, Infallible>(hyper::Response::from(answer));
            }
            let request = hyper::Request::from_parts(head, body);
            let request = Request::from((request, local, RemoteAddr(Addr::SocketAddr(from)), Scheme::HTTP));
            Ok(hyper::Response::from(endpoint.get_response(request).await))
        }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        // Who has asked and hung up is served to the end: what they asked for is done, whoever reads the answer.
        .half_close(true)
        .max_header_size(MAX_HEAD)
        .max_buf_size(2 * MAX_HEAD)
        .serve_connection(TokioIo::new(Watched::new(stream, patience)), service)
        .with_upgrades();
    let mut serving = std::pin::pin!(serving);
    let ended = match stop.run_until_cancelled(serving.as_mut()).await {
        Some(ended) => ended,
        None => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}

/// How much of the last answers is taken at once.
const MAX_LAST: usize = 64 * 1024;

/// The status line of the library's own refusals, which have no content.
const LIBRARYS: &[u8] = b"HTTP/1.1 400 Bad Request\r\n";

/// Gives the library's refusal at the end of what is written the status that the gate found.
fn restate(bytes: &mut Vec<u8>, status: StatusCode) {
    if status == StatusCode::BAD_REQUEST || !bytes.ends_with(b"\r\n\r\n") {
        return;
    }
    let Some(at) = bytes.windows(LIBRARYS.len()).rposition(|part| part == LIBRARYS) else { return };
    let line = format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or_default());
    bytes.splice(at..at + LIBRARYS.len(), line.into_bytes());
}

/// A connection whose framing and pace are watched.
struct Watched {
    stream: TcpStream,
    framing: Framing,
    /// What a request was refused with that is not framed as it must be.
    refused: Option<StatusCode>,
    /// What was taken of the last answer, and not written yet.
    last: Vec<u8>,
    patience: Patience,
    /// How long the body may still be waited for, and since when it is.
    left: Duration,
    waiting: Option<Instant>,
    left_ends: Pin<Box<Sleep>>,
    /// Who wants to read what the answer must explain first.
    reader: Option<Waker>,
    /// Whether the client takes nothing.
    stuck: bool,
    stuck_ends: Pin<Box<Sleep>>,
}

impl Watched {
    fn new(stream: TcpStream, patience: Patience) -> Self {
        Self {
            stream,
            framing: Framing::default(),
            refused: None,
            last: Vec::new(),
            patience,
            left: patience.body,
            waiting: None,
            // Both are set before anybody waits for them.
            left_ends: Box::pin(tokio::time::sleep(Duration::ZERO)),
            reader: None,
            stuck: false,
            stuck_ends: Box::pin(tokio::time::sleep(Duration::ZERO)),
        }
    }

    /// A body is waited for; only the time that was waited counts, not the time in which nobody wanted to read it.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.framing.in_body() {
            (self.waiting, self.left) = (None, self.patience.body);
            return Poll::Pending;
        }
        if self.waiting.is_none() {
            let now = Instant::now();
            self.waiting = Some(now);
            self.left_ends.as_mut().reset(now + self.left);
        }
        ready!(self.left_ends.as_mut().poll(context));
        tracing::debug!("a body was too slow");
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn came(&mut self, bytes: usize) {
        if let Some(since) = self.waiting.take() {
            let earned = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(1_000) / BODY_PACE;
            let left = self.left.saturating_sub(since.elapsed());
            self.left = (left + Duration::from_millis(earned)).min(self.patience.body);
        }
    }

    /// Follows what is being written.
    fn written<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stuck = false;
            return written;
        }
        if !std::mem::replace(&mut self.stuck, true) {
            self.stuck_ends.as_mut().reset(Instant::now() + self.patience.take);
        }
        ready!(self.stuck_ends.as_mut().poll(context));
        tracing::debug!("an answer was not taken");
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Takes the next part of what is said after a refusal, so that the refusal can be told with its own status: the
    /// library has but one.
    fn say_last(&mut self, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        ready!(self.write_last(context))?;
        let bytes = parts.iter().flat_map(|part| part.iter().copied());
        self.last = bytes.take(MAX_LAST).collect();
        let taken = self.last.len();
        if let Some(status) = self.refused {
            restate(&mut self.last, status);
        }
        // What is not written now is written before anything else.
        match self.write_last(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(taken)),
        }
    }

    /// Writes what was taken of the last answer.
    fn write_last(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.last.is_empty() {
            let written = Pin::new(&mut self.stream).poll_write(context, &self.last);
            let written = ready!(self.written(context, written))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.last.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    fn answered(&mut self, answer: &[u8]) {
        if self.framing.awaits_answer() {
            self.framing.answered(answer);
            self.reader.take().into_iter().for_each(Waker::wake);
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.refused.is_some() {
            return Poll::Ready(Ok(()));
        }
        if this.framing.awaits_answer() {
            this.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        if Pin::new(&mut this.stream).poll_read(context, buffer)?.is_pending() {
            return this.wait(context);
        }
        let came = buffer.filled().get(before..).unwrap_or_default();
        this.came(came.len());
        if let Err(Offence { at, status }) = this.framing.follow(came) {
            tracing::debug!(%status, "a request is not framed as it must be");
            this.refused = Some(status);
            // No request has this byte: the library answers 400, or breaks off the body.
            buffer.set_filled(before + at);
            buffer.put_slice(b"\0");
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.refused.is_some() {
            return this.say_last(context, &[IoSlice::new(bytes)]);
        }
        this.answered(bytes);
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.written(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.refused.is_some() {
            return this.say_last(context, bytes);
        }
        this.answered(bytes.iter().find(|slice| !slice.is_empty()).map_or(&[], |slice| slice));
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, bytes);
        this.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.write_last(context))?;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.write_last(context))?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use poem::EndpointExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    const LONG: Duration = Duration::from_secs(60);

    /// Serves so much to everybody.
    async fn serving(bytes: usize, most: usize, patience: Patience) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let address = listener.local_addr().expect("an address");
        let endpoint = poem::endpoint::make_sync(move |_| Response::builder().body(vec![b'x'; bytes])).boxed();
        tokio::spawn(serve_so(listener, endpoint, CancellationToken::new(), Duration::ZERO, most, patience));
        address
    }

    async fn asking(address: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
        stream
    }

    async fn is_answered(stream: &mut TcpStream, within: Duration) -> bool {
        matches!(timeout(within, stream.read(&mut [0; 1024])).await, Ok(Ok(1..)))
    }

    #[tokio::test]
    async fn connections_wait_for_a_place() {
        let address = serving(1, 2, PATIENCE).await;
        let (mut one, mut two) = (asking(address).await, asking(address).await);
        assert!(is_answered(&mut one, LONG).await && is_answered(&mut two, LONG).await);
        let mut three = asking(address).await;
        assert!(!is_answered(&mut three, Duration::from_millis(200)).await, "there are two already");
        drop(one);
        assert!(is_answered(&mut three, LONG).await);
        drop(two);
    }

    #[tokio::test]
    async fn an_answer_that_is_not_taken_is_cut() {
        let patience = Patience { take: Duration::from_millis(100), ..PATIENCE };
        let address = serving(64 * 1024 * 1024, 1, patience).await;
        // It takes nothing, and stays. The only place is free again once it is cut.
        let stuck = asking(address).await;
        assert!(is_answered(&mut asking(address).await, LONG).await);
        drop(stuck);
    }
}
