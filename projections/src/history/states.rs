//! The states of many aggregates, each exactly at one version: what the live feed begins to fold at. For the server's own use: whole
//! states, with secrets as they are sealed, for no reader.
//!
//! The rows have most of them: one statement takes those whose row has just that version. The others are folded from the
//! event log, as [`History::as_of`] folds one, but side by side: each statement takes the next few events of several
//! aggregates, so memory holds [`SIDE_BY_SIDE`] × [`WINDOW`] events and the states, whatever the length of the histories.
//!
//! # Not there yet, or never
//!
//! The caller has read the event after the wanted one from Kafka, and the projector may be behind. An aggregate's events stand in one
//! partition in the order of their versions, and the log is filled in the order of the partition. So as long as the log ends
//! below the wanted version it may still come. But if the log has a later event, up to the one after the wanted version, and
//! none in the place that comes next, that one was not taken up when it was its turn: it stands in the dead letters. The
//! same is sure of an event that is marked as passed over, and of one that today's declaration can't read. Whoever mends
//! that (the tool that tries dead letters again) changes the answer.

use std::collections::{BTreeMap, HashMap};

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row as _};
use uuid::Uuid;
use writ_model::value::stored_from_json;
use writ_model::{Model, State, Timestamp, evolve};

use super::History;
use super::entry::typed;
use crate::query::{Error, bounded};
use crate::tables::{EVENT_LOG, PASSED_OVER, Table, object};

/// Aggregates whose events one statement takes.
const SIDE_BY_SIDE: usize = 64;
/// Events of one aggregate that one statement takes.
const WINDOW: i64 = 64;

impl History {
    /// The state of each aggregate after its event with this version, deleted or not; an aggregate stands once in `wanted`.
    /// One that isn't in the answer isn't there **yet**: the projector is behind, so ask again. `None`: there is none, and
    /// waiting won't help, because that event or one before it can't be applied (it stands in the dead letters, say).
    pub async fn states_at(
        &self,
        model: &Model,
        wanted: &[(Uuid, u64)],
    ) -> Result<HashMap<Uuid, Option<State>>, Error> {
        if wanted.is_empty() {
            return Ok(HashMap::new());
        }
        // By id: the order of the rows' index.
        let mut wanted: BTreeMap<Uuid, u64> = wanted.iter().copied().collect();
        let mut states = self.of_rows(model, &wanted).await?;
        wanted.retain(|id, _| !states.contains_key(id));
        self.of_log(model, wanted, &mut states).await?;
        Ok(states)
    }

    /// Those of which the row has just this version.
    async fn of_rows(
        &self,
        model: &Model,
        wanted: &BTreeMap<Uuid, u64>,
    ) -> Result<HashMap<Uuid, Option<State>>, Error> {
        let table = Table::derive(&self.schema, model);
        let select = format!(
            "SELECT id, version, deleted, {}, {}, {} FROM {} \
             JOIN UNNEST($1::uuid[], $2::bigint[]) AS wanted (id, version) USING (id, version)",
            millis("created_at"),
            millis("updated_at"),
            object(table.columns.iter()),
            table.qualified
        );
        let (ids, versions): (Vec<Uuid>, Vec<i64>) =
            wanted.iter().map(|(id, version)| (*id, version.cast_signed())).unzip();
        let rows = sqlx::query(AssertSqlSafe(select)).bind(ids).bind(versions).fetch_all(&self.pool);
        let mut states = HashMap::new();
        for row in bounded(rows).await? {
            let id: Uuid = row.try_get(0)?;
            match read(model, &row)? {
                Ok(state) => drop(states.insert(id, Some(state))),
                // Its events decide.
                Err(reason) => {
                    tracing::warn!(model = model.name, aggregate = %id, reason, "a row can't be read");
                }
            }
        }
        Ok(states)
    }

    /// Those that are left.
    async fn of_log(
        &self,
        model: &Model,
        wanted: BTreeMap<Uuid, u64>,
        states: &mut HashMap<Uuid, Option<State>>,
    ) -> Result<(), Error> {
        let mut waiting = wanted.into_iter().map(|(id, version)| Fold { id, version, state: None });
        let (mut folds, mut ended): (Vec<Fold>, Vec<Fold>) = Default::default();
        loop {
            folds.extend(waiting.by_ref().take(SIDE_BY_SIDE - folds.len()));
            if folds.is_empty() {
                break;
            }
            let mut events = self.next_events(model, &folds).await?;
            for mut fold in std::mem::take(&mut folds) {
                match fold.on(model, events.remove(&fold.id).unwrap_or_default()) {
                    Step::On => folds.push(fold),
                    Step::Done => drop(states.insert(fold.id, fold.state)),
                    Step::Ended => ended.push(fold),
                    Step::Halted(reason) => {
                        tracing::warn!(
                            model = model.name, aggregate = %fold.id, version = fold.at() + 1, reason,
                            "a state can't be folded"
                        );
                        states.insert(fold.id, None);
                    }
                }
            }
        }
        let halted = self.with_later_events(model, &ended).await?;
        states.extend(halted.into_iter().map(|id| (id, None)));
        Ok(())
    }

