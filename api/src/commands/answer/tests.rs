use std::time::Duration;

use http_body_util::BodyExt;
use rdkafka::error::KafkaError;
use serde_json::json;
use writ_model::{FieldError, Position};

use super::*;

const ID: Uuid = Uuid::from_u128(0x0190_a1f3_7c2e_7b60_9d3c_5b1f_0a9e_4c11);

fn sent() -> Sent {
    Sent { model: "order".into(), command: "ship".into(), id: Uuid::nil(), aggregate: ID }
}

fn committed(created: bool) -> Committed {
    Committed {
        id: ID,
        version: 2,
        state: json!({ "status": "paid" }),
        events: vec![EventSummary {
            id: Uuid::nil(),
            type_name: "shop.order.Paid".into(),
            version: 2,
            time: "2026-01-31T09:30:00.000Z".into(),
            data: json!({ "status": "paid" }),
        }],
        position: Position { model: "order".into(), partition: 5, offset: 1234 },
        created,
    }
}

/// Status, type and detail of each, as the guide promises them.
fn table(problems: impl IntoIterator<Item = Problem>) -> String {
    let row = |problem: Problem| {
        let command = problem.command_id.map_or("", |_| " +command_id");
        let version = problem.version.map(|version| format!(" +etag {version}")).unwrap_or_default();
        format!(
            "{} {}{command}{version}: {}",
            problem.kind.status().as_u16(),
            problem.kind.slug(),
            problem.detail
        )
    };
    problems.into_iter().map(row).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_rejection_has_its_problem() {
    let fault = |pointer: &str| FieldError {
        pointer: pointer.into(),
        code: "required".into(),
        detail: "It is missing.".into(),
    };
    let rejections = [
        Rejection::UnknownCommand { command: "ship".into() },
        Rejection::Invalid { errors: vec![fault("/number")] },
        Rejection::Invalid { errors: vec![fault("/number"), fault("/text")] },
        Rejection::NotFound,
        Rejection::AlreadyExists { version: Some(4) },
        Rejection::VersionMismatch { expected: 3, actual: 4 },
        Rejection::WrongState {
            field: "status".into(),
            actual: "placed".into(),
            allowed: vec!["paid".into(), "packed".into()],
        },
        Rejection::GuardFailed { detail: "An order needs at least one line.".into() },
        Rejection::Failed { detail: "division by zero in `a / b`".into() },
        Rejection::NotUnique { fields: vec!["email".into()] },
        Rejection::KeyReused,
    ];
    insta::assert_snapshot!(table(rejections.map(|rejection| of_rejection(&sent(), rejection))));
}

#[test]
fn every_failure_has_its_problem() {
    let failures = [
        Error::Overloaded,
        Error::Unavailable("10.0.0.1:9092: connection refused".into()),
        Error::Unacknowledged(KafkaError::Canceled),
        Error::TooLarge { size: 900_001, limit: 900_000 },
        Error::Timeout(Duration::from_secs(10)),
        Error::ShuttingDown,
    ];
    insta::assert_snapshot!(table(failures.map(|error| of_error(error, ID))));
}

#[tokio::test]
async fn a_single_answer_has_its_headers() {
    let answer =
        Answer::Committed { model: "order".into(), committed: committed(true), projected: Some(false) };
    let response = answer.into_response();
    assert_eq!(response.status(), 201);
    let mut headers: Vec<_> = response
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    insta::assert_snapshot!(format!("{}\n\n{}", headers.join("\n"), std::str::from_utf8(&body).unwrap()));
    let answer = Answer::Committed { model: "order".into(), committed: committed(false), projected: None };
    let response = answer.into_response();
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key(LOCATION) && !response.headers().contains_key(WRIT_PROJECTED));
}

#[test]
fn a_batch_has_one_line_for_each() {
    let lines = [
        Ok(Answer::Committed { model: "order".into(), committed: committed(true), projected: None }),
        Ok(Answer::Committed { model: "order".into(), committed: committed(false), projected: Some(true) }),
        Ok(Answer::Accepted { command_id: Uuid::nil(), id: ID }),
        Err(Kind::NotFound.because("There is none.")),
    ];
    let text: Vec<u8> = lines.iter().flat_map(line).collect();
    insta::assert_snapshot!(String::from_utf8(text).unwrap());
}
