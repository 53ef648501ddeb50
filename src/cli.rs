//! Arguments.

use clap::{Args, Parser, Subcommand};
use domain::users::{Permission, Role};
use std::path::PathBuf;
use std::time::Duration;

/// A durable job queue for messaging: batches at the pace asked for, nothing lost, nothing sent twice.
#[derive(Debug, Parser)]
#[command(
    name = "paceline",
    version,
    about,
    after_help = "Exit codes: 0 done, 1 the command failed, 2 wrong arguments or configuration.\n\
                  Configuration: defaults < paceline.toml < PACELINE_* < flags; `paceline config` prints it."
)]
pub(crate) struct Cli {
    /// What to do; without it: serve.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// The flags of every command.
    #[command(flatten)]
    pub(crate) global: Global,
}

/// The flags of every command.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Global {
    /// The configuration file [default: paceline.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where to listen, as 127.0.0.1:8000
    #[arg(long, global = true, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// Where the embedded set-up keeps its files
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// postgres://… or sqlite://…
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) database_url: Option<String>,
    /// redis://…, rediss://…, several by commas for a Cluster, redis+sentinel://…
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) redis_url: Option<String>,
    /// auto, text or json
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// error, warn, info, debug or trace, also by target
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Everything in one process
    Serve,
    /// The HTTP API alone
    Api,
    /// A worker alone
    Worker,
    /// A scheduler alone
    Scheduler,
    /// The WhatsApp gateway alone: takes messages, sends them, reports to backend_url
    #[command(
        after_help = "It listens on 127.0.0.1:3002, or --listen; gateway_secret signs both ways. Its store is gateway.db in\n\
                            --data-dir. Without a network (gateway_transport = simulator) it sends nothing to anybody."
    )]
    Gateway,
    /// The gateway's senders, in --data-dir
    Sender {
        /// What to do with them.
        #[command(subcommand)]
        action: Sender,
    },
    /// The database's schema
    Migrate {
        /// What to do with it.
        #[command(subcommand)]
        action: Migrate,
    },
    /// Users
    User {
        /// What to do with them.
        #[command(subcommand)]
        action: User,
    },
    /// API keys, for programs
    Key {
        /// What to do with them.
        #[command(subcommand)]
        action: Key,
    },
    /// Print an access token for a user, and nothing else
    Token {
        /// The user's address
        #[arg(long, value_name = "E")]
        email: String,
        /// How long it is good: 90s, 15m, 24h, 30d
        #[arg(long, value_name = "TTL", default_value = "24h", value_parser = duration)]
        ttl: Duration,
    },
    /// Print the effective configuration with its sources; secrets are masked
    Config {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Check database, migrations, Redis, gateway, clock and the ledger; exit 1 with what to do
    Doctor(Doctor),
    /// The embedded set-up with sample contacts and a few campaigns under way
    Demo,
    /// Measure: prints a table, and JSON with --json
    Bench(Bench),
    /// Real processes under load with random faults, and an audit at the end; exit 1 when anything is lost or doubled
    Soak(Soak),
}

/// What to do with the schema.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Migrate {
    /// Apply all steps that are not applied
    Up,
    /// Take steps back, with the data that they brought; asks first
    Down {
        /// How many
        #[arg(long, default_value_t = 1)]
        steps: u32,
        /// Without asking
        #[arg(long)]
        yes: bool,
    },
    /// List the steps
    Status,
}

/// What to do with senders.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Sender {
    /// List them with their health
    List,
    /// Let one that the network stopped send again
    Resume {
        /// Its name
        #[arg(default_value = "default")]
        name: String,
    },
}

/// What to do with users.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum User {
    /// Make a user; the password is the first line of standard input
    Add {
        /// The address
        #[arg(long, value_name = "E")]
        email: String,
        /// admin, supervisor, agent or guest
        #[arg(long, value_name = "R")]
        role: Role,
        /// The name
        #[arg(long, value_name = "N")]
        name: Option<String>,
        /// Read the password from standard input
        #[arg(long, required = true)]
        password_stdin: bool,
    },
    /// List them
    List,
    /// Let one sign in no more: sessions end, API keys are revoked
    Disable {
        /// The address
        #[arg(long, value_name = "E")]
        email: String,
    },
    /// Let one sign in again
    Enable {
        /// The address
        #[arg(long, value_name = "E")]
        email: String,
    },
    /// Set the password; without --password-stdin it is one for a single sign-in. Sessions end
    Password {
        /// The address
        #[arg(long, value_name = "E")]
        email: String,
        /// Read the password from standard input
        #[arg(long)]
        password_stdin: bool,
    },
}

/// What to do with API keys.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Key {
    /// Make one and print it, this once: `Authorization: Bearer pk_…`
    Add {
        /// The address of its user, whose limits hold for it
        #[arg(long, value_name = "E")]
        email: String,
        /// What it is for
        #[arg(long, value_name = "N")]
        name: String,
        /// What it may do, of what its user may: batches:read,batches:write
        #[arg(long = "scope", alias = "scopes", value_name = "P,…", required = true, value_delimiter = ',', value_parser = scope)]
        scopes: Vec<Permission>,
        /// How long it is good: 24h, 90d
        #[arg(long, alias = "expires", value_name = "TTL", default_value = "90d", value_parser = duration)]
        ttl: Duration,
    },
    /// List them
    List {
        /// Of this user alone
        #[arg(long, value_name = "E")]
        email: Option<String>,
    },
    /// End one, everywhere, within a second
    Revoke {
        /// Its number, from `paceline key list`
        id: i64,
    },
}

/// What to measure.
#[derive(Clone, Debug, Args)]
pub(crate) struct Bench {
    /// accept, import, tag, delete, send, gateway, pickup, critical, pace, read, sockets, crm or all; list (with ten million
    /// items), many (batches at once, at different rates), ones (a hundred thousand batches of one item) or console (its
    /// pages over ten million items)
    #[arg(default_value = "all")]
    pub(crate) what: String,
    /// How many contacts, items, messages, probes, requests, sockets or batches
    #[arg(long)]
    pub(crate) count: Option<usize>,
    /// Write the results as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// What to do beside looking.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct Doctor {
    /// Send through the configured gateway what no gateway has; asks first
    #[arg(long)]
    pub(crate) resend: bool,
    /// Do not ask
    #[arg(long, requires = "resend")]
    pub(crate) yes: bool,
}

/// How to soak.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Soak {
    /// For how long
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_080))]
    pub(crate) minutes: u32,
    /// What decides the load and the faults; without it: another each time
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

fn scope(text: &str) -> Result<Permission, String> {
    let names = || Permission::ALL.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(", ");
    text.trim().parse().map_err(|_| format!("{text:?} is no permission; there are {}", names()))
}

fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no duration; write 90s, 15m, 24h or 30d");
    let unit = text.chars().last().ok_or_else(bad)?;
    let number = text.strip_suffix(unit).unwrap_or_default();
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(bad()),
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    match number.checked_mul(seconds) {
        Some(total) if (1..=366 * 86_400).contains(&total) => Ok(Duration::from_secs(total)),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent_and_help_fits_a_screen() {
        Cli::command().debug_assert();
        for command in Cli::command().get_subcommands_mut() {
            assert!(command.render_help().to_string().lines().count() <= 40, "{}", command.get_name());
        }
    }

    #[test]
    fn durations_are_read() {
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        for bad in ["", "h", "1", "1w", "-1h", "0s", "999999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
