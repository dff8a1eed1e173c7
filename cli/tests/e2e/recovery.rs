//! What is killed, deleted, cut off or not there yet: nothing is lost, nothing is done twice, all comes back by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::proxy::{self, Proxy};
use crate::harness::{self, Answer, App, Client, World, eventually, kafka, unique, world};

/// Sends until there is a final answer: a success or a refusal that repeating won't change.
async fn persist(app: &Client, path: &str, body: &Value, key: &str) -> Answer {
    eventually(&format!("{path} is answered"), async || {
        app.try_post(path, body, key).await.filter(|answer| answer.status < 500)
    })
    .await
}

async fn part(app: &Client, name: &str) -> Option<Value> {
    let answer = app.try_get("/readyz").await?;
    answer.body["parts"].as_array()?.iter().find(|part| part["name"] == name).cloned()
}

/// Waits until the part is (not) ready, and returns what is said of it.
async fn wait_for_part(app: &Client, name: &str, ready: bool) -> Value {
    eventually(&format!("{name} has ready={ready}"), async || {
        part(app, name).await.filter(|part| part["ready"] == ready)
    })
    .await
}

#[tokio::test]
async fn the_read_models_come_back_from_kafka_row_by_row() {
    let App { server, world } = App::start().await;
    let app = server.client();
    let mut last = String::new();
    for n in 0..30 {
        let order = app.place_order().await;
        let path = format!("/v1/order/{}", order.id());
        app.post(&format!("{path}/pay"), &json!({})).await.expect(200);
        if n % 2 == 0 {
            app.post(&format!("{path}/ship"), &json!({})).await.expect(200);
        }
        let purse = app.open_purse().await;
        app.post(&format!("/v1/purse/{}/deposit", purse.id()), &json!({ "amount": n + 1 })).await.expect(200);
        let note = app
            .post("/v1/note/create", &json!({ "title": n.to_string(), "weight": "1.5" }))
            .await
            .expect(201);
        if n % 3 == 0 {
            app.post(&format!("/v1/note/{}/delete?wait=projected", note.id()), &json!({})).await.expect(200);
        }
        last = purse.id().to_owned();
    }
    // Each on every partition: once their last events are there, everything before them is.
    for _ in 0..16 {
        app.post("/v1/order/place?wait=projected", &harness::client::order()).await.expect(201);
        let purse = json!({ "number": unique("a"), "owner": "Ada" });
        app.post("/v1/purse/open?wait=projected", &purse).await.expect(201);
        app.post("/v1/note/create?wait=projected", &json!({ "title": "last" })).await.expect(201);
    }
    let rows = async || [world.rows("purse").await, world.rows("note").await, world.rows("order").await];
    let before = rows().await;
    // A deleted row stays, with its version, for those who create it again.
    assert_eq!(before.each_ref().map(Vec::len), [46, 46, 46]);
    assert!(server.terminate().await.success());

    world.drop_schema().await;
    let server = world.start(&[]).await;
    let app = server.client();
    eventually("all rows are back", async || {
        let page = app.try_get(&format!("/v1/purse/{last}")).await?;
        let complete = rows().await.each_ref().map(Vec::len) == before.each_ref().map(Vec::len);
        (page.status == 200 && complete).then_some(())
    })
    .await;
    // The number of rows is reached before the last change of each: wait for equality, then show the difference.
    let mut after = rows().await;
    for _ in 0..200 {
        if after == before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        after = rows().await;
    }
    assert_eq!(after, before);
}

/// What the clients of the storm have to show: per purse, the key and amount of each deposit, and its answer.
struct Deposit {
    key: String,
    amount: u64,
    answer: Option<Answer>,
}

impl Deposit {
    async fn send(&mut self, app: &Client, purse: &str) {
        let path = format!("/v1/purse/{purse}/deposit");
        let body = json!({ "amount": self.amount, "reference": self.key });
        let answer = app.try_post(&path, &body, &self.key).await;
        self.answer = answer.filter(|answer| answer.status == 200);
    }
}

