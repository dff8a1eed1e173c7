//! A batch in one transaction.
//!
//! ```text
//! places (fence) ─► rows (judge) ─► passed over ─► event log ─► SQL projections ─► notify ─► dead letters
//!   ─► cache (announce) ─► commit
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::{Connection as _, PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

use super::batch::{Decoded, Place};
use super::letters::{Cause, Composed, Letters};
use super::log::Lines;
use super::offsets::{Moves, Offsets};
use super::passed_over::{PassedOver, Reason, Spot};
use super::target::{self, Applied, Passed, Target, Work};
use super::work::Error;
use crate::cache::{Announcer, Change};
use crate::catalog::Catalog;
use crate::database::is_undefined;
use crate::metrics;
use crate::tables::Schema;

/// So often a statement may run into its time limit in one batch: it may have waited for a lock, or the machine stood still. Each
/// time costs the batch the limit, and the projector has to be back in its group within a minute.
const TRIES: u32 = 2;

/// Records that go into one transaction.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// By how much it moves each projection.
    pub(super) moves: Moves,
    /// In the order of their partitions.
    pub(super) events: BTreeMap<Place, Vec<Decoded>>,
    /// What is appended to the event log.
    pub(super) lines: Lines,
    /// Of those that are no events, if the rows come to them for the first time.
    pub(super) letters: Vec<Composed>,
    /// Where those stand.
    pub(super) holes: Vec<Spot>,
}

impl Batch {
    /// The events that are new to a target.
    pub(super) fn of(&self, target: &Target) -> Vec<&Decoded> {
        let mut events = Vec::new();
        for ((generation, place), (old, _)) in &self.moves {
            if generation == target.generation()
                && let Some(all) = self.events.get(place)
            {
                events.extend(&all[all.partition_point(|event| event.record.offset < *old)..]);
            }
        }
        events
    }

    /// From where to where a target is moved in each partition.
    pub(super) fn ranges(&self, target: &Target) -> impl Iterator<Item = (Place, i64, i64)> {
        let of_target = self.moves.iter().filter(|((generation, _), _)| generation == target.generation());
        of_target.map(|((_, place), (old, new))| (place.clone(), *old, *new))
    }

    fn find(&self, (place, offset): &Spot) -> Option<&Decoded> {
        let events = self.events.get(place)?;
        events.binary_search_by_key(offset, |event| event.record.offset).ok().map(|index| &events[index])
    }
}

/// What PostgreSQL takes or refuses at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grain {
    Batch,
    Event,
}

/// What rows have made of their events.
#[derive(Default)]
struct Judged {
    passed: Vec<(Spot, Reason)>,
    letters: Vec<Composed>,
    /// By model.
    counts: Vec<(String, u64)>,
}

/// Writes batches.
pub(super) struct Writer {
    pub(super) pool: PgPool,
    pub(super) offsets: Offsets,
    pub(super) catalog: Catalog,
    pub(super) letters: Letters,
    passed_over: PassedOver,
    /// `None`: nothing is cached.
    pub(super) announcer: Option<Announcer>,
}

impl Writer {
    pub(super) fn new(
        pool: PgPool,
        schema: &Schema,
        letters: Letters,
        announcer: Option<Announcer>,
    ) -> Writer {
        Writer {
            pool,
            offsets: Offsets::new(schema),
            catalog: Catalog::new(schema),
            passed_over: PassedOver::new(schema),
            announcer,
            letters,
        }
    }

    /// Applies a batch to the targets that it moves. `true`: one of them has been stopped.
    ///
    /// # Errors
    /// Nothing was applied.
    pub(super) async fn apply(&self, targets: &[Target], batch: &Batch) -> Result<bool, Error> {
        match self.commit(targets, batch, Grain::Batch).await {
            // Which of the events it was is found out one by one.
            Err(Error::Target(error)) if error.is_refusal() => {
                self.commit(targets, batch, Grain::Event).await
            }
            result => result,
        }
    }

