//! Where one HTTP/1.1 request ends and the next begins, read strictly.
//!
//! A proxy in front of us and the library behind this gate may read sloppy requests differently; what lies between the
//! two readings is a request that somebody smuggles. So nothing sloppy gets as far as the library: bare line feeds,
//! folded headers, two lengths, a length beside an encoding, an encoding other than `chunked`, chunks that are not framed
//! to the letter. RFC 9112 lets a server refuse all of them.
//!
//! The library still parses, answers and closes: in place of the offending byte it is given one that no request has, so
//! it answers 400, which the gate makes the status that it found. What is checked here are lines, lengths, and what a
//! server must refuse by its head alone: a version that it does not speak (505), a transfer coding that it does not know
//! (501), and a request of HTTP/1.1 that does not name its host exactly once (RFC 9112, 3.2).
//!
//! Where every request comes through a proxy that frames as strictly (nginx, HAProxy and Envoy refuse all of the above in
//! their recent releases), this module could go, and with it `lib.rs`'s calls of `follow`, `answered` and `in_body`; the
//! patience of `lib.rs` with slow clients would stay. It is here because the embedded set-up has no proxy, and because
//! which proxy stands in front, and how strict it is, is not ours to know.

use poem::http::StatusCode;
use poem::http::uri::Authority;

/// The most bytes of a request's head, its request line among them: the library refuses larger ones with 431.
pub(crate) const MAX_HEAD: usize = 32 * 1024;

/// The most bytes of a head that are followed at all: more than the library ever holds.
const MAX_LINES: usize = 4 * MAX_HEAD;

/// The most bytes of a chunk's size line, extensions (which nobody sends) and all.
const MAX_CHUNK_LINE: usize = 256;

/// The most bytes behind the last chunk.
const MAX_TRAILERS: usize = 8 * 1024;

/// The most empty lines before a request line: old clients send one after a body.
const MAX_EMPTY: usize = 2;

/// What a connection carries at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    RequestLine,
    Header,
    /// So many bytes of a body are left.
    Body(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailer,
    /// The head asked for another protocol; the answer says whether it is spoken now.
    Upgrade,
    /// Another protocol.
    Tunnel,
}

/// Follows the bytes of a connection.
#[derive(Debug)]
pub(crate) struct Framing {
    at: At,
    /// The line that is being read.
    line: Vec<u8>,
    /// Bytes of the head or of the trailers so far.
    block: usize,
    empty: usize,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
    host: bool,
    /// Whether the request is of HTTP/1.1, and not of 1.0, which knows neither chunks nor hosts.
    chunks: bool,
}

impl Default for Framing {
    fn default() -> Self {
        Self {
            at: At::RequestLine,
            line: Vec::new(),
            block: 0,
            empty: 0,
            length: None,
            chunked: false,
            upgrade: false,
            host: false,
            chunks: true,
        }
    }
}

/// A byte that must not be there, and how the request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offence {
    /// Its place in the bytes that came.
    pub(crate) at: usize,
    /// What the client is told.
    pub(crate) status: StatusCode,
}

/// What is wrong with a line.
struct Wrong(StatusCode);

/// It may be read in two ways, or in none.
const MALFORMED: Wrong = Wrong(StatusCode::BAD_REQUEST);

impl Framing {
    /// Follows the next bytes; `Err` has the place of the first that must not be there.
    pub(crate) fn follow(&mut self, bytes: &[u8]) -> Result<(), Offence> {
        let mut from = 0;
        while let Some(rest) = bytes.get(from..).filter(|rest| !rest.is_empty()) {
            from += match self.at {
                At::Tunnel => rest.len(),
                At::Upgrade => return Err(Offence { at: from, status: StatusCode::BAD_REQUEST }),
                At::Body(left) => self.skip(left, rest.len(), At::Body, At::RequestLine),
                At::ChunkData(left) => self.skip(left, rest.len(), At::ChunkData, At::ChunkEnd),
                At::RequestLine | At::Header | At::ChunkSize | At::ChunkEnd | At::Trailer => {
                    self.line(rest).map_err(|offence| Offence { at: from + offence.at, ..offence })?
                }
            };
        }
        Ok(())
    }

    /// Whether bytes wait for an answer that says what they are.
    pub(crate) fn awaits_answer(&self) -> bool {
        self.at == At::Upgrade
    }

    /// Whether the bytes to come are a request's body.
    pub(crate) fn in_body(&self) -> bool {
        matches!(self.at, At::Body(_) | At::ChunkSize | At::ChunkData(_) | At::ChunkEnd | At::Trailer)
    }

