//! The event log: every event of every model, appended with `COPY`; a few with `INSERT`.
//!
//! `COPY` ends with a message of its own, which the system's TCP holds back until the server has acknowledged the data
//! before it, and the server takes some 40 ms for that (Nagle's algorithm and delayed acknowledgements; the driver offers no
//! way around). Among many events that is little. But whoever waits for one event would wait all of it.
//!
//! It is partitioned by month. A partition is made when the first event of its month comes: as a table of its own, which
//! is then attached, so that neither readers nor the other projectors wait for more than a moment. Whoever makes one holds
//! an advisory lock until its transaction ends; another projector waits for it there, and then finds the partition.

use std::collections::BTreeSet;
use std::io::{self, Write as _};

use parking_lot::Mutex;
use sqlx::{AssertSqlSafe, PgConnection};
use writ_model::Timestamp;

use super::batch::Decoded;
use super::data::Data;
use crate::tables::{EVENT_LOG, Schema, fnv1a, literal, quote};

/// In the order of the table.
const COLUMNS: &str = "time, model, aggregate_id, version, id, type, actor, correlation_id, causation_id, partition, \
                       \"offset\", data";

/// Up to so many events are inserted: their statement takes less time than the end of a `COPY`.
const FEW: usize = 500;

/// The table `event_log`.
#[derive(Debug)]
pub(crate) struct Log {
    schema: Schema,
    copy: String,
    insert: String,
    /// The months whose partitions are known to be there. Emptied by whoever finds that one isn't.
    months: Mutex<BTreeSet<Month>>,
}

impl Log {
    /// That of `schema`.
    pub(crate) fn new(schema: &Schema) -> Log {
        let copy = format!("COPY {} ({COLUMNS}) FROM STDIN", schema.table(EVENT_LOG));
        let insert = format!(
            "INSERT INTO {} ({COLUMNS}) SELECT time::timestamptz, model, aggregate_id, version::bigint, id, type, actor, \
             correlation_id, causation_id, partition, \"offset\", data::json FROM UNNEST($1::text[], $2::text[], \
             $3::uuid[], $4::text[], $5::uuid[], $6::text[], $7::text[], $8::text[], $9::text[], $10::integer[], \
             $11::bigint[], $12::text[]) AS new ({COLUMNS})",
            schema.table(EVENT_LOG)
        );
        Log { schema: schema.clone(), copy, insert, months: Mutex::default() }
    }

    /// Appends all of them.
    pub(crate) async fn append(
        &self,
        connection: &mut PgConnection,
        events: &[&Decoded],
    ) -> Result<(), sqlx::Error> {
        self.write(connection, events, &Lines::of(events)).await
    }

    /// Appends events whose `lines` were prepared.
    pub(super) async fn write(
        &self,
        connection: &mut PgConnection,
        events: &[&Decoded],
        lines: &Lines,
    ) -> Result<(), sqlx::Error> {
        if events.is_empty() {
            return Ok(());
        }
        let known = self.months.lock().clone();
        let new: Vec<Month> = lines.months.difference(&known).copied().collect();
        for month in &new {
            self.make(connection, *month).await?;
        }
        if lines.text.is_empty() {
            self.insert(connection, events).await?;
        } else {
            let mut copy = connection.copy_in_raw(&self.copy).await?;
            copy.send(lines.text.as_slice()).await?;
            copy.finish().await?;
        }
        // Only now: if this transaction fails, the partitions are gone with it. If the commit fails, all is placed anew.
        self.months.lock().extend(new);
        Ok(())
    }

