//! What happened: `GET /v1/{model}/{id}/events`, `GET /v1/events`, `as_of` and `diff`, read by those who wrote it.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::harness::{self, Answer, Client, Slot, client, unique};

static SERVER: Slot = harness::slot();

/// An order that was placed, paid and shipped. The last answer is the last event's.
async fn shipped(app: &Client) -> (String, Vec<Answer>) {
    let placed = app.place_order().await;
    let path = format!("/v1/order/{}", placed.id());
    let paid = app.post(&format!("{path}/pay"), &json!({ "reference": "bank 1" })).await.expect(200);
    let shipped = app.post(&format!("{path}/ship"), &json!({})).await.expect(200);
    (path, vec![placed, paid, shipped])
}

fn items(answer: &Answer) -> &Vec<Value> {
    answer.body["items"].as_array().unwrap_or_else(|| panic!("no items: {}", answer.text))
}

#[tokio::test]
async fn the_history_is_what_the_commands_answered() {
    let app = harness::shared(&SERVER).await;
    let (path, answers) = shipped(&app).await;
    let last = answers.last().unwrap().position();
    let page = app.get_at(&format!("{path}/events"), last).await.expect(200);
    assert_eq!(items(&page).len(), 3, "{}", page.text);
    for (event, answer) in items(&page).iter().zip(&answers) {
        let told = &answer.body["events"][0];
        for member in ["id", "type", "version", "time", "data"] {
            assert_eq!(event[member], told[member], "{member} of {event}");
        }
        assert_eq!(event["aggregate_id"], answer.body["id"]);
        assert_eq!(event["position"], answer.position());
        assert_eq!(event["model"], "order");
        assert!(event["correlation_id"].is_string() && event["actor"].is_null(), "{event}");
        assert!(event.get("unreadable").is_none() && event.get("passed_over").is_none(), "{event}");
    }
    let number = answers[0].body["state"]["number"].as_str().unwrap();
    let by_key = app.get(&format!("/v1/order/{number}/events?limit=2")).await.expect(200);
    assert_eq!(items(&by_key)[..], items(&page)[..2]);
    let next = by_key.body["next"].as_str().unwrap();
    let rest = app.get(&client::query(&format!("{path}/events"), &[("after", next)])).await.expect(200);
    assert_eq!(items(&rest)[..], items(&page)[2..]);
    assert!(rest.body["next"].is_null());

    let chain = items(&page)[1]["correlation_id"].as_str().unwrap();
    for parameters in [
        &[("correlation_id", chain)][..],
        &[("type", "test.order.Paid"), ("aggregate_id", answers[0].id())],
        &[("model", "order"), ("aggregate_id", number), ("type", "test.order.Paid")],
    ] {
        let found = app.get(&client::query("/v1/events", parameters)).await.expect(200);
        assert_eq!(items(&found)[..], items(&page)[1..2], "{parameters:?}");
    }
}

#[tokio::test]
async fn a_reader_with_a_position_sees_its_own_event() {
    let app = harness::shared(&SERVER).await;
    let purse = app.open_purse().await;
    let path = format!("/v1/purse/{}", purse.id());
    for version in 2..=60_u64 {
        let answer = app.post(&format!("{path}/deposit"), &json!({ "amount": 1 })).await.expect(200);
        let by_version = format!("{path}?as_of={version}");
        let was = app.get_at(&by_version, answer.position()).await.expect(200);
        assert_eq!((was.version(), &was.body["state"]), (version, &answer.body["state"]));
        let latest = client::query("/v1/events", &[("aggregate_id", purse.id()), ("limit", "1")]);
        let latest = app.get_at(&latest, answer.position()).await.expect(200);
        assert_eq!(items(&latest)[0]["id"], answer.body["events"][0]["id"]);
    }
}

#[tokio::test]
async fn what_was_not_reached_is_said() {
    let world = harness::World::new();
    let server = world.start(&[("WRIT_POSTGRES_POSITION_WAIT_MS", "300")]).await;
    let app = server.client();
    let purse = app.open_purse().await;
    let (place, offset) = purse.position().rsplit_once(':').unwrap();
    let path = format!("/v1/purse/{}", purse.id());
    let reached = format!("{place}:{offset}");
    app.get_at(&path, &reached).await.expect(200);
    for (path, projection) in [(path.clone(), "purse"), (format!("{path}/events"), "event_log")] {
        app.get_at(&path, &reached).await.expect(200);
        let answer = app.get_at(&path, &format!("{place}:999999999")).await;
        let answer = answer.problem(412, "position-not-reached");
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("{projection} has reached {place}:")), "{detail}");
        assert!(detail.contains(&format!("not {place}:999999999")), "{detail}");
    }
}

