//! One lane: an apalis worker over our backend.

use crate::backend::{RingBackend, Rung};
use crate::{Shared, execute};
use apalis_core::error::{BoxDynError, WorkerError};
use apalis_core::task::data::Data;
use apalis_core::worker::builder::WorkerBuilder;
use apalis_core::worker::context::WorkerContext;
use apalis_core::worker::ext::parallelize::ParallelizeExt;
use backplane::RingQueue;
use domain::Lane;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::Arc;

/// Runs a lane until the worker is told to stop and its jobs have come to rest.
pub(crate) async fn run(shared: Arc<Shared>, queue: Arc<dyn RingQueue>, lane: Lane) {
    let (backend, pump) = RingBackend::new(shared.clone(), queue, lane);
    let context = WorkerContext::new(&format!("{}-{lane}", shared.owner));
    let pump = tokio::spawn({
        let context = context.clone();
        async move {
            pump.await;
            // The end of the rings is not enough: only a worker that was told to stop ends once its jobs have.
            context.stop()
        }
    });
    let worker =
        WorkerBuilder::new(context).backend(backend).data(shared.clone()).parallelize(tokio::spawn).build(handle);
    // Boxed, or the handler's type is too general for a spawned task.
    let running: BoxFuture<'static, Result<(), WorkerError>> = worker.run().boxed();
    if let Err(error) = running.await {
        tracing::error!(%lane, %error, "the lane's worker ended with an error");
    }
    match pump.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%lane, %error, "the lane's worker could not be stopped"),
        Err(error) => tracing::error!(%lane, %error, "the lane's pump ended badly"),
    }
}

/// The handler never fails: what went wrong is in the job's row, and a panic was caught on the way.
async fn handle(mut rung: Rung, shared: Data<Arc<Shared>>) -> Result<(), BoxDynError> {
    execute::execute(&shared, rung.lane, rung.job, &mut rung.place).await;
    drop(rung.place);
    Ok(())
}
