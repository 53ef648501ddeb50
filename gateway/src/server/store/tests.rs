//! The store by itself, on a file, with a clock that is moved by hand.

use super::senders::DAY_MS;
use super::*;
use crate::Report;
use crate::server::rules;
use crate::transport::{Class, Refusal, Status};
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};
use tempfile::TempDir;

struct World {
    store: Store,
    clock: Arc<AtomicI64>,
    dir: TempDir,
}

const AGAIN: Settles = Settles::BySubmittingAgain;

fn now_of(clock: &Arc<AtomicI64>) -> Now {
    let clock = clock.clone();
    Arc::new(move || clock.load(Ordering::SeqCst))
}

async fn opened(dir: &TempDir, clock: &Arc<AtomicI64>, rate: u32, cap: u32) -> Store {
    let store = Store::open(dir.path(), SqliteSynchronous::Off, 0, now_of(clock)).await.expect("opens");
    let place = StoreFile { path: dir.path().join(FILE), synchronous: SqliteSynchronous::Off, max_mib: 0 };
    store.limit(&place, "s", rate, cap).await.expect("limited");
    store
}

impl World {
    async fn new(rate: u32, cap: u32) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(AtomicI64::new(1_700_000_000_000));
        Self { store: opened(&dir, &clock, rate, cap).await, clock, dir }
    }

    /// As if the process had been killed: what was asked and not answered is lost, what was committed is not.
    async fn again(self) -> Self {
        let Self { store, clock, dir } = self;
        drop(store);
        // The lock goes with the store's last task.
        let store = opened(&dir, &clock, 0, 0).await;
        Self { store, clock, dir }
    }

    /// To a recipient of its own.
    async fn accept(&self, id: &str) -> Accepted {
        self.accept_to(id, &format!("to {id}")).await
    }

    async fn accept_to(&self, id: &str, recipient: &str) -> Accepted {
        let new = NewMessage {
            id: id.into(),
            numeric: false,
            sender: "s".into(),
            recipient: recipient.into(),
            body: "Hi".into(),
        };
        self.store.accept(new).await.expect("answered")
    }

    async fn claim(&self) -> Vec<Claimed> {
        self.store.claim("s", 100, AGAIN).await.expect("claims").messages
    }

    async fn settle(&self, claimed: &Claimed, handed: SubmissionOutcome, settles: Settles) {
        let Claimed { seq, id, numeric, sender, attempts, doubt, .. } = claimed.clone();
        let standing = AttemptContext { attempts, doubt, settles, waits: 0 };
        let outcome = AttemptResult { seq, id, numeric, sender, handed, standing };
        self.store.settle(vec![outcome]).await.expect("settled");
    }

    fn wait(&self, ms: i64) {
        self.clock.fetch_add(ms, Ordering::SeqCst);
    }

    async fn due(&self) -> Vec<DueReport> {
        self.store.due_reports(1_000).await.expect("reports")
    }
}

fn taken(network_id: &str) -> SubmissionOutcome {
    SubmissionOutcome::Taken { network_id: network_id.into(), wa_id: None }
}

fn status(id: Option<&str>, network_id: &str, status: Status) -> Event {
    Event::Status { message_id: id.map(str::to_owned), network_id: network_id.into(), wa_id: None, status, at_ms: 1 }
}

