//! The rows of the orders, one by one, beside the fold of the events in Kafka.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use serde::Serialize;
use sqlx::{AssertSqlSafe, PgPool, Row as _};
use uuid::Uuid;
use writ_model::value::stored_to_json;
use writ_model::{Field, Model, State, Timestamp, Type, Value, evolve};
use writ_producers::envelope::{header, unframe};

use crate::dataset::{Dataset, consumer};

const MODEL: &str = "order";
/// Rows of one statement.
const CHUNK: usize = 5_000;
/// Differences that are kept in full.
const KEPT: usize = 20;
const WAIT: Duration = Duration::from_secs(30);

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Compared {
    events: u64,
    rows: u64,
    /// How many, and the first of them.
    different: u64,
    pub(super) differences: Vec<String>,
}

impl Compared {
    fn differs(&mut self, what: String) {
        self.different += 1;
        if self.differences.len() < KEPT {
            self.differences.push(what);
        }
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.different == 0 {
            return write!(
                f,
                "All {} rows are the fold of the {} events in Kafka; every acknowledged order is among them.",
                self.rows, self.events
            );
        }
        write!(f, "DIFFERENT: {} of {} rows:", self.different, self.rows)?;
        for difference in &self.differences {
            write!(f, "\n- {difference}")?;
        }
        Ok(())
    }
}

/// Compares all orders. `acknowledged` must be among them.
pub(super) async fn orders(dataset: &Dataset, pool: &PgPool, acknowledged: &[Uuid]) -> Result<Compared> {
    let model = dataset.models.get(MODEL).context("the shop has orders")?;
    let mut compared = Compared::default();
    let mut missing: HashSet<Uuid> = acknowledged.iter().copied().collect();
    let select = select(dataset, model);
    // An aggregate's events are all in one partition, so one after the other fits into memory.
    for partition in 0..dataset.setup.kafka.partitions {
        let (states, events) = tokio::task::block_in_place(|| fold(dataset, model, partition))?;
        compared.events += events;
        let ids: Vec<Uuid> = states.keys().copied().collect();
        for chunk in ids.chunks(CHUNK) {
            let rows = sqlx::query(AssertSqlSafe(select.as_str())).bind(chunk).fetch_all(pool).await?;
            let mut found = HashMap::with_capacity(rows.len());
            for row in &rows {
                let cells: Vec<Option<String>> =
                    (1..row.len()).map(|n| row.try_get(n)).collect::<Result<_, _>>()?;
                found.insert(row.try_get::<Uuid, _>(0)?, cells);
            }
            for id in chunk {
                missing.remove(id);
                let expected = cells(model, &states[id]);
                match found.get(id) {
                    None => compared.differs(format!("{id} has no row")),
                    Some(row) if !same(model, row, &expected) => {
                        compared.differs(format!("{id} is {row:?}, its events give {expected:?}"));
                    }
                    Some(_) => {}
                }
            }
        }
        compared.rows += ids.len() as u64;
    }
    for id in missing {
        compared.differs(format!("{id} was acknowledged and has no event"));
    }
    let sql = format!("SELECT count(*) FROM {}.\"{MODEL}\"", dataset.schema);
    let count: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(pool).await?;
    if u64::try_from(count)? != compared.rows {
        compared.differs(format!("the table has {count} rows, the events give {}", compared.rows));
    }
    Ok(compared)
}

/// The states of one partition's aggregates, and how many events they have. Blocks.
fn fold(dataset: &Dataset, model: &Model, partition: i32) -> Result<(HashMap<Uuid, State>, u64)> {
    let topic = dataset.topics.events(&model.name);
    let consumer = consumer(&dataset.setup.kafka)?;
    let mut place = TopicPartitionList::new();
    place.add_partition_offset(&topic, partition, Offset::Beginning)?;
    consumer.assign(&place)?;
    let (mut states, mut events) = (HashMap::new(), 0);
    loop {
        match consumer.poll(WAIT).with_context(|| format!("{topic}[{partition}] isn't read in time"))? {
            Ok(message) => {
                let at = message.offset();
                take(dataset, model, &message, &mut states)
                    .with_context(|| format!("{topic}[{partition}]@{at} is no event"))?;
                events += 1;
            }
            Err(KafkaError::PartitionEOF(_)) => return Ok((states, events)),
            Err(error) => return Err(error).with_context(|| format!("reading {topic}[{partition}]")),
        }
    }
}

