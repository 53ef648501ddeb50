//! One socket of `/ws`.

use super::hub::{MAX_LIVE, SocketNews, SocketPermit};
use crate::App;
use crate::foundation::auth::{self, Caller};
use crate::foundation::fields::Fields;
use crate::foundation::refusal::{Kind, Refusal};
use domain::BatchId;
use domain::batches;
use domain::users::Permission;
use futures::stream::SplitStream;
use futures::{SinkExt, StreamExt};
use poem::web::websocket::{CloseCode, Message, WebSocket, WebSocketConfig, WebSocketStream};
use poem::{FromRequest, IntoResponse, Request, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout};

/// A socket that says nothing for longer is closed.
const SILENCE: Duration = Duration::from_secs(90);

/// The largest frame from a client.
const MAX_FRAME: usize = 16 * 1024;

/// The largest frame that is read at all. What lies between the two is read to its end, so that the client, which is
/// still writing, gets to see why it is closed.
const MAX_READ: usize = 256 * 1024;

/// What a socket's buffers take while it is idle: there may be many.
const BUFFER: usize = 4 * 1024;

/// How long a frame may take to leave: a reader that takes none is cut off.
const SLOW: Duration = Duration::from_secs(10);

/// How long the peer has to take the close and to answer it.
const CLOSING: Duration = Duration::from_secs(5);

/// Why we close a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Close {
    Stopping,
    Broken,
    NotUtf8,
    TooLarge,
    Token,
    Silent,
    Slow,
}

impl Close {
    const fn code(self) -> u16 {
        match self {
            Self::Stopping => 1001,
            Self::Broken => 1002,
            Self::NotUtf8 => 1007,
            Self::TooLarge => 1009,
            Self::Token => 4001,
            Self::Silent => 4008,
            Self::Slow => 4009,
        }
    }

    const fn reason(self) -> &'static str {
        match self {
            Self::Stopping => "the server stops",
            Self::Broken => "not a frame",
            Self::NotUtf8 => "not UTF-8",
            Self::TooLarge => "frame too large",
            Self::Token => "the token has expired or the session has ended",
            Self::Silent => "silent for too long",
            Self::Slow => "too far behind",
        }
    }
}

#[derive(Deserialize)]
struct TokenQuery {
    token: Option<String>,
}

/// The token of a handshake: in `Authorization`, or in the query.
pub(crate) fn token(request: &Request) -> Option<String> {
    let header = auth::bearer(request).map(str::to_owned);
    header.or_else(|| request.params::<TokenQuery>().ok().and_then(|query| query.token))
}

/// Opens a socket for a caller who was identified.
pub(crate) async fn open(app: Arc<App>, caller: Caller, request: Request) -> Result<Response, Refusal> {
    let (request, mut body) = request.split();
    let socket = WebSocket::from_request(&request, &mut body)
        .await
        .map_err(|_| Refusal::new(Kind::Validation, "not a WebSocket handshake"))?;
    let place = app.hub.permit().ok_or_else(|| Refusal::new(Kind::Unavailable, "too many sockets are open"))?;
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(MAX_READ))
        .max_frame_size(Some(MAX_READ));
    Ok(socket.config(config).on_upgrade(move |stream| serve(app, caller, stream, place)).into_response())
}

fn frame(app: &App, kind: &str, data: &Value) -> String {
    let now = app.clock.now();
    let id = format!("msg_{}_{:08x}", now.0, rand::random::<u32>());
    json!({ "type": kind, "data": data, "timestamp": now.to_rfc3339(), "messageId": id }).to_string()
}

/// Serves a socket until it closes.
async fn serve(app: Arc<App>, caller: Caller, stream: WebSocketStream, _place: SocketPermit) {
    let (mut out, mut incoming) = stream.split();
    let Some(close) = talk(&app, &caller, &mut out, &mut incoming).await else { return };
    metrics::counter!("paceline_websocket_closed_total", "code" => close.code().to_string()).increment(1);
    let said = Message::close_with(CloseCode::from(close.code()), close.reason());
    // What the peer still writes is read and dropped until it answers: a socket that is let go with unread input takes
    // the close with it.
    let farewell = async {
        if out.send(said).await.is_ok() {
            drain(&mut incoming).await
        }
    };
    if timeout(CLOSING, farewell).await.is_err() {
        tracing::debug!(code = close.code(), "the peer did not answer the close");
    }
}

async fn drain(incoming: &mut SplitStream<WebSocketStream>) {
    while let Some(Ok(_)) = incoming.next().await {}
}

