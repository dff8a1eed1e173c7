//! What every step of a build needs.

use sqlx::{AssertSqlSafe, PgConnection};
use writ_model::Models;
use writ_producers::kafka;
use writ_producers::registry::Registry;
use writ_producers::topics::Topics;

use super::Error;
use super::requests::Requests;
use super::source::Places;
use crate::Options;
use crate::catalog::Generation;
use crate::projector::batch::{Decoder, Place};
use crate::projector::letters::Letters;
use crate::projector::offsets::Offsets;
use crate::projector::passed_over::PassedOver;
use crate::tables::{OFFSETS, Schema};

/// Names, clients and statements, the same for every build.
pub(super) struct Tools {
    pub(super) kafka: kafka::Options,
    pub(super) topics: Topics,
    /// Where the live tables stand.
    pub(super) schema: Schema,
    /// Where tables are built.
    pub(super) next: Schema,
    pub(super) requests: Requests,
    pub(super) offsets: Offsets,
    pub(super) passed_over: PassedOver,
    pub(super) decoder: Decoder,
    pub(super) letters: Letters,
}

impl Tools {
    pub(super) fn new(
        options: &Options,
        kafka: kafka::Options,
        registry: Registry,
        models: &Models,
    ) -> Result<Tools, Error> {
        let (schema, topics) = (Schema::new(&options.schema), Topics::new(&kafka.topic_prefix));
        Ok(Tools {
            next: schema.next(),
            requests: Requests::new(&schema),
            offsets: Offsets::new(&schema),
            passed_over: PassedOver::new(&schema),
            decoder: Decoder::new(registry, models, &topics),
            letters: Letters::new(&kafka, &topics)?,
            schema,
            topics,
            kafka,
        })
    }

    /// The places of a generation; empty if it has none.
    pub(super) async fn places_of(
        &self,
        connection: &mut PgConnection,
        generation: &Generation,
    ) -> Result<Places, sqlx::Error> {
        let select = format!(
            "SELECT topic, partition, next FROM {} WHERE projection = $1 AND generation = $2",
            self.schema.table(OFFSETS)
        );
        let rows: Vec<(String, i32, i64)> = sqlx::query_as(AssertSqlSafe(select))
            .bind(&*generation.projection)
            .bind(generation.number)
            .fetch_all(connection)
            .await?;
        let place = |topic: String, partition| Place { topic: topic.into(), partition };
        Ok(rows.into_iter().map(|(topic, partition, next)| (place(topic, partition), next)).collect())
    }
}
