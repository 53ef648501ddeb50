//! What the step of the schema does that made acts on batches operations: nothing of them is lost, there and back, on both
//! databases.

use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, FromQueryResult, Statement};
use support::Postgres;

/// The step that this is about.
const STEP: &str = "m0033_operations";

async fn run(db: &DatabaseConnection, sql: &str) {
    db.execute_unprepared(sql).await.expect(sql);
}

/// A row as what is compared: its texts and numbers side by side.
#[derive(Debug, PartialEq, Eq, FromQueryResult)]
struct Line {
    line: String,
}

async fn lines(db: &DatabaseConnection, sql: &str) -> Vec<String> {
    let statement = Statement::from_string(db.get_database_backend(), sql);
    let rows = Line::find_by_statement(statement).all(db).await.expect(sql);
    rows.into_iter().map(|row| row.line).collect()
}

const STEERINGS: &str =
    "SELECT s.act || ' ' || s.status || ' ' || s.filter || ' ' || s.matched || ' ' || j.kind || ' ' || j.payload
     || ' ' || (SELECT count(*) FROM steering_items i WHERE i.steering_id = s.id) AS line
     FROM steerings s JOIN jobs j ON j.id = s.job_id ORDER BY s.id";

async fn there_and_back(url: &str) {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1);
    let db = Database::connect(options).await.expect("a connection");
    let steps = Migrator::migrations();
    let before = steps.iter().position(|step| step.name() == STEP).expect("the step");
    Migrator::up(&db, Some(u32::try_from(before).expect("few"))).await.expect("the steps before it");

    let job = |kind: &str, payload: &str| {
        format!(
            "INSERT INTO jobs (kind, lane, state, payload, run_at, created_at)
             VALUES ('{kind}', 'default', 'ready', '{payload}', 5, 1)"
        )
    };
    let columns = "act, status, filter, upto, matched, job_id, created_by, created_at, starts_at";
    run(&db, &job("operation", r#"{"operation":1}"#)).await;
    run(&db, &job("steering", r#"{"steering":1}"#)).await;
    run(&db, &job("steering", r#"{"steering":2}"#)).await;
    // The act of this one was thrown away by now.
    run(&db, &job("steering", r#"{"steering":9}"#)).await;
    let filter = r#"{"kind":"steering"}"#;
    run(&db, &format!("INSERT INTO operations ({columns}) VALUES ('retry', 'done', '{filter}', 7, 3, 1, 1, 1, 1)"))
        .await;
    run(&db, "INSERT INTO operation_items (operation_id, job_id, result, at) VALUES (1, 5, 'done', 2)").await;
    for (act, text, job) in [("pause", "one", 2), ("cancel", "two", 3)] {
        let filter = format!(r#"{{"text":"{text}"}}"#);
        let values = format!("'{act}', 'waiting', '{filter}', 7, 3, {job}, 1, 1, 1");
        run(&db, &format!("INSERT INTO steerings ({columns}) VALUES ({values})")).await;
    }
    run(
        &db,
        "INSERT INTO steering_items (steering_id, batch_id, result, at) VALUES (2, 5, 'done', 2), (2, 6, 'changed', 2)",
    )
    .await;
    let steerings = lines(&db, STEERINGS).await;
    assert_eq!(steerings.len(), 2);

    Migrator::up(&db, Some(1)).await.expect("the step");
    let operations = "SELECT o.target || ' ' || o.act || ' ' || o.filter || ' ' || o.matched || ' ' || j.kind || ' ' || j.payload || ' '
         || (SELECT count(*) FROM operation_items i WHERE i.operation_id = o.id) AS line
         FROM operations o JOIN jobs j ON j.id = o.job_id ORDER BY o.id";
    assert_eq!(
        lines(&db, operations).await,
        [
            r#"jobs retry {"kind":"operation"} 3 operation {"operation":1} 1"#,
            r#"batches pause {"text":"one"} 3 operation {"operation":2} 0"#,
            r#"batches cancel {"text":"two"} 3 operation {"operation":3} 2"#,
        ]
    );
    assert_eq!(lines(&db, "SELECT kind AS line FROM jobs ORDER BY id").await, ["operation"; 3]);

    Migrator::down(&db, Some(1)).await.expect("the step back");
    assert_eq!(lines(&db, STEERINGS).await, steerings);
    assert_eq!(lines(&db, "SELECT act AS line FROM operations").await, ["retry"]);
    Migrator::up(&db, None).await.expect("all steps");
    db.close().await.expect("closed");
}

#[tokio::test]
async fn acts_on_batches_become_operations_on_sqlite() {
    there_and_back("sqlite::memory:").await;
}

#[tokio::test]
async fn acts_on_batches_become_operations_on_postgres() {
    let database = Postgres::database().await;
    there_and_back(database.url()).await;
}
