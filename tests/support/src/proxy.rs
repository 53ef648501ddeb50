//! A network that fails on purpose: TCP between a process and what it stands on.
//!
//! A [`Proxy`] listens on a port of its own and passes bytes to its target. What it does with them can be changed at any
//! time, for the connections that there are and for new ones. It never looks into the bytes, so it stands before
//! PostgreSQL, Redis and HTTP alike.

use bytes::Bytes;
use parking_lot::Mutex;
use servers::free_port;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the one who connected: questions.
    There,
    /// From the target: answers.
    Back,
}

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Pass,
    /// They are kept, and not even read once there are many, until the flow passes again.
    Hold,
}

/// What the proxy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Weather {
    /// Nobody listens, and no connection stays.
    cut: bool,
    /// Each connection is reset as soon as it is there.
    reset: bool,
    there: Flow,
    back: Flow,
    latency: Duration,
    /// Connections that were made before this generation pass nothing any more, for ever,
    lost_before: u64,
    /// or are closed,
    closed_before: u64,
    /// or reset: also those that look only when all is well again.
    reset_before: u64,
}

const FAIR: Weather = Weather {
    cut: false,
    reset: false,
    there: Flow::Pass,
    back: Flow::Pass,
    latency: Duration::ZERO,
    lost_before: 0,
    closed_before: 0,
    reset_before: 0,
};

impl Weather {
    const fn flow(&self, way: Way) -> Flow {
        match way {
            Way::There => self.there,
            Way::Back => self.back,
        }
    }
}

/// Connections that are to be reset after so many bytes.
#[derive(Clone, Copy, Debug)]
struct Trap {
    way: Way,
    bytes: u64,
    connections: usize,
}

struct Shared {
    target: SocketAddr,
    weather: watch::Sender<Weather>,
    trap: Mutex<Option<Trap>>,
    generation: AtomicU64,
    open: AtomicUsize,
    accepted: AtomicUsize,
    /// Connections that were reset by a trap.
    trapped: AtomicUsize,
}

/// A proxy before one target. Dropping it closes the port and every connection.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy")
            .field("target", &self.target)
            .field("weather", &*self.weather.borrow())
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

impl Proxy {
    /// A proxy before the server of a URL like `redis://127.0.0.1:6379/0`. It passes everything at first; nobody needs to
    /// listen there yet.
    ///
    /// # Panics
    /// When the URL names no address and port, or there is no free port.
    pub async fn before(url: &str) -> Self {
        let target = authority(url).1.parse().unwrap_or_else(|error| panic!("{url} names no address ({error})"));
        for _ in 0..10 {
            // Not one of those that the system hands out: the port must stay ours while nobody listens.
            let port = free_port().expect("a free port");
            let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await else { continue };
            let address = listener.local_addr().expect("the address of a bound listener");
            let shared = Arc::new(Shared {
                target,
                weather: watch::Sender::new(FAIR),
                trap: Mutex::default(),
                generation: AtomicU64::new(0),
                open: AtomicUsize::new(0),
                accepted: AtomicUsize::new(0),
                trapped: AtomicUsize::new(0),
            });
            let server = tokio::spawn(serve(listener, address, shared.clone()));
            return Self { shared, address, server };
        }
        panic!("ten ports in a row were taken while a proxy started");
    }