    async fn commit(&self, targets: &[Target], batch: &Batch, grain: Grain) -> Result<bool, Error> {
        let mut connection = self.pool.acquire().await?;
        let mut transaction = connection.begin().await?;
        // First of all: it fences, and its locks keep others from the rows that are read next.
        if !self.offsets.advance(&mut transaction, &batch.moves).await? {
            ::metrics::counter!(metrics::FENCED).increment(1);
            transaction.rollback().await?;
            return Err(Error::Fenced);
        }
        let of = |wanted: fn(&Work) -> bool| targets.iter().filter(move |target| wanted(target.work()));
        let rows: Vec<&Target> = of(|work| matches!(work, Work::Rows(_))).collect();
        let ranges: Vec<_> = rows.iter().flat_map(|target| batch.ranges(target)).collect();
        let mut healed = self.passed_over.reopen(&mut transaction, &ranges).await?;
        let mut judged = Judged { letters: batch.letters.clone(), ..Judged::default() };
        judged.passed.extend(batch.holes.iter().map(|spot| (spot.clone(), Reason::Hole)));
        for target in rows {
            self.judge(&mut transaction, target, &batch.of(target), grain, &mut judged).await?;
        }
        self.passed_over.insert(&mut transaction, &judged.passed).await?;
        for (spot, _) in &judged.passed {
            healed.remove(spot);
        }
        let healed: Vec<&Decoded> = healed.iter().filter_map(|spot| batch.find(spot)).collect();
        for target in of(|work| matches!(work, Work::Log(_))) {
            if let Work::Log(log) = target.work() {
                log.write(&mut transaction, &batch.of(target), &batch.lines).await?;
                for event in behind(&healed, batch, target) {
                    log.complete(&mut transaction, event).await?;
                }
            }
        }
        let mut is_stopped = false;
        for target in of(|work| matches!(work, Work::Statements(_))) {
            is_stopped |= self.run(&mut transaction, target, batch, &healed).await?;
        }
        self.offsets.announce(&mut transaction).await?;
        if !healed.is_empty() {
            // Some of what was run for them may stand behind the places of its projection.
            self.offsets.announce_rewritten(&mut transaction).await?;
        }
        if !judged.letters.is_empty() {
            // Before the offsets have moved past them: rather twice than never.
            self.letters.send(judged.letters).await.map_err(Error::Letters)?;
        }
        if let Some(announcer) = &self.announcer {
            announcer.announce(&changes(targets, batch)).await;
        }
        transaction.commit().await?;
        for (model, count) in judged.counts {
            ::metrics::counter!(metrics::APPLIED, "model" => model).increment(count);
        }
        Ok(is_stopped)
    }

