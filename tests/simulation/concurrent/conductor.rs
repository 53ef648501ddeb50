//! Who decides whose turn it is, and looks at what must hold.

use super::actor::{Actor, Ask};
use super::parts::{self, Held};
use domain::batches::{
    self, ContactRefs, Finding, ImportLine, ImportWriter, NewImport, NewSend, NewTag, Recipients, Staged, TagOperation,
};
use domain::contacts::import_file::ImportRow;
use domain::contacts::{self, ErasedUntil};
use domain::{Timestamp, UserId, db};
use migration::{Migrator, MigratorTrait};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbErr};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Contacts that are there, each with some messages.
pub(super) const CONTACTS: i64 = 40;

/// Whose word must wait for nobody.
const HEARTS: [&str; 2] = ["heart-1", "heart-2"];
const WORKERS: [&str; 2] = ["worker-1", "worker-2"];
/// Everybody, by their numbers.
const NAMES: [&str; 7] = ["worker-1", "worker-2", "heart-1", "heart-2", "scheduler", "user", "gateway"];

/// How often each thing happened, over all seeds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    turns: u64,
    waits: u64,
    beats_beside_open_steps: u64,
}

impl Seen {
    /// A simulation in which nobody is in anybody's way shows nothing.
    pub(super) fn everything_happened(self) {
        assert!(self.turns > 0 && self.waits > 0 && self.beats_beside_open_steps > 0, "{self:?}");
    }
}

/// A database, and everybody's connections to it.
pub(super) struct Stage {
    /// The one who looks.
    looks: DatabaseConnection,
    actors: Vec<(DatabaseConnection, i32)>,
    clock: Arc<AtomicI64>,
    trace: Vec<String>,
    pub(super) seen: Seen,
    _database: support::Database,
}

async fn connect(url: &str) -> (DatabaseConnection, i32) {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).min_connections(1).idle_timeout(Duration::from_secs(86_400)).sqlx_logging(false);
    let db = Database::connect(options).await.expect("connected");
    // Whom a deadlock meets is told soon.
    db.execute_unprepared("SET deadlock_timeout = '20ms'").await.expect("set");
    let row = db::one(&db, "SELECT pg_backend_pid() AS pid", []).await.expect("read").expect("a row");
    (db, row.try_get("", "pid").expect("a number"))
}

impl Stage {
    pub(super) async fn new() -> Self {
        let database = support::Postgres::database().await;
        let (looks, _) = connect(database.url()).await;
        Migrator::up(&looks, None).await.expect("migrated");
        let mut actors = Vec::new();
        for _ in NAMES {
            actors.push(connect(database.url()).await);
        }
        let clock = Arc::new(AtomicI64::new(0));
        Self { looks, actors, clock, trace: Vec::new(), seen: Seen::default(), _database: database }
    }

