//! How this worker takes jobs, which people may change while it runs.

use crate::Settings;
use crate::places::Places;
use domain::Lane;
use domain::jobs::workers::Orders;
use tokio::sync::watch;

/// The lanes of this process, and whether they take jobs.
#[derive(Debug)]
pub(crate) struct Lanes {
    places: [Places; 3],
    draining: watch::Sender<bool>,
}

impl Lanes {
    /// As the process is configured.
    pub(crate) fn new(settings: &Settings) -> Self {
        let places = Lane::ALL.map(|lane| Places::new(settings.concurrency(lane)));
        Self { places, draining: watch::channel(false).0 }
    }

    /// The places of a lane.
    pub(crate) fn places(&self, lane: Lane) -> &Places {
        match lane {
            Lane::Critical => &self.places[0],
            Lane::Default => &self.places[1],
            Lane::Bulk => &self.places[2],
        }
    }

    /// Whether no new jobs are taken.
    pub(crate) fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    /// What is done now.
    pub(crate) fn orders(&self) -> Orders {
        let count = |places: &Places| u32::try_from(places.count()).unwrap_or(u32::MAX);
        let [critical, default, bulk] = &self.places;
        Orders { draining: *self.draining.borrow(), places: [count(critical), count(default), count(bulk)] }
    }

    /// Does what is asked from now on; returns whether that is another thing than before. For one caller at a time.
    pub(crate) fn obey(&self, orders: &Orders) -> bool {
        let before = self.orders();
        if before == *orders {
            return false;
        }
        for lane in Lane::ALL {
            self.places(lane).resize(usize::try_from(orders.of(lane)).unwrap_or(1));
        }
        self.draining.send_replace(orders.draining);
        tracing::info!(draining = orders.draining, places = ?orders.places, "the worker takes jobs in another way");
        true
    }
}
