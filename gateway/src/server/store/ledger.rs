//! What the store can be asked, and the writer's side of it: a group of asks is one commit.

use super::events::heard;
use super::messages::{accept, claim, recover, settle, unclaim};
use super::prune::prune;
use super::reports::tell;
use super::webhooks;
use super::{Accepted, AttemptResult, Bells, Claims, DueReport, NewMessage, Now, ReportOutcome};
use crate::sqlite::GroupHandler;
use crate::transport::{Event, Settles};
use faults::{GatewayStep, Point, Side};
use serde::Serialize;
use sqlx::SqliteConnection;
use std::collections::HashSet;
use std::io;
use std::sync::Arc;

pub(super) type Db = SqliteConnection;

pub(super) type Sql<T> = Result<T, sqlx::Error>;

/// What a gateway's store can be asked.
#[derive(Debug)]
pub(crate) enum Ask {
    Accept(NewMessage),
    Claim {
        sender: String,
        most: i64,
        settles: Settles,
    },
    /// What was claimed and not handed over is as it was: all that is claimed but these.
    Unclaim {
        except: Vec<i64>,
    },
    /// The process starts: what was claimed may have been handed over.
    Recover {
        settles: Settles,
    },
    Settle(Vec<AttemptResult>),
    /// What a network told, by itself or in a body that is kept: its place, and how many parts of it are unread.
    TakeEvents {
        events: Vec<Event>,
        from: Option<(i64, u64)>,
    },
    /// A request's body, before it is read.
    Keep(Vec<u8>),
    /// The next body that is to be read again.
    Reread {
        after: i64,
        last: i64,
    },
    /// What the backend refused of what people wrote is told again.
    TellAgain {
        after: i64,
        last: i64,
    },
    SettleReports(Vec<(DueReport, ReportOutcome)>),
    Prune {
        before_ms: i64,
        after_seq: i64,
    },
}

/// Its answers.
#[derive(Debug)]
pub(crate) enum Answer {
    Accepted(Accepted),
    Claims(Claims),
    Done,
    /// Where something is, or where to go on; absent: all is done.
    Cursor(Option<i64>),
}

pub(crate) struct Ledger {
    pub(super) now: Now,
    pub(super) bells: Arc<Bells>,
}

/// The steps of the gateway that a group of asks takes: for fail points.
pub(super) fn steps(asks: &[Ask]) -> HashSet<GatewayStep> {
    let step = |ask: &Ask| match ask {
        Ask::Accept(_) => Some(GatewayStep::Accept),
        Ask::Claim { .. } => Some(GatewayStep::Claim),
        Ask::Settle(_) => Some(GatewayStep::Outcome),
        Ask::TakeEvents { .. } | Ask::Keep(_) => Some(GatewayStep::EventsTaken),
        Ask::SettleReports(_) => Some(GatewayStep::ReportsSettled),
        Ask::Unclaim { .. } | Ask::Recover { .. } | Ask::Reread { .. } | Ask::TellAgain { .. } | Ask::Prune { .. } => {
            None
        }
    };
    asks.iter().filter_map(step).collect()
}

pub(super) fn hit_all(asks: &[Ask], side: Side) -> io::Result<()> {
    steps(asks).into_iter().try_for_each(|step| faults::hit(Point::Gateway(step, side)))
}

impl GroupHandler for Ledger {
    type Ask = Ask;
    type Answer = Answer;

    async fn apply(&mut self, conn: &mut Db, asks: &[Ask]) -> Sql<Vec<Answer>> {
        let now = (self.now)();
        // All that is to be taken in one go; the order among different asks does not matter.
        let new: Vec<&NewMessage> =
            asks.iter().filter_map(|ask| if let Ask::Accept(message) = ask { Some(message) } else { None }).collect();
        let mut accepted = accept(conn, now, &new).await?.into_iter();
        let mut answers = Vec::with_capacity(asks.len());
        for ask in asks {
            answers.push(match ask {
                Ask::Accept(_) => Answer::Accepted(accepted.next().unwrap_or(Accepted::Known)),
                Ask::Claim { sender, most, settles } => {
                    Answer::Claims(claim(conn, now, sender, *most, *settles).await?)
                }
                Ask::Unclaim { except } => unclaim(conn, now, except).await?,
                Ask::Recover { settles } => recover(conn, now, *settles).await?,
                Ask::Settle(outcomes) => settle(conn, now, outcomes).await?,
                Ask::TakeEvents { events, from } => {
                    if let Some((seq, unread)) = from {
                        webhooks::read(conn, *seq, *unread).await?;
                    }
                    heard(conn, now, events).await?
                }
                Ask::Keep(body) => webhooks::keep(conn, now, body).await?,
                Ask::Reread { after, last } => webhooks::begin(conn, *after, *last).await?,
                Ask::TellAgain { after, last } => webhooks::tell_again(conn, now, *after, *last).await?,
                Ask::SettleReports(told) => tell(conn, now, told).await?,
                Ask::Prune { before_ms, after_seq } => prune(conn, now, *before_ms, *after_seq).await?,
            });
        }
        Ok(answers)
    }

    fn before(&self, asks: &[Ask]) -> io::Result<()> {
        hit_all(asks, Side::Before)
    }

    fn after(&self, asks: &[Ask]) -> io::Result<()> {
        hit_all(asks, Side::After)
    }

    fn committed(&self, asks: &[Ask]) {
        for ask in asks {
            match ask {
                Ask::Accept(_) | Ask::Unclaim { .. } => self.bells.sending.notify_one(),
                // What ended may have been before another to its recipient.
                Ask::Settle(_) | Ask::TakeEvents { .. } => {
                    self.bells.sending.notify_one();
                    self.bells.reporting.notify_one();
                }
                Ask::SettleReports(_) | Ask::TellAgain { .. } => self.bells.reporting.notify_one(),
                Ask::Claim { .. } | Ask::Recover { .. } | Ask::Keep(_) | Ask::Reread { .. } | Ask::Prune { .. } => {}
            }
        }
    }
}

/// A list as SQLite takes it.
pub(super) fn json(rows: &impl Serialize) -> Sql<String> {
    serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(error.into()))
}
