//! What went wrong, and how often: a simulation in which nothing does shows nothing.

/// How often each thing happened, over all seeds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) batches: u64,
    pub(crate) sent: u64,
    pub(crate) crashes: u64,
    pub(crate) frozen: u64,
    pub(crate) stale: u64,
    pub(crate) rescued: u64,
    pub(crate) buried_workers: u64,
    pub(crate) disowned: u64,
    pub(crate) rings_lost: u64,
    pub(crate) rings_doubled: u64,
    pub(crate) idle_rings: u64,
    pub(crate) broken: u64,
    pub(crate) unheard: u64,
    pub(crate) written_again: u64,
    pub(crate) circuits: u64,
    pub(crate) probes: u64,
    pub(crate) unknown: u64,
    pub(crate) repeats: u64,
    pub(crate) paused: u64,
    pub(crate) cancelled: u64,
    pub(crate) retried: u64,
    pub(crate) dead: u64,
}

impl Seen {
    fn fields(&mut self) -> [(&'static str, &mut u64); 22] {
        [
            ("batches", &mut self.batches),
            ("sent", &mut self.sent),
            ("crashes", &mut self.crashes),
            ("frozen", &mut self.frozen),
            ("stale", &mut self.stale),
            ("rescued", &mut self.rescued),
            ("buried_workers", &mut self.buried_workers),
            ("disowned", &mut self.disowned),
            ("rings_lost", &mut self.rings_lost),
            ("rings_doubled", &mut self.rings_doubled),
            ("idle_rings", &mut self.idle_rings),
            ("broken", &mut self.broken),
            ("unheard", &mut self.unheard),
            ("written_again", &mut self.written_again),
            ("circuits", &mut self.circuits),
            ("probes", &mut self.probes),
            ("unknown", &mut self.unknown),
            ("repeats", &mut self.repeats),
            ("paused", &mut self.paused),
            ("cancelled", &mut self.cancelled),
            ("retried", &mut self.retried),
            ("dead", &mut self.dead),
        ]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        let mut other = *other;
        for ((_, sum), (_, more)) in self.fields().into_iter().zip(other.fields()) {
            *sum += *more;
        }
    }

    /// Panics with the name of what never happened.
    pub(crate) fn everything_happened(mut self) {
        for (name, count) in self.fields() {
            assert!(*count > 0, "{name} never happened");
        }
    }
}