    async fn judge(
        &self,
        transaction: &mut Transaction<'_, Postgres>,
        target: &Target,
        events: &[&Decoded],
        grain: Grain,
        judged: &mut Judged,
    ) -> Result<(), Error> {
        let mut count = 0;
        match grain {
            Grain::Batch => {
                let done = target.apply(transaction, events).await?;
                count += done.count;
                self.note(events, &done, judged);
            }
            Grain::Event => {
                for event in events.chunks(1) {
                    let mut savepoint = transaction.begin().await?;
                    match target.apply(&mut savepoint, event).await {
                        Ok(done) => {
                            savepoint.commit().await?;
                            count += done.count;
                            self.note(event, &done, judged);
                        }
                        Err(error) if error.is_refusal() => {
                            savepoint.rollback().await?;
                            for event in event {
                                let letter = self.letters.compose(&event.record, Cause::Refused, &error);
                                judged.letters.push(letter);
                                judged.passed.push((event.record.spot(), Reason::Hole));
                            }
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
        judged.counts.push((target.generation().projection.to_string(), count));
        Ok(())
    }

    /// What rows have passed over, and the letters of those that wait.
    fn note(&self, events: &[&Decoded], done: &Applied, judged: &mut Judged) {
        for (index, passed) in &done.passed {
            let record = &events[*index].record;
            let reason = match passed {
                Passed::Duplicate => Reason::Duplicate,
                Passed::Hole(gap) => {
                    judged.letters.push(self.letters.compose(record, Cause::Waits, gap));
                    Reason::Hole
                }
            };
            judged.passed.push((record.spot(), reason));
        }
    }

    /// Runs an SQL projection's statements. `true`: one was refused, so it is stopped where it was.
    async fn run(
        &self,
        transaction: &mut Transaction<'_, Postgres>,
        target: &Target,
        batch: &Batch,
        healed: &[&Decoded],
    ) -> Result<bool, Error> {
        let ranges: Vec<_> = batch.ranges(target).collect();
        let passed = if ranges.is_empty() {
            BTreeSet::new()
        } else {
            self.passed_over.between(transaction, &ranges).await?
        };
        let mut events: Vec<&Decoded> = behind(healed, batch, target).collect();
        events.extend(batch.of(target).iter().filter(|event| !passed.contains(&event.record.spot())));
        let (mut refused, mut slow) = (None, 0);
        // Again without the event that was refused, up to it.
        let mut end = events.len();
        while end > 0 {
            let mut savepoint = transaction.begin().await?;
            match target.apply(&mut savepoint, &events[..end]).await {
                Ok(_) => {
                    savepoint.commit().await?;
                    break;
                }
                Err(target::Error::Statement { source, .. }) if is_too_slow(&source) && slow + 1 < TRIES => {
                    savepoint.rollback().await?;
                    slow += 1;
                    tracing::warn!(
                        projection = &*target.generation().projection,
                        error = %source,
                        "a statement of an SQL projection is tried again"
                    );
                }
                Err(target::Error::Statement { index, source }) => {
                    savepoint.rollback().await?;
                    if is_undefined(&source) && !self.exists(transaction, target).await? {
                        return Err(source.into());
                    }
                    refused = Some((events[index], source));
                    end = index;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let Some((event, error)) = refused else { return Ok(false) };
        let mut back = Moves::new();
        for event in events[end..].iter().rev() {
            let reading = (target.generation().clone(), event.record.place.clone());
            if let Some((_, new)) = batch.moves.get(&reading).filter(|(old, _)| event.record.offset >= *old) {
                back.insert(reading, (*new, event.record.offset));
            }
        }
        self.offsets.advance(transaction, &back).await?;
        let at = event.record.origin().to_string();
        self.catalog.stop(transaction, target.generation(), &error.to_string(), &at).await?;
        tracing::error!(
            projection = &*target.generation().projection,
            kafka.origin = at,
            error = %error,
            "an SQL projection is stopped: PostgreSQL refuses its statement"
        );
        Ok(true)
    }

    /// Whether the table of a target is there, so that something else is missing.
    async fn exists(&self, connection: &mut PgConnection, target: &Target) -> Result<bool, sqlx::Error> {
        let select = "SELECT to_regclass($1) IS NOT NULL";
        sqlx::query_scalar(select).bind(target.table()).fetch_one(connection).await
    }
}

/// Whether a statement ran into its time limit.
fn is_too_slow(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().is_some_and(|code| code == "57014"))
}

/// What a batch may change of the rows: what was passed over is announced too, which costs nothing but a look.
fn changes<'a>(targets: &'a [Target], batch: &Batch) -> Vec<Change<'a>> {
    let mut changes = Vec::new();
    for target in targets.iter().filter(|target| matches!(target.work(), Work::Rows(_))) {
        let places: HashMap<i32, i64> =
            batch.ranges(target).map(|(place, _, new)| (place.partition, new)).collect();
        if places.is_empty() {
            continue;
        }
        let rows: HashMap<Uuid, i32> =
            batch.of(target).iter().map(|event| (event.aggregate, event.record.place.partition)).collect();
        changes.push(Change {
            model: &target.generation().projection,
            rows: rows.into_iter().map(|(id, partition)| (id, partition, places[&partition])).collect(),
            places: places.into_iter().collect(),
        });
    }
    changes
}

/// Those that a target has passed by before this batch.
fn behind<'a>(events: &[&'a Decoded], batch: &Batch, target: &Target) -> impl Iterator<Item = &'a Decoded> {
    let is_behind = |event: &&&Decoded| {
        let reading = (target.generation().clone(), event.record.place.clone());
        target.reads(&event.record.place)
            && batch.moves.get(&reading).is_none_or(|(old, _)| event.record.offset < *old)
    };
    events.iter().filter(is_behind).copied().collect::<Vec<_>>().into_iter()
}