    async fn insert(&self, connection: &mut PgConnection, events: &[&Decoded]) -> Result<(), sqlx::Error> {
        let texts = |read: &dyn Fn(&Decoded) -> String| -> Vec<String> {
            events.iter().map(|event| read(event)).collect()
        };
        let optional = |read: &dyn for<'a> Fn(&'a Decoded) -> Option<&'a str>| -> Vec<Option<String>> {
            events.iter().map(|event| read(event).map(str::to_owned)).collect()
        };
        sqlx::query(AssertSqlSafe(self.insert.as_str()))
            .bind(texts(&|event| event.at.to_string()))
            .bind(texts(&|event| event.model.name.clone()))
            .bind(events.iter().map(|event| event.aggregate).collect::<Vec<_>>())
            .bind(texts(&|event| event.version.to_string()))
            .bind(events.iter().map(|event| event.id).collect::<Vec<_>>())
            .bind(texts(&|event| event.event().type_name.clone()))
            .bind(optional(&|event| event.actor()))
            .bind(optional(&|event| event.correlation_id()))
            .bind(optional(&|event| event.causation_id()))
            .bind(events.iter().map(|event| event.record.place.partition).collect::<Vec<_>>())
            .bind(events.iter().map(|event| event.record.offset).collect::<Vec<_>>())
            .bind(texts(&|event| data(event)))
            .execute(connection)
            .await?;
        Ok(())
    }

    /// Appends one event, if it isn't there.
    pub(crate) async fn complete(
        &self,
        connection: &mut PgConnection,
        event: &Decoded,
    ) -> Result<(), sqlx::Error> {
        let select = format!(
            "SELECT EXISTS (SELECT FROM {} WHERE time = $1::text::timestamptz AND model = $2 AND partition = $3 \
             AND \"offset\" = $4)",
            self.schema.table(EVENT_LOG)
        );
        let there: bool = sqlx::query_scalar(AssertSqlSafe(select))
            .bind(event.at.to_string())
            .bind(&event.model.name)
            .bind(event.record.place.partition)
            .bind(event.record.offset)
            .fetch_one(&mut *connection)
            .await?;
        if there { Ok(()) } else { self.append(connection, &[event]).await }
    }

    async fn make(&self, connection: &mut PgConnection, month: Month) -> Result<(), sqlx::Error> {
        let lock = format!("writ event log {}", self.schema.quoted());
        let lock = i64::from_ne_bytes(fnv1a(lock.as_bytes()).to_ne_bytes());
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(lock).execute(&mut *connection).await?;
        let partition = self.schema.table(&month.table());
        let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
            .bind(&partition)
            .fetch_one(&mut *connection)
            .await?;
        if exists {
            return Ok(());
        }
        let log = self.schema.table(EVENT_LOG);
        let (from, until) = (literal(&month.begin()), literal(&month.next().begin()));
        let statements = [
            format!("CREATE TABLE {partition} (LIKE {log} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"),
            // Known from the start, so that attaching doesn't read the table.
            format!("ALTER TABLE {log} ATTACH PARTITION {partition} FOR VALUES FROM ({from}) TO ({until})"),
        ];
        for statement in statements {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut *connection).await?;
        }
        tracing::info!(db.table = partition, "a month of the event log begins");
        Ok(())
    }
}

/// The statement that makes the table in `schema`, without a partition and without indexes.
pub(crate) fn create(schema: &Schema) -> String {
    let log = schema.table(EVENT_LOG);
    let text = "text COLLATE \"C\"";
    format!(
        "CREATE TABLE {log} (time timestamptz NOT NULL, model {text} NOT NULL, aggregate_id uuid NOT NULL, \
         version bigint NOT NULL, id uuid NOT NULL, type {text} NOT NULL, actor {text}, correlation_id {text}, \
         causation_id {text}, partition integer NOT NULL, \"offset\" bigint NOT NULL, data json NOT NULL) \
         PARTITION BY RANGE (time)"
    )
}

/// The names of its indexes, each with the statement that makes it.
pub(crate) fn index(schema: &Schema) -> Vec<(String, String)> {
    let indexes = [
        ("aggregate", "model, aggregate_id, version"),
        ("time", "time, model, partition, \"offset\""),
        ("correlation", "correlation_id"),
        ("actor", "actor, time"),
    ];
    let log = schema.table(EVENT_LOG);
    let index = |(name, columns): &(&str, &str)| {
        // The point can't stand in the name of a model or projection.
        let name = format!("{EVENT_LOG}.{name}");
        let create = format!("CREATE INDEX {} ON {log} ({columns})", quote(&name));
        (name, create)
    };
    indexes.iter().map(index).collect()
}

/// A month in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Month {
    year: i64,
    /// 1 to 12.
    month: i64,
}

impl Month {
    fn of(time: Timestamp) -> Month {
        // From days to a date of the Gregorian calendar: the year begins in March, so that the leap day is its last one.
        let days = time.0.div_euclid(24 * 60 * 60 * 1000) + 719_468;
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let march = (5 * day + 2) / 153;
        let month = if march < 10 { march + 3 } else { march - 9 };
        Month { year: year + era * 400 + i64::from(month <= 2), month }
    }