fn take(
    dataset: &Dataset,
    model: &Model,
    message: &BorrowedMessage<'_>,
    states: &mut HashMap<Uuid, State>,
) -> Result<()> {
    let header = |name: &str| {
        let found = message.headers().and_then(|headers| headers.iter().find(|header| header.key == name));
        let value = found.and_then(|header| header.value).with_context(|| format!("no header {name}"))?;
        Ok::<_, anyhow::Error>(std::str::from_utf8(value)?)
    };
    let type_name = header(header::TYPE)?;
    let event =
        model.events.values().find(|event| event.type_name == type_name).context("an unknown type")?;
    let aggregate = Uuid::try_parse_ascii(message.key().unwrap_or_default())?;
    let version: u64 = header(header::VERSION)?.parse()?;
    let time: jiff::Timestamp = header(header::TIME)?.parse()?;
    let state = states.remove(&aggregate);
    // The first event with a version wins, as for every reader.
    if version == state.as_ref().map_or(0, |state| state.version) + 1 {
        let (schema, datum) = unframe(message.payload().unwrap_or_default()).context("no frame")?;
        let schema = tokio::runtime::Handle::current().block_on(dataset.registry.schema(schema))?;
        let fields = event.codec.decode(&schema, datum)?;
        states.insert(aggregate, evolve(model, state, event, &fields, Timestamp(time.as_millisecond())));
    } else {
        states.extend(state.map(|state| (aggregate, state)));
    }
    Ok(())
}

fn select(dataset: &Dataset, model: &Model) -> String {
    let millis = |column: &str| format!("(extract(epoch FROM \"{column}\") * 1000)::bigint::text");
    let fields = model.fields.values().map(|field| match field.ty {
        Type::Decimal { .. } => format!("trim_scale(\"{}\")::text", field.name),
        Type::Timestamp => millis(&field.name),
        _ => format!("\"{}\"::text", field.name),
    });
    let fixed =
        ["version::text".to_owned(), "deleted::text".into(), millis("created_at"), millis("updated_at")];
    let columns: Vec<String> = fixed.into_iter().chain(fields).collect();
    format!("SELECT id, {} FROM {}.\"{MODEL}\" WHERE id = ANY($1)", columns.join(", "), dataset.schema)
}

/// As [`select`] reads them.
fn cells(model: &Model, state: &State) -> Vec<Option<String>> {
    let fixed = [
        state.version.to_string(),
        state.deleted.to_string(),
        state.created_at.0.to_string(),
        state.updated_at.0.to_string(),
    ];
    let field = |field: &Field| match &state.fields[&field.name] {
        Value::Null => None,
        Value::Decimal(number) => Some(number.normalized().to_plain_string()),
        Value::Timestamp(at) => Some(at.0.to_string()),
        Value::Duration(millis) => Some(millis.to_string()),
        value if value.to_text().is_some() => value.to_text(),
        _ => {
            let one = [(field.name.clone(), field.clone())].into_iter().collect();
            let object = [(field.name.clone(), state.fields[&field.name].clone())].into_iter().collect();
            Some(stored_to_json(&one, &object)[field.wire_name()].to_string())
        }
    };
    fixed.into_iter().map(Some).chain(model.fields.values().map(field)).collect()
}

/// Whether the cells hold the same values: JSON may be written with other spaces and in another order of its members.
fn same(model: &Model, row: &[Option<String>], expected: &[Option<String>]) -> bool {
    let fields = model.fields.values().map(|field| &field.ty);
    let types = std::iter::repeat_n(None, row.len() - model.fields.len()).chain(fields.map(Some));
    row.len() == expected.len()
        && row.iter().zip(expected).zip(types).all(|((row, expected), ty)| match (row, expected, ty) {
            (Some(row), Some(expected), Some(Type::List { .. } | Type::Object(_) | Type::Json)) => {
                let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
                parse(row).is_some() && parse(row) == parse(expected)
            }
            _ => row == expected,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::sample_models;
    use crate::orders::Orders;

    #[test]
    fn a_row_that_differs_is_found() {
        let models = sample_models(false).unwrap();
        let model = models.get(MODEL).unwrap();
        let mut orders = Orders::new(&models, 1).unwrap();
        let made =
            std::iter::from_fn(|| orders.next().unwrap()).find(|made| made.model.name == MODEL).unwrap();
        let expected = cells(model, &made.state);
        let mut row = expected.clone();
        let lines = 4 + model.fields.get_index_of("lines").unwrap();
        row[lines] = row[lines].as_ref().map(|text| text.replace(':', ": "));
        assert!(same(model, &row, &expected));
        row[lines] = row[lines].as_ref().map(|text| text.replacen("\"quantity\": ", "\"quantity\": 1", 1));
        assert!(!same(model, &row, &expected));
        let mut row = expected.clone();
        row[0] = Some("2".into());
        assert!(!same(model, &row, &expected));
    }
}