#[tokio::test]
async fn a_row_as_it_was() {
    let app = harness::shared(&SERVER).await;
    let (path, answers) = shipped(&app).await;
    let last = answers.last().unwrap().position();
    for answer in &answers {
        let version = answer.version();
        let was = app.get_at(&format!("{path}?as_of={version}"), last).await.expect(200);
        assert_eq!(was.body["state"], answer.body["state"]);
        assert_eq!((was.version(), &was.body["as_of"]), (version, &json!(version)));
        assert_eq!(was.body["created_at"], answers[0].body["events"][0]["time"]);
        assert_eq!(was.body["updated_at"], answer.body["events"][0]["time"]);
        assert!(was.headers.get("etag").is_none(), "nobody may base a command on it");
    }
    let began = answers[0].body["events"][0]["time"].as_str().unwrap();
    let was = app.get(&client::query(&path, &[("as_of", "9999-12-31T23:59:59.999Z")])).await.expect(200);
    assert_eq!(was.version(), 3);
    let was = app.get(&client::query(&path, &[("as_of", began)])).await.expect(200);
    assert_eq!(was.body["as_of"], began);
    let early = app.get(&client::query(&path, &[("as_of", "2020-01-01T00:00:00+01:00")])).await;
    let early = early.problem(404, "not-found");
    assert!(early.body["detail"].as_str().unwrap().contains(began), "says when it began: {}", early.text);
    let late = app.get(&format!("{path}?as_of=4")).await.problem(404, "not-found");
    assert!(late.body["detail"].as_str().unwrap().contains("1 to 3"), "says what there is: {}", late.text);
    let nobody = uuid::Uuid::now_v7();
    for path in [format!("/v1/order/{nobody}?as_of=1"), format!("/v1/order/{nobody}?diff=1..2")] {
        app.get(&path).await.problem(404, "not-found");
    }
    app.get(&format!("/v1/order/{nobody}/events")).await.problem(404, "not-found");
}

#[tokio::test]
async fn what_changed_between_two_versions() {
    let app = harness::shared(&SERVER).await;
    let (path, answers) = shipped(&app).await;
    let last = answers.last().unwrap();
    let found = app.get_at(&format!("{path}?diff=1..2"), last.position()).await.expect(200);
    let expected = json!([{ "pointer": "/status", "before": "placed", "after": "paid" }]);
    assert_eq!(found.body["changes"], expected);
    assert_eq!((&found.body["from"], &found.body["to"]), (&json!(1), &json!(2)));
    assert_eq!(found.body["events"][0]["data"]["reference"], "bank 1");
    assert_eq!(found.body["events"].as_array().unwrap().len(), 1);
    let open = app.get(&format!("{path}?diff=1..")).await.expect(200);
    assert_eq!(open.body["to"], 3);
    let shipped_at = &last.body["state"]["shipped_at"];
    assert_eq!(
        open.body["changes"],
        json!([
            { "pointer": "/status", "before": "placed", "after": "shipped" },
            { "pointer": "/shipped_at", "before": null, "after": shipped_at },
        ])
    );
    assert_eq!(app.get(&format!("{path}?diff=2..2")).await.expect(200).body["changes"], json!([]));
    for (diff, hint) in
        [("3..1", "1..3"), ("2..9", "1 to 3"), ("9..", "1 to 3"), ("0..2", "3..7"), ("2", "3..7")]
    {
        let answer = app.get(&format!("{path}?diff={diff}")).await.problem(400, "invalid-query");
        assert_eq!(answer.pointers(), ["/diff"]);
        assert!(answer.body["detail"].as_str().unwrap().contains(hint), "{}", answer.text);
    }
}

#[tokio::test]
async fn the_history_outlives_its_aggregate() {
    let app = harness::shared(&SERVER).await;
    let note = app.post("/v1/note/create", &json!({ "title": "a" })).await.expect(201);
    let path = format!("/v1/note/{}", note.id());
    let gone = app.post(&format!("{path}/delete"), &json!({})).await.expect(200);
    let page = app.get_at(&format!("{path}/events"), gone.position()).await.expect(200);
    assert_eq!(items(&page).len(), 2);
    app.get_at(&path, gone.position()).await.problem(404, "not-found");
    assert_eq!(app.get(&format!("{path}?as_of=1")).await.expect(200).body["state"], note.body["state"]);
    let deleted = app.get(&format!("{path}?as_of=2")).await.problem(404, "not-found");
    assert!(deleted.body["detail"].as_str().unwrap().contains("deleted it at"), "{}", deleted.text);
    let change = &app.get(&format!("{path}?diff=1..2")).await.expect(200).body["changes"][0];
    assert_eq!((&change["pointer"], &change["after"]), (&json!(""), &Value::Null));
}