    /// Follows the beginning of an answer.
    pub(crate) fn answered(&mut self, answer: &[u8]) {
        if self.at == At::Upgrade && !answer.is_empty() {
            self.at = if answer.starts_with(b"HTTP/1.1 101 ") { At::Tunnel } else { At::RequestLine };
        }
    }

    fn skip(&mut self, left: u64, there: usize, more: fn(u64) -> At, then: At) -> usize {
        let there = u64::try_from(there).unwrap_or(u64::MAX);
        let skipped = left.min(there);
        self.at = if skipped == left { then } else { more(left - skipped) };
        usize::try_from(skipped).unwrap_or(usize::MAX)
    }

    /// Follows a line, or the part of it that is there; `Err` has the place of the offence.
    fn line(&mut self, rest: &[u8]) -> Result<usize, Offence> {
        let end = rest.iter().position(|b| *b == b'\n');
        let part = rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest);
        if let Some(at) = self.bad_byte(part) {
            return Err(Offence { at, status: StatusCode::BAD_REQUEST });
        }
        self.line.extend_from_slice(part);
        self.block += part.len();
        let Some(end) = end else { return Ok(rest.len()) };
        self.block += 1;
        let mut line = std::mem::take(&mut self.line);
        let followed = match line.pop() {
            Some(b'\r') => self.whole_line(&line),
            _ => Err(MALFORMED),
        };
        line.clear();
        self.line = line;
        followed.map_err(|Wrong(status)| Offence { at: end, status }).map(|()| end + 1)
    }

    /// The first byte that no line has, or that is one too many.
    fn bad_byte(&self, part: &[u8]) -> Option<usize> {
        let (before, most) = match self.at {
            At::RequestLine | At::Header => (self.block, MAX_LINES),
            At::Trailer => (self.block, MAX_TRAILERS),
            _ => (self.line.len(), MAX_CHUNK_LINE),
        };
        let too_many = (before + part.len() > most).then(|| most.saturating_sub(before));
        let folds = self.line.is_empty() && matches!(self.at, At::Header | At::Trailer);
        let mut after_return = self.line.last() == Some(&b'\r');
        let wrong = part.iter().enumerate().position(|(at, b)| {
            let wrong = *b == 0 || after_return || (at == 0 && folds && matches!(b, b' ' | b'\t'));
            after_return = *b == b'\r';
            wrong
        });
        wrong.into_iter().chain(too_many).min()
    }

    fn whole_line(&mut self, line: &[u8]) -> Result<(), Wrong> {
        match self.at {
            At::RequestLine if line.is_empty() => {
                self.empty += 1;
                if self.empty > MAX_EMPTY { Err(MALFORMED) } else { Ok(()) }
            }
            At::RequestLine => {
                self.chunks = request_line(line)?;
                self.at = At::Header;
                Ok(())
            }
            At::Header if line.is_empty() => {
                if self.chunks && !self.host {
                    return Err(MALFORMED);
                }
                self.at = match (self.chunked, self.length) {
                    (true, _) => At::ChunkSize,
                    (false, Some(1..)) => At::Body(self.length.unwrap_or(0)),
                    (false, _) if self.upgrade => At::Upgrade,
                    (false, _) => At::RequestLine,
                };
                let (at, line) = (self.at, std::mem::take(&mut self.line));
                *self = Self { at, line, ..Self::default() };
                Ok(())
            }
            At::Header => self.header(line),
            At::ChunkSize => {
                // Before an extension there may be spaces, as before nothing else (RFC 9112, 7.1.1).
                let extension = line.iter().position(|b| *b == b';');
                let digits = extension.and_then(|at| line.get(..at)).map_or(line, <[u8]>::trim_ascii_end);
                let size = number(digits, 16, 15)?;
                self.block = 0;
                self.at = if size == 0 { At::Trailer } else { At::ChunkData(size) };
                Ok(())
            }
            At::ChunkEnd => {
                self.at = At::ChunkSize;
                if line.is_empty() { Ok(()) } else { Err(MALFORMED) }
            }
            At::Trailer => {
                if line.is_empty() {
                    *self = Self::default();
                }
                Ok(())
            }
            At::Body(_) | At::ChunkData(_) | At::Upgrade | At::Tunnel => Ok(()),
        }
    }

    fn header(&mut self, line: &[u8]) -> Result<(), Wrong> {
        let colon = line.iter().position(|b| *b == b':').ok_or(MALFORMED)?;
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.is_empty() || name.iter().any(|b| b.is_ascii_whitespace()) {
            return Err(MALFORMED);
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            if self.length.is_some() || self.chunked {
                return Err(MALFORMED);
            }
            self.length = Some(number(value, 10, 18)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.length.is_some() || self.chunked || !self.chunks {
                return Err(MALFORMED);
            }
            only_chunked(value)?;
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"host") {
            if std::mem::replace(&mut self.host, true) || !is_host(value) {
                return Err(MALFORMED);
            }
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        }
        Ok(())
    }
}