    /// A URL of the target, made to lead through the proxy.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        let (scheme_and_user, _, rest) = authority(url);
        format!("{scheme_and_user}{}{rest}", self.address)
    }

    /// Passes everything at once, in both directions, on old and new connections. What was held is delivered now. Who was
    /// [lost](Self::lose) stays so.
    pub fn pass(&self) {
        self.change(|weather| {
            let Weather { lost_before, closed_before, reset_before, .. } = *weather;
            *weather = Weather { lost_before, closed_before, reset_before, ..FAIR };
        });
        *self.shared.trap.lock() = None;
    }

    /// Closes all connections and refuses new ones.
    pub fn cut(&self) {
        let now = self.next_generation();
        self.change(|weather| (weather.cut, weather.closed_before) = (true, now));
    }

    /// Resets all connections, and each new one as soon as it is there.
    pub fn reset(&self) {
        let now = self.next_generation();
        self.change(|weather| (weather.reset, weather.reset_before) = (true, now));
    }

    /// Resets the connections that there are. New ones are treated as the weather is.
    pub fn break_off(&self) {
        let now = self.next_generation();
        self.change(|weather| weather.reset_before = now);
    }

    /// Connections stay open and new ones are taken, but no byte comes through in either direction.
    pub fn stall(&self) {
        self.change(|weather| (weather.there, weather.back) = (Flow::Hold, Flow::Hold));
    }

    /// The same in one direction: with [`Way::Back`] the target gets every question, and nobody its answer.
    pub fn half_open(&self, way: Way) {
        self.change(|weather| match way {
            Way::There => weather.there = Flow::Hold,
            Way::Back => weather.back = Flow::Hold,
        });
    }

    /// The connections that there are pass nothing any more and stay open, as when somebody in between has forgotten them.
    /// New ones pass.
    pub fn lose(&self) {
        let now = self.next_generation();
        self.change(|weather| weather.lost_before = now);
    }

    /// Every byte takes so long, each way.
    pub fn latency(&self, latency: Duration) {
        self.change(|weather| weather.latency = latency);
    }

    /// Each of the next `connections` new ones is reset when so many bytes have gone this way.
    pub fn reset_after(&self, way: Way, bytes: u64, connections: usize) {
        *self.shared.trap.lock() = Some(Trap { way, bytes, connections });
    }

    /// How many connections there are now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// How many connections there have been.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many connections [`reset_after`](Self::reset_after) has reset.
    #[must_use]
    pub fn trapped(&self) -> usize {
        self.shared.trapped.load(Ordering::SeqCst)
    }

    /// Connections from now on belong to it.
    fn next_generation(&self) -> u64 {
        self.shared.generation.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn change(&self, change: impl FnOnce(&mut Weather)) {
        self.shared.weather.send_modify(change);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
        // Connections end by themselves when the sender is gone; those that hold it still are told.
        self.change(|weather| weather.cut = true);
    }
}

/// A URL before its `host:port`, that, and what follows.
fn authority(url: &str) -> (&str, &str, &str) {
    let begin = url.find("://").map_or(0, |at| at + 3);
    let end = url[begin..].find('/').map_or(url.len(), |at| begin + at);
    let begin = url[begin..end].rfind('@').map_or(begin, |at| begin + at + 1);
    (&url[..begin], &url[begin..end], &url[end..])
}

async fn serve(listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    let mut listener = Some(listener);
    let mut weather = shared.weather.subscribe();
    loop {
        let cut = weather.borrow_and_update().cut;
        if cut {
            listener = None;
        }
        if let (false, None) = (cut, &listener) {
            listener = bind_again(address).await;
        }
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await.ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = weather.changed() => if changed.is_err() { return },
            client = accepted => if let Some((client, _)) = client {
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(connection(client, shared.clone()));
            },
        }
    }
}

