//! A network that carries messages, behind one trait.
//!
//! The gateway's process owns what must survive: the messages, their states, the reports. A transport knows one network:
//! how a message is handed to it, what its refusals mean, how one finds out about a handing whose answer was lost, and
//! what the network tells by itself ([`Event`]). It keeps no message of its own.
//!
//! Places: the simulator and Meta's Cloud API are here; the linked-device protocol, with its QR code, takes the third.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A message that is handed to a network.
#[derive(Clone, Copy, Debug)]
pub struct Submission<'a> {
    /// Our id of it, the same at every attempt. A network that can carry it along gets it.
    pub message_id: &'a str,
    /// The recipient: digits without `+`.
    pub to: &'a str,
    /// The text.
    pub text: &'a str,
    /// The sender, as the network knows it.
    pub sender: &'a str,
}

/// What became of a handing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmissionOutcome {
    /// The network has it.
    Taken {
        /// The network's id of it.
        network_id: String,
        /// The account that the network resolved the number to, where that is not the number as it was written: digits.
        wa_id: Option<String>,
    },
    /// The network surely has it not.
    Refused(Refusal),
    /// The network may have it.
    Unknown {
        /// A stable word for the reason.
        code: String,
        /// The reason for people.
        detail: String,
    },
}

/// Why a network has not taken a message, or could not deliver it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What follows from it.
    pub class: Class,
    /// A stable word or the network's number for the reason.
    pub code: String,
    /// The reason for people.
    pub detail: String,
    /// How long the network asked to be left alone.
    pub retry_after: Option<Duration>,
}

/// What follows from a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Class {
    /// The sender is too fast: the message keeps its place and is tried later, and so does everything else of the sender.
    Later,
    /// The sender is too fast for this recipient: the message is tried later, a bounded number of times, and the others go
    /// on.
    LaterForRecipient,
    /// The network has a bad moment: tried later, a bounded number of times.
    Trouble,
    /// This message will never be taken; another to the same number may be.
    Message,
    /// Nothing will ever be taken for this number: it is not there, or its owner does not want anything.
    Recipient,
    /// Not now for this person; another day it may be.
    NotNow,
    /// The sender is blocked: nothing more goes out through it until a person has seen to it.
    StopSender,
}

/// How a transport finds out about a handing whose answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settles {
    /// The network takes one message for one of our ids: it is handed over again.
    BySubmittingAgain,
    /// The network tells of every message that it has, with our id: silence for this long means that nobody knows.
    ByEvent {
        /// How long the event is waited for.
        within: Duration,
    },
}

/// Whether a transport can send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// It can.
    pub ready: bool,
    /// It waits for a QR code to be scanned.
    pub need_qr: bool,
    /// It is signed in.
    pub active: bool,
    /// The QR code's text.
    pub qr: Option<String>,
}

/// What a network tells by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A message came further.
    Status {
        /// Our id, where the network carries it.
        message_id: Option<String>,
        /// The network's.
        network_id: String,
        /// The account of the recipient, where the network tells it: digits.
        #[serde(default)]
        wa_id: Option<String>,
        /// How far.
        status: Status,
        /// When, in milliseconds since the epoch.
        at_ms: i64,
    },
    /// Somebody wrote.
    Inbound(Inbound),
}

/// How far a message has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// The network has it.
    Sent,
    /// It is on the recipient's device.
    Delivered,
    /// It was read.
    Read,
    /// Its voice or video was played.
    Played,
    /// It will not be delivered.
    Failed(Refusal),
}

/// A message that somebody wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inbound {
    /// The writer's number: digits without `+`. Empty when the network tells only another address.
    pub from: String,
    /// The writer's other addresses, as (kind, value): `bsuid`, `lid`, `jid`.
    pub identities: Vec<(String, String)>,
    /// The writer's own name, where it is told.
    pub name: Option<String>,
    /// The text, or a caption.
    pub text: String,
    /// The network's id of it: the same id twice is one message.
    pub network_id: String,
    /// `text`, `image`, `audio`, `video`, `document`, `location`, …: the network's word.
    pub kind: String,
    /// What the network says of its media, as it came.
    pub media: Option<serde_json::Value>,
    /// When, in milliseconds since the epoch.
    pub at_ms: i64,
}

/// A request that came in at a transport's own path.
#[derive(Clone, Debug)]
pub struct HookRequest<'a> {
    /// `GET` or `POST`.
    pub method: &'a str,
    /// The query, decoded.
    pub query: &'a [(String, String)],
    /// Finds a header by its name in lower case.
    pub headers: &'a [(String, String)],
    /// The body as it came: signatures are over these bytes.
    pub body: &'a [u8],
}

/// The answer to a [`HookRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body, as text.
    pub body: String,
    /// The request's body tells something: it is made durable, then read ([`Transport::read`]), before the answer leaves.
    pub tells: bool,
}

/// What a request's body told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BodyEvents {
    /// In its order.
    pub events: Vec<Event>,
    /// How many of its parts could not be read. The body is kept for a release that can.
    pub unread: u64,
}

/// Where a transport that hears by itself tells it.
#[async_trait::async_trait]
pub trait EventSink: Send + Sync {
    /// Makes events durable, in order. On an error nothing was: they are told again.
    ///
    /// # Errors
    /// The store's, for people.
    async fn heard(&self, events: Vec<Event>) -> Result<(), String>;
}

/// A network.
#[async_trait::async_trait]
pub trait Transport: Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &'static str;

    /// Whether it can send now.
    fn session(&self) -> Session;

    /// How it finds out about a handing whose answer was lost.
    fn settles(&self) -> Settles;

    /// Hands a message over. Dropping the future leaves the outcome unknown.
    async fn hand(&self, message: &Submission<'_>) -> SubmissionOutcome;

    /// Answers a request at its own path (`/webhook`); `None`: it has none.
    async fn hook(&self, request: &HookRequest<'_>) -> Option<HookAnswer>;

    /// Reads the body of a request that tells something. It may be read again, then it tells the same or more.
    fn read(&self, _body: &[u8]) -> BodyEvents {
        BodyEvents::default()
    }

    /// Listens to the network until dropped. One that hears by [`Transport::hook`] alone waits for ever.
    async fn listen(&self, listener: std::sync::Arc<dyn EventSink>);
}
