//! One build: its table, its places, and what it has still to read.
//!
//! Every batch is one transaction: the request's row (is it still wanted?), the places (`next = old`, or somebody else has
//! gone on with it), the events, the progress. So the table holds exactly the events below the places, whoever works on
//! it and whenever it is killed.
//!
//! # Up to where, and which events
//!
//! A build ends exactly where what it replaces is: rows and event log at the places of their own live generation. An SQL
//! projection ends at the places of the rows of the models that it follows, since these decide which events count: it is
//! given those that are not in `writ_passed_over`, and beyond the rows' places nobody has judged yet.
//!
//! Rows that are built judge anew, with today's models and registry, and may be given an event that the live ones
//! were not (or the other way round). Their judgement is kept beside, in a table `writ_passed_over` of the schema of the
//! builds, and takes the place of the live one with the swap.

use std::collections::BTreeSet;
use std::time::Instant;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::fault::Fault;
use super::requests::{Progress, Request};
use super::source::{Places, Source};
use super::tools::Tools;
use crate::catalog::{Generation, Kind};
use crate::declared::Declaration;
use crate::projector::batch::{self, Decoded, Place, Record};
use crate::projector::letters::{Cause, Composed};
use crate::projector::offsets::{Moves, Reading};
use crate::projector::passed_over::{PassedOver, Reason, Spot};
use crate::projector::target::{self, Passed, Target};
use crate::tables::{self, OFFSETS, PASSED_OVER, PROJECTIONS, Schema, literal};

/// Most events of one transaction.
pub(super) const MAX_EVENTS: usize = 5_000;

/// A build that this process works on.
pub(super) struct Build {
    pub(super) generation: Generation,
    pub(super) kind: Kind,
    /// The name of its table, in whatever schema.
    pub(super) table: String,
    /// The projections at whose places it ends.
    judges: Vec<String>,
    target: Target,
    pub(super) places: Places,
    pub(super) source: Source,
    /// Whether indexes and statistics are there.
    pub(super) finished: bool,
}

impl Build {
    /// Goes on with a request, or makes its table and begins. `None`: it is no longer asked for.
    pub(super) async fn begin(
        tools: &Tools,
        connection: &mut PgConnection,
        declaration: &Declaration,
        request: &Request,
    ) -> Result<Option<Build>, Fault> {
        let source = Source::new(&tools.kafka)?;
        let topics: Vec<String> = declaration.topics(&tools.topics).iter().map(ToString::to_string).collect();
        let partitions = source.partitions(&topics)?;
        let (schema, next) = (&tools.schema, &tools.next);
        let table = declaration.table_name();
        let mut transaction = connection.begin().await?;
        let Some(request) = tools.requests.hold(&mut transaction, &request.generation).await? else {
            return Ok(None);
        };
        let mut generation = request.generation.clone();
        let is_ours =
            made_for(&mut transaction, next, &table).await? == Some(mark(&generation, &request.fingerprint));
        let mut places = tools.places_of(&mut transaction, &generation).await?;
        if !is_ours || places.is_empty() {
            if !places.is_empty() {
                let fingerprint = &request.fingerprint;
                generation = tools.requests.renew(&mut transaction, &generation, fingerprint).await?;
            }
            run(&mut transaction, format!("CREATE SCHEMA IF NOT EXISTS {}", next.quoted())).await?;
            run(&mut transaction, format!("DROP TABLE IF EXISTS {}", next.table(&table))).await?;
            tables::make_bare(&mut transaction, next, declaration).await?;
            if declaration.kind() == Kind::Sql {
                // Its statements may need them to find their rows; those of the others are made faster at the end.
                tables::index(&mut transaction, next, declaration).await?;
            }
            let comment = literal(&mark(&generation, &request.fingerprint));
            run(&mut transaction, format!("COMMENT ON TABLE {} IS {comment}", next.table(&table))).await?;
            if declaration.kind() == Kind::Model {
                make_passed_over(&mut transaction, schema, next, &topics).await?;
            }
            let readings: Vec<Reading> =
                partitions.iter().map(|place| (generation.clone(), place.clone())).collect();
            let loaded = tools.offsets.load(&mut transaction, &readings).await?;
            places = loaded.into_iter().map(|((_, place), next)| (place, next)).collect();
        }
        transaction.commit().await?;
        let judges = match declaration {
            Declaration::Sql(projection) => {
                projection.statements.iter().map(|statement| statement.model.clone()).collect()
            }
            _ => BTreeSet::from([declaration.name().to_owned()]),
        };
        let build = Build {
            target: Target::new(declaration, &tools.topics, next, generation.number),
            kind: declaration.kind(),
            judges: judges.into_iter().collect(),
            generation,
            table,
            places,
            source,
            finished: false,
        };
        build.source.begin(&build.places)?;
        Ok(Some(build))
    }

