//! One read for many who ask the same at the same time.
//!
//! A read that has begun is never shared with who asks after that: everyone gets what the database said after they
//! asked, so that nobody misses their own write. Who asks while the reads of others are under way waits for the next
//! one, together with all who do.

use super::to_its_end;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Reads at once: more would only be shared by fewer.
const AT_ONCE: usize = 2;

type SharedRead<V> = Shared<BoxFuture<'static, V>>;

/// Reads by key, of a value that is cheap to clone.
pub(crate) struct Coalesced<K, V> {
    shared: Arc<Reads<K, V>>,
}

struct Reads<K, V> {
    /// Reads that were asked for and have not begun.
    waiting: Mutex<HashMap<K, SharedRead<V>>>,
    turns: Semaphore,
}

impl<K, V> Default for Coalesced<K, V> {
    fn default() -> Self {
        let state = Reads { waiting: Mutex::default(), turns: Semaphore::new(AT_ONCE) };
        Self { shared: Arc::new(state) }
    }
}

impl<K, V> Coalesced<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// What `read` gives, or what another's gives that begins after this call.
    pub(crate) fn get<F>(&self, key: K, read: impl FnOnce() -> F + Send + 'static) -> SharedRead<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut waiting = self.shared.waiting.lock();
        if let Some(other) = waiting.get(&key) {
            return other.clone();
        }
        let state = self.shared.clone();
        let of = key.clone();
        let reading = async move {
            // The semaphore is never closed; without a turn the read would only begin at once.
            let _turn = state.turns.acquire().await;
            state.waiting.lock().remove(&of);
            read().await
        };
        // Its turn comes to it even when all who waited have left: otherwise they would take the turn along.
        let reading = to_its_end(reading).boxed().shared();
        waiting.insert(key, reading.clone());
        reading
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn who_asks_later_gets_a_later_read() {
        let reads = Coalesced::<&str, usize>::default();
        let begun = Arc::new(AtomicUsize::new(0));
        let open = Arc::new(Semaphore::new(0));
        let ask = |reads: &Coalesced<&'static str, usize>| {
            let (begun, open) = (begun.clone(), open.clone());
            reads.get("key", move || async move {
                let nth = begun.fetch_add(1, Ordering::SeqCst);
                drop(open.acquire().await);
                nth
            })
        };
        let mut early = Vec::new();
        for nth in 0..AT_ONCE {
            let read = ask(&reads);
            assert_eq!(read.clone().now_or_never(), None, "begun, and not done");
            while begun.load(Ordering::SeqCst) == nth {
                tokio::task::yield_now().await;
            }
            early.push(read);
        }
        let late: Vec<_> = (0..10).map(|_| ask(&reads)).collect();
        for read in &late {
            assert_eq!(read.clone().now_or_never(), None);
        }
        assert_eq!(begun.load(Ordering::SeqCst), AT_ONCE, "the late ones wait for a turn");
        open.add_permits(1);
        let early = futures::future::join_all(early).await;
        assert_eq!(early, (0..AT_ONCE).collect::<Vec<_>>());
        let late = futures::future::join_all(late).await;
        assert!(late.iter().all(|nth| *nth == AT_ONCE), "one read for all of them, begun after they asked: {late:?}");
        assert!(reads.shared.waiting.lock().is_empty());
    }

    #[tokio::test]
    async fn who_leaves_while_waiting_takes_no_turn_along() {
        let reads = Coalesced::<usize, usize>::default();
        let open = Arc::new(Semaphore::new(0));
        let ask = |key| {
            let open = open.clone();
            reads.get(key, move || async move {
                drop(open.acquire().await);
                key
            })
        };
        let busy: Vec<_> = (0..AT_ONCE).map(ask).collect();
        for read in busy.iter().cloned().chain((AT_ONCE..3 * AT_ONCE).map(ask)) {
            // Asked, and gone: what comes after the busy ones waits for a turn.
            assert_eq!(read.now_or_never(), None);
            tokio::task::yield_now().await;
        }
        open.add_permits(1);
        futures::future::join_all(busy).await;
        let last = ask(99);
        for _ in 0..100 {
            if last.clone().now_or_never().is_some() {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("the turns went to reads that nobody waits for");
    }
}
