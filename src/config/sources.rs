//! Where configuration comes from beside its file: flags and variables.

use crate::cli::Global;
use figment::value::{Dict, Map};
use figment::{Metadata, Profile, Provider};

/// The variables' beginning, and the ones that are not configuration.
pub(super) const PREFIX: &str = "PACELINE_";
const RESERVED: &str = "TEST_";

/// The flags, and whether they are a gateway's: its `--listen` is where the gateway listens.
pub(super) struct Flags<'a>(pub(super) &'a Global, pub(super) bool);

impl Provider for Flags<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named("flags")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut flags = Dict::new();
        let mut put = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                flags.insert(name.to_owned(), value.into());
            }
        };
        put(if self.1 { "gateway_listen" } else { "listen" }, self.0.listen.clone());
        put("data_dir", self.0.data_dir.as_ref().map(|dir| dir.display().to_string()));
        put("database_url", self.0.database_url.clone());
        put("redis_url", self.0.redis_url.clone());
        put("log_format", self.0.log_format.clone());
        put("log_level", self.0.log_level.clone());
        Ok(Map::from([(Profile::Default, flags)]))
    }
}

/// Texts that stay texts even where they look like numbers.
const TEXTS: [&str; 20] = [
    "default_country",
    "cloud_api_base_url",
    "cloud_api_api_version",
    "cloud_api_phone_number_id",
    "cloud_api_access_token",
    "cloud_api_app_secret",
    "cloud_api_verify_token",
    "opt_out_stop_reply",
    "opt_out_start_reply",
    "database_url",
    "redis_url",
    "gateway_url",
    "gateway_secret",
    "gateway_listen",
    "backend_url",
    "jwt_secret",
    "listen",
    "observe_listen",
    "data_dir",
    "log_level",
];

/// Lists: their parts are separated by commas in a variable.
const LISTS: [&str; 5] =
    ["jwt_secrets_accepted", "cors_origins", "gateway_senders", "opt_out_stop_words", "opt_out_start_words"];

/// Tables: a variable names the table, then the key.
pub(crate) const TABLES: [&str; 3] = ["opt_out", "simulator", "cloud_api"];

pub(super) struct Variables(pub(super) Vec<(String, String)>);

impl Provider for Variables {
    fn metadata(&self) -> Metadata {
        Metadata::named("environment").interpolater(|_, keys| format!("{PREFIX}{}", keys.join("_").to_uppercase()))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut values = Dict::new();
        let mut tables = TABLES.map(|table| (table, Dict::new()));
        for (name, text) in &self.0 {
            let value = match (TEXTS.contains(&name.as_str()), LISTS.contains(&name.as_str())) {
                (true, _) => figment::value::Value::from(text.clone()),
                (_, true) => text.split(',').map(|one| one.trim().to_owned()).collect::<Vec<_>>().into(),
                (false, false) => text.parse().unwrap_or_else(|_| text.clone().into()),
            };
            let within = |table: &str| name.strip_prefix(table)?.strip_prefix('_');
            match tables.iter_mut().find_map(|(table, dict)| Some((dict, within(table)?))) {
                Some((table, key)) => table.insert(key.to_owned(), value),
                None => values.insert(name.clone(), value),
            };
        }
        for (table, dict) in tables {
            if !dict.is_empty() {
                values.insert(table.into(), dict.into());
            }
        }
        Ok(Map::from([(Profile::Default, values)]))
    }
}

/// The variables that are set. An empty one is as good as absent: many tools cannot unset what they pass on.
pub(super) fn variables() -> Vec<(String, String)> {
    std::env::vars()
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, value)| {
            let name = name.strip_prefix(PREFIX)?.to_owned();
            (!name.starts_with(RESERVED)).then(|| (name.to_lowercase(), value))
        })
        .collect()
}