    /// Goes back to these places.
    pub(super) fn rewind(&mut self, tools: &Tools, places: Places) -> Result<(), Fault> {
        if self.places != places {
            self.source = Source::new(&tools.kafka)?;
            self.source.begin(&places)?;
            self.places = places;
        }
        Ok(())
    }

    /// Where it ends, as things are now; `None`: the rows that judge are not live. With `hold` it stays so until the
    /// transaction ends: nobody moves these places, nor those of the live generation of the same name.
    pub(super) async fn goals(
        &self,
        tools: &Tools,
        connection: &mut PgConnection,
        hold: bool,
    ) -> Result<Option<Places>, sqlx::Error> {
        let (catalog, offsets) = (tools.schema.table(PROJECTIONS), tools.schema.table(OFFSETS));
        let lock = if hold { "FOR UPDATE OF place" } else { "" };
        let select = format!(
            "SELECT projection, topic, partition, next FROM {offsets} AS place \
             JOIN {catalog} AS live ON live.name = place.projection AND live.generation = place.generation \
             WHERE live.state <> 'building' AND place.projection = ANY($1) \
             ORDER BY projection, topic, partition {lock}"
        );
        let mut names = self.judges.clone();
        names.push(self.generation.projection.to_string());
        let rows: Vec<(String, String, i32, i64)> =
            sqlx::query_as(AssertSqlSafe(select)).bind(&names).fetch_all(&mut *connection).await?;
        if self.kind == Kind::Sql {
            let live = format!("SELECT count(*) FROM {catalog} WHERE state = 'live' AND name = ANY($1)");
            let live: i64 =
                sqlx::query_scalar(AssertSqlSafe(live)).bind(&self.judges).fetch_one(connection).await?;
            if usize::try_from(live).ok() != Some(self.judges.len()) {
                return Ok(None);
            }
        }
        let mut goals: Places = self.places.keys().map(|place| (place.clone(), 0)).collect();
        for (projection, topic, partition, next) in rows {
            if self.judges.contains(&projection)
                && let Some(goal) = goals.get_mut(&Place { topic: topic.into(), partition })
            {
                *goal = next;
            }
        }
        Ok(Some(goals))
    }

    /// Offsets between its places and the goals.
    pub(super) fn left(&self, goals: &Places) -> i64 {
        goals.iter().map(|(place, goal)| (goal - self.places[place]).max(0)).sum()
    }

    /// Whether it is where it ends.
    pub(super) fn is_at(&self, goals: &Places) -> bool {
        self.places == *goals
    }

    /// Reads what there is, up to a batch, and writes it in a transaction. Whether there was anything.
    pub(super) async fn batch(
        &mut self,
        tools: &Tools,
        connection: &mut PgConnection,
        goals: &Places,
        deadline: Instant,
    ) -> Result<bool, Fault> {
        let (records, reached) = self.source.collect(&self.places, goals, MAX_EVENTS, deadline)?;
        if reached.is_empty() {
            return Ok(false);
        }
        let mut transaction = connection.begin().await?;
        self.write(tools, &mut transaction, records, &reached, goals).await?;
        transaction.commit().await?;
        self.places.extend(reached);
        Ok(true)
    }

