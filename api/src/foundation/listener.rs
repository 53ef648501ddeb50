//! Accepting connections.

use poem::Addr;
use poem::http::uri::Scheme;
use poem::listener::Acceptor;
use poem::web::{LocalAddr, RemoteAddr};
use std::io::Result;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// How long nothing is accepted after an error: there are no more files to be opened, and a loop would only burn the
/// time in which some are closed.
const PAUSE: Duration = Duration::from_millis(50);

/// A listener that answers small requests at once, and outlives errors.
pub(crate) struct SteadyAcceptor {
    listener: TcpListener,
    local: LocalAddr,
}

impl SteadyAcceptor {
    /// # Errors
    /// When the listener has no address.
    pub(crate) fn new(listener: TcpListener) -> Result<Self> {
        let local = LocalAddr(Addr::SocketAddr(listener.local_addr()?));
        Ok(Self { listener, local })
    }
}

impl Acceptor for SteadyAcceptor {
    type Io = TcpStream;

    fn local_addr(&self) -> Vec<LocalAddr> {
        vec![self.local.clone()]
    }

    async fn accept(&mut self) -> Result<(TcpStream, LocalAddr, RemoteAddr, Scheme)> {
        loop {
            match self.listener.accept().await {
                Ok((stream, from)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "a connection goes on with Nagle's algorithm");
                    }
                    return Ok((stream, self.local.clone(), RemoteAddr(Addr::SocketAddr(from)), Scheme::HTTP));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}