#[tokio::test]
async fn what_is_said_to_one_recipient_leaves_in_order() {
    let world = World::new(0, 0).await;
    for (id, to) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a")] {
        assert_eq!(world.accept_to(id, to).await, Accepted::Fresh);
    }
    let ids = |claimed: &[Claimed]| claimed.iter().map(|one| one.id.clone()).collect::<Vec<_>>();
    let first = world.claim().await;
    assert_eq!(ids(&first), ["a1", "b1"]);
    assert_eq!(world.claim().await.len(), 0, "the next waits until the first has left");
    let claims = world.store.claim("s", 100, AGAIN).await.expect("claims");
    assert_eq!(claims.next_at_ms, None, "and is not looked for until then");
    // One that has to come again is still the first.
    let refusal = Refusal { class: Class::Trouble, code: "c".into(), detail: "d".into(), retry_after: None };
    world.settle(&first[0], SubmissionOutcome::Refused(refusal), AGAIN).await;
    assert_eq!(world.claim().await.len(), 0);
    world.wait(60_000);
    let again = world.claim().await;
    assert_eq!(ids(&again), ["a1"]);
    world.settle(&again[0], taken("n1"), AGAIN).await;
    let next = world.claim().await;
    assert_eq!(ids(&next), ["a2"]);
    // Nobody knows of this one, which holds up nobody.
    let lost = SubmissionOutcome::Unknown { code: "timeout".into(), detail: "d".into() };
    world.settle(&next[0], lost, AGAIN).await;
    assert_eq!(ids(&world.claim().await), ["a3"]);
}

#[tokio::test]
async fn a_claim_is_one_claim_and_survives() {
    let world = World::new(0, 0).await;
    assert_eq!(world.accept("a").await, Accepted::Fresh);
    assert_eq!(world.accept("a").await, Accepted::Known);
    assert_eq!(world.claim().await.len(), 1);
    assert!(world.claim().await.is_empty());
    let world = world.again().await;
    assert!(world.claim().await.is_empty(), "it may be on its way");
    world.store.recover(AGAIN).await.expect("recovered");
    let again = world.claim().await;
    assert_eq!((again.len(), again[0].doubt), (1, true));
    world.settle(&again[0], taken("w"), AGAIN).await;
    assert_eq!(world.accept("a").await, Accepted::Known);
    assert_eq!(world.due().await.len(), 1);
}

#[tokio::test]
async fn what_is_kept_is_shown_page_by_page_to_those_beside_as_well() {
    let world = World::new(0, 0).await;
    for id in ["a", "b", "c"] {
        world.accept(id).await;
    }
    let claimed = world.claim().await;
    world.settle(&claimed[0], taken("w"), AGAIN).await;
    let refusal = Refusal { class: Class::Message, code: "c".into(), detail: "d".into(), retry_after: None };
    world.settle(&claimed[1], SubmissionOutcome::Refused(refusal), AGAIN).await;
    let due = world.due().await;
    world.store.told(vec![(due[0].clone(), ReportOutcome::Taken)]).await.expect("told");
    let first = world.store.kept(0, 2).await.expect("a page");
    let brief = |page: &StoredPage| {
        page.messages
            .iter()
            .map(|kept| (kept.backend_message_id.clone(), kept.whatsapp_id.clone(), kept.state, kept.is_told))
            .collect::<Vec<_>>()
    };
    let expected = [
        ("a".to_owned(), Some("w".to_owned()), StoredState::Sent, true),
        ("b".to_owned(), None, StoredState::Failed, false),
    ];
    assert_eq!(brief(&first), expected);
    let since = (world.store.now)();
    assert_eq!((first.next_cursor, first.complete_since_ms, first.now_ms), (Some(2), since, since));
    let rest = kept_in(world.dir.path(), 7, 2, 2).await.expect("a page");
    assert_eq!((rest.next_cursor, rest.now_ms), (None, 7));
    assert_eq!(brief(&rest), [("c".to_owned(), None, StoredState::Waiting, true)]);
    // What is thrown away moves that on.
    world.store.prune(since - 1, 0).await.expect("pruned");
    assert_eq!(world.store.kept(0, 1).await.expect("a page").complete_since_ms, since);
    world.store.prune(since + 5, 0).await.expect("pruned");
    assert_eq!(world.store.kept(0, 1).await.expect("a page").complete_since_ms, since + 5);
    assert!(kept_in(&world.dir.path().join("elsewhere"), 0, 0, 1).await.is_err(), "nothing is made there");
}

#[tokio::test]
async fn what_was_claimed_and_not_handed_over_is_let_go() {
    let world = World::new(0, 0).await;
    world.accept("a").await;
    world.accept("b").await;
    let claimed = world.claim().await;
    world.store.unclaim(vec![claimed[0].seq]).await.expect("let go");
    let again = world.claim().await;
    assert_eq!(again.iter().map(|m| (m.id.as_str(), m.doubt)).collect::<Vec<_>>(), [("b", false)]);
}