/// Whether a request line is of HTTP/1.1; else it is of HTTP/1.0.
fn request_line(line: &[u8]) -> Result<bool, Wrong> {
    let mut parts = line.split(|b| *b == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(MALFORMED);
    };
    // A fragment is the client's own; what a path is up to it, others may see otherwise.
    if method.is_empty() || target.is_empty() || target.iter().any(|b| *b == b'#' || b.is_ascii_control()) {
        return Err(MALFORMED);
    }
    match version {
        b"HTTP/1.1" => Ok(true),
        b"HTTP/1.0" => Ok(false),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            Err(Wrong(StatusCode::HTTP_VERSION_NOT_SUPPORTED))
        }
        _ => Err(MALFORMED),
    }
}

/// Refuses transfer codings but `chunked`. Without it at the end nobody knows where the body ends, and the answer must be
/// 400; before it, a coding that is not known is told as that (RFC 9112, 6.1 and 6.3).
fn only_chunked(value: &[u8]) -> Result<(), Wrong> {
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    if is_chunked(value) {
        return Ok(());
    }
    let mut codings: Vec<&[u8]> = value.split(|b| *b == b',').map(<[u8]>::trim_ascii).collect();
    let last = codings.pop().unwrap_or_default();
    let token = |coding: &&[u8]| !coding.is_empty() && coding.iter().all(u8::is_ascii_graphic) && !is_chunked(coding);
    match is_chunked(last) && codings.iter().all(token) {
        true => Err(Wrong(StatusCode::NOT_IMPLEMENTED)),
        false => Err(MALFORMED),
    }
}

/// Whether a `Host` names one, or none at all, as it may for a target that has none.
fn is_host(value: &[u8]) -> bool {
    let parsed = || Authority::try_from(value).ok();
    let has_port = |host: &Authority| {
        host.as_str().len() == host.host().len() || host.port_u16().is_some() || value.ends_with(b":")
    };
    value.is_empty() || (!value.contains(&b'@') && parsed().is_some_and(|host| has_port(&host)))
}

