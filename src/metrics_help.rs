//! What each metric means: `# HELP` at `/metrics`. `tests/commands.rs` holds that every metric of the sources is here.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Names and meanings of what is counted up.
const COUNTERS: &[(&str, &str)] = &[
    ("paceline_claims_elsewhere_total", "Claims that were left because the batch belongs to another gateway"),
    ("paceline_database_no_answer_total", "Connections to PostgreSQL that were given up because no answer came"),
    (
        "paceline_database_sessions_ended_total",
        "Sessions of PostgreSQL that were ended because their state was not known",
    ),
    ("paceline_duty_failed_total", "Runs of a scheduler's duty that failed"),
    ("paceline_early_reports_total", "Reports that came before their message and were applied later"),
    ("paceline_gateway_accepts_total", "Messages that the gateway was asked to take, by what it answered"),
    ("paceline_gateway_orphans_total", "Events of the network about messages that the gateway does not know"),
    ("paceline_gateway_outcomes_total", "Outcomes of messages at the network"),
    ("paceline_gateway_reports_total", "Reports of the gateway to the backend, by what became of them"),
    ("paceline_gateway_sender_stops_total", "How often a sender was stopped by its network"),
    ("paceline_gateway_webhook_parts_unread_total", "Parts of the network's webhooks that could not be read"),
    ("paceline_http_limited_total", "Requests that were refused with 429"),
    ("paceline_jobs_parked_total", "Jobs that were put aside because only another release knows them"),
    ("paceline_jobs_rescued_total", "Jobs that were taken from workers that are gone"),
    ("paceline_jobs_total", "Jobs that came to rest, by outcome"),
    ("paceline_limiter_fallback_total", "Requests that this process counted alone because Redis was away"),
    ("paceline_news_malformed_total", "News from Redis that could not be read"),
    ("paceline_panics_total", "Panics, by where; what panicked was begun anew"),
    ("paceline_password_verifications_total", "Passwords that were verified, right or wrong"),
    ("paceline_publish_failed_total", "News that was not published; it is found in the database"),
    ("paceline_queue_fallback_total", "How often a lane looked into the database because nobody rang"),
    ("paceline_reports_total", "Reports of the gateway that were taken"),
    ("paceline_ring_push_failed_total", "Rings that were not pushed; the sweep rings again"),
    ("paceline_rings_early_total", "Rings that came before their job was due"),
    ("paceline_rings_idle_total", "Rings for jobs that were not ready"),
    ("paceline_rings_malformed_total", "Rings in Redis that could not be read"),
    ("paceline_rings_swept_total", "Rings that the sweep rang, because they were due or not answered"),
    ("paceline_slots_missed_total", "Slots that passed before their message could leave"),
    ("paceline_stale_fences_total", "Results that were refused because somebody else has the job by now"),
    ("paceline_steps_halved_total", "Steps that took too long and were tried again with half of their rows, by kind"),
    ("paceline_websocket_closed_total", "Sockets that were closed by us, by code"),
    ("paceline_workers_lost_total", "Workers that fell silent and lost their jobs"),
];

/// Names and meanings of what goes up and down.
const GAUGES: &[(&str, &str)] = &[
    ("paceline_circuits_open", "Senders whose gateway is not sent to for now"),
    ("paceline_gateway_messages_waiting", "Messages that the gateway took and has not handed over"),
    ("paceline_gateway_reports_refused", "Reports that the backend refused for good"),
    ("paceline_gateway_reports_waiting", "Reports that the backend has not taken yet"),
    ("paceline_gateway_sender_health", "1 for the state that a sender is in"),
    ("paceline_gateway_webhooks_set_aside", "Webhooks that were kept and not yet read to their end"),
    ("paceline_jobs", "Jobs in the ledger, by lane, kind and state"),
    ("paceline_jobs_held", "Jobs whose leases this process keeps"),
    ("paceline_jobs_parked", "Jobs that only another release knows"),
    ("paceline_jobs_running", "Jobs that this process works on"),
    ("paceline_rings", "Rings that wait in a lane's queue"),
    ("paceline_stream_connections", "Streams of the CRM's events that are open"),
    ("paceline_websocket_connections", "Sockets that are open"),
    ("paceline_writer_rows_most", "The most rows that one hold of SQLite's writer changed, by step"),
];

/// Names and meanings of gauges of seconds.
const SECONDS: &[(&str, &str)] = &[
    ("paceline_job_oldest_seconds", "How long the oldest job that is due has waited"),
    ("paceline_writer_hold_longest_seconds", "The longest that a step of this process held SQLite's writer, by step"),
    ("paceline_uptime_seconds", "How long the process has run"),
];

/// Names and meanings of what is distributed; all in seconds.
const HISTOGRAMS: &[(&str, &str)] = &[
    ("paceline_duty_seconds", "How long a scheduler's duty took"),
    ("paceline_gateway_hand_seconds", "How long the network took to take a message"),
    ("paceline_http_seconds", "How long requests took, by method and status"),
    ("paceline_job_pickup_seconds", "From when a job was due to its start"),
    ("paceline_job_run_seconds", "How long a job ran"),
    ("paceline_limiter_wait_seconds", "How long a message waited for its slot"),
    ("paceline_send_seconds", "How long the gateway took to take a message, by outcome"),
    ("paceline_writer_hold_seconds", "How long SQLite's writer was held, by step"),
];

/// Tells the recorder what everything means. To be called once it is installed.
pub(crate) fn describe() {
    COUNTERS.iter().for_each(|(name, help)| describe_counter!(*name, *help));
    GAUGES.iter().for_each(|(name, help)| describe_gauge!(*name, *help));
    SECONDS.iter().for_each(|(name, help)| describe_gauge!(*name, Unit::Seconds, *help));
    HISTOGRAMS.iter().for_each(|(name, help)| describe_histogram!(*name, Unit::Seconds, *help));
}
