//! The places of the projections in the event topics, in PostgreSQL: the table `writ_offsets`.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, PgConnection};

use super::batch::Place;
use crate::catalog::Generation;
use crate::positions::{self, line::REWRITTEN};
use crate::tables::{OFFSETS, Schema};

/// A partition as one generation reads it.
pub(crate) type Reading = (Generation, Place);
/// The next offset of each.
pub(crate) type Places = BTreeMap<Reading, i64>;
/// How far a batch moves each: from the first number to the second.
pub(crate) type Moves = BTreeMap<Reading, (i64, i64)>;

/// The columns that say which, as parameters; and how they are compared.
const KEYS: &str = "UNNEST($1::text[], $2::integer[], $3::text[], $4::integer[])";
const COLUMNS: &str = "projection, generation, topic, partition";

/// The table `writ_offsets`.
#[derive(Debug, Clone)]
pub(crate) struct Offsets {
    table: String,
    channel: String,
}

impl Offsets {
    /// That of `schema`.
    pub(crate) fn new(schema: &Schema) -> Offsets {
        Offsets { table: schema.table(OFFSETS), channel: positions::channel(schema) }
    }

    /// The next offset of each: 0 where nothing was read yet. Makes the rows that [`Offsets::advance`] changes. The caller
    /// holds the generations' rows in the catalog, so that none of them is forgotten meanwhile.
    pub(crate) async fn load(
        &self,
        connection: &mut PgConnection,
        readings: &[Reading],
    ) -> Result<Places, sqlx::Error> {
        let insert = format!(
            "INSERT INTO {} ({COLUMNS}, next) SELECT {COLUMNS}, 0 FROM {KEYS} AS place ({COLUMNS}) \
             ORDER BY {COLUMNS} ON CONFLICT DO NOTHING",
            self.table
        );
        let keys = Keys::of(readings.iter());
        sqlx::query(AssertSqlSafe(insert))
            .bind(&keys.projections)
            .bind(&keys.generations)
            .bind(&keys.topics)
            .bind(&keys.partitions)
            .execute(&mut *connection)
            .await?;
        self.read(connection, readings).await
    }

    /// The same, for those that have a row.
    pub(crate) async fn read(
        &self,
        connection: &mut PgConnection,
        readings: &[Reading],
    ) -> Result<Places, sqlx::Error> {
        let select = format!(
            "SELECT {COLUMNS}, next FROM {} JOIN {KEYS} AS place ({COLUMNS}) USING ({COLUMNS})",
            self.table
        );
        let keys = Keys::of(readings.iter());
        let rows: Vec<(String, i32, String, i32, i64)> = sqlx::query_as(AssertSqlSafe(select))
            .bind(&keys.projections)
            .bind(&keys.generations)
            .bind(&keys.topics)
            .bind(&keys.partitions)
            .fetch_all(connection)
            .await?;
        let reading = |projection: String, number, topic: String, partition| {
            let generation = Generation { projection: projection.into(), number };
            (generation, Place { topic: topic.into(), partition })
        };
        let rows = rows.into_iter();
        Ok(rows
            .map(|(name, number, topic, partition, next)| (reading(name, number, topic, partition), next))
            .collect())
    }

    /// Takes the locks of a partition without moving anything, and says where the live projections are in it.
    pub(crate) async fn hold(
        &self,
        connection: &mut PgConnection,
        place: &Place,
    ) -> Result<BTreeMap<Generation, i64>, sqlx::Error> {
        let select = format!(
            "SELECT projection, generation, next FROM {} WHERE topic = $1 AND partition = $2 \
             ORDER BY {COLUMNS} FOR UPDATE",
            self.table
        );
        let rows: Vec<(String, i32, i64)> = sqlx::query_as(AssertSqlSafe(select))
            .bind(&*place.topic)
            .bind(place.partition)
            .fetch_all(connection)
            .await?;
        let generation = |projection: String, number| Generation { projection: projection.into(), number };
        Ok(rows.into_iter().map(|(name, number, next)| (generation(name, number), next)).collect())
    }

    /// Moves all of `moves`, and takes their locks. `false`: somebody else has moved or deleted one of them, so we are
    /// fenced.
    pub(crate) async fn advance(
        &self,
        connection: &mut PgConnection,
        moves: &Moves,
    ) -> Result<bool, sqlx::Error> {
        let (old, new): (Vec<i64>, Vec<i64>) = moves.values().copied().unzip();
        let update = format!(
            "UPDATE {} AS offsets SET next = place.new \
             FROM UNNEST($1::text[], $2::integer[], $3::text[], $4::integer[], $5::bigint[], $6::bigint[]) \
             AS place ({COLUMNS}, old, new) \
             WHERE offsets.projection = place.projection AND offsets.generation = place.generation \
             AND offsets.topic = place.topic AND offsets.partition = place.partition AND offsets.next = place.old",
            self.table
        );
        let keys = Keys::of(moves.keys());
        let done = sqlx::query(AssertSqlSafe(update))
            .bind(&keys.projections)
            .bind(&keys.generations)
            .bind(&keys.topics)
            .bind(&keys.partitions)
            .bind(&old)
            .bind(&new)
            .execute(connection)
            .await?;
        Ok(usize::try_from(done.rows_affected()).is_ok_and(|moved| moved == moves.len()))
    }

    /// Whoever waits for a place looks again, once this is committed.
    pub(crate) async fn announce(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        self.notify(connection, "").await
    }

    /// The same for rows that an event was given to behind their places, which tells those who follow the rows by their places.
    pub(crate) async fn announce_rewritten(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        self.notify(connection, REWRITTEN).await
    }

    async fn notify(&self, connection: &mut PgConnection, payload: &str) -> Result<(), sqlx::Error> {
        let notify = sqlx::query("SELECT pg_notify($1, $2)").bind(&self.channel).bind(payload);
        notify.execute(connection).await?;
        Ok(())
    }
}

/// The key columns of several rows.
#[derive(Default)]
struct Keys {
    projections: Vec<String>,
    generations: Vec<i32>,
    topics: Vec<String>,
    partitions: Vec<i32>,
}

impl Keys {
    fn of<'a>(readings: impl Iterator<Item = &'a Reading>) -> Keys {
        let mut keys = Keys::default();
        for (generation, place) in readings {
            keys.projections.push(generation.projection.to_string());
            keys.generations.push(generation.number);
            keys.topics.push(place.topic.to_string());
            keys.partitions.push(place.partition);
        }
        keys
    }
}