    /// The next events of each, as a fold takes them.
    async fn next_events(&self, model: &Model, folds: &[Fold]) -> Result<HashMap<Uuid, Vec<Logged>>, Error> {
        // Of events with one version, the one that the row was given comes first.
        let select = format!(
            "SELECT log.aggregate_id, log.version, log.type, {}, log.data::text, passed.reason IS NOT NULL \
             FROM UNNEST($1::uuid[], $2::bigint[], $3::bigint[]) AS wanted (id, after, up_to) \
             JOIN {} AS log ON log.model = $4 AND log.aggregate_id = wanted.id \
             AND log.version > wanted.after AND log.version <= wanted.up_to \
             LEFT JOIN {} AS passed ON passed.topic = $5 \
             AND passed.partition = log.partition AND passed.\"offset\" = log.\"offset\" \
             ORDER BY log.aggregate_id, log.version, (passed.reason IS NOT NULL), log.partition, log.\"offset\"",
            millis("log.time"),
            self.schema.table(EVENT_LOG),
            self.schema.table(PASSED_OVER)
        );
        let up_to = |fold: &Fold| fold.version.cast_signed().min(fold.at() + WINDOW);
        let rows = sqlx::query(AssertSqlSafe(select))
            .bind(folds.iter().map(|fold| fold.id).collect::<Vec<_>>())
            .bind(folds.iter().map(Fold::at).collect::<Vec<_>>())
            .bind(folds.iter().map(up_to).collect::<Vec<_>>())
            .bind(&model.name)
            .bind(self.topics.events(&model.name))
            .fetch_all(&self.pool);
        let mut events: HashMap<Uuid, Vec<Logged>> = HashMap::with_capacity(folds.len());
        for row in bounded(rows).await? {
            let event = Logged {
                version: row.try_get(1)?,
                type_name: row.try_get(2)?,
                at: Timestamp(row.try_get(3)?),
                data: row.try_get(4)?,
                is_passed_over: row.try_get(5)?,
            };
            events.entry(row.try_get(0)?).or_default().push(event);
        }
        Ok(events)
    }

    /// Those that lack their next event although the log has a later one, up to the one after the wanted version. Both are asked
    /// in one statement: the projector may have gone on since the log ended for the fold.
    async fn with_later_events(&self, model: &Model, ended: &[Fold]) -> Result<Vec<Uuid>, Error> {
        if ended.is_empty() {
            return Ok(Vec::new());
        }
        let select = format!(
            "SELECT wanted.id FROM UNNEST($1::uuid[], $2::bigint[], $3::bigint[]) AS wanted (id, missing, up_to) \
             WHERE EXISTS (SELECT FROM {} AS log WHERE log.model = $4 AND log.aggregate_id = wanted.id \
             AND log.version > wanted.missing AND log.version <= wanted.up_to) \
             AND NOT EXISTS (SELECT FROM {} AS log WHERE log.model = $4 AND log.aggregate_id = wanted.id \
             AND log.version = wanted.missing)",
            self.schema.table(EVENT_LOG),
            self.schema.table(EVENT_LOG)
        );
        let rows = sqlx::query_scalar(AssertSqlSafe(select))
            .bind(ended.iter().map(|fold| fold.id).collect::<Vec<_>>())
            .bind(ended.iter().map(|fold| fold.at() + 1).collect::<Vec<_>>())
            .bind(ended.iter().map(|fold| fold.version.cast_signed() + 1).collect::<Vec<_>>())
            .bind(&model.name)
            .fetch_all(&self.pool);
        bounded(rows).await
    }
}

/// An event of the log, not yet read.
struct Logged {
    version: i64,
    type_name: String,
    at: Timestamp,
    data: String,
    is_passed_over: bool,
}

/// What has been folded of one aggregate.
struct Fold {
    id: Uuid,
    /// The wanted one.
    version: u64,
    state: Option<State>,
}

/// What came of some events.
enum Step {
    /// There may be more.
    On,
    /// The state is the wanted one.
    Done,
    /// The next event isn't there.
    Ended,
    /// The next event can't be folded, and why.
    Halted(String),
}

impl Fold {
    /// The version of the state; 0 before the first event.
    fn at(&self) -> i64 {
        self.state.as_ref().map_or(0, |state| state.version.cast_signed())
    }

    /// Folds the next events, which are those of a [`WINDOW`] or fewer.
    fn on(&mut self, model: &Model, events: Vec<Logged>) -> Step {
        let begin = self.at();
        for event in events {
            // The same version once more.
            if event.version <= self.at() {
                continue;
            }
            if event.version > self.at() + 1 {
                return Step::Ended;
            }
            if event.is_passed_over {
                return Step::Halted("its event was passed over".into());
            }
            let read = serde_json::from_str(&event.data).map_err(|error| error.to_string());
            match read.and_then(|data| typed(model, &event.type_name, &data)) {
                Ok((declared, fields)) => {
                    self.state = Some(evolve(model, self.state.take(), declared, &fields, event.at));
                }
                Err(reason) => return Step::Halted(reason),
            }
        }
        match self.at() {
            at if at == self.version.cast_signed() => Step::Done,
            at if at == begin + WINDOW => Step::On,
            _ => Step::Ended,
        }
    }
}

/// Milliseconds since 1970.
fn millis(column: &str) -> String {
    format!("(extract(epoch FROM {column}) * 1000)::bigint")
}

/// A row of the table as a state. The inner error: it is none by today's declaration.
fn read(model: &Model, row: &PgRow) -> Result<Result<State, String>, Error> {
    let (version, deleted): (i64, bool) = (row.try_get(1)?, row.try_get(2)?);
    let (created, updated): (i64, i64) = (row.try_get(3)?, row.try_get(4)?);
    let fields: String = row.try_get(5)?;
    let fields = match serde_json::from_str(&fields) {
        Ok(fields) => fields,
        Err(error) => return Ok(Err(error.to_string())),
    };
    Ok(match stored_from_json(&model.fields, &fields) {
        Ok(fields) => Ok(State {
            version: version.cast_unsigned(),
            deleted,
            created_at: Timestamp(created),
            updated_at: Timestamp(updated),
            fields,
        }),
        Err(errors) => {
            let faults = errors.iter().map(|error| format!("{}: {}", error.pointer, error.detail));
            Err(faults.collect::<Vec<_>>().join("; "))
        }
    })
}
