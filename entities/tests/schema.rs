//! Every table has an entity, and every entity is the table: its columns, their types, which may be absent, and the key.
//! Held against what the steps of the schema leave on both databases, so that neither goes its own way.

use entities::{
    api_keys, audit_logs, batch_chunks, batch_decisions, batch_items, batch_paces, batches, contact_activity,
    contact_identities, contact_merges, contact_tags, contact_traces, contacts, conversations, domain_events,
    domain_events_pruned, drafts, early_acks, early_receipts, examinations, gateways, idempotency_keys, job_events,
    jobs, labels, message_tallies, messages, operation_items, operations, queue_hours, queue_looks, queue_samples,
    refresh_tokens, saved_views, sender_samples, senders, sessions, suppressions, tags, templates, test_numbers,
    uploads, users, workers,
};
use migration::{Migrator, MigratorTrait};
use sea_orm::sea_query::ColumnType;
use sea_orm::{
    ColumnTrait, ConnectOptions, Database, DatabaseConnection, DbBackend, EntityTrait, FromQueryResult, IdenStatic,
    Iterable, PrimaryKeyToColumn, RelationTrait, Statement,
};
use std::collections::{BTreeMap, BTreeSet};
use support::Postgres;

/// A column, by what both say of it.
#[derive(Debug, PartialEq, Eq)]
struct Column {
    kind: String,
    nullable: bool,
    in_key: bool,
}

type Tables = BTreeMap<String, BTreeMap<String, Column>>;

/// What a database calls a type of ours.
fn kind(backend: DbBackend, of: &ColumnType) -> &'static str {
    let postgres = backend == DbBackend::Postgres;
    match of {
        ColumnType::BigInteger => "bigint",
        ColumnType::Boolean => "boolean",
        ColumnType::String(_) | ColumnType::Text => "text",
        ColumnType::Uuid if postgres => "uuid",
        ColumnType::Uuid => "text",
        other => panic!("no column of the ledger is a {other:?}"),
    }
}

fn entity<E: EntityTrait>(backend: DbBackend, tables: &mut Tables) {
    let keys: BTreeSet<&str> = E::PrimaryKey::iter().map(|key| key.into_column().as_str()).collect();
    let columns = E::Column::iter().map(|column| {
        let (name, def) = (column.as_str(), column.def());
        let kind = kind(backend, def.get_column_type()).to_owned();
        (name.to_owned(), Column { kind, nullable: def.is_null(), in_key: keys.contains(name) })
    });
    tables.insert(E::default().table_name().to_owned(), columns.collect());
}

macro_rules! for_each {
    ($do:ident($($argument:expr),*)) => {
        for_each!(@ $do($($argument),*) api_keys audit_logs batch_chunks batch_decisions batch_items batch_paces batches contact_activity contact_identities contact_merges contact_tags contact_traces contacts conversations domain_events domain_events_pruned drafts early_acks early_receipts examinations gateways idempotency_keys job_events jobs labels message_tallies messages operation_items operations queue_hours queue_looks queue_samples refresh_tokens saved_views sender_samples senders sessions suppressions tags templates test_numbers uploads users workers)
    };
    (@ $do:ident $arguments:tt $($table:ident)+) => { $(for_each!(# $do $arguments $table);)+ };
    (# $do:ident($($argument:expr),*) $table:ident) => { $do::<$table::Entity>($($argument),*) };
}

fn entities(backend: DbBackend) -> Tables {
    let mut tables = Tables::new();
    for_each!(entity(backend, &mut tables));
    tables
}

#[derive(FromQueryResult)]
struct Found {
    table_name: String,
    column_name: String,
    kind: String,
    nullable: bool,
    in_key: bool,
}

/// What is there after all steps.
async fn there(db: &DatabaseConnection) -> Tables {
    let sql = match db.get_database_backend() {
        DbBackend::Postgres => {
            "SELECT c.table_name::text, c.column_name::text, c.data_type::text AS kind, c.is_nullable = 'YES' AS nullable,
                    EXISTS (SELECT 1 FROM information_schema.key_column_usage k
                            JOIN information_schema.table_constraints t USING (constraint_schema, constraint_name)
                            WHERE t.constraint_type = 'PRIMARY KEY' AND k.table_schema = c.table_schema
                              AND k.table_name = c.table_name AND k.column_name = c.column_name) AS in_key
             FROM information_schema.columns c WHERE c.table_schema = 'public'"
        }
        // A column that numbers its rows is an INTEGER, and never absent whatever the schema says.
        _ => {
            r#"SELECT t.name AS table_name, c.name AS column_name, c."notnull" = 0 AND c.pk = 0 AS nullable, c.pk > 0 AS in_key,
                    CASE lower(c.type) WHEN 'integer' THEN 'bigint' ELSE lower(c.type) END AS kind
             FROM sqlite_schema t JOIN pragma_table_xinfo(t.name) c
             WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'"#
        }
    };
    let rows = Found::find_by_statement(Statement::from_string(db.get_database_backend(), sql)).all(db).await;
    let mut tables = Tables::new();
    for row in rows.expect("the schema") {
        let column = Column { kind: row.kind, nullable: row.nullable, in_key: row.in_key };
        tables.entry(row.table_name).or_default().insert(row.column_name, column);
    }
    assert!(tables.remove("seaql_migrations").is_some(), "the steps were run");
    tables
}

async fn held_against(url: &str) {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1);
    let db = Database::connect(options).await.expect("a connection");
    Migrator::up(&db, None).await.expect("the steps");
    let (there, ours) = (there(&db).await, entities(db.get_database_backend()));
    let names = |tables: &Tables| tables.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&there), "each table has an entity, and each entity a table");
    for (table, columns) in &ours {
        assert_eq!(columns, &there[table], "{table}");
    }
    db.close().await.expect("closed");
}

#[tokio::test]
async fn each_entity_is_its_table_on_sqlite() {
    held_against("sqlite::memory:").await;
}

#[tokio::test]
async fn each_entity_is_its_table_on_postgres() {
    let database = Postgres::database().await;
    held_against(database.url()).await;
}

/// How many relations of an entity there are, each of which names columns that are there, as many on either side.
fn relations<E: EntityTrait>(tables: &Tables, count: &mut usize) {
    for relation in E::Relation::iter() {
        let def = relation.def();
        let columns = |table: &sea_orm::sea_query::TableRef, columns: sea_orm::Identity| {
            let table = table.sea_orm_table().to_string();
            let columns: Vec<String> = columns.into_iter().map(|column| column.to_string()).collect();
            for column in &columns {
                assert!(tables[&table].contains_key(column), "{relation:?}: {table}.{column}");
            }
            columns.len()
        };
        assert_eq!(columns(&def.from_tbl, def.from_col), columns(&def.to_tbl, def.to_col), "{relation:?}");
        *count += 1;
    }
}

#[test]
fn relations_lead_from_column_to_column() {
    let tables = entities(DbBackend::Sqlite);
    let mut count = 0;
    for_each!(relations(&tables, &mut count));
    assert!(count > 60, "{count}");
}

#[test]
fn a_row_shows_no_more_than_its_key() {
    let row = sessions::Model {
        id: entities::SessionId(7),
        user_id: entities::UserId(3),
        created_at: entities::Timestamp(1),
        expires_at: entities::Timestamp(2),
        revoked_at: None,
        ip_address: Some("192.0.2.1".into()),
        user_agent: Some("a browser".into()),
        must_change_password: false,
        browser_hash: Some("5ec4e7".into()),
        used_at: None,
    };
    assert_eq!(format!("{row:?}"), "sessions { id: SessionId(7), .. }");
}
