//! How Meta's Cloud API is reached, and with which number.

use reqwest::Url;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// How Meta's Cloud API is reached, and with which number. The ids and secrets are those of the app's dashboard.
///
/// It serialises with its secrets, see [`CloudConfig::SECRETS`]; `Debug` shows none of them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CloudConfig {
    /// Where the Graph API is. Another than Meta's is for tests.
    pub base_url: String,
    /// The Graph API's version, like `v24.0`.
    pub api_version: String,
    /// The id of the number that sends: not the number itself.
    pub phone_number_id: String,
    /// The same of senders beside `default`, by their names.
    pub senders: BTreeMap<String, String>,
    /// What requests are authorised with.
    pub access_token: String,
    /// What Meta signs its webhooks with.
    pub app_secret: String,
    /// What Meta shows when it verifies the webhook's address: a text of our own choice.
    pub verify_token: String,
    /// How long connecting may take.
    pub connect_timeout_ms: u64,
    /// How long a whole request may take.
    pub timeout_ms: u64,
    /// How many connections are kept for use again.
    pub idle_connections: usize,
    /// How long the status of a message is waited for whose answer was lost.
    pub status_wait_secs: u64,
}

impl Default for CloudConfig {
    fn default() -> Self {
        Self {
            base_url: "https://graph.facebook.com".into(),
            api_version: "v24.0".into(),
            phone_number_id: String::new(),
            senders: BTreeMap::new(),
            access_token: String::new(),
            app_secret: String::new(),
            verify_token: String::new(),
            connect_timeout_ms: 5_000,
            timeout_ms: 30_000,
            idle_connections: 64,
            status_wait_secs: 300,
        }
    }
}

impl fmt::Debug for CloudConfig {
    /// Without the secrets; and without the URL, which may have another before it is checked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudConfig")
            .field("api_version", &self.api_version)
            .field("phone_number_id", &self.phone_number_id)
            .field("senders", &self.senders)
            .field("connect_timeout_ms", &self.connect_timeout_ms)
            .field("timeout_ms", &self.timeout_ms)
            .field("idle_connections", &self.idle_connections)
            .field("status_wait_secs", &self.status_wait_secs)
            .finish_non_exhaustive()
    }
}

/// The longest that an id or a secret may be. Those of today are far shorter.
const MAX_VALUE: usize = 4_096;

impl CloudConfig {
    /// The keys whose values nobody may see.
    pub const SECRETS: [&'static str; 3] = ["access_token", "app_secret", "verify_token"];

    /// Checks everything that can be checked without asking Meta.
    ///
    /// # Errors
    /// The key, and what to do about it. Never its value.
    pub fn validate(&self) -> Result<(), String> {
        self.messages_url()?;
        self.messages_urls()?;
        let secrets = [
            ("access_token", &self.access_token, "make a permanent token for a system user of the business"),
            ("app_secret", &self.app_secret, "copy it from the app's dashboard, Settings, Basic"),
            ("verify_token", &self.verify_token, "choose one, and give the same to the webhook's configuration"),
        ];
        for (key, value, fix) in secrets {
            if value.is_empty() {
                return Err(format!("cloud_api.{key}: is missing; {fix}"));
            }
            // What has a space or a line break was copied wrongly, and a header could not carry it.
            if value.len() > MAX_VALUE || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(format!("cloud_api.{key}: has spaces or signs that no such value has; {fix}"));
            }
        }
        let ranges = [
            ("connect_timeout_ms", self.connect_timeout_ms, 1, 60_000),
            ("timeout_ms", self.timeout_ms, 1, 300_000),
            ("status_wait_secs", self.status_wait_secs, 1, 86_400),
        ];
        if let Some((key, _, least, most)) =
            ranges.iter().find(|(_, value, least, most)| !(*least..=*most).contains(value))
        {
            return Err(format!("cloud_api.{key}: expected {least} to {most}"));
        }
        // Else a request could end while it still connects, and nobody would know that it never left.
        if self.connect_timeout_ms > self.timeout_ms {
            return Err("cloud_api.connect_timeout_ms: must not be above cloud_api.timeout_ms".into());
        }
        if !(1..=10_000).contains(&self.idle_connections) {
            return Err("cloud_api.idle_connections: expected 1 to 10000".into());
        }
        Ok(())
    }

    /// Where messages of the default sender are posted to.
    pub(super) fn messages_url(&self) -> Result<Url, String> {
        self.messages_url_of("cloud_api.phone_number_id", &self.phone_number_id)
    }

    /// The same for the number of another sender.
    pub(super) fn messages_urls(&self) -> Result<BTreeMap<String, Url>, String> {
        let url = |(name, id): (&String, &String)| {
            let url = self.messages_url_of(&format!("cloud_api.senders.{name}"), id)?;
            Ok((name.clone(), url))
        };
        self.senders.iter().map(url).collect()
    }

    fn messages_url_of(&self, key: &str, phone_number_id: &str) -> Result<Url, String> {
        let wrong = |fix: &str| format!("cloud_api.base_url: {fix}, like https://graph.facebook.com");
        let mut url: Url = self.base_url.parse().map_err(|_| wrong("expected an address"))?;
        let encrypted = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(wrong("expected https://")),
        };
        let host = url.host_str().ok_or_else(|| wrong("expected a host"))?;
        if !encrypted && !is_loopback(host) {
            return Err(wrong("the access token would travel unencrypted; expected https://"));
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("expected no user, query or fragment"));
        }
        if !is_version(&self.api_version) {
            return Err("cloud_api.api_version: expected a version of the Graph API, like v24.0".into());
        }
        let digits = phone_number_id.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || !(1..=32).contains(&phone_number_id.len()) {
            return Err(format!(
                "{key}: expected digits; copy the phone number ID (not the number) from the app's dashboard, WhatsApp, \
                 API Setup"
            ));
        }
        let below = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{below}/{}/{}/messages", self.api_version, phone_number_id));
        Ok(url)
    }

    /// Whether a number is one of ours.
    pub(super) fn has_number(&self, phone_number_id: &str) -> bool {
        self.phone_number_id == phone_number_id || self.senders.values().any(|id| id == phone_number_id)
    }

    pub(super) fn status_wait(&self) -> Duration {
        Duration::from_secs(self.status_wait_secs)
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// `v`, digits, a dot, digits.
fn is_version(text: &str) -> bool {
    let number = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    text.strip_prefix('v')
        .and_then(|text| text.split_once('.'))
        .is_some_and(|(major, minor)| number(major) && number(minor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_loopback_address_is_one() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["10.0.0.1", "localhost.example.org", "127.0.0.1.example.org", "[::2]", "graph.facebook.com"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    proptest! {
        #[test]
        fn any_version_is_judged(text in "v?[0-9a-z./]{0,8}") {
            let shape = text.strip_prefix('v').map(|rest| rest.split('.').collect::<Vec<_>>());
            let right = shape.is_some_and(|parts| {
                parts.len() == 2
                    && parts.iter().all(|part| !part.is_empty() && part.len() < 4 && part.parse::<u32>().is_ok())
            });
            prop_assert_eq!(is_version(&text), right);
        }
    }
}