#[tokio::test]
async fn an_event_settles_what_nobody_answered_for_and_the_late_answer_changes_nothing() {
    let by_event = Settles::ByEvent { within: Duration::from_secs(60) };
    let world = World::new(0, 0).await;
    world.accept("a").await;
    let claimed = world.claim().await;
    world.store.heard(vec![status(Some("a"), "w", Status::Delivered)]).await.expect("heard");
    let lost = SubmissionOutcome::Unknown { code: "timeout".into(), detail: String::new() };
    world.settle(&claimed[0], lost, by_event).await;
    world.wait(120_000);
    assert!(world.store.claim("s", 10, by_event).await.expect("claims").messages.is_empty());
    let mut told = Vec::new();
    while let [due] = world.due().await.as_slice() {
        told.push(format!("{:?}", due.outgoing.report));
        world.store.told(vec![(due.clone(), ReportOutcome::Taken)]).await.expect("told");
    }
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("Mapped") && told[1].starts_with("Ack"), "{told:?}");
}

#[tokio::test]
async fn silence_is_given_up_and_corrected_by_a_late_event() {
    let by_event = Settles::ByEvent { within: Duration::from_secs(60) };
    let world = World::new(0, 0).await;
    world.accept("a").await;
    world.claim().await;
    let world = world.again().await;
    world.store.recover(by_event).await.expect("recovered");
    world.store.claim("s", 10, by_event).await.expect("claims");
    assert!(world.due().await.is_empty(), "its time is not over");
    world.wait(60_001);
    world.store.claim("s", 10, by_event).await.expect("claims");
    let due = world.due().await;
    assert!(matches!(&due[0].outgoing.report, Report::Failed { code, .. } if code == rules::OUTCOME_UNKNOWN));
    world.store.told(vec![(due[0].clone(), ReportOutcome::Taken)]).await.expect("told");
    world.store.heard(vec![status(Some("a"), "w", Status::Sent)]).await.expect("heard");
    assert!(matches!(world.due().await[0].outgoing.report, Report::Mapped { .. }));
}

#[tokio::test]
async fn what_the_network_told_too_early_is_kept_for_its_message() {
    let world = World::new(0, 0).await;
    world.accept("a").await;
    let claimed = world.claim().await;
    world.store.heard(vec![status(None, "w", Status::Read)]).await.expect("heard");
    assert!(world.due().await.is_empty());
    world.settle(&claimed[0], taken("w"), AGAIN).await;
    let mut told = Vec::new();
    while let Some(due) = world.due().await.into_iter().next() {
        told.push(due.outgoing.report.clone());
        world.store.told(vec![(due, ReportOutcome::Taken)]).await.expect("told");
    }
    assert!(
        matches!(told.as_slice(), [Report::Mapped { .. }, Report::Ack { level: 3, .. }, Report::Seen { .. }]),
        "{told:?}"
    );
}

#[tokio::test]
async fn the_cap_counts_what_waits_and_gives_back_what_was_refused() {
    let world = World::new(0, 2).await;
    assert_eq!(world.accept("a").await, Accepted::Fresh);
    assert_eq!(world.accept("b").await, Accepted::Fresh);
    assert!(matches!(world.accept("c").await, Accepted::Capped { .. }));
    let claimed = world.claim().await;
    let refusal = Refusal { class: Class::Recipient, code: "x".into(), detail: String::new(), retry_after: None };
    world.settle(&claimed[0], SubmissionOutcome::Refused(refusal), AGAIN).await;
    world.settle(&claimed[1], taken("w"), AGAIN).await;
    assert_eq!(world.accept("c").await, Accepted::Fresh, "the refused one left its place");
    assert!(matches!(world.accept("d").await, Accepted::Capped { .. }));
    world.wait(DAY_MS);
    assert_eq!(world.accept("d").await, Accepted::Fresh, "another day");
}

