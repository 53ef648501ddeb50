//! `paceline user` and `paceline key`: who may sign in, and with what.

use crate::cli::{Key, User};
use crate::config::Config;
use crate::roles;
use anyhow::{Context, Result, anyhow, bail};
use backplane::{After, Backplane};
use domain::audit_log::{self, Action, Origin};
use domain::db::Tx;
use domain::users::{self, NewKey, NewUser};
use domain::{Clock, Db, Step, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::io::{BufRead, ErrorKind, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A password that is good for one sign-in.
pub(crate) fn one_time_password() -> String {
    (0..20).map(|_| char::from(rand::rng().sample(rand::distr::Alphanumeric))).collect()
}

/// Tells a one-time password to whoever is there: on a terminal it is shown, and else written into a file that nobody else
/// can read, whose path comes back. What a process prints elsewhere lies in logs.
pub(crate) fn hand_over(dir: &Path, user: domain::UserId, password: &str) -> Result<Option<PathBuf>> {
    if std::io::stdout().is_terminal() {
        return Ok(None);
    }
    store::make_dir(dir)?;
    let path = dir.join(format!("one-time-password-{user}"));
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("{} cannot be replaced", path.display()));
        }
        _ => {}
    }
    let written = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&path).and_then(|mut file| {
        writeln!(file, "{password}")?;
        file.sync_all()
    });
    written.with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(Some(path))
}

/// The first line of standard input.
fn password_from_stdin() -> Result<String> {
    let mut password = String::new();
    std::io::stdin().lock().read_line(&mut password).context("the password cannot be read")?;
    Ok(password.trim_end_matches(['\r', '\n']).to_owned())
}

/// The database and the clock of a command about users.
struct Desk<'a> {
    config: &'a Config,
    db: Db,
    clock: Clock,
}

impl Desk<'_> {
    async fn open(config: &Config) -> Result<Desk<'_>> {
        let db = store::open_current(&config.store()).await?;
        let clock = Clock::machine();
        clock.correct(db.now().await?);
        Ok(Desk { config, db, clock })
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn user(&self, email: &str) -> Result<users::User> {
        let found = users::by_email(self.db.read(), email).await?;
        found.ok_or_else(|| anyhow!("there is no user {email}; `paceline user list` lists them"))
    }

    /// Tells the processes at once, where there is a way; else they see it in the database within a second.
    async fn tell<T>(&self, step: Step<T>) -> T {
        let Some(url) = &self.config.redis_url else { return step.value };
        match Backplane::redis(url.expose()) {
            Ok(backplane) => {
                let after = After::new(&backplane, self.clock.clone());
                let value = after.commit(step);
                after.flush().await;
                value
            }
            Err(error) => {
                tracing::warn!(%error, "the processes are not told; they see it within a second");
                step.value
            }
        }
    }
}

/// Records what a command changed, in its transaction.
async fn recorded(tx: &Tx, desk: &Desk<'_>, action: Action, what: impl std::fmt::Display) -> Result<()> {
    Ok(audit_log::record(tx, desk.now(), &Origin::system("paceline"), action, Some(what)).await?)
}

/// Does what is asked with users.
pub(crate) async fn users(config: &Config, action: User) -> Result<()> {
    match action {
        User::Add { email, role, name, password_stdin: _ } => add(config, email, role, name).await,
        User::List => list(config).await,
        User::Disable { email } => {
            let desk = Desk::open(config).await?;
            let user = desk.user(&email).await?;
            let tx = desk.db.begin().await?;
            let step = users::disable(&tx, desk.now(), user.id).await?;
            recorded(&tx, &desk, Action::UserDisable, user.id).await?;
            tx.commit().await?;
            let ended = desk.tell(step).await;
            say!("{} may not sign in any more; {ended} sessions and API keys ended", user.email);
            desk.db.close().await;
            Ok(())
        }
        User::Enable { email } => {
            let desk = Desk::open(config).await?;
            let user = desk.user(&email).await?;
            let tx = desk.db.begin().await?;
            users::enable(&tx, desk.now(), user.id).await?;
            recorded(&tx, &desk, Action::UserEnable, user.id).await?;
            tx.commit().await?;
            say!("{} may sign in", user.email);
            desk.db.close().await;
            Ok(())
        }
        User::Password { email, password_stdin } => password(config, &email, password_stdin).await,
    }
}

async fn add(config: &Config, email: String, role: users::Role, name: Option<String>) -> Result<()> {
    let password = password_from_stdin()?;
    if config.is_sqlite() {
        store::migrate_up(&config.store()).await?;
        // A machine of its own: whoever is added here gets tokens here.
        roles::token_keys(config)?;
    }
    let desk = Desk::open(config).await?;
    let full_name = name.unwrap_or_else(|| email.split('@').next().unwrap_or(&email).to_owned());
    let tx = desk.db.begin().await?;
    let user = users::create(&tx, desk.now(), NewUser { email, full_name, role, password }).await?;
    recorded(&tx, &desk, Action::UserCreate, user.id).await?;
    tx.commit().await?;
    say!("added {} ({})", user.email, user.role);
    desk.db.close().await;
    Ok(())
}

