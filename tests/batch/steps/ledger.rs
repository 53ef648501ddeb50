//! A ledger of either kind without any process: the test takes the steps itself.

use domain::batches::{self, Batch, ContactRefs, Ran, SetChunk, Staged};
use domain::db::{self, Limits};
use domain::jobs::{self, Claim, Claimed};
use domain::{BatchId, Db, JobId, Ring, Step, Timestamp, UserId};
use sea_orm::SqlxSqliteConnector;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use std::str::FromStr;
use std::time::Duration;
use support::{Database, Postgres, Program};

pub(super) const LIMITS: Limits =
    Limits { connections: 4, acquire: Duration::from_secs(20), answer: Duration::from_secs(60) };

pub(super) const NOW: Timestamp = Timestamp(1_000_000);
pub(super) const BY: UserId = UserId(1);

pub(super) struct Ledger {
    pub(super) db: Db,
    pub(super) database: Option<Database>,
    pub(super) program: Program,
}

impl Ledger {
    pub(super) async fn sqlite() -> Self {
        let program = Program::new(env!("CARGO_BIN_EXE_paceline"));
        program.run(&["migrate", "up"], "").await;
        let file = program.dir().join("paceline-data/paceline.db");
        let options = SqliteConnectOptions::new().filename(file).journal_mode(SqliteJournalMode::Wal);
        let pool = async |connections| {
            let pool = SqlitePoolOptions::new().max_connections(connections).connect_with(options.clone()).await;
            SqlxSqliteConnector::from_sqlx_sqlite_pool(pool.expect("opened"))
        };
        Self { db: Db::sqlite(pool(1).await, pool(2).await), database: None, program }
    }

    pub(super) async fn postgres() -> Self {
        let database = Postgres::database().await;
        let program = Program::new(env!("CARGO_BIN_EXE_paceline")).env("PACELINE_DATABASE_URL", database.url());
        program.run(&["migrate", "up"], "").await;
        // Who waits for a lock has failed: nothing here is to wait.
        let options = PgConnectOptions::from_str(database.url()).expect("its URL").options([("lock_timeout", "5s")]);
        let db = Db::postgres(options, LIMITS).await.expect("it is there");
        Self { db, database: Some(database), program }
    }

    pub(super) async fn run(&self, sql: impl Into<String>) -> u64 {
        db::execute(self.db.write(), sql, []).await.expect("written")
    }

    pub(super) async fn number(&self, sql: impl Into<String>) -> i64 {
        let row = db::one(self.db.read(), sql, []).await.expect("read").expect("a row");
        row.try_get("", "n").expect("a number")
    }

    /// Contacts 1 to `count`.
    pub(super) async fn contacts(&self, count: i64) {
        self.contacts_from(1, count).await;
    }

    /// More contacts.
    pub(super) async fn contacts_from(&self, first: i64, last: i64) {
        self.run(format!(
            "WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last})
             INSERT INTO contacts (identifier, phone, name, created_at, updated_at)
             SELECT {}, '6012' || (3000000 + i), 'somebody', 0, 0 FROM n",
            self.uuid("'00000000-0000-4000-8000-' || substr('000000000000' || i, length('' || i) + 1)")
        ))
        .await;
    }

    /// So many messages of a contact, with a text.
    pub(super) async fn messages(&self, contact: i64, count: i64) {
        self.run(format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
             INSERT INTO messages (uuid, contact_id, direction, content, status, created_at)
             SELECT {}, {contact}, 'out', 'a secret', 'sent', 0 FROM n",
            self.uuid(&format!("'{contact:08}-0000-4000-8000-' || substr('000000000000' || i, length('' || i) + 1)"))
        ))
        .await;
    }

    fn uuid(&self, text: &str) -> String {
        match self.database {
            Some(_) => format!("({text})::uuid"),
            None => text.to_owned(),
        }
    }

    /// Commits a step, and tells its value, its rings and how many rows it wrote.
    pub(super) async fn step<T>(&self, work: impl AsyncFnOnce(&db::Tx) -> Step<T>) -> (T, Vec<Ring>, u64) {
        let tx = self.db.begin().await.expect("a transaction");
        let step = work(&tx).await;
        let rows = tx.rows_written();
        tx.commit().await.expect("committed");
        (step.value, step.rings, rows)
    }

    pub(super) async fn delete(&self, ids: &[i64]) -> (Batch, Vec<Ring>) {
        let mut contacts = ContactRefs::default();
        ids.iter().for_each(|id| contacts.push(&id.to_string()));
        let create = async |tx: &db::Tx| {
            batches::create_delete(tx, NOW, BY, contacts, Staged::default()).await.expect("accepted")
        };
        let (batch, rings, _) = self.step(create).await;
        (batch, rings)
    }

    pub(super) async fn claim(&self, id: JobId) -> Claimed {
        match jobs::claim(self.db.write(), NOW, id, "me").await.expect("asked") {
            Claim::Taken(job) => *job,
            other => panic!("not claimed: {other:?}"),
        }
    }

    /// Does a chunk's job to its end in steps of so many rows. Tells what each of them wrote; `each` is called after it.
    pub(super) async fn work(&self, ring: Ring, step_rows: usize, each: impl AsyncFn()) -> Vec<u64> {
        let job = self.claim(ring.job.id).await;
        let raw = SetChunk::read(self.db.read(), &job).await.expect("read").expect("a set");
        let mut set = raw.parse().expect("parsed").with_step_rows(step_rows);
        let mut written = Vec::new();
        loop {
            let run =
                async |tx: &db::Tx| batches::run_set(tx, NOW, &job, &mut set, &mut rand::rng()).await.expect("done");
            let (ran, _, rows) = self.step(run).await;
            written.push(rows);
            each().await;
            match ran {
                Ran::More => assert!(written.len() < 10_000, "it comes to no end"),
                Ran::Done => return written,
                other => panic!("{other:?}"),
            }
        }
    }

    pub(super) async fn batch(&self, id: BatchId) -> Batch {
        batches::get(self.db.read(), id).await.expect("read").expect("it is there")
    }

    /// The ledger agrees with itself.
    pub(super) async fn audited(&self) {
        assert_eq!(batches::audit(self.db.read(), NOW, 10).await.expect("audited"), []);
    }
}

/// The same test on both databases.
macro_rules! on_both {
    ($name:ident, $body:ident) => {
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                super::$body($crate::steps::ledger::Ledger::sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                super::$body($crate::steps::ledger::Ledger::postgres().await).await;
            }
        }
    };
}
pub(super) use on_both;