/// Talks until the peer goes (`None`) or must go.
async fn talk(
    app: &App,
    caller: &Caller,
    out: &mut (impl SinkExt<Message, Error = std::io::Error> + Unpin),
    incoming: &mut SplitStream<WebSocketStream>,
) -> Option<Close> {
    // Listen first, then read: what changes in between is heard, and known to be newer by its version.
    let mut told = app.hub.listen();
    let watches = caller.0.permits(Permission::BatchesRead);
    let mut known: HashMap<BatchId, i64> = HashMap::new();
    let mut queue = vec![frame(
        app,
        "connection_established",
        &json!({ "userId": caller.0.user_id.to_string(), "isAdmin": caller.0.is_admin,
            "serverTime": app.clock.now().to_rfc3339(), "offlineMessages": 0 }),
    )];
    if watches {
        match batches::live(app.db.read(), MAX_LIVE).await {
            Ok(live) => {
                queue.extend(live.iter().map(|summary| {
                    known.insert(summary.id, summary.version);
                    app.hub.frame(summary, app.clock.now().0).text
                }));
                app.hub.was_told(&live);
            }
            Err(error) => tracing::warn!(%error, "a new socket was not told of live batches"),
        }
    }
    for text in queue {
        match timeout(SLOW, out.send(Message::text(text))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return None,
            Err(_) => return Some(Close::Slow),
        }
    }
    let left_s = caller.0.exp.saturating_sub(app.clock.now().0 / 1000);
    let expires = Instant::now() + Duration::from_secs(u64::try_from(left_s).unwrap_or(0));
    let mut heard = Instant::now();
    loop {
        let text = tokio::select! {
            () = tokio::time::sleep_until(expires.min(heard + SILENCE)) => {
                return Some(if Instant::now() >= expires { Close::Token } else { Close::Silent });
            }
            received = incoming.next() => {
                heard = Instant::now();
                match received {
                    Some(Ok(Message::Text(text))) if text.len() > MAX_FRAME => return Some(Close::TooLarge),
                    Some(Ok(Message::Binary(data))) if data.len() > MAX_FRAME => return Some(Close::TooLarge),
                    Some(Ok(Message::Text(text))) => answer(app, &text),
                    Some(Ok(Message::Binary(_))) => error(app, "frames are text"),
                    // The answer to a peer's close leaves with the next read, which is the last.
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_))) => continue,
                    Some(Err(error)) => return fault(&error),
                    None => return None,
                }
            }
            news = told.recv() => match news {
                Ok(SocketNews::Batch(frame)) => {
                    if !watches || known.get(&frame.id).is_some_and(|version| frame.version <= *version) {
                        continue;
                    }
                    known.remove(&frame.id);
                    frame.text.clone()
                }
                Ok(SocketNews::Ended(session)) if caller.0.session() == Some(session) => return Some(Close::Token),
                Ok(SocketNews::Ended(_)) => continue,
                Ok(SocketNews::Stopping) => return Some(Close::Stopping),
                Err(RecvError::Lagged(_)) => return Some(Close::Slow),
                Err(RecvError::Closed) => return None,
            },
        };
        match timeout(SLOW, out.send(Message::text(text))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return None,
            Err(_) => return Some(Close::Slow),
        }
    }
}

/// What the peer did wrong; `None`: it is gone. The library tells it in words alone; tests hold them.
fn fault(error: &std::io::Error) -> Option<Close> {
    let said = error.to_string();
    let says = |words: &str| said.starts_with(words);
    if says("Space limit exceeded") {
        Some(Close::TooLarge)
    } else if says("UTF-8 encoding error") {
        Some(Close::NotUtf8)
    } else if says("WebSocket protocol error") && !says("WebSocket protocol error: Connection reset") {
        Some(Close::Broken)
    } else {
        None
    }
}

fn error(app: &App, message: &str) -> String {
    frame(app, "error", &json!({ "code": 4000, "msg": message }))
}

/// What a client's frame is answered with.
fn answer(app: &App, text: &str) -> String {
    match kind(text) {
        Ok(kind) if kind == "heartbeat" => {
            frame(app, "heartbeat_ack", &json!({ "serverTime": app.clock.now().to_rfc3339() }))
        }
        Ok(_) => error(app, "unknown type"),
        Err(refusal) => {
            let wrong: Vec<String> =
                refusal.details.iter().map(|one| format!("{}: {}", one.field, one.message)).collect();
            let said = if wrong.is_empty() { refusal.message } else { wrong.join("; ") };
            error(app, &format!("not a frame: {said}"))
        }
    }
}

/// The type of a client's frame: `{type, data?}`, and nothing else.
fn kind(text: &str) -> Result<String, Refusal> {
    let mut fields = Fields::parse(text.as_bytes())?;
    let kind = fields.required_text("type", 1..=64);
    fields.knows("data");
    fields.finish()?;
    Ok(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Close; 7] =
        [Close::Stopping, Close::Broken, Close::NotUtf8, Close::TooLarge, Close::Token, Close::Silent, Close::Slow];

    #[test]
    fn the_document_has_each_code_with_its_reason_and_limit() {
        let document: Value = serde_json::from_str(crate::docs::ASYNCAPI).expect("JSON");
        let codes = document["channels"]["socket"]["x-close-codes"].as_object().expect("the codes");
        assert_eq!(codes.len(), ALL.len());
        for close in ALL {
            assert_eq!(codes[&close.code().to_string()]["reason"], close.reason(), "{close:?}");
        }
        let told = |close: Close| {
            let description = codes[&close.code().to_string()]["description"].as_str().expect("a text");
            description.replace(',', "").split(' ').filter_map(|word| word.parse().ok()).collect::<Vec<u64>>()
        };
        assert_eq!(told(Close::TooLarge), [MAX_FRAME as u64]);
        assert_eq!(told(Close::Silent), [SILENCE.as_secs()]);
        assert_eq!(told(Close::Slow), [SLOW.as_secs(), super::super::hub::MAX_BEHIND as u64]);
    }
}
