//! The lanes: apalis workers over our backend, started and stopped by its monitor.

use crate::backend::{RingBackend, Rung};
use crate::{Shared, execute};
use apalis::layers::catch_panic::CatchPanicLayer;
use apalis_core::error::{AbortError, BoxDynError};
use apalis_core::monitor::Monitor;
use apalis_core::task::data::Data;
use apalis_core::worker::builder::WorkerBuilder;
use apalis_core::worker::ext::parallelize::ParallelizeExt;
use backplane::RingQueue;
use domain::Lane;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::any::Any;
use std::sync::Arc;

/// Runs all lanes until the worker is told to stop and its jobs have come to rest, or the grace is over.
pub(crate) async fn run(shared: &Arc<Shared>, queue: &Arc<dyn RingQueue>) {
    let mut monitor = Monitor::new().shutdown_timeout(shared.settings.shutdown_grace);
    for lane in Lane::ALL {
        let (shared, queue) = (shared.clone(), queue.clone());
        // Made once: what makes a monitor begin a worker anew is an error of its backend, and ours has none.
        monitor = monitor.register(move |_| {
            WorkerBuilder::new(format!("{}-{lane}", shared.owner))
                .backend(RingBackend::new(&shared, &queue, lane))
                .data(shared.clone())
                .parallelize(tokio::spawn)
                .layer(CatchPanicLayer::with_panic_handler(panicked))
                .build(handle)
        });
    }
    let stop = shared.stopping.clone();
    let told_to_stop = async move {
        stop.cancelled().await;
        Ok(())
    };
    // Boxed, or the handler's type is too general for a spawned task.
    let running: BoxFuture<'_, _> = monitor.run_with_signal(told_to_stop).boxed();
    if let Err(error) = running.await {
        tracing::error!(%error, "a lane ended with an error");
    }
}

/// The handler never fails: what went wrong is in the job's row.
async fn handle(mut rung: Rung, shared: Data<Arc<Shared>>) -> Result<(), BoxDynError> {
    execute::execute(&shared, rung.lane, rung.job, &mut rung.place).await;
    Ok(())
}

/// A panic around a job. One within it is caught before, and is its failure.
fn panicked(_: &Box<dyn Any + Send>) -> AbortError {
    metrics::counter!("paceline_panics_total", "in" => "job").increment(1);
    tracing::error!("panicked around a job; its lease will end, and the log has the place");
    AbortError::new("panicked around a job")
}
