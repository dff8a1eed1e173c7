//! The builder's loop: what is asked for, one build at a time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use writ_model::Models;

use super::build::{Build, MAX_EVENTS};
use super::fault::Fault;
use super::requests::Request;
use super::swap::{Swapped, swap};
use super::tools::Tools;
use super::{finish, presence, replace, source};
use crate::catalog::Generation;
use crate::database::is_undefined;
use crate::declared::Declaration;

/// No wait.
const NOW: Duration = Duration::ZERO;
/// While there is nothing to build, how often it is looked whether something is asked for.
const LOOK: Duration = Duration::from_secs(1);
/// Longest wait for events of one round.
const PATIENCE: Duration = Duration::from_secs(1);
/// A connection or a batch that takes longer has lost its server.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const BATCH_LIMIT: Duration = Duration::from_secs(90);
/// The end doesn't wait longer for PostgreSQL.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// With fewer events left than this the swap is tried.
const NEAR: i64 = MAX_EVENTS as i64 / 5;
/// Between two tries of a swap that came in somebody's way.
const AGAIN: Duration = Duration::from_millis(500);
/// Between two tries of what somebody has to mend.
const HELD: Duration = Duration::from_secs(5);
/// After a failure, doubled by each one that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

pub(super) struct Builder {
    pub(super) runtime: Handle,
    pub(super) cancel: CancellationToken,
    pub(super) connect: PgConnectOptions,
    pub(super) tools: Tools,
    /// By name.
    declared: HashMap<String, Declaration>,
    /// Has shown that it is a builder's.
    connection: Option<PgConnection>,
    /// Whether this session is the one that builds.
    works: bool,
    build: Option<Build>,
    /// Requests that rest until then.
    resting: HashMap<Generation, Instant>,
    /// Whether the requests of before are what this process declares.
    claimed: bool,
    pause: Duration,
}

impl Builder {
    pub(super) fn new(
        runtime: Handle,
        cancel: CancellationToken,
        connect: PgConnectOptions,
        tools: Tools,
        models: &Models,
    ) -> Builder {
        let declared = Declaration::all(models).into_iter();
        Builder {
            runtime,
            cancel,
            connect,
            tools,
            declared: declared.map(|one| (one.name().to_owned(), one)).collect(),
            connection: None,
            works: false,
            build: None,
            resting: HashMap::new(),
            claimed: false,
            pause: FIRST_PAUSE,
        }
    }

    /// Rounds until cancelled.
    pub(super) fn run(mut self) {
        let (runtime, cancel) = (self.runtime.clone(), self.cancel.clone());
        while !cancel.is_cancelled() {
            let round = runtime.block_on(async {
                tokio::select! {
                    outcome = self.round() => Some(outcome),
                    () = cancel.cancelled() => None,
                }
            });
            let pause = match round {
                None => break,
                Some(Ok(pause)) => {
                    self.pause = FIRST_PAUSE;
                    pause
                }
                Some(Err(error)) => self.recover(&error),
            };
            if !pause.is_zero() {
                runtime.block_on(async {
                    let _ = tokio::time::timeout(pause, cancel.cancelled()).await;
                });
            }
        }
        // An open transaction ends with its session.
        if let Some(connection) = self.connection.take() {
            let closing =
                runtime.block_on(async { tokio::time::timeout(CLOSE_LIMIT, connection.close()).await });
            if !matches!(closing, Ok(Ok(()))) {
                tracing::debug!("PostgreSQL didn't let the builder's connection go in time");
            }
        }
    }

