//! Free ports for servers that cannot bind port 0 and say which one they got.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// Below the range from which systems take the ports of outgoing connections and of listeners on port 0 (32768 on
/// Linux, 49152 elsewhere), so that nobody takes a server's port while it is down for a restart.
const FIRST: u16 = 15_000;
const COUNT: u16 = 15_000;

/// A port of 127.0.0.1 that nobody listens on at this moment, chosen at random.
///
/// Another process may still take it first: whoever starts a server on it tries again with another when the server says
/// that the address is in use.
///
/// # Errors
/// When a hundred ports in a row were taken.
pub fn free_port() -> io::Result<u16> {
    let random = RandomState::new();
    for attempt in 0..100_u64 {
        let offset = u16::try_from(random.hash_one(attempt) % u64::from(COUNT)).map_err(io::Error::other)?;
        let port = FIRST + offset;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no free port on 127.0.0.1 after 100 attempts"))
}
