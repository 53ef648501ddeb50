//! A gateway that keeps the contract, has its moods, and remembers every message.

use anyhow::Result;
use parking_lot::Mutex;
use poem::http::StatusCode;
use poem::listener::TcpAcceptor;
use poem::{EndpointExt, IntoResponse, Response, Route, Server};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// How it is with the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// It works; now and then something goes wrong.
    Works,
    /// Nothing goes wrong.
    Flawless,
    /// It answers 500 to everything.
    Broken,
    /// It takes messages and says nothing in time.
    Silent,
    /// It asks everyone to wait a second.
    Busy,
}

/// Longer than a client waits.
const TOO_LONG: Duration = Duration::from_secs(12);

struct State {
    mood: Mood,
    rng: StdRng,
    messages: HashMap<String, Message>,
}

/// What it knows of one message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Message {
    /// How often it was asked for.
    pub(super) attempts: u32,
    /// How often it was asked for again after it had gone out: sends nothing.
    pub(super) repeats: u32,
    /// Whether it went out.
    pub(super) taken: bool,
    refused: bool,
}

/// A gateway on a free port of this machine.
#[derive(Clone)]
pub(super) struct Gateway {
    url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Deserialize)]
struct Asked {
    backend_message_id: String,
}

enum Answer {
    Accept,
    Refuse(StatusCode),
    Wait,
    Nothing,
}

impl State {
    fn decide(&mut self, id: String) -> Answer {
        let message = self.messages.entry(id).or_default();
        message.attempts += 1;
        match self.mood {
            Mood::Broken => return Answer::Refuse(StatusCode::INTERNAL_SERVER_ERROR),
            Mood::Busy => return Answer::Wait,
            Mood::Silent => {
                message.taken |= !message.refused && self.rng.random_bool(0.5);
                return Answer::Nothing;
            }
            Mood::Works | Mood::Flawless => {}
        }
        if message.taken {
            message.repeats += 1;
            return Answer::Accept;
        }
        let chance = if self.mood == Mood::Flawless { 1_000 } else { self.rng.random_range(0..1_000) };
        match chance {
            _ if message.refused => Answer::Refuse(StatusCode::NOT_FOUND),
            0..10 => {
                message.refused = true;
                Answer::Refuse(StatusCode::NOT_FOUND)
            }
            10..30 => Answer::Refuse(StatusCode::INTERNAL_SERVER_ERROR),
            30..35 => Answer::Wait,
            35..38 => {
                message.taken = true;
                // What a proxy says of a gateway that broke off: nobody knows.
                Answer::Refuse(StatusCode::BAD_GATEWAY)
            }
            _ => {
                message.taken = true;
                Answer::Accept
            }
        }
    }
}

impl Gateway {
    pub(super) async fn start(seed: u64) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let state = State { mood: Mood::Works, rng: StdRng::seed_from_u64(seed), messages: HashMap::new() };
        let state = Arc::new(Mutex::new(state));
        let asked = state.clone();
        let send = poem::endpoint::make(move |mut request| {
            let asked = asked.clone();
            async move {
                let body = request.take_body().into_bytes().await?;
                let Ok(Asked { backend_message_id }) = serde_json::from_slice(&body) else {
                    return Ok::<_, poem::Error>(StatusCode::BAD_REQUEST.into_response());
                };
                let answer = asked.lock().decide(backend_message_id);
                Ok(match answer {
                    Answer::Accept => Response::builder().status(StatusCode::ACCEPTED).body(r#"{"status":"accepted"}"#),
                    Answer::Refuse(status) => Response::builder().status(status).body(r#"{"detail":"soaked"}"#),
                    Answer::Wait => {
                        Response::builder().status(StatusCode::TOO_MANY_REQUESTS).header("retry-after", "1").finish()
                    }
                    Answer::Nothing => {
                        tokio::time::sleep(TOO_LONG).await;
                        StatusCode::GATEWAY_TIMEOUT.into_response()
                    }
                })
            }
        });
        let acceptor = TcpAcceptor::from_tokio(listener)?;
        let routes = Route::new().at("/send", send.boxed());
        tokio::spawn(async move {
            if let Err(error) = Server::new_with_acceptor(acceptor).run(routes).await {
                tracing::error!(%error, "the gateway ended");
            }
        });
        Ok(Self { url, state })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn be(&self, mood: Mood) {
        self.state.lock().mood = mood;
    }

    /// All that it knows, by id.
    pub(super) fn messages(&self) -> HashMap<String, Message> {
        self.state.lock().messages.clone()
    }
}
