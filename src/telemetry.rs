//! Logs and metrics of the process.

use crate::config::{Config, LogFormat};
use anyhow::{Context, Result};
use api::RenderMetrics;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Bounds of the histograms, in seconds.
const SECONDS: [f64; 17] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0];

/// How often samples are summed up.
const UPKEEP: Duration = Duration::from_secs(2);

/// Begins to log, to standard error; that nobody reads it any more (a closed pipe) is no fault. Panics are logged without what they say: it may be anybody's data.
pub(crate) fn init_logs(config: &Config) -> Result<()> {
    let filter = EnvFilter::try_new(&config.log_level)
        .with_context(|| format!("log_level: {:?} is no level or filter", config.log_level))?;
    let text = match config.log_format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    };
    let registry = tracing_subscriber::registry().with(filter);
    if text {
        registry
            .with(tracing_subscriber::fmt::layer().log_internal_errors(false).with_writer(std::io::stderr))
            .try_init()?;
    } else {
        let layer = tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .log_internal_errors(false)
            .with_writer(std::io::stderr);
        registry.with(layer).try_init()?;
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, backtrace = %std::backtrace::Backtrace::force_capture(), "panic");
    }));
    Ok(())
}

/// Begins to count; the closure writes what Prometheus reads.
pub(crate) fn init_metrics() -> Result<RenderMetrics> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .install_recorder()
        .context("metrics cannot be recorded")?;
    crate::metrics_help::describe();
    let began = Instant::now();
    // Samples of histograms are kept one by one until somebody asks for them, and in a process that nobody asks they
    // would fill the memory.
    let kept = handle.clone();
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(UPKEEP);
        loop {
            tick.tick().await;
            kept.run_upkeep();
        }
    });
    Ok(Arc::new(move || {
        metrics::gauge!("paceline_uptime_seconds").set(began.elapsed().as_secs_f64());
        handle.render()
    }))
}