#[tokio::test]
async fn a_killed_server_loses_no_command_and_does_none_twice() {
    const PURSES: usize = 8;
    const ROUNDS: [bool; 4] = [false, true, false, true];
    let App { mut server, world } = App::start().await;
    let mut purses = Vec::new();
    for _ in 0..PURSES {
        purses.push((server.client().open_purse().await.id().to_owned(), Vec::<Deposit>::new()));
    }
    for (round, delete_data) in ROUNDS.into_iter().enumerate() {
        let app = server.client();
        let killed = tokio_util::sync::CancellationToken::new();
        let storm = join_all(purses.iter_mut().map(async |(purse, deposits)| {
            while !killed.is_cancelled() {
                let amount = deposits.len() as u64 + 1;
                deposits.push(Deposit { key: unique("k"), amount, answer: None });
                let deposit = deposits.last_mut().unwrap();
                deposit.send(&app, purse).await;
            }
        }));
        let kill = async {
            // In the middle of it: at a moment that differs from round to round.
            tokio::time::sleep(Duration::from_millis(700 + 130 * round as u64)).await;
            killed.cancel();
            server.kill();
        };
        futures::future::join(storm, kill).await;
        if delete_data {
            std::fs::remove_dir_all(world.data("server")).unwrap();
        }
        server = world.start(&[]).await;
        // Those without an answer are sent again with their keys, as a client would.
        let app = server.client();
        join_all(purses.iter_mut().map(async |(purse, deposits)| {
            for deposit in deposits.iter_mut().filter(|deposit| deposit.answer.is_none()) {
                let path = format!("/v1/purse/{purse}/deposit");
                let body = json!({ "amount": deposit.amount, "reference": deposit.key });
                deposit.answer = Some(persist(&app, &path, &body, &deposit.key).await.expect(200));
            }
        }))
        .await;
    }

    assert_each_is_there_once(&world, &server.client(), &purses, ROUNDS.len()).await;
}