    /// Writes records, and that it is so far.
    pub(super) async fn write(
        &self,
        tools: &Tools,
        transaction: &mut PgConnection,
        records: Vec<Record>,
        reached: &Places,
        goals: &Places,
    ) -> Result<(), Fault> {
        let decoded = decode(tools, records).await?;
        let ranges: Vec<(Place, i64, i64)> =
            reached.iter().map(|(place, next)| (place.clone(), self.places[place], *next)).collect();
        let moves: Moves = ranges
            .iter()
            .map(|(place, old, new)| ((self.generation.clone(), place.clone()), (*old, *new)))
            .collect();
        // First of all: it fences, and its lock keeps others from what is read next.
        if !tools.offsets.advance(transaction, &moves).await? {
            return Err(Fault::Superseded);
        }
        let passed = tools.passed_over.between(transaction, &ranges).await?;
        let applied = match self.kind {
            Kind::Model => self.fold(tools, transaction, &decoded, &passed).await?,
            Kind::EventLog | Kind::Sql => {
                let is_given =
                    |event: &&Decoded| self.kind == Kind::EventLog || !passed.contains(&spot(event));
                let events: Vec<&Decoded> = decoded.events.iter().filter(is_given).collect();
                match self.target.apply(transaction, &events).await {
                    Ok(applied) => applied.count,
                    Err(target::Error::Statement { index, source }) => {
                        let at = events[index].record.origin().to_string();
                        return Err(Fault::Refused { at, source });
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        };
        let ahead: i64 = ranges.iter().map(|(_, old, new)| new - old).sum();
        let progress = Progress {
            done: self.places.values().sum::<i64>() + ahead,
            total: goals.values().sum(),
            applied: i64::try_from(applied).unwrap_or(i64::MAX),
        };
        if !tools.requests.note(transaction, &self.generation, progress).await? {
            return Err(Fault::Superseded);
        }
        Ok(())
    }

    /// Folds events onto the rows, and keeps the judgement on those that they don't take. `known`: what the live rows were
    /// not given; about anything else that can't be applied somebody must hear. How many are in the rows now.
    async fn fold(
        &self,
        tools: &Tools,
        transaction: &mut PgConnection,
        decoded: &Decodeds,
        known: &BTreeSet<Spot>,
    ) -> Result<u64, Fault> {
        let mut letters: Vec<Composed> = Vec::new();
        let mut passed: Vec<(Spot, Reason)> = Vec::new();
        let is_new = |record: &Record| !known.contains(&(record.place.clone(), record.offset));
        for (record, error) in &decoded.undecodable {
            passed.push(((record.place.clone(), record.offset), Reason::Hole));
            if is_new(record) {
                letters.push(tools.letters.compose(record, Cause::Undecodable, error));
            }
        }
        let mut count = 0;
        let mut note = |event: &Decoded, why: Passed| {
            let reason = match why {
                Passed::Duplicate => Reason::Duplicate,
                Passed::Hole(gap) => {
                    if is_new(&event.record) {
                        letters.push(tools.letters.compose(&event.record, Cause::Waits, &gap));
                    }
                    Reason::Hole
                }
            };
            passed.push((spot(event), reason));
        };
        let events: Vec<&Decoded> = decoded.events.iter().collect();
        let mut savepoint = transaction.begin().await?;
        let mut refused = Vec::new();
        match self.target.apply(&mut savepoint, &events).await {
            Ok(applied) => {
                savepoint.commit().await?;
                count += applied.count;
                applied.passed.into_iter().for_each(|(index, why)| note(events[index], why));
            }
            // Which of the events it was is found out one by one.
            Err(error) if error.is_refusal() => {
                savepoint.rollback().await?;
                for event in &events {
                    let mut savepoint = transaction.begin().await?;
                    match self.target.apply(&mut savepoint, std::slice::from_ref(event)).await {
                        Ok(applied) => {
                            savepoint.commit().await?;
                            count += applied.count;
                            applied.passed.into_iter().for_each(|(_, why)| note(event, why));
                        }
                        Err(error) if error.is_refusal() => {
                            savepoint.rollback().await?;
                            refused.push((*event, error));
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            Err(error) => return Err(error.into()),
        }
        for (event, error) in refused {
            passed.push((spot(event), Reason::Hole));
            if is_new(&event.record) {
                letters.push(tools.letters.compose(&event.record, Cause::Refused, &error));
            }
        }
        PassedOver::new(&tools.next).insert(transaction, &passed).await?;
        if !letters.is_empty() {
            // Before the places have moved past them: rather twice than never.
            tools.letters.send(letters).await.map_err(Fault::Letters)?;
        }
        Ok(count)
    }
}

/// Records, typed.
#[derive(Default)]
struct Decodeds {
    events: Vec<Decoded>,
    undecodable: Vec<(Record, batch::Undecodable)>,
}

async fn decode(tools: &Tools, records: Vec<Record>) -> Result<Decodeds, Fault> {
    let mut decoded = Decodeds::default();
    for record in records {
        match tools.decoder.decode(record).await {
            Ok(event) => decoded.events.push(event),
            Err((record, batch::Error::Undecodable(error))) => decoded.undecodable.push((record, error)),
            Err((_, batch::Error::Registry(error))) => return Err(Fault::Registry(error)),
        }
    }
    Ok(decoded)
}

fn spot(event: &Decoded) -> Spot {
    (event.record.place.clone(), event.record.offset)
}

/// What the comment of a table under construction says.
fn mark(generation: &Generation, fingerprint: &str) -> String {
    format!("generation {} of {fingerprint}", generation.number)
}

/// The comment of the table, if there is one.
async fn made_for(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &str,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("SELECT obj_description(to_regclass($1), 'pg_class')")
        .bind(schema.table(table))
        .fetch_one(connection)
        .await
}

/// The table for the judgement of rows that are built, without an entry of these topics.
async fn make_passed_over(
    connection: &mut PgConnection,
    schema: &Schema,
    next: &Schema,
    topics: &[String],
) -> Result<(), sqlx::Error> {
    let (live, own) = (schema.table(PASSED_OVER), next.table(PASSED_OVER));
    run(connection, format!("CREATE TABLE IF NOT EXISTS {own} (LIKE {live} INCLUDING ALL)")).await?;
    let delete = format!("DELETE FROM {own} WHERE topic = ANY($1)");
    sqlx::query(AssertSqlSafe(delete)).bind(topics).execute(connection).await?;
    Ok(())
}

pub(super) async fn run(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}
