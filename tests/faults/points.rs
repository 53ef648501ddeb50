//! Every fail point × {error, panic, kill -9}, in every process that comes by it, on both set-ups.
//!
//! Each case starts the process anew with one fault, uses everything once, sees that the fault was hit, starts again what
//! died, and waits for the end of all of it. A new point needs a line in one of the lists below, and something in
//! [`World::use_everything`] that comes by it.

use crate::gateway_steps::of_gateway;
use crate::world::{Role, World};
use faults::{Commit, Point, Side};
use futures::future::join_all;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Error,
    Panic,
    Kill,
}

impl Action {
    const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Panic => "panic",
            Self::Kill => "kill",
        }
    }
}

const BY_API: &[Commit] = &[
    Commit::Session,
    Commit::Create,
    Commit::Steer,
    Commit::Retry,
    Commit::Reports,
    Commit::Compose,
    Commit::Customer,
    Commit::Desk,
];
const BY_WORKER: &[Commit] = &[
    Commit::Begin,
    Commit::ClaimItems,
    Commit::Settle,
    Commit::Rest,
    Commit::Expand,
    Commit::Start,
    Commit::Set,
    Commit::Failure,
    Commit::Delivered,
];
const BY_SCHEDULER: &[Commit] = &[Commit::Sweep, Commit::Rescue, Commit::Prune];
const BY_SIMULATOR: &[Commit] = &[Commit::Reports];

fn both(commits: &[Commit], others: &[fn(Side) -> Point]) -> Vec<Point> {
    [Side::Before, Side::After]
        .into_iter()
        .flat_map(|side| {
            let commits = commits.iter().map(move |commit| Point::Commit(*commit, side));
            commits.chain(others.iter().map(move |point| point(side)))
        })
        .collect()
}

fn of_api() -> Vec<Point> {
    both(BY_API, &[Point::Ring, Point::Event])
}

fn of_worker() -> Vec<Point> {
    both(BY_WORKER, &[Point::Ring, Point::Event, Point::Claim, Point::Send])
}

fn of_scheduler() -> Vec<Point> {
    both(BY_SCHEDULER, &[Point::Ring])
}

fn of_simulator() -> Vec<Point> {
    both(BY_SIMULATOR, &[Point::Take])
}

fn of_all() -> Vec<Point> {
    let mut seen = HashSet::new();
    let all = [of_api(), of_worker(), of_scheduler()].concat();
    all.into_iter().filter(|point| seen.insert(*point)).collect()
}

#[test]
fn every_point_has_its_case_on_both_set_ups() {
    let every: HashSet<Point> = Point::all().into_iter().collect();
    let tried: HashSet<Point> = of_all().into_iter().chain(of_simulator()).chain(of_gateway()).collect();
    assert_eq!(tried, every);
}

/// What else has to go wrong for a point to be reached.
fn with_what_leads_there(point: Point, action: Action) -> String {
    let fault = format!("{point}={}", action.name());
    match point {
        Point::Commit(Commit::Failure, _) => {
            // Not the begin of a chunk: a worker that fails there claims the job by itself and begins again (0039).
            let first = Point::Commit(Commit::Set, Side::Before);
            format!("{first}=panic,{fault}")
        }
        _ => fault,
    }
}

fn hits(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}

/// How many cases there are to a world. A case waits for leases, sweeps and backoffs most of its time, so a family's worlds
/// are tried at once.
const CASES_OF_A_WORLD: usize = 8;

#[expect(clippy::print_stdout, reason = "which case it was, when one fails, and what each costs")]
async fn try_all(split: bool, simulator: bool, role: Role, points: Vec<Point>, actions: &[Action]) {
    let cases: Vec<(Point, Action)> =
        points.iter().flat_map(|point| actions.iter().map(|action| (*point, *action))).collect();
    let worlds = cases.len().div_ceil(CASES_OF_A_WORLD);
    let left = Mutex::new(cases.into_iter());
    let next = || left.lock().expect("no lane panicked: they are one task").next();
    let in_a_world = async |nth: usize| {
        let mut world = World::new(split, simulator).await;
        while let Some((point, action)) = next() {
            let began = Instant::now();
            println!("world {nth}: {point}={} in {role:?} begins", action.name());
            try_one(&mut world, role, point, action).await;
            println!("world {nth}: {point}={} in {role:?} took {:?}", action.name(), began.elapsed());
        }
    };
    join_all((0..worlds).map(in_a_world)).await;
}

async fn try_one(world: &mut World, role: Role, point: Point, action: Action) {
    let log: PathBuf = world.s.program.dir().join(format!("hits-{point}-{}", action.name()));
    if let Point::Commit(Commit::Rescue, _) = point {
        world.leave_work_behind().await;
    }
    let process = world.process(role);
    process.set_env("PACELINE_TEST_FAULTS", Some(&with_what_leads_there(point, action)));
    process.set_env("PACELINE_TEST_FAULTS_LOG", log.to_str());
    process.relaunch().await;
    world.answer_again();
    let mut started = world.use_everything(role).await;
    // On a busy machine a schedule's time may be over when it is asked for, and it is none.
    let hit = format!("{point}={}", action.name());
    let mut tries = 1;
    while !world.ended_with(&started, || hits(&log).contains(&hit)).await {
        assert!(tries < 5, "{hit} was not hit in {role:?}");
        tries += 1;
        started.and(world.use_everything(role).await);
    }
    world.assert_consistent(&started).await;
}

macro_rules! tried {
    ($name:ident, $split:expr, $simulator:expr, $role:expr, $points:expr, $actions:expr) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        #[ignore = "slow: restarts a process for each case"]
        async fn $name() {
            try_all($split, $simulator, $role, $points, $actions).await;
        }
    };
}

tried!(embedded_errors, false, false, Role::Serve, of_all(), &[Action::Error]);
tried!(embedded_panics, false, false, Role::Serve, of_all(), &[Action::Panic]);
tried!(embedded_kills, false, false, Role::Serve, of_all(), &[Action::Kill]);
tried!(embedded_simulator, false, true, Role::Serve, of_simulator(), &[Action::Error, Action::Panic, Action::Kill]);
tried!(embedded_gateway, false, true, Role::Serve, of_gateway(), &[Action::Error, Action::Panic, Action::Kill]);
tried!(split_api, true, false, Role::Api, of_api(), &[Action::Error, Action::Panic, Action::Kill]);
tried!(split_worker_errors, true, false, Role::Worker, of_worker(), &[Action::Error]);
tried!(split_worker_panics, true, false, Role::Worker, of_worker(), &[Action::Panic]);
tried!(split_worker_kills, true, false, Role::Worker, of_worker(), &[Action::Kill]);
tried!(split_scheduler, true, false, Role::Scheduler, of_scheduler(), &[Action::Error, Action::Panic, Action::Kill]);
tried!(split_simulator, true, true, Role::Worker, of_simulator(), &[Action::Error, Action::Panic, Action::Kill]);
