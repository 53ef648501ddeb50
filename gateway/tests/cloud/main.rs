//! The transport of Meta's Cloud API over real HTTP: against an emulator of it (`support::CloudApi`), whose webhooks come
//! to a real server (`receiver`), and against servers that speak as no Graph API should (`raw`).

mod broken;
mod errors;
mod ladder;
#[path = "../client/raw.rs"]
mod raw;
mod receiver;
mod request;
mod secrets;
mod settings;
mod webhooks;

use gateway::transport::{Class, Submission, SubmissionOutcome, Transport};
use gateway::{CloudApi, CloudConfig};
use support::DEADLINE;

const VERIFY_TOKEN: &str = "a-token-that-both-know";

/// What an emulator is reached with, and time enough for a busy machine.
fn config(emulator: &support::CloudApi) -> CloudConfig {
    let options = emulator.options();
    CloudConfig {
        base_url: emulator.url(),
        phone_number_id: options.phone_number_id.clone(),
        access_token: options.access_token.clone(),
        app_secret: options.app_secret.clone(),
        verify_token: VERIFY_TOKEN.into(),
        connect_timeout_ms: 60_000,
        timeout_ms: 120_000,
        ..CloudConfig::default()
    }
}

/// The same for a server that is none.
fn config_at(url: &str) -> CloudConfig {
    CloudConfig {
        base_url: url.into(),
        phone_number_id: "106540352242922".into(),
        access_token: "token".into(),
        app_secret: "secret".into(),
        verify_token: VERIFY_TOKEN.into(),
        connect_timeout_ms: 60_000,
        timeout_ms: 120_000,
        ..CloudConfig::default()
    }
}

fn transport(config: CloudConfig) -> CloudApi {
    CloudApi::new(config).expect("a transport")
}

/// Hands a message over; an outcome must come, or the test has failed.
async fn hand(transport: &CloudApi, to: &str, message_id: &str) -> SubmissionOutcome {
    let message = Submission { message_id, to, text: "Hello", sender: "main" };
    tokio::time::timeout(DEADLINE, transport.hand(&message)).await.expect("an outcome in time")
}

/// A stable word for an outcome: its kind and code.
fn word(handed: &SubmissionOutcome) -> String {
    match handed {
        SubmissionOutcome::Taken { .. } => "taken".into(),
        SubmissionOutcome::Refused(refusal) => {
            let class = match refusal.class {
                Class::Later => "later",
                Class::LaterForRecipient => "later for the recipient",
                Class::Trouble => "trouble",
                Class::Message => "message",
                Class::Recipient => "recipient",
                Class::NotNow => "not now",
                Class::StopSender => "stop",
            };
            format!("{class} {}", refusal.code)
        }
        SubmissionOutcome::Unknown { code, .. } => format!("unknown {code}"),
    }
}