/// The port is below those that the system hands out, so only old connections of ours can be in the way.
async fn bind_again(address: SocketAddr) -> Option<TcpListener> {
    for _ in 0..500 {
        if let Ok(listener) = TcpListener::bind(address).await {
            return Some(listener);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    None
}

/// How a connection ended.
enum End {
    Closed,
    Reset,
}

async fn connection(client: TcpStream, shared: Arc<Shared>) {
    shared.open.fetch_add(1, Ordering::SeqCst);
    pass_through(client, &shared).await;
    shared.open.fetch_sub(1, Ordering::SeqCst);
}

async fn pass_through(client: TcpStream, shared: &Arc<Shared>) {
    let generation = shared.generation.load(Ordering::SeqCst);
    let mut weather = shared.weather.subscribe();
    if weather.borrow_and_update().reset {
        abort(&client);
        return;
    }
    let trap = {
        let mut trap = shared.trap.lock();
        let set = trap.filter(|trap| trap.connections > 0);
        if let (Some(trap), true) = (trap.as_mut(), set.is_some()) {
            trap.connections -= 1;
        }
        set
    };
    let Ok(server) = TcpStream::connect(shared.target).await else {
        abort(&client);
        return;
    };
    for stream in [&client, &server] {
        stream.set_nodelay(true).ok();
    }
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let limit = |way| trap.filter(|trap| trap.way == way).map(|trap| trap.bytes);
    let end = {
        let passing = |way| Passing { way, weather: shared.weather.subscribe(), generation, limit: limit(way) };
        let there = pump(&mut from_client, &mut to_server, passing(Way::There));
        let back = pump(&mut from_server, &mut to_client, passing(Way::Back));
        let both = async {
            // Each way ends by itself: who says that he has no more questions may still wait for an answer.
            tokio::pin!(there, back);
            tokio::select! {
                end = &mut there => match end { End::Reset => End::Reset, End::Closed => back.await },
                end = &mut back => match end { End::Reset => End::Reset, End::Closed => there.await },
            }
        };
        let told = async {
            loop {
                let now = *weather.borrow_and_update();
                if now.cut || now.closed_before > generation {
                    return End::Closed;
                }
                if now.reset || now.reset_before > generation {
                    return End::Reset;
                }
                if weather.changed().await.is_err() {
                    return End::Closed;
                }
            }
        };
        tokio::select! {
            end = both => {
                if matches!(end, End::Reset) && trap.is_some() {
                    shared.trapped.fetch_add(1, Ordering::SeqCst);
                }
                end
            },
            end = told => end,
        }
    };
    if matches!(end, End::Reset) {
        for (from, to) in [(from_client, to_client), (from_server, to_server)] {
            abort(from.as_ref());
            // Dropped, it would say goodbye first.
            to.forget();
        }
    }
}

/// The next close of the stream is a reset.
fn abort(stream: &TcpStream) {
    stream.set_zero_linger().ok();
}

/// Bytes on their way, and when they may arrive.
type Parcel = (Instant, Bytes);

/// One way of one connection.
struct Passing {
    way: Way,
    weather: watch::Receiver<Weather>,
    generation: u64,
    limit: Option<u64>,
}

async fn pump(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, passing: Passing) -> End {
    let (sender, parcels) = mpsc::channel(64);
    let reading = read(from, sender, passing.weather.clone(), passing.limit);
    match tokio::join!(reading, deliver(to, parcels, passing)) {
        (End::Closed, End::Closed) if to.shutdown().await.is_ok() => End::Closed,
        _ => End::Reset,
    }
}

async fn read(
    from: &mut OwnedReadHalf,
    parcels: mpsc::Sender<Parcel>,
    weather: watch::Receiver<Weather>,
    limit: Option<u64>,
) -> End {
    let mut left = limit.unwrap_or(u64::MAX);
    let mut buffer = vec![0; 16 * 1024];
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = match from.read(&mut buffer[..most]).await {
            Ok(0) => return End::Closed,
            Ok(count) => count,
            Err(_) => return End::Reset,
        };
        left -= u64::try_from(count).unwrap_or(left);
        let due = Instant::now() + weather.borrow().latency;
        if parcels.send((due, Bytes::copy_from_slice(&buffer[..count]))).await.is_err() {
            return End::Reset;
        }
    }
    End::Reset
}

async fn deliver(to: &mut OwnedWriteHalf, mut parcels: mpsc::Receiver<Parcel>, passing: Passing) -> End {
    let Passing { way, mut weather, generation, limit: _ } = passing;
    while let Some((due, bytes)) = parcels.recv().await {
        tokio::time::sleep_until(due).await;
        let passes = |weather: &Weather| weather.flow(way) == Flow::Pass && weather.lost_before <= generation;
        if weather.wait_for(passes).await.is_err() {
            return End::Closed;
        }
        if to.write_all(&bytes).await.is_err() {
            return End::Reset;
        }
    }
    End::Closed
}