/// Two servers; the one that decides is stopped like a laptop that is closed, for longer than its session lasts. When it
/// wakes up it still believes that the partitions are its own.
#[tokio::test]
async fn a_server_that_sleeps_through_its_session_does_no_harm() {
    const PURSES: usize = 8;
    let world = World::new();
    let sleeper = world.spawn("sleeper", &[]).await;
    sleeper.ready().await;
    let mut purses = Vec::new();
    for _ in 0..PURSES {
        purses.push((sleeper.client().open_purse().await.id().to_owned(), Vec::<Deposit>::new()));
    }
    let other = world.spawn("other", &[]).await;
    other.ready().await;
    let app = other.client();
    let over = tokio_util::sync::CancellationToken::new();
    let storm = join_all(purses.iter_mut().map(async |(purse, deposits)| {
        let path = format!("/v1/purse/{purse}/deposit");
        while !over.is_cancelled() {
            let (key, amount) = (unique("k"), deposits.len() as u64 + 1);
            let body = json!({ "amount": amount, "reference": key });
            let answer = Some(persist(&app, &path, &body, &key).await.expect(200));
            deposits.push(Deposit { key, amount, answer });
        }
    }));
    let sleep = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        sleeper.signal("STOP");
        // The group has found out when the other server has all partitions: it then has an answer for each purse.
        let partitions = async || {
            let metrics = app.try_get("/metrics").await?;
            metrics.text.lines().find(|line| line.starts_with("writ_decider_partitions ")).map(str::to_owned)
        };
        eventually("the other server has all partitions", async || {
            (partitions().await? == "writ_decider_partitions 4").then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        sleeper.signal("CONT");
        // It has noticed when it has partitions again.
        eventually("the sleeper is back in the group", async || {
            (partitions().await? != "writ_decider_partitions 4").then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        over.cancel();
    };
    futures::future::join(storm, sleep).await;
    assert_each_is_there_once(&world, &app, &purses, 5).await;
}

/// Every deposit has one event, the one that its answer told of; versions have neither gap nor repeat; the row is the sum.
async fn assert_each_is_there_once(
    world: &World,
    app: &Client,
    purses: &[(String, Vec<Deposit>)],
    at_least: usize,
) {
    let mut events = BTreeMap::<String, Vec<kafka::Record>>::new();
    for event in kafka::read(&world.topic("purse")).await {
        events.entry(event.key.clone()).or_default().push(event);
    }
    for (purse, deposits) in purses {
        let events = &events[purse.as_str()];
        assert!(deposits.len() > at_least, "the storm of {purse} was none");
        let versions: Vec<_> = events.iter().map(kafka::Record::version).collect();
        assert_eq!(versions, (1..=deposits.len() as u64 + 1).collect::<Vec<_>>(), "no gap, no repeat");

        let mut references = BTreeMap::new();
        for event in &events[1..] {
            let fields = event.fields().await;
            let reference = kafka::text(&fields["reference"]).unwrap().to_owned();
            let position = format!("purse:{}:{}", event.partition, event.offset);
            assert_eq!(references.insert(reference, (event.version(), position)), None, "done twice");
        }
        for deposit in deposits {
            let answer = deposit.answer.as_ref().unwrap();
            let told = (answer.version(), answer.position().to_owned());
            assert_eq!(references.get(&deposit.key), Some(&told), "what was acknowledged is there");
        }
        let sum: u64 = deposits.iter().map(|deposit| deposit.amount).sum();
        let last = deposits
            .iter()
            .map(|deposit| deposit.answer.as_ref().unwrap())
            .max_by_key(|answer| answer.version());
        let row = app.get_at(&format!("/v1/purse/{purse}"), last.unwrap().position()).await.expect(200);
        assert_eq!(row.body["state"]["balance"], sum);
    }
}

#[tokio::test]
async fn a_server_that_is_asked_to_stop_finishes_what_it_began() {
    let App { server, world } = App::start().await;
    let app = server.client();
    let purse = app.open_purse().await;
    let path = format!("/v1/purse/{}/deposit", purse.id());
    let stopping = tokio_util::sync::CancellationToken::new();
    let storm = join_all((0..8).map(async |_| {
        let mut done = 0;
        while !stopping.is_cancelled() {
            match app.try_post(&path, &json!({ "amount": 1 }), &unique("k")).await {
                Some(answer) if answer.status == 200 => done += 1,
                Some(answer) => assert_eq!(answer.status, 503, "{}", answer.text),
                // Refused connections are how a server that is gone answers.
                None => {}
            }
        }
        done
    }));
    let stop = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let status = server.terminate().await;
        stopping.cancel();
        status
    };
    let (done, status) = futures::future::join(storm, stop).await;
    assert_eq!(status.code(), Some(0));
    let events = kafka::events_of(&world.topic("purse"), purse.id()).await;
    let done: usize = done.into_iter().sum();
    assert!(done > 0);
    assert!(events.len() > done, "{done} deposits were acknowledged, {} events are there", events.len());
}

#[tokio::test]
async fn roles_in_processes_of_their_own_answer_through_kafka() {
    let world = World::new();
    let decider = world.spawn_headless("decider", &[("WRIT_ROLES", "decider")]);
    let projector = world.spawn_headless("projector", &[("WRIT_ROLES", "projector")]);
    let api = world.spawn("api", &[("WRIT_ROLES", "api")]).await;
    api.ready().await;
    let app = api.client();

    let key = unique("k");
    let note = persist(&app, "/v1/note/create", &json!({ "title": "a" }), &key).await.expect(201);
    for n in 0..20 {
        let path = format!("/v1/note/{}/update", note.id());
        let updated = app.post(&path, &json!({ "stars": n % 6 })).await.expect(200);
        let row = app.get_at(&format!("/v1/note/{}", note.id()), updated.position()).await.expect(200);
        assert_eq!(row.body["state"]["stars"], n % 6);
    }
    drop((decider, projector));
}

#[tokio::test]
async fn of_two_servers_one_takes_over_what_the_other_leaves() {
    let world = World::new();
    let first = world.spawn("first", &[]).await;
    first.ready().await;
    let second = world.spawn("second", &[]).await;
    second.ready().await;
    let clients = [first.client(), second.client()];
    let mut notes = Vec::new();
    for n in 0..24 {
        let body = json!({ "title": n.to_string() });
        let note = persist(&clients[n % 2], "/v1/note/create", &body, &unique("k")).await.expect(201);
        notes.push(note.id().to_owned());
    }
    // Whoever owns the aggregate, both servers answer.
    for (n, id) in notes.iter().enumerate() {
        let path = format!("/v1/note/{id}/update");
        let updated =
            persist(&clients[(n + 1) % 2], &path, &json!({ "stars": 1 }), &unique("k")).await.expect(200);
        assert_eq!(updated.version(), 2);
    }
    first.kill();
    let app = &clients[1];
    for id in &notes {
        let path = format!("/v1/note/{id}/update");
        let updated = persist(app, &path, &json!({ "stars": 2 }), &unique("k")).await.expect(200);
        assert_eq!(updated.version(), 3, "the survivor knows all of the state");
        let row = app.get_at(&format!("/v1/note/{id}"), updated.position()).await;
        assert!([200, 412].contains(&row.status), "{}", row.text);
    }
    let events = kafka::read(&world.topic("note")).await;
    for id in &notes {
        let versions: Vec<_> =
            events.iter().filter(|event| event.key == *id).map(kafka::Record::version).collect();
        assert_eq!(versions, [1, 2, 3]);
    }
}

#[tokio::test]
async fn without_kafka_the_server_says_so() {
    let nobody = Proxy::closed("127.0.0.1:1").await;
    let world = World::new();
    let server = world.spawn("server", &[("WRIT_KAFKA_BROKERS", &nobody.address())]).await;
    let app = server.client();
    let part = wait_for_part(&app, "kafka", false).await;
    assert!(part["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{part}");
    app.get("/readyz").await.expect(503);
    app.get("/healthz").await.expect(200);
    let refused = app.post("/v1/note/create", &json!({ "title": "a" })).await.expect(503);
    assert!(refused.header("retry-after").parse::<u32>().is_ok());
    refused.problem(503, "write-side-unavailable");
    // What is wrong with the input is said all the same.
    app.post("/v1/note/create", &json!({ "title": "" })).await.problem(422, "invalid-input");
    assert!(server.terminate().await.success(), "it stops without waiting for Kafka");
}

#[tokio::test]
async fn a_server_that_comes_before_its_servers_waits_for_them() {
    let mut kafka = Proxy::closed(world::brokers().split(',').next().unwrap()).await;
    let mut registry = Proxy::closed(&proxy::authority(&world::registry_url())).await;
    let mut postgres = Proxy::closed(&proxy::authority(&world::postgres_url())).await;
    let world = World::new();
    let server = world
        .spawn(
            "server",
            &[
                ("WRIT_KAFKA_BROKERS", &kafka.address()),
                ("WRIT_REGISTRY_URL", &registry.in_place_of(&world::registry_url())),
                ("WRIT_POSTGRES_URL", &postgres.in_place_of(&world::postgres_url())),
            ],
        )
        .await;
    let app = server.client();
    for name in ["kafka", "registry", "postgres"] {
        wait_for_part(&app, name, false).await;
    }
    kafka.open().await;
    wait_for_part(&app, "kafka", true).await;
    assert_eq!(part(&app, "registry").await.unwrap()["ready"], false);
    registry.open().await;
    wait_for_part(&app, "registry", true).await;
    wait_for_part(&app, "decider", true).await;
    let note = persist(&app, "/v1/note/create", &json!({ "title": "a" }), &unique("k")).await.expect(201);
    app.get(&format!("/v1/note/{}", note.id())).await.problem(503, "read-side-unavailable");
    postgres.open().await;
    server.ready().await;
    eventually("the row is there", async || {
        (app.get(&format!("/v1/note/{}", note.id())).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_postgresql_commands_go_on_and_queries_say_503() {
    let mut postgres = Proxy::opened(&proxy::authority(&world::postgres_url())).await;
    let url = postgres.in_place_of(&world::postgres_url());
    let world = World::new();
    let server = world.start(&[("WRIT_POSTGRES_URL", &url)]).await;
    let app = server.client();
    let purse = app.open_purse().await;
    let path = format!("/v1/purse/{}", purse.id());
    app.get_at(&path, purse.position()).await.expect(200);

    postgres.close().await;
    let unavailable = app.get(&path).await.problem(503, "read-side-unavailable");
    assert!(unavailable.header("retry-after").parse::<u32>().is_ok());
    app.get("/v1/purse").await.problem(503, "read-side-unavailable");
    let created = app.post("/v1/note/create", &json!({ "title": "a" })).await.expect(201);
    let mut last = None;
    for _ in 0..20 {
        last = Some(app.post(&format!("{path}/deposit"), &json!({ "amount": 1 })).await.expect(200));
    }
    wait_for_part(&app, "postgres", false).await;
    // A reference can't be looked up; the command is taken all the same.
    let mut order = harness::client::order();
    order["purse"] = purse.body["id"].clone();
    app.post("/v1/order/place", &order).await.expect(201);

    postgres.open().await;
    server.ready().await;
    let row = eventually("the read model has caught up", async || {
        Some(app.get_at(&path, last.as_ref().unwrap().position()).await).filter(|row| row.status == 200)
    })
    .await;
    assert_eq!(row.body["state"]["balance"], 20);
    app.get_at(&format!("/v1/note/{}", created.id()), created.position()).await.expect(200);
}

#[tokio::test]
async fn a_new_optional_field_comes_with_the_next_start() {
    let before = "model: city\ncrud: true\nfields:\n  name: { type: text, max_length: 40 }\n";
    let world = World::with_models(&[("city.yaml", before)]);
    let server = world.start(&[]).await;
    let oslo = server.client().post("/v1/city/create", &json!({ "name": "Oslo" })).await.expect(201);
    server.client().get_at(&format!("/v1/city/{}", oslo.id()), oslo.position()).await.expect(200);
    assert!(server.terminate().await.success());

    world.write_model(
        "city.yaml",
        &format!("{before}  mayor: {{ type: text, max_length: 40, optional: true }}\n"),
    );
    let server = world.start(&[]).await;
    let app = server.client();
    let path = format!("/v1/city/{}", oslo.id());
    assert_eq!(app.get(&path).await.expect(200).body["state"], json!({ "name": "Oslo", "mayor": null }));
    let updated = app.post(&format!("{path}/update"), &json!({ "mayor": "Anne" })).await.expect(200);
    assert_eq!(updated.version(), 2);
    let row = app.get_at(&path, updated.position()).await.expect(200);
    assert_eq!(row.body["state"], json!({ "name": "Oslo", "mayor": "Anne" }));
}