#[tokio::test]
async fn what_is_old_and_told_is_deleted_and_nothing_else() {
    let world = World::new(0, 0).await;
    for id in ["told", "untold", "waiting"] {
        world.accept(id).await;
    }
    let claimed = world.claim().await;
    world.settle(&claimed[0], taken("w1"), AGAIN).await;
    world.settle(&claimed[1], taken("w2"), AGAIN).await;
    world.store.unclaim(Vec::new()).await.expect("let go");
    let due = world.due().await.into_iter().next().expect("due");
    world.store.told(vec![(due, ReportOutcome::Taken)]).await.expect("told");
    world.wait(1_000);
    let before = world.clock.load(Ordering::SeqCst);
    let mut after = Some(0);
    while let Some(seq) = after {
        after = world.store.prune(before, seq).await.expect("pruned");
    }
    let known = [world.accept("told").await, world.accept("untold").await, world.accept("waiting").await];
    assert_eq!(known, [Accepted::Fresh, Accepted::Known, Accepted::Known]);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Hear {
        message: usize,
        level: usize,
    },
    Write {
        writer: usize,
    },
    /// The backend does something with one of those that are due.
    Tell {
        which: usize,
        does: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0_usize..3, 0_usize..4).prop_map(|(message, level)| Step::Hear { message, level }),
        (0_usize..2).prop_map(|writer| Step::Write { writer }),
        (0_usize..8, 0_usize..4).prop_map(|(which, does)| Step::Tell { which, does }),
    ];
    proptest::collection::vec(step, 1..60)
}

async fn told_in_order(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let world = World::new(0, 0).await;
    for id in ["m0", "m1", "m2"] {
        world.accept(id).await;
    }
    for claimed in world.claim().await {
        world.settle(&claimed, taken(&format!("w{}", claimed.id)), AGAIN).await;
    }
    let statuses = [Status::Sent, Status::Delivered, Status::Read, Status::Played];
    let (mut told, mut written): (HashMap<i64, Vec<i64>>, usize) = (HashMap::new(), 0);
    let mut tell = async |due: DueReport, does: ReportOutcome| {
        if does == ReportOutcome::Taken {
            told.entry(due.thread).or_default().push(due.seq);
        }
        world.store.told(vec![(due, does)]).await.expect("told");
    };
    for step in steps {
        match step {
            Step::Hear { message, level } => {
                let event = status(Some(&format!("m{message}")), "w", statuses[level].clone());
                world.store.heard(vec![event]).await.expect("heard");
            }
            Step::Write { writer } => {
                written += 1;
                let inbound = crate::transport::Inbound {
                    from: format!("6012345678{writer}"),
                    text: "hi".into(),
                    network_id: format!("in{written}"),
                    ..Default::default()
                };
                let twice = vec![Event::Inbound(inbound.clone()), Event::Inbound(inbound)];
                world.store.heard(twice).await.expect("heard");
            }
            Step::Tell { which, does } => {
                let due = world.due().await;
                let threads: HashSet<i64> = due.iter().map(|due| due.thread).collect();
                prop_assert_eq!(threads.len(), due.len(), "one of each thread is due");
                let Some(due) = due.get(which % due.len().max(1)).cloned() else { continue };
                let does = match does {
                    0 => ReportOutcome::Again { due_at_ms: (world.store.now)() + 10 },
                    1 => ReportOutcome::Refused { status: 422, detail: String::new() },
                    _ => ReportOutcome::Taken,
                };
                tell(due, does).await;
                world.wait(5);
            }
        }
    }
    world.wait(1_000);
    loop {
        let due = world.due().await;
        if due.is_empty() {
            break;
        }
        for one in due {
            tell(one, ReportOutcome::Taken).await;
        }
    }
    prop_assert_eq!(world.store.depths().await.expect("depths").reports_waiting, 0);
    prop_assert!(told.values().all(|seqs| seqs.is_sorted()), "{:?}", told);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn reports_are_told_in_order_and_all(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        runtime.block_on(told_in_order(steps))?;
    }
}
