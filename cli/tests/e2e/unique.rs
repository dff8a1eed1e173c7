//! Values that no two aggregates share.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use serde_json::{Value, json};

use crate::harness::{self, Answer, Client, Slot, World, eventually, kafka, unique};

static SERVER: Slot = harness::slot();
const CREATE: &str = "/v1/member/create";

/// The body of a `create` with values of its own.
fn member() -> Value {
    json!({ "email": format!("{}@example.org", unique("m")), "team": unique("t"), "number": 1 })
}

/// The same with other values in some fields.
fn with(mut body: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn update(member: &Answer) -> String {
    format!("/v1/member/{}/update", member.id())
}

/// Refused because of these fields, and no other.
#[track_caller]
fn taken(answer: Answer, fields: &[&str]) -> Answer {
    let answer = answer.problem(409, "not-unique");
    let pointers: Vec<String> = fields.iter().map(|field| format!("/{field}")).collect();
    assert_eq!(answer.pointers(), pointers, "{}", answer.text);
    for pointer in &pointers {
        assert_eq!(answer.code(pointer), "taken", "{}", answer.text);
    }
    answer
}

async fn batch(app: &Client, lines: &[Value]) -> Vec<Value> {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let answer = app.post_bytes("/v1/commands", "application/x-ndjson", body).await.expect(200);
    answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_taken_value_is_refused_in_every_case_and_form() {
    let app = harness::shared(&SERVER).await;
    let first = with(member(), json!({ "nick": format!("é {}", unique("Straße")) }));
    app.post(CREATE, &first).await.expect(201);
    let email = first["email"].as_str().unwrap();
    for same in [email.to_owned(), email.to_uppercase()] {
        taken(app.post(CREATE, &with(member(), json!({ "email": same }))).await, &["email"]);
    }
    let nick = first["nick"].as_str().unwrap();
    for same in [nick.replace("ß", "ss"), nick.to_uppercase(), nick.replace('é', "e\u{301}")] {
        taken(app.post(CREATE, &with(member(), json!({ "nick": same }))).await, &["nick"]);
    }
    let other = with(member(), json!({ "nick": format!("{nick} ") }));
    app.post(CREATE, &other).await.expect(201);
}

#[tokio::test]
async fn fields_can_be_unique_together() {
    let app = harness::shared(&SERVER).await;
    let first = member();
    app.post(CREATE, &first).await.expect(201);
    let team = &first["team"];
    taken(app.post(CREATE, &with(member(), json!({ "team": team }))).await, &["number", "team"]);
    // Either value alone is free, and case counts here.
    app.post(CREATE, &with(member(), json!({ "team": team, "number": 2 }))).await.expect(201);
    let upper = team.as_str().unwrap().to_uppercase();
    app.post(CREATE, &with(member(), json!({ "team": upper }))).await.expect(201);
}

#[tokio::test]
async fn null_is_never_taken() {
    let app = harness::shared(&SERVER).await;
    let team = unique("t");
    for _ in 0..2 {
        app.post(CREATE, &with(member(), json!({ "team": team, "number": null, "nick": null })))
            .await
            .expect(201);
    }
}

#[tokio::test]
async fn an_update_frees_the_old_value_and_takes_the_new_one() {
    let app = harness::shared(&SERVER).await;
    let (ada, bob) = (member(), member());
    let created = app.post(CREATE, &ada).await.expect(201);
    app.post(CREATE, &bob).await.expect(201);
    let refused = app.post(&update(&created), &json!({ "email": bob["email"] })).await;
    taken(refused, &["email"]);
    // What it has itself isn't taken, not even in another case.
    let upper = ada["email"].as_str().unwrap().to_uppercase();
    app.post(&update(&created), &json!({ "email": upper })).await.expect(200);

    let moved = unique("m") + "@example.org";
    app.post(&update(&created), &json!({ "email": moved })).await.expect(200);
    taken(app.post(CREATE, &with(member(), json!({ "email": moved }))).await, &["email"]);
    app.post(CREATE, &with(member(), json!({ "email": ada["email"] }))).await.expect(201);
    // A null gives a value up as well.
    app.post(&update(&created), &json!({ "number": null })).await.expect(200);
    app.post(CREATE, &with(member(), json!({ "team": ada["team"] }))).await.expect(201);
}

#[tokio::test]
async fn a_delete_frees_every_value() {
    let app = harness::shared(&SERVER).await;
    let body = member();
    let created = app.post(CREATE, &body).await.expect(201);
    app.post(&format!("/v1/member/{}/delete", created.id()), &json!({})).await.expect(200);
    app.post(CREATE, &body).await.expect(201);
}

#[tokio::test]
async fn a_refused_create_leaves_nothing_behind() {
    let app = harness::shared(&SERVER).await;
    let first = member();
    app.post(CREATE, &first).await.expect(201);
    // One of two values is taken, whichever is claimed first: the other one is free again.
    let [one, other] = [member(), member()];
    let refused = app.post(CREATE, &with(one.clone(), json!({ "email": first["email"] }))).await;
    taken(refused, &["email"]);
    app.post(CREATE, &one).await.expect(201);
    let refused = app.post(CREATE, &with(other.clone(), json!({ "team": first["team"] }))).await;
    taken(refused, &["number", "team"]);
    let created = app.post(CREATE, &other).await.expect(201);
    assert_eq!(created.version(), 1);
    assert_eq!(kafka::events_of(&app.world().topic("member"), created.id()).await.len(), 1);
}

#[tokio::test]
async fn values_are_exchanged_by_way_of_a_third_one() {
    let app = harness::shared(&SERVER).await;
    let (ada, bob) = (member(), member());
    let (a, b) = (app.post(CREATE, &ada).await.expect(201), app.post(CREATE, &bob).await.expect(201));
    let to_bob = json!({ "email": bob["email"] });
    let to_ada = json!({ "email": ada["email"] });
    let (a, b) = (update(&a), update(&b));
    let (first, second) = futures::join!(app.post(&a, &to_bob), app.post(&b, &to_ada));
    taken(first, &["email"]);
    taken(second, &["email"]);
    app.post(&a, &json!({ "email": unique("m") + "@example.org" })).await.expect(200);
    app.post(&b, &to_ada).await.expect(200);
    app.post(&a, &to_bob).await.expect(200);
}

#[tokio::test]
async fn a_refusal_is_repeated_even_when_the_value_is_free() {
    let app = harness::shared(&SERVER).await;
    let body = member();
    let first = app.post(CREATE, &body).await.expect(201);
    let key = unique("k");
    let headers = [("Idempotency-Key", key.as_str())];
    let again = with(member(), json!({ "email": body["email"] }));
    let refused = taken(app.post_with(CREATE, &again, &headers).await, &["email"]);
    app.post(&format!("/v1/member/{}/delete", first.id()), &json!({})).await.expect(200);
    app.post(CREATE, &with(member(), json!({ "email": body["email"] }))).await.expect(201);
    let repeated = taken(app.post_with(CREATE, &again, &headers).await, &["email"]);
    assert_eq!(repeated.text, refused.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_thousand_who_want_one_value_one_gets_it() {
    const CREATES: usize = 2_000;
    const CLIENTS: usize = 64;
    let app = harness::shared(&SERVER).await;
    let email = unique("m") + "@example.org";
    let client: &Client = &app;
    let answers: Vec<Answer> = futures::stream::iter(0..CREATES)
        .map(|_| {
            let body = with(member(), json!({ "email": email }));
            async move { client.post(CREATE, &body).await }
        })
        .buffer_unordered(CLIENTS)
        .collect()
        .await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
    assert_eq!((won.len(), lost.len()), (1, CREATES - 1));
    for answer in lost {
        taken(answer, &["email"]);
    }
    let mut holders = HashSet::new();
    for event in kafka::read(&app.world().topic("member")).await {
        // A delete records no fields.
        if event.fields().await.get("email").and_then(kafka::text) == Some(&email) {
            holders.insert(event.key.clone());
        }
    }
    assert_eq!(holders, HashSet::from([won[0].id().to_owned()]));
}

/// The same while the deciders are killed, one after the other. Every client repeats until it knows its outcome.
#[tokio::test(flavor = "multi_thread")]
async fn one_gets_it_whoever_is_killed_meanwhile() {
    const CREATES: usize = 2_000;
    const CLIENTS: usize = 64;
    const KILLS: usize = 3;
    let world = World::new();
    let api = world.spawn("api", &[("WRIT_ROLES", "api")]).await;
    let decider = |name: &str| world.spawn_headless(name, &[("WRIT_ROLES", "decider")]);
    let mut deciders = [("left", Some(decider("left"))), ("right", Some(decider("right")))];
    let email = unique("m") + "@example.org";
    let (client, answered) = (api.client(), AtomicUsize::new(0));
    let creates = futures::stream::iter(0..CREATES)
        .map(|_| {
            let (key, body) = (unique("k"), with(member(), json!({ "email": email })));
            let (client, answered) = (&client, &answered);
            async move {
                let answer = eventually("the create has an outcome", async || {
                    client.try_post(CREATE, &body, &key).await.filter(|answer| answer.status < 500)
                });
                let answer = answer.await;
                answered.fetch_add(1, Ordering::Relaxed);
                answer
            }
        })
        .buffer_unordered(CLIENTS)
        .collect::<Vec<Answer>>();
    let kills = async {
        for nth in 1..=KILLS {
            eventually("the creates go on", async || {
                (answered.load(Ordering::Relaxed) >= nth * CREATES / (KILLS + 1)).then_some(())
            })
            .await;
            let (name, running) = &mut deciders[nth % 2];
            if let Some(running) = running.take() {
                running.kill();
            }
            *running = Some(decider(name));
        }
    };
    let (answers, ()) = futures::join!(creates, kills);
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
    assert_eq!((won.len(), lost.len()), (1, CREATES - 1));
    for answer in lost {
        taken(answer, &["email"]);
    }
    let created = kafka::read(&world.topic("member")).await;
    let created: Vec<_> = created.iter().map(|event| event.key.as_str()).collect();
    assert_eq!(created, [won[0].id()]);
}

#[tokio::test]
async fn a_batch_can_name_a_value_twice() {
    let app = harness::shared(&SERVER).await;
    let email = unique("m") + "@example.org";
    let create = |body: Value| json!({ "model": "member", "command": "create", "input": body });
    let lines: Vec<Value> = (0..20)
        .map(|n| create(if n % 2 == 0 { with(member(), json!({ "email": email })) } else { member() }))
        .collect();
    let answers = batch(&app, &lines).await;
    let (same, own): (Vec<_>, Vec<_>) = answers.iter().enumerate().partition(|(n, _)| n % 2 == 0);
    assert!(own.iter().all(|(_, answer)| answer["status"] == 201), "{own:?}");
    let (won, lost): (Vec<_>, Vec<_>) = same.into_iter().partition(|(_, answer)| answer["status"] == 201);
    assert_eq!(won.len(), 1, "{won:?}");
    for (_, answer) in lost {
        assert_eq!(answer["problem"]["type"], "urn:writ:problem:not-unique", "{answer}");
        assert_eq!(answer["problem"]["errors"][0]["pointer"], "/email", "{answer}");
    }
}

#[tokio::test]
async fn commands_wait_in_order_behind_one_that_claims() {
    let app = harness::shared(&SERVER).await;
    let code = unique("c");
    let [first, second] = [unique("s"), unique("s")];
    let seat = |command: &str, input: Value| json!({ "model": "seat", "command": command, "id": code, "input": input });
    let lines = [
        json!({ "model": "seat", "command": "create", "input": { "code": code, "place": first } }),
        seat("update", json!({ "note": "a" })),
        seat("update", json!({ "place": second, "note": "b" })),
        seat("update", json!({ "note": "c" })),
        seat("delete", json!({})),
        seat("update", json!({ "note": "d" })),
    ];
    let answers = batch(&app, &lines).await;
    let statuses: Vec<_> = answers.iter().map(|answer| answer["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 200, 200, 200, 200, 404], "{answers:?}");
    let seen: Vec<_> = answers[..5].iter().map(|answer| &answer["version"]).collect();
    assert_eq!(seen, [1, 2, 3, 4, 5]);
    let states: Vec<_> = answers[..4]
        .iter()
        .map(|answer| json!([answer["state"]["place"], answer["state"]["note"]]))
        .collect();
    assert_eq!(
        states,
        [json!([first, null]), json!([first, "a"]), json!([second, "b"]), json!([second, "c"])]
    );
    // All of it is free again, and what was deleted can come back.
    let again = json!({ "code": code, "place": first });
    assert_eq!(app.post("/v1/seat/create", &again).await.expect(201).version(), 6);
    let other = json!({ "code": unique("c"), "place": second });
    app.post("/v1/seat/create", &other).await.expect(201);
}
