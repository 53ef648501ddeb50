//! `paceline demo`: the embedded set-up in a folder of its own, with sample contacts and campaigns under way.

use crate::config::{Config, GatewayTransport, Role};
use crate::roles::{self, Parts};
use anyhow::Result;
use domain::batches::{self, ImportLine, ImportWriter, NewImport, NewSend, Recipients, Staged};
use domain::contacts::import_file::ImportRow;
use domain::queue::system::Setting;
use domain::users::{self, NewUser, Role as UserRole};
use domain::{Clock, Db, UserId};
use gateway::SimulatorConfig;
use std::collections::BTreeMap;
use std::time::Duration;

/// How many contacts a demo has.
const CONTACTS: u32 = 5_000;

/// The demo's sign-in; it listens on loopback alone.
const EMAIL: &str = "demo@localhost";
const PASSWORD: &str = "demo-password";

/// Serves a demo in `<data_dir>/demo`, made at its first start.
pub(crate) async fn run(config: &Config, settings: Vec<Setting>) -> Result<()> {
    let config = Config {
        data_dir: config.data_dir.join("demo"),
        database_url: None,
        redis_url: None,
        gateway_url: None,
        gateway_secret: None,
        // Whatever this machine sends through: the demo's contacts are made up, and their numbers may be somebody's.
        gateway_transport: Some(GatewayTransport::Simulator),
        sender_rate_per_min: 1_200,
        simulator: SimulatorConfig {
            latency_min_ms: 20,
            latency_max_ms: 120,
            reject_rate: 0.02,
            fail_rate: 0.03,
            throttle_rate: 0.001,
            unknown_rate: 0.01,
            acks: true,
            ..SimulatorConfig::default()
        },
        ..config.clone()
    };
    store::make_dir(&config.data_dir)?;
    store::migrate_up(&config.store()).await?;
    let db = store::open(&config.store()).await?;
    if users::none_exists(db.read()).await? {
        fill(&db, &Clock::machine()).await?;
    }
    db.close().await;
    tell!("demo: sign in as {EMAIL} with the password {PASSWORD}");
    roles::run(&config, settings, Role::Serve, Parts::ALL).await
}

const CITIES: [&str; 5] = ["Ipoh", "Penang", "Melaka", "Kuching", "Johor Bahru"];
const NAMES: [&str; 8] = ["Aisyah", "Wei", "Kumar", "Maria", "Chen", "Fatimah", "Raj", "Lina"];

async fn fill(db: &Db, clock: &Clock) -> Result<()> {
    let now = clock.now();
    let new =
        NewUser { email: EMAIL.into(), full_name: "Demo".into(), role: UserRole::Admin, password: PASSWORD.into() };
    let by = users::create(db.write(), now, new).await?.id;
    let tx = db.begin().await?;
    let new = NewImport {
        skip_duplicates: true,
        tags: vec!["demo".into()],
        source: Some("demo".into()),
        default_country: None,
    };
    let mut writer = ImportWriter::default();
    for i in 0..CONTACTS {
        let index = usize::try_from(i).unwrap_or(0);
        let row = ImportRow {
            line: i + 1,
            phone: format!("+6012{:07}", 3_000_000 + i),
            name: Some(format!("{} {i}", NAMES[index % NAMES.len()])),
            tags: vec![if i % 10 == 0 { "vip" } else { "regular" }.into()],
            source: None,
            attributes: BTreeMap::from([("city".into(), CITIES[index % CITIES.len()].into())]),
        };
        if writer.push(ImportLine::Row(row))? {
            writer.write(&tx, now).await?;
        }
    }
    // Its rings are lost with this process's end: the sweep finds its jobs.
    let _imported = writer.finish(&tx, now, by, &new).await?;
    tx.commit().await?;
    // (every how many-th contact, message, rate a minute, seconds from now)
    for (every, content, rate, seconds) in [
        (1, "Hi {{ name | default('there') }}, our {{ attributes.city }} shop has a sale!", Some(600), 10),
        (10, "{{ name }}, your private preview is open.", Some(60), 10),
        (2, "Happy new month, {{ name }}!", None, 120),
    ] {
        schedule(db, clock, by, every, content, rate, Duration::from_secs(seconds)).await?;
    }
    Ok(())
}

/// Campaigns to contacts whose import is still to run: by their ids, which a fresh database gives in order.
async fn schedule(
    db: &Db,
    clock: &Clock,
    by: UserId,
    every: usize,
    content: &str,
    rate_per_minute: Option<u32>,
    from_now: Duration,
) -> Result<()> {
    let now = clock.now();
    let mut contacts = batches::ContactRefs::default();
    (1..=CONTACTS).step_by(every).for_each(|id| contacts.push(&id.to_string()));
    let new = NewSend {
        rate_per_minute,
        jitter_ms: 500,
        schedule_at: Some(now.plus(from_now)),
        ..NewSend::new(content, Recipients::Contacts(contacts))
    };
    let tx = db.begin().await?;
    let _accepted = batches::create_send(&tx, now, by, new, Staged::default()).await?;
    tx.commit().await?;
    Ok(())
}