/// Digits and nothing else: no sign, no space, no list, no more of them than fit.
fn number(text: &[u8], radix: u32, most: usize) -> Result<u64, Wrong> {
    let fine = (1..=most).contains(&text.len()) && text.iter().all(|b| char::from(*b).is_digit(radix));
    let text = std::str::from_utf8(text).ok().filter(|_| fine).ok_or(MALFORMED)?;
    u64::from_str_radix(text, radix).map_err(|_| MALFORMED)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the first offence of a connection is, its bytes coming in parts of so many.
    fn offence(bytes: &[u8], at_once: usize) -> Option<usize> {
        refused(bytes, at_once).map(|offence| offence.at)
    }

    /// The same with what it is answered with.
    fn refused(bytes: &[u8], at_once: usize) -> Option<Offence> {
        let mut framing = Framing::default();
        let mut parts = bytes.chunks(at_once).enumerate();
        parts.find_map(|(nth, part)| {
            framing.follow(part).err().map(|offence| Offence { at: nth * at_once + offence.at, ..offence })
        })
    }

    #[test]
    fn a_head_that_must_be_refused_is_told_why() {
        let post = |headers: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n");
        let get = |headers: &str| format!("GET / HTTP/1.1\r\n{headers}\r\n");
        for (bytes, status) in [
            (get(""), Some(400)),
            (get("X: y\r\n"), Some(400)),
            (get("Host: x\r\nhost: x\r\n"), Some(400)),
            (get("Host: x\r\n"), None),
            (get("Host: \r\n"), None),
            (get("Host: example.org:8080\r\n"), None),
            (get("Host: [::1]:8080\r\n"), None),
            (get("Host: example.org:\r\n"), None),
            (get("Host: a b\r\n"), Some(400)),
            (get("Host: a/b\r\n"), Some(400)),
            (get("Host: user@a\r\n"), Some(400)),
            (get("Host: http://a\r\n"), Some(400)),
            (get("Host: a,b\r\n"), None),
            (get("Host: a:b\r\n"), Some(400)),
            (get("Host: a:99999\r\n"), Some(400)),
            ("GET / HTTP/1.0\r\n\r\n".into(), None),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(), Some(400)),
            ("GET / HTTP/2.0\r\n".into(), Some(505)),
            ("PRI * HTTP/2.0\r\n".into(), Some(505)),
            ("GET / HTTP/1.2\r\n".into(), Some(505)),
            ("GET / HTTP/0.9\r\n".into(), Some(505)),
            ("GET / HTTP/1.1.1\r\n".into(), Some(400)),
            ("GET / http/1.1\r\n".into(), Some(400)),
            ("GET /\r\n".into(), Some(400)),
            ("GET  / HTTP/1.1\r\n".into(), Some(400)),
            ("GET /a b HTTP/1.1\r\n".into(), Some(400)),
            ("GET / HTTP/1.1 \r\n".into(), Some(400)),
            ("GET /#a HTTP/1.1\r\n".into(), Some(400)),
            (post("Transfer-Encoding: gzip, chunked"), Some(501)),
            (post("Transfer-Encoding: nonsense ,\tChunked"), Some(501)),
            (post("Transfer-Encoding: chunked, chunked"), Some(400)),
            (post("Transfer-Encoding: chunked, gzip"), Some(400)),
            (post("Transfer-Encoding: gzip"), Some(400)),
            (post("Transfer-Encoding: , chunked"), Some(400)),
            (post("Transfer-Encoding: \u{b}chunked"), Some(400)),
            (post("Transfer-Encoding: chunked\r\n\r\n1 ;a=b\r\nx\r\n0\t;c"), None),
            (post("Transfer-Encoding: chunked\r\n\r\n1 \r\nx"), Some(400)),
        ] {
            for at_once in [1, 3, bytes.len()] {
                let found = refused(bytes.as_bytes(), at_once).map(|offence| offence.status.as_u16());
                assert_eq!(found, status, "{bytes:?} by {at_once}");
            }
        }
    }

    #[test]
    fn what_may_be_read_in_two_ways_is_refused_at_its_place_however_it_comes() {
        // The place is behind the bar.
        for marked in [
            "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\na\nb\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n3;a=b\r\n\n\n\n\r\n0\r\nX: y\r\n\r\nGET /",
            "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "\r\n\r\n\r|\nGET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1|\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x|\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n|\n",
            "GET / HTTP/1.1\r\nHost: x\r\n| fold\r\n\r\n",
            "GET / HTTP/1.1\r\n|\tfold\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r|b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r|\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a|\0b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r|\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r|\n\r\n",
            "GET / HTTP/1.1\r\nno colon\r|\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r|\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r|\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r|\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999999999999\r|\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r|\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\ncontent-length: 1\r|\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r|\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r|\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1 \r|\n",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r|\n",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1|\na\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r|\n",
            "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n|GET / HTTP/1.1\r\n\r\n",
        ] {
            let (place, request) = (marked.find('|'), marked.replace('|', ""));
            for at_once in [1, 2, 3, 7, request.len()] {
                assert_eq!(offence(request.as_bytes(), at_once), place, "{request:?} by {at_once}");
            }
        }
    }

    #[test]
    fn heads_chunk_lines_and_trailers_have_their_size() {
        let sized = |start: &str, n: usize| format!("{start}{}\r\n", "x".repeat(n));
        let (head, chunked) =
            ("GET / HTTP/1.1\r\nX: ", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        let (size, trailer) = (format!("{chunked}1;"), format!("{chunked}0\r\nX: "));
        for at_once in [1, 1_000, 1_000_000] {
            for (start, fits, most) in
                [(head, 130_000, MAX_LINES), (&size, 200, MAX_CHUNK_LINE), (&trailer, 8_000, MAX_TRAILERS)]
            {
                assert_eq!(offence(sized(start, fits).as_bytes(), at_once), None, "{start}");
                assert!(offence(sized(start, most).as_bytes(), at_once).is_some(), "{start}");
            }
        }
    }

    #[test]
    fn another_protocol_begins_with_its_answer_alone() {
        let ask = b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n";
        let mut framing = Framing::default();
        assert_eq!(framing.follow(ask), Ok(()));
        assert!(framing.awaits_answer());
        framing.answered(b"HTTP/1.1 101 Switching Protocols\r\n");
        assert_eq!(framing.follow(b"\n\n\n"), Ok(()));
        let mut framing = Framing::default();
        assert_eq!(framing.follow(ask), Ok(()));
        framing.answered(b"HTTP/1.1 401 Unauthorized\r\n");
        assert_eq!(framing.follow(b"GET / HTTP/1.1\n").map_err(|offence| offence.at), Err(14));
    }

    /// The lengths of the bodies of all requests in a connection's bytes, as the gate reads them; `None`: it refuses
    /// them, or they end in the middle.
    fn gate(bytes: &[u8]) -> Option<Vec<u64>> {
        let (mut framing, mut lengths) = (Framing::default(), Vec::new());
        for byte in bytes {
            let before = framing.at;
            framing.follow(std::slice::from_ref(byte)).ok()?;
            match before {
                At::Header if framing.at != At::Header => lengths.push(0),
                At::Body(_) | At::ChunkData(_) => *lengths.last_mut().expect("a head is before it") += 1,
                _ => {}
            }
        }
        (framing.at == At::RequestLine).then_some(lengths)
    }

    /// The same as the library reads them, up to where it has had enough.
    async fn library(bytes: &[u8]) -> Vec<u64> {
        use hyper::body::Body;
        let lengths = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
        let service = hyper::service::service_fn(|request: hyper::Request<hyper::body::Incoming>| {
            let lengths = lengths.clone();
            async move {
                let (mut body, mut length) = (request.into_body(), 0);
                while let Some(Ok(frame)) =
                    std::future::poll_fn(|context| std::pin::Pin::new(&mut body).poll_frame(context)).await
                {
                    length += frame.data_ref().map_or(0, |data| data.len() as u64);
                }
                lengths.lock().push(length);
                Ok::<_, std::convert::Infallible>(hyper::Response::new(String::new()))
            }
        });
        let (mut client, server) = tokio::io::duplex(1024 * 1024);
        tokio::io::AsyncWriteExt::write_all(&mut client, bytes).await.expect("it fits");
        tokio::io::AsyncWriteExt::shutdown(&mut client).await.expect("shut");
        let io = hyper_util::rt::TokioIo::new(server);
        // Its error is its refusal.
        hyper::server::conn::http1::Builder::new().half_close(true).serve_connection(io, service).await.ok();
        lengths.lock().clone()
    }

    #[tokio::test]
    async fn what_passes_the_library_reads_in_the_same_way() {
        use rand::seq::IndexedRandom;
        use rand::{Rng, SeedableRng};
        const LINES: &[&str] =
            &["GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\n", "\r\nPOST /x HTTP/1.1\r\n", "POST / HTTP/1.0\r\n"];
        const HEADERS: &[&str] = &[
            "X: y\r\n",
            "Content-Length: 3\r\n",
            "content-length:  0 \r\n",
            "Content-Length: 5\r\n",
            "Content-Length: 03\r\n",
            "Transfer-Encoding: chunked\r\n",
            "transfer-encoding:  Chunked\t\r\n",
            "Transfer-Encoding: identity\r\n",
            "Connection: close\r\n",
            "Expect: 100-continue\r\n",
            "Trailer: X\r\n",
        ];
        const BODIES: &[&str] = &[
            "",
            "abc",
            "a\r\nbc",
            "\r\n\r\n\r",
            "0\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "A\r\n0123456789\r\n1;x=\"y\"\r\n\n\r\n00\r\nX: y\r\n\r\n",
        ];
        const JUNK: &[&str] = &[
            "\n",
            "\r",
            " ",
            "\t",
            "\0",
            "\r\n",
            "0",
            "a",
            ":",
            ";",
            ",",
            "\x0b",
            "chunked",
            "GET / HTTP/1.1\r\n\r\n",
        ];
        let (mut passed, mut several) = (0, 0);
        for seed in 0..6_000 {
            let rng = &mut rand::rngs::StdRng::seed_from_u64(seed);
            let mut bytes = Vec::new();
            for _ in 0..rng.random_range(1..4) {
                let mut part = LINES.choose(rng).copied().unwrap_or_default().to_owned();
                if part.contains("HTTP/1.1") && rng.random_bool(0.95) {
                    part += "Host: x\r\n";
                }
                for _ in 0..rng.random_range(0..3) {
                    part += HEADERS.choose(rng).copied().unwrap_or_default();
                }
                part += "\r\n";
                part += BODIES.choose(rng).copied().unwrap_or_default();
                bytes.extend_from_slice(part.as_bytes());
            }
            if rng.random_bool(0.3) {
                let at = rng.random_range(0..=bytes.len());
                bytes.splice(at..at, JUNK.choose(rng).copied().unwrap_or_default().bytes());
            }
            let Some(gate) = gate(&bytes) else { continue };
            let library = library(&bytes).await;
            assert!(
                gate.starts_with(&library),
                "seed {seed}: {gate:?} {library:?} of {:?}",
                String::from_utf8_lossy(&bytes)
            );
            passed += 1;
            several += usize::from(library.len() > 1);
        }
        assert!(passed > 500 && several > 60, "{passed} passed, {several} of them with several requests");
    }
}