    pub(super) fn trace(&self) -> &[String] {
        &self.trace
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.clock.load(std::sync::atomic::Ordering::Relaxed))
    }

    fn actor(&self, id: usize, asks: Option<mpsc::UnboundedSender<Ask>>) -> Actor {
        let db = self.actors[id].0.clone();
        Actor { id, name: NAMES[id], db, clock: self.clock.clone(), asks }
    }

    /// As at the beginning, whatever was played before.
    async fn begin(&mut self) {
        self.clock.store(1_800_000_000_000, std::sync::atomic::Ordering::Relaxed);
        self.trace.clear();
        let sql = format!(
            "DO $$ DECLARE t text; BEGIN
                FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'public'
                         AND tablename NOT IN ('senders', 'seaql_migrations', 'domain_events_pruned') LOOP
                    EXECUTE format('TRUNCATE %I RESTART IDENTITY', t);
                END LOOP; END $$;
             UPDATE senders SET next_slot_us = 0, circuit_failures = 0, circuit_opened = 0, circuit_until = NULL,
                circuit_probing = FALSE, circuit_reason = NULL;
             INSERT INTO contacts (identifier, phone, created_at, updated_at)
             SELECT gen_random_uuid(), '60123' || lpad(i::text, 6, '0'), 0, 0 FROM generate_series(1, {CONTACTS}) AS i;
             INSERT INTO messages (uuid, contact_id, direction, content, status, created_at)
             SELECT gen_random_uuid(), i, 'outbound', 'before', 'sent', n
             FROM generate_series(1, {CONTACTS}) AS i, generate_series(1, 3) AS n"
        );
        self.looks.execute_unprepared(&sql).await.expect("cleared");
        self.accept().await.expect("accepted");
    }

    /// A send, a tagging, a deletion and an import over the same contacts.
    async fn accept(&self) -> Result<(), DbErr> {
        use sea_orm::TransactionTrait;
        let (now, by) = (self.now(), UserId(1));
        let some = |from: i64, to: i64| {
            let mut refs = ContactRefs::default();
            (from..=to).for_each(|id| refs.push(&id.to_string()));
            refs
        };
        let failed = |error: batches::CreateError| DbErr::Custom(error.to_string());
        let tx = self.looks.begin().await?;
        let new = NewSend { chunk_items: Some(10), ..NewSend::new("Hello", Recipients::Contacts(some(1, 30))) };
        // Nobody is rung here: a worker looks for what is ready.
        drop(batches::create_send(&tx, now, by, new, Staged::default()).await.map_err(failed)?);
        let new = NewTag { contacts: some(10, 40), tags: vec!["new".into()], operation: TagOperation::Add };
        drop(batches::create_tag(&tx, now, by, new, Staged::default()).await.map_err(failed)?);
        drop(batches::create_delete(&tx, now, by, some(20, 35), Staged::default()).await.map_err(failed)?);
        let new = NewImport {
            skip_duplicates: false,
            tags: vec!["new".into(), "file".into()],
            source: None,
            default_country: None,
        };
        let mut writer = ImportWriter::default();
        for n in 1_u32..=20 {
            let phone = format!("+60123{:06}", n * 2);
            // One in four fails, and leaves a trace for the deletion to find.
            let tags = if n % 4 == 0 { vec!["x".repeat(65)] } else { Vec::new() };
            writer.push(ImportLine::Row(ImportRow { line: n, phone, tags, ..ImportRow::default() }))?;
        }
        drop(writer.finish(&tx, now, by, &new).await.map_err(failed)?);
        tx.commit().await
    }

    /// Plays a seed: everybody at once, then one worker alone until all has ended.
    pub(super) async fn play(&mut self, seed: u64) {
        self.begin().await;
        let mut rng = StdRng::seed_from_u64(seed);
        let (asks, asked) = mpsc::unbounded_channel();
        let held: [Held; 2] = Default::default();
        let mut playing = JoinSet::new();
        for (id, held) in held.iter().enumerate() {
            let (worker, own) = (self.actor(id, Some(asks.clone())), StdRng::from_rng(&mut rng));
            playing.spawn_local(named(id, parts::work(worker, held.clone(), 6, own)));
            let heart = self.actor(2 + id, Some(asks.clone()));
            playing.spawn_local(named(2 + id, parts::beat(heart, WORKERS[id], held.clone(), 12)));
        }
        playing.spawn_local(named(4, parts::schedule(self.actor(4, Some(asks.clone())), 3, 1_000)));
        let (user, own) = (self.actor(5, Some(asks.clone())), StdRng::from_rng(&mut rng));
        playing.spawn_local(named(5, parts::steer(user, 4, own)));
        let (gateway, own) = (self.actor(6, Some(asks)), StdRng::from_rng(&mut rng));
        playing.spawn_local(named(6, parts::report(gateway, 4, own)));
        self.conduct(&mut playing, asked, &mut rng).await;
        self.come_to_the_end(rng).await;
    }

    /// Gives turns until everybody is done.
    async fn conduct(
        &mut self,
        playing: &mut JoinSet<usize>,
        mut asked: mpsc::UnboundedReceiver<Ask>,
        rng: &mut StdRng,
    ) {
        let mut alive: BTreeSet<usize> = (0..NAMES.len()).collect();
        let mut asking: BTreeMap<usize, Ask> = BTreeMap::new();
        // Who is in a transaction.
        let mut open: BTreeSet<usize> = BTreeSet::new();
        let mut waited: BTreeSet<usize> = BTreeSet::new();
        while !alive.is_empty() {
            while let Ok(ask) = asked.try_recv() {
                asking.insert(ask.actor, ask);
            }
            while let Some(done) = playing.try_join_next() {
                alive.remove(&done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())));
            }
            let running: Vec<usize> = alive.iter().copied().filter(|id| !asking.contains_key(id)).collect();
            let waits = self.who_waits(&running).await;
            for (id, for_whom) in &waits {
                let whom: Vec<_> = for_whom.iter().map(|id| NAMES[*id]).collect();
                assert!(!HEARTS.contains(&NAMES[*id]), "{} waits for a lock of {whom:?}", NAMES[*id]);
                if waited.insert(*id) {
                    self.seen.waits += 1;
                    self.trace.push(format!("{} waits for {whom:?}", NAMES[*id]));
                }
            }
            if waits.len() < running.len() || asking.is_empty() {
                // Somebody is under way, or PostgreSQL has to break a deadlock: the next ask tells.
                if let Ok(Some(ask)) = tokio::time::timeout(Duration::from_millis(1), asked.recv()).await {
                    asking.insert(ask.actor, ask);
                }
                continue;
            }
            waited.retain(|id| waits.contains_key(id));
            let Some(id) = asking.keys().copied().nth(rng.random_range(0..asking.len())) else { continue };
            let Some(ask) = asking.remove(&id) else { continue };
            self.seen.turns += 1;
            if HEARTS.contains(&NAMES[id]) && open.iter().any(|id| WORKERS.contains(&NAMES[*id])) {
                self.seen.beats_beside_open_steps += 1;
            }
            if ask.open {
                open.insert(id);
            } else {
                open.remove(&id);
            }
            self.trace.push(format!("{}: {}", NAMES[id], ask.what));
            assert!(ask.go.send(()).is_ok(), "{} asks and is gone", NAMES[id]);
        }
    }

    /// Who of these waits for a lock, and for whom.
    async fn who_waits(&self, running: &[usize]) -> BTreeMap<usize, Vec<usize>> {
        if running.is_empty() {
            return BTreeMap::new();
        }
        let pids: Vec<String> = running.iter().map(|id| self.actors[*id].1.to_string()).collect();
        let sql = format!(
            "SELECT p.pid AS pid, b.pid AS by FROM unnest(ARRAY[{}]) AS p(pid)
             CROSS JOIN LATERAL unnest(pg_blocking_pids(p.pid)) AS b(pid)",
            pids.join(", ")
        );
        let rows = db::all(&self.looks, sql, []).await.expect("read");
        let who = |pid: i32| self.actors.iter().position(|(_, known)| *known == pid);
        let mut waits: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for row in rows {
            let (pid, by): (i32, i32) = (row.try_get("", "pid").expect("n"), row.try_get("", "by").expect("n"));
            if let Some(id) = who(pid) {
                waits.entry(id).or_default().extend(who(by));
            }
        }
        waits
    }

    /// One worker alone, and all that is left comes to its end.
    async fn come_to_the_end(&self, mut rng: StdRng) {
        for round in 0..60 {
            let paused = "SELECT id FROM batches WHERE paused AND status IN ('PENDING', 'PROCESSING')";
            for id in self.numbers(paused).await {
                let (id, now, user) = (domain::BatchId(id), self.now(), self.actor(5, None));
                let resumed = user.step(async |tx| {
                    batches::resume(tx, now, id).await.map_err(|error| DbErr::Custom(error.to_string()))
                });
                drop(resumed.await.expect("resumed"));
            }
            parts::schedule(self.actor(4, None), 1, 31_000).await;
            parts::work(self.actor(0, None), Held::default(), 20, StdRng::from_rng(&mut rng)).await;
            if self.numbers("SELECT id FROM jobs WHERE state IN ('ready', 'running', 'paused')").await.is_empty() {
                break;
            }
            assert!(round < 59, "no end: {:?}", self.findings().await);
        }
        assert_eq!(self.findings().await, Vec::new());
        let open = self.numbers("SELECT id FROM batches WHERE status IN ('PENDING', 'PROCESSING')").await;
        assert_eq!(open, Vec::<i64>::new(), "batches that have not ended");
        // What was written beside a deletion is found a while later.
        let mut until = ErasedUntil::from(Timestamp(0));
        while !until.has_come_to(self.now()) {
            (_, until) = contacts::erase_again(&self.looks, &self.looks, until, self.now()).await.expect("erased");
        }
        let texts = "SELECT m.id AS id FROM messages m JOIN contacts c ON c.id = m.contact_id
                     WHERE c.deleted_at IS NOT NULL AND m.content IS NOT NULL";
        assert_eq!(self.numbers(texts).await, Vec::<i64>::new(), "texts of deleted contacts");
        let left = "SELECT id FROM contacts WHERE deleted_at IS NOT NULL AND (phone IS NOT NULL OR name IS NOT NULL)";
        assert_eq!(self.numbers(left).await, Vec::<i64>::new(), "deleted contacts that have a number or a name");
    }

    async fn numbers(&self, sql: &str) -> Vec<i64> {
        let rows = db::all(&self.looks, sql, []).await.expect("read");
        rows.iter().map(|row| row.try_get("", "id").expect("a number")).collect()
    }

    async fn findings(&self) -> Vec<Finding> {
        let mut found = batches::audit(&self.looks, self.now(), 9).await.expect("audited");
        // The scheduler here passes by its turn and not by the clock.
        found.retain(|finding| !matches!(finding, Finding::Unrung { .. } | Finding::Abandoned { .. }));
        found
    }
}

/// Somebody's part, and who it was.
async fn named(id: usize, part: impl Future<Output = ()>) -> usize {
    part.await;
    id
}