    fn next(self) -> Month {
        match self.month {
            12 => Month { year: self.year + 1, month: 1 },
            month => Month { month: month + 1, ..self },
        }
    }

    /// The name of its partition. The point can't stand in the name of a model or projection.
    fn table(self) -> String {
        format!("{EVENT_LOG}.{:04}-{:02}", self.year, self.month)
    }

    /// Its first instant.
    fn begin(self) -> String {
        format!("{:04}-{:02}-01T00:00:00Z", self.year, self.month)
    }
}

fn data(event: &Decoded) -> String {
    let data = Data { fields: &event.event().fields, object: &event.fields };
    serde_json::to_string(&data).expect("invariant: every value has a JSON form")
}

/// Events as `COPY`'s text format has them; without text if they are [`FEW`].
#[derive(Debug, Default)]
pub(super) struct Lines {
    months: BTreeSet<Month>,
    text: Vec<u8>,
}

impl Lines {
    pub(super) fn of(events: &[&Decoded]) -> Lines {
        let mut lines = Lines::default();
        lines.months.extend(events.iter().map(|event| Month::of(event.at)));
        if events.len() <= FEW {
            return lines;
        }
        lines.text.reserve(events.len() * 512);
        for event in events {
            lines
                .push(event)
                .expect("invariant: writing to memory doesn't fail, and every value has a JSON form");
        }
        lines
    }

    fn push(&mut self, event: &Decoded) -> io::Result<()> {
        let declared = event.event();
        let out = &mut self.text;
        write!(out, "{}\t{}\t{}\t", event.at, event.model.name, event.aggregate)?;
        write!(out, "{}\t{}\t", event.version, event.id)?;
        Escaped(out).write_all(declared.type_name.as_bytes())?;
        for optional in [event.actor(), event.correlation_id(), event.causation_id()] {
            out.push(b'\t');
            match optional {
                Some(text) => Escaped(out).write_all(text.as_bytes())?,
                None => out.extend_from_slice(b"\\N"),
            }
        }
        write!(out, "\t{}\t{}\t", event.record.place.partition, event.record.offset)?;
        serde_json::to_writer(Escaped(out), &Data { fields: &declared.fields, object: &event.fields })?;
        out.push(b'\n');
        Ok(())
    }
}

/// Escapes what ends a column or a line, and the sign that escapes.
struct Escaped<'a>(&'a mut Vec<u8>);

impl io::Write for Escaped<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let mut rest = text;
        while let Some(index) = rest.iter().position(|byte| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r')) {
            self.0.extend_from_slice(&rest[..index]);
            self.0.extend_from_slice(match rest[index] {
                b'\t' => b"\\t",
                b'\n' => b"\\n",
                b'\r' => b"\\r",
                _ => b"\\\\",
            });
            rest = &rest[index + 1..];
        }
        self.0.extend_from_slice(rest);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As PostgreSQL reads a column that isn't null.
    fn read(text: &str) -> String {
        let mut out = String::new();
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            out.push(match char {
                '\\' => match chars.next().unwrap() {
                    't' => '\t',
                    'n' => '\n',
                    'r' => '\r',
                    other => other,
                },
                other => other,
            });
        }
        out
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_one_column_and_reads_back(text in "[\\\\\t\n\r.Na-z\u{0}-\u{1f}é😀]{0,40}") {
            let mut escaped = Vec::new();
            Escaped(&mut escaped).write_all(text.as_bytes()).unwrap();
            let escaped = String::from_utf8(escaped).unwrap();
            prop_assert!(!escaped.contains(['\t', '\n', '\r']));
            prop_assert!(escaped != "\\N" && escaped != "\\.");
            prop_assert_eq!(read(&escaped), text);
        }

        #[test]
        fn a_month_is_that_of_the_calendar(millis in Timestamp::MIN.0..=Timestamp::MAX.0) {
            let text = Timestamp(millis).to_string();
            let month = Month::of(Timestamp(millis));
            prop_assert_eq!(format!("{:04}-{:02}", month.year, month.month), &text[..7]);
        }
    }
}
