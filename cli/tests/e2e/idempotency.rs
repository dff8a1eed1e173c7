//! `Idempotency-Key`: however often a request is sent, it is done once and answered the same.

use futures::future::join_all;
use serde_json::json;

use crate::harness::{self, Answer, Slot, kafka, unique};

static SERVER: Slot = harness::slot();

/// Everything of an answer that must not depend on which of the repeats it answers.
#[track_caller]
fn assert_same(answers: &[Answer]) {
    let first = &answers[0];
    for answer in answers {
        assert_eq!(answer.status, first.status, "{}", answer.text);
        assert_eq!(answer.text, first.text);
        for name in ["etag", "writ-position", "location"] {
            assert_eq!(answer.headers.get(name), first.headers.get(name), "{name}");
        }
    }
}

#[tokio::test]
async fn ten_parallel_repeats_of_a_creating_command_give_one_event() {
    let app = harness::shared(&SERVER).await;
    let key = unique("k");
    let body = json!({ "title": key });
    let headers = [("Idempotency-Key", key.as_str())];
    let answers = join_all((0..10).map(|_| app.post_with("/v1/note/create", &body, &headers))).await;
    assert_eq!(answers[0].status, 201, "{}", answers[0].text);
    assert_same(&answers);

    let topic = app.world().topic("note");
    let events = kafka::events_of(&topic, answers[0].id()).await;
    assert_eq!(events.len(), 1, "{events:?}");
    let position = format!("note:{}:{}", events[0].partition, events[0].offset);
    assert_eq!(answers[0].position(), position);

    // No other aggregate was made with the same input either.
    let mut titled = 0;
    for event in kafka::read(&topic).await {
        titled += usize::from(kafka::text(&event.fields().await["title"]) == Some(&key));
    }
    assert_eq!(titled, 1);
}

#[tokio::test]
async fn ten_parallel_repeats_on_an_aggregate_give_one_event() {
    let app = harness::shared(&SERVER).await;
    let purse = app.open_purse().await;
    let path = format!("/v1/purse/{}/deposit", purse.id());
    let key = unique("k");
    let headers = [("Idempotency-Key", key.as_str())];
    let body = json!({ "amount": 5 });
    let answers = join_all((0..10).map(|_| app.post_with(&path, &body, &headers))).await;
    assert_eq!(answers[0].status, 200, "{}", answers[0].text);
    assert_same(&answers);
    assert_eq!(answers[0].body["state"]["balance"], 5);
    assert_eq!(kafka::events_of(&app.world().topic("purse"), purse.id()).await.len(), 2);
}

#[tokio::test]
async fn a_repeat_gives_the_first_outcome_whatever_came_between() {
    let app = harness::shared(&SERVER).await;
    let purse = app.open_purse().await;
    let path = format!("/v1/purse/{}/deposit", purse.id());
    let key = unique("k");
    let headers = [("Idempotency-Key", key.as_str())];
    let body = json!({ "amount": 5 });
    let first = app.post_with(&path, &body, &headers).await.expect(200);
    app.post(&path, &json!({ "amount": 1 })).await.expect(200);
    app.post(&format!("/v1/purse/{}/close", purse.id()), &json!({})).await.expect(200);
    let repeat = app.post_with(&path, &body, &headers).await;
    assert_same(&[first, repeat]);
}

#[tokio::test]
async fn a_rejection_is_repeated_as_well() {
    let app = harness::shared(&SERVER).await;
    let purse = app.open_purse().await;
    let key = unique("k");
    let headers = [("Idempotency-Key", key.as_str())];
    let path = format!("/v1/purse/{}/withdraw", purse.id());
    let body = json!({ "amount": 5 });
    let first = app.post_with(&path, &body, &headers).await.problem(422, "guard-failed");
    app.post(&format!("/v1/purse/{}/deposit", purse.id()), &json!({ "amount": 9 })).await.expect(200);
    let repeat = app.post_with(&path, &body, &headers).await.problem(422, "guard-failed");
    assert_eq!(first.text, repeat.text);
}

#[tokio::test]
async fn a_key_belongs_to_one_body() {
    let app = harness::shared(&SERVER).await;
    let purse = app.open_purse().await;
    let path = format!("/v1/purse/{}/deposit", purse.id());
    let key = unique("k");
    let headers = [("Idempotency-Key", key.as_str())];
    app.post_with(&path, &json!({ "amount": 5 }), &headers).await.expect(200);
    app.post_with(&path, &json!({ "amount": 6 }), &headers).await.problem(422, "idempotency-key-reused");
    assert_eq!(kafka::events_of(&app.world().topic("purse"), purse.id()).await.len(), 2);
}

#[tokio::test]
async fn without_a_key_each_request_counts() {
    let app = harness::shared(&SERVER).await;
    let purse = app.open_purse().await;
    let path = format!("/v1/purse/{}/deposit", purse.id());
    let body = json!({ "amount": 5 });
    let answers = join_all((0..10).map(|_| app.post(&path, &body))).await;
    let mut versions: Vec<_> = answers.into_iter().map(|answer| answer.expect(200).version()).collect();
    versions.sort_unstable();
    assert_eq!(versions, (2..=11).collect::<Vec<_>>());
}
