//! The client against real HTTP: against the gateway that the contract describes (`support::Gateway`), and against
//! servers that speak as no gateway should (`raw`).

mod answers;
mod broken;
mod raw;
mod request;
mod settings;

use gateway::{ClientSettings, Gateway, HttpGateway, Outbound, SendOutcome};
use std::time::Duration;
use support::DEADLINE;

const SECRET: &str = "a shared secret";

/// A client with time enough for a busy machine.
fn client(url: impl Into<String>) -> HttpGateway {
    client_with(url, DEADLINE * 2)
}

/// A client that waits so long for an answer.
fn client_with(url: impl Into<String>, timeout: Duration) -> HttpGateway {
    let settings = ClientSettings { timeout, connect_timeout: DEADLINE, ..ClientSettings::new(url, SECRET, 8) };
    HttpGateway::new(&settings).expect("a client")
}

/// Sends a message; what must come, or the test has failed.
async fn send(client: &HttpGateway, message_id: &str) -> SendOutcome {
    let message = Outbound { to: "60123456789", text: "Hello", message_id, sender: None, gateway: None };
    tokio::time::timeout(DEADLINE, client.send(&message)).await.expect("an outcome in time")
}

/// A stable word for an outcome: its kind and code.
fn word(outcome: &SendOutcome) -> String {
    match outcome {
        SendOutcome::Accepted => "accepted".into(),
        SendOutcome::Rejected { code, .. } => format!("rejected {code}"),
        SendOutcome::Throttled { .. } => "throttled".into(),
        SendOutcome::Failed { code, .. } => format!("failed {code}"),
        SendOutcome::Unreachable { .. } => "unreachable".into(),
        SendOutcome::Unknown { code, .. } => format!("unknown {code}"),
    }
}

/// The reason for people.
fn detail(outcome: &SendOutcome) -> &str {
    match outcome {
        SendOutcome::Rejected { detail, .. }
        | SendOutcome::Failed { detail, .. }
        | SendOutcome::Unreachable { detail }
        | SendOutcome::Unknown { detail, .. } => detail,
        SendOutcome::Accepted | SendOutcome::Throttled { .. } => panic!("{outcome:?} has no reason"),
    }
}
