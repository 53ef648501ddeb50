//! One socket of `/ws`.

use super::hub::{MAX_LIVE, Place, Told, batch_update};
use crate::App;
use crate::foundation::auth::{self, Caller};
use crate::foundation::refusal::{Kind, Refusal, bare};
use domain::batches;
use domain::users::Permission;
use futures::{SinkExt, StreamExt};
use poem::web::websocket::{CloseCode, Message, WebSocket, WebSocketConfig, WebSocketStream};
use poem::{Endpoint, FromRequest, IntoResponse, Request, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

/// A socket that says nothing for longer is closed.
const SILENCE: Duration = Duration::from_secs(90);

/// The largest frame from a client.
const MAX_FRAME: usize = 16 * 1024;

/// How long a frame may take to leave: a reader that takes none is cut off.
const SLOW: Duration = Duration::from_secs(10);

const CLOSE_TOKEN: u16 = 4001;
const CLOSE_SILENT: u16 = 4008;
const CLOSE_SLOW: u16 = 4009;
const CLOSE_TOO_LARGE: u16 = 1009;

/// `/ws?token=<JWT>`, or with the token in `Authorization`.
pub(crate) fn endpoint(app: Arc<App>) -> impl Endpoint<Output = Response> {
    poem::endpoint::make(move |request| {
        let app = app.clone();
        async move { Ok::<_, poem::Error>(open(app, request).await.unwrap_or_else(|refusal| bare(&refusal))) }
    })
}

#[derive(Deserialize)]
struct TokenQuery {
    token: Option<String>,
}

async fn open(app: Arc<App>, request: Request) -> Result<Response, Refusal> {
    let query = request.params::<TokenQuery>().ok().and_then(|query| query.token);
    let token = auth::bearer(&request).map(str::to_owned).or(query);
    let caller = auth::identify(&app, token.as_deref()).await?;
    let (request, mut body) = request.split();
    let socket = WebSocket::from_request(&request, &mut body)
        .await
        .map_err(|_| Refusal::new(Kind::Validation, "not a WebSocket handshake"))?;
    let place = app.hub.enter().ok_or_else(|| Refusal::new(Kind::Unavailable, "too many sockets are open"))?;
    let config = WebSocketConfig::default().max_message_size(Some(MAX_FRAME)).max_frame_size(Some(MAX_FRAME));
    Ok(socket
        .config(config)
        .on_upgrade(move |stream| async move {
            if let Some(code) = serve(&app, &caller, stream, place).await {
                tracing::debug!(code, "socket closed");
            }
        })
        .into_response())
}

fn message_id(app: &App) -> String {
    format!("msg_{}_{:08x}", app.clock.now().0, rand::random::<u32>())
}

fn frame(app: &App, kind: &str, data: Value) -> String {
    json!({ "type": kind, "data": data, "timestamp": app.clock.now().to_rfc3339(), "messageId": message_id(app) })
        .to_string()
}

/// Serves a socket until it closes; returns the code with which we closed it.
async fn serve(app: &Arc<App>, caller: &Caller, stream: WebSocketStream, _place: Place) -> Option<u16> {
    let mut told = app.hub.listen();
    let watches = caller.0.permits(Permission::BatchesRead);
    let (mut out, mut incoming) = stream.split();
    let mut queue = vec![frame(
        app,
        "connection_established",
        json!({ "userId": caller.0.user_id.to_string(), "isAdmin": caller.0.is_admin,
            "serverTime": app.clock.now().to_rfc3339(), "offlineMessages": 0 }),
    )];
    if watches {
        match batches::live(app.db.read(), MAX_LIVE).await {
            Ok(live) => queue.extend(live.iter().map(|s| batch_update(s, app.clock.now().0).to_string())),
            Err(error) => tracing::warn!(%error, "a new socket was not told of live batches"),
        }
    }
    for text in queue {
        tokio::time::timeout(SLOW, out.send(Message::text(text))).await.ok()?.ok()?;
    }
    let expires = Duration::from_secs(u64::try_from(caller.0.exp - app.clock.now().0 / 1000).unwrap_or(0));
    let expires = Instant::now() + expires;
    let mut heard = Instant::now();
    let code = loop {
        let text = tokio::select! {
            () = tokio::time::sleep_until(expires) => break CLOSE_TOKEN,
            () = tokio::time::sleep_until(heard + SILENCE) => break CLOSE_SILENT,
            received = incoming.next() => {
                heard = Instant::now();
                match received {
                    None => return None,
                    Some(Ok(Message::Text(text))) => answer(app, &text),
                    Some(Ok(Message::Binary(_))) => error(app, 4000, "frames are text"),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Close(_))) => return None,
                    Some(Err(error)) if is_too_large(&error) => break CLOSE_TOO_LARGE,
                    Some(Err(_)) => return None,
                }
            }
            news = told.recv() => match news {
                Ok(Told::Batch(text)) if watches => text.to_string(),
                Ok(Told::Ended(session)) if caller.0.session() == Some(session) => break CLOSE_TOKEN,
                Ok(Told::Batch(_) | Told::Ended(_)) => continue,
                Err(RecvError::Lagged(_)) => break CLOSE_SLOW,
                Err(RecvError::Closed) => return None,
            },
        };
        match tokio::time::timeout(SLOW, out.send(Message::text(text))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return None,
            Err(_) => break CLOSE_SLOW,
        }
    };
    let close = Message::close_with(CloseCode::from(code), reason(code));
    match tokio::time::timeout(Duration::from_secs(1), out.send(close)).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) | Err(_) => tracing::debug!(code, "the peer did not take the close"),
    }
    Some(code)
}

const fn reason(code: u16) -> &'static str {
    match code {
        CLOSE_TOKEN => "the token has expired or the session has ended",
        CLOSE_SILENT => "silent for too long",
        CLOSE_SLOW => "too far behind",
        CLOSE_TOO_LARGE => "frame too large",
        _ => "",
    }
}

fn is_too_large(error: &std::io::Error) -> bool {
    let text = error.to_string();
    text.contains("too long") || text.contains("too big") || text.contains("Space limit")
}

fn error(app: &App, code: u16, message: &str) -> String {
    frame(app, "error", json!({ "code": code, "msg": message }))
}

#[derive(Deserialize)]
struct Incoming {
    #[serde(rename = "type")]
    kind: String,
}

/// What a client's frame is answered with.
fn answer(app: &App, text: &str) -> String {
    match serde_json::from_str::<Incoming>(text) {
        Ok(Incoming { kind }) if kind == "heartbeat" => {
            frame(app, "heartbeat_ack", json!({ "serverTime": app.clock.now().to_rfc3339() }))
        }
        Ok(_) => error(app, 4000, "unknown type"),
        Err(_) => error(app, 4000, "not a frame: {\"type\": …}"),
    }
}
