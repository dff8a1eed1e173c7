//! The projector's places, in PostgreSQL.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use super::batch::Place;
use crate::tables::{OFFSETS, Schema};

/// How far a batch moves each partition: from the first number to the second.
pub(super) type Moves = BTreeMap<Place, (i64, i64)>;

/// The table `writ_offsets`.
#[derive(Debug)]
pub(super) struct Offsets {
    table: String,
}

impl Offsets {
    pub(super) fn new(schema: &Schema) -> Offsets {
        Offsets { table: schema.table(OFFSETS) }
    }

    /// The next offset of each partition: 0 where nothing was read yet. Makes the rows that [`Offsets::advance`] changes.
    pub(super) async fn load(
        &self,
        pool: &PgPool,
        places: &[Place],
    ) -> Result<BTreeMap<Place, i64>, sqlx::Error> {
        let (topics, partitions) = keys(places.iter());
        let insert = format!(
            "INSERT INTO {} (topic, partition, next) SELECT topic, partition, 0 \
             FROM UNNEST($1::text[], $2::integer[]) AS place (topic, partition) ORDER BY topic, partition \
             ON CONFLICT DO NOTHING",
            self.table
        );
        sqlx::query(AssertSqlSafe(insert)).bind(&topics).bind(&partitions).execute(pool).await?;
        self.read(pool, places).await
    }

    /// The same, for those that have a row.
    pub(super) async fn read(
        &self,
        pool: &PgPool,
        places: &[Place],
    ) -> Result<BTreeMap<Place, i64>, sqlx::Error> {
        let (topics, partitions) = keys(places.iter());
        let select = format!(
            "SELECT topic, partition, next FROM {} JOIN UNNEST($1::text[], $2::integer[]) AS place (topic, partition) \
             USING (topic, partition)",
            self.table
        );
        let rows: Vec<(String, i32, i64)> =
            sqlx::query_as(AssertSqlSafe(select)).bind(&topics).bind(&partitions).fetch_all(pool).await?;
        let place = |topic: String, partition| Place { topic: topic.into(), partition };
        Ok(rows.into_iter().map(|(topic, partition, next)| (place(topic, partition), next)).collect())
    }

    /// Takes the lock of a partition without moving it, and says where it is. `None`: nothing was read of it yet.
    pub(super) async fn hold(
        &self,
        connection: &mut PgConnection,
        place: &Place,
    ) -> Result<Option<i64>, sqlx::Error> {
        let select =
            format!("SELECT next FROM {} WHERE topic = $1 AND partition = $2 FOR UPDATE", self.table);
        sqlx::query_scalar(AssertSqlSafe(select))
            .bind(&*place.topic)
            .bind(place.partition)
            .fetch_optional(connection)
            .await
    }

    /// Moves all of `moves`, and takes their locks. `false`: somebody else has moved one of them, so we are fenced.
    pub(super) async fn advance(
        &self,
        connection: &mut PgConnection,
        moves: &Moves,
    ) -> Result<bool, sqlx::Error> {
        let (topics, partitions) = keys(moves.keys());
        let (old, new): (Vec<i64>, Vec<i64>) = moves.values().copied().unzip();
        let update = format!(
            "UPDATE {} AS offsets SET next = place.new \
             FROM UNNEST($1::text[], $2::integer[], $3::bigint[], $4::bigint[]) AS place (topic, partition, old, new) \
             WHERE offsets.topic = place.topic AND offsets.partition = place.partition AND offsets.next = place.old",
            self.table
        );
        let done = sqlx::query(AssertSqlSafe(update))
            .bind(&topics)
            .bind(&partitions)
            .bind(&old)
            .bind(&new)
            .execute(connection)
            .await?;
        Ok(usize::try_from(done.rows_affected()).is_ok_and(|moved| moved == moves.len()))
    }
}

fn keys<'a>(places: impl Iterator<Item = &'a Place>) -> (Vec<String>, Vec<i32>) {
    places.map(|place| (place.topic.to_string(), place.partition)).unzip()
}