async fn list(config: &Config) -> Result<()> {
    let desk = Desk::open(config).await?;
    let listed = users::list(desk.db.read()).await?;
    say!("{:<32} {:<11} {:<9} {:<25} name", "address", "role", "state", "last sign-in");
    for one in listed {
        let state = match (one.user.active, one.must_change_password) {
            (false, _) => "disabled",
            (true, true) => "one-time",
            (true, false) => "active",
        };
        let last = one.last_login_at.map_or_else(|| "never".to_owned(), |at| at.to_rfc3339());
        say!("{:<32} {:<11} {state:<9} {last:<25} {}", one.user.email, one.user.role.as_str(), one.user.full_name);
    }
    desk.db.close().await;
    Ok(())
}

/// Sets a user's password: one that is given, or a one-time one.
async fn password(config: &Config, email: &str, given: bool) -> Result<()> {
    let password = if given { password_from_stdin()? } else { one_time_password() };
    let desk = Desk::open(config).await?;
    let user = desk.user(email).await?;
    let hash = users::password::hashed(password.clone()).await?;
    // Written before it is the password: one that nobody was told would lock the user out.
    let path = if given { None } else { hand_over(&config.data_dir, user.id, &password)? };
    let tx = desk.db.begin().await?;
    let step = users::set_password(&tx, desk.now(), user.id, hash, !given).await?;
    recorded(&tx, &desk, Action::Password, user.id).await?;
    tx.commit().await?;
    let ended = desk.tell(step).await;
    desk.db.close().await;
    match (given, path) {
        (true, _) => say!("the password of {} is set; {ended} sessions ended", user.email),
        (false, Some(path)) => say!(
            "{} signs in once with the password in {}, and then chooses another; {ended} sessions ended",
            user.email,
            path.display()
        ),
        (false, None) => say!(
            "{} signs in once with the password {password} and then chooses another; {ended} sessions ended",
            user.email
        ),
    }
    Ok(())
}

/// Does what is asked with API keys.
pub(crate) async fn keys(config: &Config, action: Key) -> Result<()> {
    let desk = Desk::open(config).await?;
    match action {
        Key::Add { email, name, scopes, ttl } => {
            let user = desk.user(&email).await?;
            if !user.active {
                bail!("{} may not sign in; `paceline user enable` lets them", user.email);
            }
            let mut rng = StdRng::from_rng(&mut rand::rng());
            let now = desk.now();
            let tx = desk.db.begin().await?;
            let (id, key) = users::add_key(&tx, now, &user, &NewKey { name, scopes, ttl }, &mut rng).await?;
            recorded(&tx, &desk, Action::KeyCreate, id).await?;
            tx.commit().await?;
            crate::out::complain(format_args!(
                "key {id} of {}, good until {}; it is shown this once: send it as `Authorization: Bearer …`",
                user.email,
                now.plus(ttl).to_rfc3339()
            ));
            say!("{key}");
        }
        Key::List { email } => {
            let user = match email {
                Some(email) => Some(desk.user(&email).await?.id),
                None => None,
            };
            let now = desk.now();
            say!(
                "{:<4} {:<12} {:<28} {:<8} {:<25} {:<25} name: scopes",
                "id",
                "key",
                "user",
                "state",
                "ends",
                "last used"
            );
            for key in users::list_keys(desk.db.read(), user).await? {
                let state = match (key.revoked_at, key.expires_at <= now) {
                    (Some(_), _) => "revoked",
                    (None, true) => "expired",
                    (None, false) => "good",
                };
                let used = key.last_used_at.map_or_else(|| "never".to_owned(), |at| at.to_rfc3339());
                let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
                say!(
                    "{:<4} {:<12} {:<28} {state:<8} {:<25} {used:<25} {}: {}",
                    key.id,
                    format!("{}…", key.prefix),
                    key.email,
                    key.expires_at.to_rfc3339(),
                    key.name,
                    scopes.join(",")
                );
            }
        }
        Key::Revoke { id } => {
            let tx = desk.db.begin().await?;
            let Some(step) = users::revoke_key(&tx, desk.now(), id).await? else {
                bail!("there is no key {id}; `paceline key list` lists them");
            };
            recorded(&tx, &desk, Action::KeyRevoke, id).await?;
            tx.commit().await?;
            let was_good = desk.tell(step).await;
            say!("key {id} {}", if was_good { "is revoked" } else { "was not good any more" });
        }
    }
    desk.db.close().await;
    Ok(())
}
