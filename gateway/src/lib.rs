//! The WhatsApp gateway, from both sides of its wire: what the backend sees of it ([`Gateway`], [`HttpGateway`]), the
//! gateway itself ([`server`]) and the networks that it sends through ([`transport`], [`SimulatedNetwork`]).
//!
//! The one thing that a caller must know of a send is in [`SendOutcome`]: whether the message was taken, was surely not
//! taken, or may have been. Everything about retries follows from that and is the caller's.
//!
//! Transports: the simulator is one; the linked-device protocol and Meta's Cloud API take the same place.

mod client;
mod cloud;
mod connections;
mod limits;
mod report;
mod requests;
pub mod server;
mod signature;
mod simulator;
mod sqlite;
pub mod transport;

pub use client::{ClientError, ClientSettings, Clock, HttpGateway};
pub use cloud::{CloudApi, CloudConfig, CloudError};
pub use report::{Outgoing, Report};
pub use signature::{
    REQUEST_SIGNATURE_HEADER, Request, SIGNATURE_HEADER, SignatureError, Signer, TIMESTAMP_HEADER, TOLERANCE,
};
pub use simulator::{NetworkStats, SimulatedMessage, SimulatedNetwork, Simulator, SimulatorConfig, SimulatorStats};

use std::time::Duration;

/// A message to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Outbound<'a> {
    /// The recipient: digits without `+`.
    pub to: &'a str,
    /// The text.
    pub text: &'a str,
    /// Our id of the message: the idempotency key, the same over all attempts.
    pub message_id: &'a str,
    /// The name of the sender that it leaves from; `None`: the gateway's own default.
    pub sender: Option<&'a str>,
    /// The name of the gateway that is to take it ([`Identity::name`]): another one that answers there does not. `None`: any.
    pub gateway: Option<&'a str>,
}

/// Which gateway it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// A name that lives as long as the gateway's store, and is no other gateway's.
    pub name: String,
    /// The network that it sends through, as the configuration calls it; `None`: it does not say.
    pub transport: Option<String>,
}

/// The name of the simulators in workers' memory: all of them are one, for none remembers anything.
pub const SIMULATOR: &str = "simulator";

/// The header in which a request names the gateway that it is meant for.
pub const GATEWAY_HEADER: &str = "x-gateway-id";

/// How long a backend is asked to wait that names a sender which the gateway does not have: until somebody configures it.
pub(crate) const NO_SENDER_WAIT: Duration = Duration::from_secs(30);

/// What is said to whoever asked for another gateway.
pub(crate) const MISDIRECTED: &str = "another gateway answers there than the one that was asked for";

/// What became of an attempt to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// The gateway took it.
    Accepted,
    /// The gateway will never take it.
    Rejected {
        /// A stable word for the reason.
        code: String,
        /// The reason for people.
        detail: String,
    },
    /// Not now: it was not taken, and the sender should wait.
    Throttled {
        /// How long.
        retry_after: Duration,
    },
    /// It was surely not taken, and may be another time.
    Failed {
        /// A stable word for the reason.
        code: String,
        /// The reason for people.
        detail: String,
    },
    /// The gateway is not there: it was not asked.
    Unreachable {
        /// The reason for people.
        detail: String,
    },
    /// It may have been taken.
    Unknown {
        /// A stable word for the reason.
        code: String,
        /// The reason for people.
        detail: String,
    },
}

/// Something that takes messages.
#[async_trait::async_trait]
pub trait Gateway: Send + Sync {
    /// Hands a message over. Cancelling the future leaves the outcome unknown.
    async fn send(&self, message: &Outbound<'_>) -> SendOutcome;

    /// Whether it takes messages now; the error is for people.
    ///
    /// # Errors
    /// Why it does not.
    async fn check(&self) -> Result<(), String>;

    /// Which gateway it is; `None`: it does not say, as gateways of before do not.
    ///
    /// # Errors
    /// It could not be asked, for people.
    async fn identity(&self) -> Result<Option<Identity>, String>;
}
