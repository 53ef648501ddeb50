//! Whether the batches that this process works on should go on: read from the database twice a second, and at once when
//! news come. So a message that was claimed but has not left yet stays when its batch is paused or cancelled.

use crate::Shared;
use backplane::{Notice, Notifier};
use domain::batches::RunState;
use domain::{BatchId, Event, batches};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the database is asked.
const PERIOD: Duration = Duration::from_millis(500);

/// Whether one batch should go on.
#[derive(Debug, Default)]
pub(crate) struct Control {
    held_back: AtomicBool,
}

impl Control {
    /// Whether messages that have not left should stay.
    pub(crate) fn held_back(&self) -> bool {
        self.held_back.load(Ordering::Relaxed)
    }
}

/// The controls of the batches at work here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Controls(Arc<Mutex<HashMap<BatchId, Weak<Control>>>>);

impl Controls {
    /// The control of a batch, shared by all its jobs in this process. The caller has just read the batch's row.
    pub(crate) fn of(&self, batch: BatchId) -> Arc<Control> {
        let mut known = self.0.lock();
        if let Some(control) = known.get(&batch).and_then(Weak::upgrade) {
            return control;
        }
        let control = Arc::new(Control::default());
        known.insert(batch, Arc::downgrade(&control));
        control
    }

    fn ids(&self) -> Vec<BatchId> {
        let mut known = self.0.lock();
        known.retain(|_, control| control.strong_count() > 0);
        known.keys().copied().collect()
    }

    fn set(&self, batch: BatchId, held_back: bool) {
        if let Some(control) = self.0.lock().get(&batch).and_then(Weak::upgrade) {
            control.held_back.store(held_back, Ordering::Relaxed);
        }
    }
}

/// Keeps the controls true until cancelled.
pub(crate) async fn follow(shared: Arc<Shared>, notifier: Arc<dyn Notifier>, stop: CancellationToken) {
    let mut news = notifier.subscribe();
    let mut tick = tokio::time::interval(PERIOD);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let ids = tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => shared.controls.ids(),
            notice = news.recv() => match notice {
                Notice::Event(Event::BatchControl(id)) => vec![id],
                Notice::Event(Event::BatchChanged(_) | Event::SessionRevoked(_) | Event::OutboxGrew(_)) => continue,
                Notice::Missed => shared.controls.ids(),
            },
        };
        if ids.is_empty() {
            continue;
        }
        match batches::run_states(shared.db.read(), &ids).await {
            Ok(states) => {
                for (id, run_state) in states {
                    shared.controls.set(id, run_state != RunState::Running);
                }
            }
            Err(error) => tracing::debug!(%error, "controls not read"),
        }
    }
}