    /// One step of what is asked for, and how long to wait before the next one.
    async fn round(&mut self) -> Result<Duration, Fault> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        // If this fails or is dropped in the middle, the connection goes with it, and with it the locks.
        let outcome = self.step(&mut connection).await;
        match outcome {
            Ok(_) | Err(Fault::Superseded | Fault::Refused { .. } | Fault::Replace(_) | Fault::Source(_)) => {
                self.connection = Some(connection);
            }
            Err(_) => self.works = false,
        }
        match outcome {
            Err(error) => self.answer(error).await,
            outcome => outcome,
        }
    }

    async fn connect(&mut self) -> Result<PgConnection, Fault> {
        self.works = false;
        self.build = None;
        let connecting = tokio::time::timeout(CONNECT_LIMIT, self.connect.connect());
        let mut connection = connecting.await.map_err(|_| Fault::TimedOut)??;
        presence::show(&mut connection, &self.tools.schema).await?;
        Ok(connection)
    }

    async fn step(&mut self, connection: &mut PgConnection) -> Result<Duration, Fault> {
        let requests = match self.tools.requests.load(connection).await {
            Ok(requests) => requests,
            // The projector hasn't made the tables yet.
            Err(error) if is_undefined(&error) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        self.resting.retain(|generation, until| {
            *until > Instant::now() && requests.iter().any(|request| request.generation == *generation)
        });
        if !self.claimed {
            self.claim(connection, &requests).await?;
            self.claimed = true;
            return Ok(NOW);
        }
        let asked_for = |build: &Build| {
            requests.iter().any(|request| request.generation == build.generation && !request.failed)
        };
        self.build = self.build.take().filter(asked_for);
        let Some(request) = requests.iter().find(|request| self.is_ours(request)) else {
            // One that rests for a moment is kept.
            if self.works && self.build.is_none() {
                presence::end(connection, &self.tools.schema).await?;
                self.works = false;
            }
            return Ok(self
                .resting
                .values()
                .min()
                .map_or(LOOK, |until| until.saturating_duration_since(Instant::now()).min(LOOK)));
        };
        if !self.works {
            self.works = presence::begin(connection, &self.tools.schema).await?;
            if !self.works {
                return Ok(LOOK);
            }
        }
        self.work(connection, request).await
    }

    /// Whether it can be worked on: it is asked for as this process declares it, and doesn't rest.
    fn is_ours(&self, request: &Request) -> bool {
        let declaration = self.declared.get(&*request.generation.projection);
        !request.failed
            && !self.resting.contains_key(&request.generation)
            && declaration.is_some_and(|declaration| {
                declaration.kind().name() == request.kind && declaration.fingerprint() == request.fingerprint
            })
    }

    /// At the start the files of this process are the news: what is asked for is what they declare.
    async fn claim(&self, connection: &mut PgConnection, requests: &[Request]) -> Result<(), Fault> {
        for request in requests {
            let Some(declaration) = self.declared.get(&*request.generation.projection) else { continue };
            let fingerprint = declaration.fingerprint();
            if request.fingerprint == fingerprint || declaration.kind().name() != request.kind {
                continue;
            }
            let mut transaction = connection.begin().await?;
            if self.tools.requests.hold(&mut transaction, &request.generation).await?.is_some() {
                let renewed =
                    self.tools.requests.renew(&mut transaction, &request.generation, &fingerprint).await?;
                tracing::info!(
                    projection = &*renewed.projection,
                    generation = renewed.number,
                    "a build is thrown away and begun anew: its declaration has changed"
                );
            }
            transaction.commit().await?;
        }
        Ok(())
    }

    async fn work(&mut self, connection: &mut PgConnection, request: &Request) -> Result<Duration, Fault> {
        if self.build.as_ref().is_none_or(|build| build.generation != request.generation) {
            let name = &*request.generation.projection;
            let declaration = self.declared.get(name).expect("invariant: only declared ones are picked");
            self.build = Build::begin(&self.tools, connection, declaration, request).await?;
            let Some(build) = &self.build else { return Ok(NOW) };
            tracing::info!(
                projection = name,
                generation = build.generation.number,
                done = build.places.values().sum::<i64>(),
                "a build goes on"
            );
            if let Some(goals) = build.goals(&self.tools, connection, false).await? {
                build.source.check(&build.places, &goals)?;
            }
            // The row may have got another number.
            return Ok(NOW);
        }
        let (tools, build) = (&self.tools, self.build.as_mut().expect("invariant: it has begun"));
        let Some(goals) = build.goals(tools, connection, false).await? else {
            self.rest(&request.generation, AGAIN);
            return Ok(NOW);
        };
        // However little is left: what is read here the swap needn't read while others wait for it.
        let batch = build.batch(tools, connection, &goals, Instant::now() + PATIENCE);
        let read = tokio::time::timeout(BATCH_LIMIT, batch).await.map_err(|_| Fault::TimedOut)??;
        if build.left(&goals) > NEAR {
            return Ok(if read { NOW } else { LOOK });
        }
        if !build.finished {
            finish::finish(build, tools, connection, &self.declared).await?;
            return Ok(NOW);
        }
        let swapping = tokio::time::timeout(BATCH_LIMIT, swap(build, tools, connection));
        match swapping.await.map_err(|_| Fault::TimedOut)?? {
            Swapped::Done => {
                tracing::info!(
                    projection = &*build.generation.projection,
                    generation = build.generation.number,
                    "the build is live"
                );
                self.build = None;
            }
            Swapped::NotNow(reason) => {
                tracing::info!(
                    projection = &*build.generation.projection,
                    reason,
                    "the build waits for a moment to take its place"
                );
                let generation = build.generation.clone();
                self.rest(&generation, AGAIN);
            }
        }
        Ok(NOW)
    }

    fn rest(&mut self, generation: &Generation, time: Duration) {
        self.resting.insert(generation.clone(), Instant::now() + time);
    }

    /// What is done about an error that concerns one build.
    async fn answer(&mut self, error: Fault) -> Result<Duration, Fault> {
        let Some(generation) = self.build.as_ref().map(|build| build.generation.clone()) else {
            return Err(error);
        };
        let at = match &error {
            // Somebody else goes on with it, or nobody wants it any more.
            Fault::Superseded => {
                self.build = None;
                return Ok(NOW);
            }
            Fault::Refused { at, .. } => {
                self.build = None;
                Some(at.clone())
            }
            Fault::Replace(replace::Error::Depended { .. }) => {
                self.rest(&generation, HELD);
                None
            }
            Fault::Source(source::Error::Cut { .. }) => {
                self.build = None;
                self.rest(&generation, HELD);
                None
            }
            _ => return Err(error),
        };
        let connection = self.connection.as_mut().expect("invariant: it was put back");
        let text = error.to_string();
        if self.tools.requests.complain(connection, &generation, &text, at.as_deref()).await? {
            tracing::error!(
                projection = &*generation.projection,
                generation = generation.number,
                error = %error,
                event = at,
                "a build can't go on; what is live stays live"
            );
        }
        Ok(NOW)
    }

    /// The one way out of all other failures: everything is taken from PostgreSQL again. How long to wait before.
    fn recover(&mut self, error: &Fault) -> Duration {
        self.build = None;
        self.connection = None;
        self.works = false;
        tracing::warn!(error = %error, "the builder starts over from PostgreSQL's places");
        let pause = self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        pause
    }
}
