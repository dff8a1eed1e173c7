//! A schema of an earlier release becomes one of this release.

use uuid::Uuid;

use crate::projector::{COUNTER, publish, rows};
use crate::stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn the_places_of_layout_1_are_those_of_the_rows() {
    let stage = Stage::new(&[COUNTER]).await;
    let running = stage.start();
    let counter = stage.model("counter");
    let ids: Vec<Uuid> = (0..10).map(|_| Uuid::now_v7()).collect();
    let mut positions = publish(&stage, &counter, &ids, 1..=3).await;
    stage.reach(&positions).await;
    running.stop().await;
    // As the release before has made it, with a value by which rows are known that nobody has filled anew.
    stage
        .database
        .execute(
            "CREATE TABLE $schema.before (topic text, partition integer, next bigint NOT NULL, \
             CONSTRAINT before_pkey PRIMARY KEY (topic, partition)); \
             INSERT INTO $schema.before SELECT topic, partition, next FROM $schema.writ_offsets WHERE projection = 'counter'; \
             DROP TABLE $schema.event_log, $schema.writ_offsets, $schema.writ_projections, $schema.writ_passed_over; \
             ALTER TABLE $schema.before RENAME TO writ_offsets; \
             ALTER TABLE $schema.writ_offsets RENAME CONSTRAINT before_pkey TO writ_offsets_pkey; \
             UPDATE $schema.writ_meta SET value = '1' WHERE name = 'layout'; \
             UPDATE $schema.counter SET name = 'kept'",
        )
        .await;
    let running = stage.start();
    positions.extend(publish(&stage, &counter, &ids, 4..=4).await);
    stage.reach(&positions).await;
    assert!(rows(&stage, &counter).await.values().all(|(version, _)| *version == 4));
    assert_eq!(stage.database.number("SELECT count(*) FROM $schema.counter WHERE name = 'kept'").await, 10);
    assert_eq!(stage.database.number("SELECT count(*) FROM $schema.writ_passed_over").await, 0);
    stage.database.until("SELECT count(*) FROM $schema.event_log", 40).await;
    assert_eq!(stage.database.number("SELECT count(*) FROM $schema.writ_meta WHERE value = '2'").await, 1);
    running.stop().await;
}
