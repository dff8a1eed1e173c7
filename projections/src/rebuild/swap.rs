//! A build that is complete takes the place of what is live: one transaction.
//!
//! ```text
//! lock the tables ─► hold the request ─► hold the live places ─► catch up with them ─► replace the table
//!      ─► forget the live generation with its places ─► the build is live ─► notify ─► commit
//! ```
//!
//! While it holds the live places the projector waits: its next batch begins with them. So what the build has to catch up
//! with can't grow, and it is little, because the swap is only tried when little is left. After the commit the projector
//! finds its places gone, which fences it, looks into the catalog, and goes on with the new generation from the same
//! offsets. An older server whose declaration isn't that of the new generation finds nothing to go on with.
//!
//! Readers wait only from the moment when the table is locked: see [`super::replace`].
//!
//! Both waits are bounded: [`CATCH_UP`] for the events, [`LOCK_TIMEOUT`] for each lock. When one passes, all is rolled back,
//! the build goes on from where it was before, and the swap is tried again.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::build::{Build, MAX_EVENTS, run};
use super::fault::Fault;
use super::replace::{self, LOCK_TIMEOUT, replace};
use super::tools::Tools;
use crate::catalog::Kind;
use crate::positions::channel;
use crate::tables::{self, OFFSETS, PASSED_OVER, PROJECTIONS};

/// Longest time for the events that are left.
const CATCH_UP: Duration = Duration::from_secs(2);

/// What came of a try.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Swapped {
    /// The build is live.
    Done,
    /// Not this time, and why.
    NotNow(String),
}

/// Tries it once. After anything but [`Swapped::Done`] the build is where it was.
pub(super) async fn swap(
    build: &mut Build,
    tools: &Tools,
    connection: &mut PgConnection,
) -> Result<Swapped, Fault> {
    let before = build.places.clone();
    let swapped = attempt(build, tools, connection).await;
    if !matches!(swapped, Ok(Swapped::Done)) {
        // What it has read meanwhile was rolled back.
        build.rewind(tools, before)?;
    }
    swapped
}

async fn attempt(build: &mut Build, tools: &Tools, connection: &mut PgConnection) -> Result<Swapped, Fault> {
    let mut transaction = connection.begin().await?;
    let swapped = match within(build, tools, &mut transaction).await {
        Err(Fault::Replace(replace::Error::Busy(error))) => Swapped::NotNow(error.to_string()),
        Err(Fault::Database(error)) => match replace::Error::of(error) {
            replace::Error::Busy(error) => Swapped::NotNow(error.to_string()),
            error => return Err(error.into()),
        },
        result => result?,
    };
    match swapped {
        Swapped::Done => transaction.commit().await?,
        Swapped::NotNow(_) => transaction.rollback().await?,
    }
    Ok(swapped)
}

async fn within(build: &mut Build, tools: &Tools, transaction: &mut PgConnection) -> Result<Swapped, Fault> {
    run(transaction, format!("SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")).await?;
    tables::lock(transaction, &tools.schema).await?;
    if tools.requests.hold(transaction, &build.generation).await?.is_none() {
        return Err(Fault::Superseded);
    }
    let Some(goals) = build.goals(tools, transaction, true).await? else {
        return Ok(Swapped::NotNow("rows that it follows are not live".into()));
    };
    if goals.iter().any(|(place, goal)| build.places[place] > *goal) {
        // It was made anew itself meanwhile, and catches up.
        return Ok(Swapped::NotNow("what is live is behind the build".into()));
    }
    let deadline = Instant::now() + CATCH_UP;
    while !build.is_at(&goals) {
        let (records, reached) = build.source.collect(&build.places, &goals, MAX_EVENTS, deadline)?;
        if !reached.is_empty() {
            build.write(tools, transaction, records, &reached, &goals).await?;
            build.places.extend(reached);
        }
        if Instant::now() >= deadline && !build.is_at(&goals) {
            return Ok(Swapped::NotNow(format!("{} offsets are left", build.left(&goals))));
        }
    }
    replace(transaction, &tools.schema, &tools.next, &build.table).await?;
    let (name, number) = (&*build.generation.projection, build.generation.number);
    let statements = [
        format!(
            "DELETE FROM {} WHERE projection = $1 AND generation <> $2 AND generation IN \
             (SELECT generation FROM {} WHERE name = $1 AND state <> 'building')",
            tools.schema.table(OFFSETS),
            tools.schema.table(PROJECTIONS)
        ),
        format!(
            "DELETE FROM {} WHERE name = $1 AND generation <> $2 AND state <> 'building'",
            tools.schema.table(PROJECTIONS)
        ),
        format!(
            "UPDATE {} SET state = 'live', error = NULL, error_at = NULL, done = total, changed_at = now() \
             WHERE name = $1 AND generation = $2",
            tools.schema.table(PROJECTIONS)
        ),
    ];
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement)).bind(name).bind(number).execute(&mut *transaction).await?;
    }
    if build.kind == Kind::Model {
        judge(build, tools, transaction).await?;
    }
    sqlx::query("SELECT pg_notify($1, '')").bind(channel(&tools.schema)).execute(transaction).await?;
    Ok(Swapped::Done)
}

/// The judgement of the new rows takes the place of the old one. If it is another, what follows these rows was given
/// other events than it should have been, and is asked to be built anew.
async fn judge(build: &Build, tools: &Tools, transaction: &mut PgConnection) -> Result<(), Fault> {
    let (live, next) = (tools.schema.table(PASSED_OVER), tools.next.table(PASSED_OVER));
    let topics: Vec<&str> = build.places.keys().map(|place| &*place.topic).collect();
    let entries =
        |table: &str| format!("SELECT topic, partition, \"offset\" FROM {table} WHERE topic = ANY($1)");
    let (old, new) = (entries(&live), entries(&next));
    let differs = format!("SELECT EXISTS (({old} EXCEPT {new}) UNION ALL ({new} EXCEPT {old}))");
    let differs: bool =
        sqlx::query_scalar(AssertSqlSafe(differs)).bind(&topics).fetch_one(&mut *transaction).await?;
    if differs {
        let dependents = format!(
            "SELECT DISTINCT name FROM {} JOIN {} ON projection = name WHERE kind <> $2 AND topic = ANY($1)",
            tools.schema.table(PROJECTIONS),
            tools.schema.table(OFFSETS)
        );
        let dependents: Vec<String> = sqlx::query_scalar(AssertSqlSafe(dependents))
            .bind(&topics)
            .bind(Kind::Model.name())
            .fetch_all(&mut *transaction)
            .await?;
        for name in dependents {
            tools.requests.demand(transaction, &name, true).await?;
            tracing::info!(
                projection = name,
                rows = &*build.generation.projection,
                "it is built anew: the new rows were given other events than the old ones"
            );
        }
    }
    for statement in [
        format!("DELETE FROM {live} WHERE topic = ANY($1)"),
        format!("INSERT INTO {live} SELECT * FROM {next} WHERE topic = ANY($1)"),
        format!("DELETE FROM {next} WHERE topic = ANY($1)"),
    ] {
        sqlx::query(AssertSqlSafe(statement)).bind(&topics).execute(&mut *transaction).await?;
    }
    Ok(())
}