#[tokio::test]
async fn parameters_that_make_no_sense_are_refused() {
    let app = harness::shared(&SERVER).await;
    let (path, answers) = shipped(&app).await;
    app.get_at(&format!("{path}/events"), answers[2].position()).await.expect(200);
    for (query, pointers) in [
        ("as_of=1&diff=1..2", &["/diff"][..]),
        ("as_of=1&as_of=2", &["/as_of"]),
        ("as_of=1&colour=red", &["/colour"]),
        ("as_of=yesterday", &["/as_of"]),
        ("as_of=0", &["/as_of"]),
    ] {
        let answer = app.get(&format!("{path}?{query}")).await.problem(400, "invalid-query");
        assert_eq!(answer.pointers(), pointers, "{query}");
    }
    let events = app.get("/v1/events?type=test.order.Payd&model=ordr&limit=0&sort=version").await;
    let events = events.problem(400, "invalid-query");
    assert_eq!(events.pointers(), ["/limit", "/model", "/sort", "/type"]);
    assert!(events.text.contains("did you mean `test.order.Paid`?"), "{}", events.text);
    app.get(&format!("{path}/events?time[gt]=1")).await.problem(400, "invalid-query");
    // The same address is a command's.
    let answer = app.get(&format!("{path}/pay")).await.problem(405, "method-not-allowed");
    assert_eq!(answer.header("allow"), "POST");
    app.post(&format!("{path}/events"), &json!({})).await.problem(404, "unknown-command");
    app.get("/v1/nothing/1/events").await.problem(404, "unknown-model");
    app.get("/v1/note/not-a-uuid/events").await.problem(404, "not-found");
}

#[tokio::test]
async fn no_parameter_breaks_the_server() {
    let app = harness::shared(&SERVER).await;
    let (path, answers) = shipped(&app).await;
    let page = app.get_at(&format!("{path}/events?limit=1"), answers[2].position()).await.expect(200);
    let cursor = page.body["next"].as_str().unwrap();
    let values = proptest::prop_oneof![
        proptest::sample::select(vec![
            "'",
            "''",
            "\"",
            "';--",
            "$1",
            "' OR '1'='1",
            "\0",
            "",
            "-",
            "..",
            "1..",
            "..1",
            "1..2",
            "2..1",
            "1..99999999999999999999",
            "0",
            "-1",
            "1",
            "9223372036854775807",
            "9223372036854775808",
            "1e9",
            "NaN",
            "null",
            "order",
            "test.order.Paid",
            "time",
            "-time",
            "0001-01-01T00:00:00.000Z",
            "9999-12-31T23:59:59.999Z",
            "2026-02-30T00:00:00Z",
            "infinity",
            "now",
            "WyIwIixbXV0",
            "%",
            "\u{1F600}\u{202E}",
            "00000000-0000-0000-0000-000000000000",
        ])
        .prop_map(str::to_owned),
        proptest::strategy::Just(cursor.to_owned()),
        "\\PC{0,20}",
        "[0-9]{1,3}\\.\\.[0-9]{0,3}",
    ];
    let names = proptest::prop_oneof![
        12 => proptest::sample::select(vec![
            "as_of", "diff", "model", "type", "aggregate_id", "actor", "correlation_id", "causation_id", "time[gt]",
            "time[gte]", "time[lt]", "time[lte]", "sort", "limit", "after",
        ])
        .prop_map(str::to_owned),
        1 => "\\PC{0,10}",
    ];
    let parameters = proptest::collection::vec((names, values), 1..3);
    let mut runner = TestRunner::deterministic();
    let mut answered = 0;
    for nth in 0..900 {
        let parameters = parameters.new_tree(&mut runner).unwrap().current();
        let pairs: Vec<_> = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let address = match nth % 3 {
            0 => path.clone(),
            1 => format!("{path}/events"),
            _ => "/v1/events".to_owned(),
        };
        let answer = app.get(&client::query(&address, &pairs)).await;
        assert!([200, 400, 404].contains(&answer.status), "{address} {parameters:?}: {}", answer.text);
        answered += u32::from(answer.status == 200);
    }
    assert!(answered > 30, "enough of them were fit to be answered: {answered}");
    app.get(&format!("/v1/{}/1/events", unique("m"))).await.problem(404, "unknown-model");
    app.get(&path).await.expect(200);
}
