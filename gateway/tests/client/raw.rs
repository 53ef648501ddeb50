//! A server that reads requests as HTTP/1.1 and answers with whatever bytes it is told.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What is done after a request has been read.
#[derive(Clone, Debug)]
pub(crate) enum Then {
    /// These bytes, then the next request.
    Answer(Vec<u8>),
    /// These bytes, then the connection is closed.
    Close(Vec<u8>),
    /// These bytes, then nothing; the connection stays open.
    Silence(Vec<u8>),
    /// These bytes, then others over and over, until the client has enough.
    Endless(Vec<u8>, Vec<u8>),
}

/// An answer with this head and body.
pub(crate) fn answer(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Listens on a free port of 127.0.0.1. Dropping it closes the port.
pub(crate) struct Raw {
    pub(crate) url: String,
    connections: Arc<AtomicUsize>,
    /// How many bytes each endless answer had when the client closed.
    endless: watch::Receiver<Option<usize>>,
    server: JoinHandle<()>,
}

impl Raw {
    /// `then` gets the number of the request, from 0.
    pub(crate) async fn start(then: impl Fn(usize) -> Then + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (then, connections) = (Arc::new(then), Arc::new(AtomicUsize::new(0)));
        let (tell, endless) = watch::channel(None);
        let (opened, requests, tell) = (connections.clone(), Arc::new(AtomicUsize::new(0)), Arc::new(tell));
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                opened.fetch_add(1, Ordering::SeqCst);
                let (then, requests, tell) = (then.clone(), requests.clone(), tell.clone());
                // It ends with an error whenever the client hangs up.
                tokio::spawn(async move { serve(stream, &*then, &requests, &tell).await.ok() });
            }
        });
        Self { url, connections, endless, server }
    }

    /// Does the same with every request.
    pub(crate) async fn always(then: Then) -> Self {
        Self::start(move |_| then.clone()).await
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How much of an endless answer the client took, buffers on the way included.
    pub(crate) async fn taken(&self) -> usize {
        let mut endless = self.endless.clone();
        let taken = endless.wait_for(Option::is_some);
        let taken = tokio::time::timeout(support::DEADLINE, taken).await.expect("the client closes");
        taken.expect("the server lives").unwrap_or_default()
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    then: &(dyn Fn(usize) -> Then + Send + Sync),
    requests: &AtomicUsize,
    tell: &watch::Sender<Option<usize>>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        read_request(&mut stream).await?;
        match then(requests.fetch_add(1, Ordering::SeqCst)) {
            Then::Answer(bytes) => stream.write_all(&bytes).await?,
            Then::Close(bytes) => {
                stream.write_all(&bytes).await?;
                return stream.shutdown().await;
            }
            Then::Silence(bytes) => {
                stream.write_all(&bytes).await?;
                return std::future::pending().await;
            }
            Then::Endless(head, more) => {
                stream.write_all(&head).await?;
                let mut taken = 0;
                while stream.write_all(&more).await.is_ok() {
                    taken += more.len();
                }
                tell.send_replace(Some(taken));
                return Ok(());
            }
        }
    }
}

/// Reads one request, head and body.
async fn read_request(stream: &mut TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length = length.map_or(0, |length| length.trim().parse().expect("a length"));
    stream.read_exact(&mut vec![0; length]).await.map(drop)
}
