//! What happens when more comes than can go: a decider that stands still, and commands of every size.

use std::time::{Duration, Instant};

use futures::future::{Either, join_all};
use serde_json::{Value, json};

use crate::harness::{Client, World, client, eventually, kafka, unique};

/// Commands under way that the api of these tests allows.
const IN_FLIGHT: usize = 8;

/// The value of a metric without labels.
async fn metric(app: &Client, name: &str) -> f64 {
    let text = app.get("/metrics").await.expect(200).text;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or("0").parse().unwrap()
}

/// What the queue holds: deposits of 1 that wait for the decider, each with a key of its own.
async fn deposits(app: &Client, path: &str, keys: &[String]) -> Vec<Option<crate::harness::Answer>> {
    join_all(keys.iter().map(async |key| app.try_post(path, &json!({ "amount": 1 }), key).await)).await
}

#[tokio::test]
async fn a_decider_that_stands_still_is_answered_with_503_and_is_forgotten_when_it_is_back() {
    let world = World::new();
    let rest = [("WRIT_ROLES", "decider,projector")];
    let mut decider = world.spawn_headless("decider", &rest);
    let settings = [
        ("WRIT_ROLES", "api"),
        ("WRIT_HTTP_MAX_IN_FLIGHT", "8"),
        // Longer than a killed decider's place in the group stays taken.
        ("WRIT_HTTP_COMMAND_TIMEOUT_MS", "25000"),
    ];
    let api = world.spawn("api", &settings).await;
    let app = api.client();
    let purse = json!({ "number": unique("a"), "owner": "Ada" });
    let purse = eventually("the first command is decided", async || {
        app.try_post("/v1/purse/open?wait=projected", &purse, "first")
            .await
            .filter(|answer| answer.status == 201)
    })
    .await;
    let path = format!("/v1/purse/{}/deposit", purse.id());
    let mut expected = 1;

    for killed in [false, true] {
        if killed {
            decider.kill();
            decider = world.spawn_headless("other", &[("WRIT_ROLES", "projector")]);
        } else {
            decider.signal("STOP");
        }
        let keys: Vec<String> = (0..IN_FLIGHT).map(|_| unique("k")).collect();
        let watch = async {
            eventually("the queue is full", async || {
                (metric(&app, "writ_commands_in_flight").await == IN_FLIGHT as f64).then_some(())
            })
            .await;
            for _ in 0..20 {
                let refused = app.post(&path, &json!({ "amount": 1 })).await.problem(503, "overloaded");
                assert_eq!(refused.header("retry-after"), "1");
            }
            app.get(&format!("/v1/purse/{}", purse.id())).await.expect(200);
            assert!(metric(&app, "writ_commands_shed_total").await >= 20.0);
            eventually("the oldest command shows", async || {
                (metric(&app, "writ_commands_oldest_seconds").await > 0.5).then_some(())
            })
            .await;
            let back = Instant::now();
            if killed {
                std::mem::replace(&mut decider, world.spawn_headless("decider", &rest)).kill();
            } else {
                decider.signal("CONT");
            }
            back
        };
        let (answers, back) = futures::future::join(deposits(&app, &path, &keys), watch).await;
        let versions = answers.iter().map(|answer| {
            let answer = answer.as_ref().expect("there is an answer");
            assert_eq!(answer.status, 200, "{}", answer.text);
            answer.version()
        });
        let mut versions: Vec<u64> = versions.collect();
        versions.sort_unstable();
        let first = expected + 1;
        expected += IN_FLIGHT as u64;
        assert_eq!(versions, (first..=expected).collect::<Vec<_>>(), "each once");
        app.post(&path, &json!({ "amount": 1 })).await.expect(200);
        expected += 1;
        // A killed one's place in the group is free after the session timeout of 6 s.
        let limit = Duration::from_secs(if killed { 20 } else { 5 });
        assert!(back.elapsed() < limit, "{:?}", back.elapsed());
        // The repeats get the outcomes, and decide nothing.
        for answer in deposits(&app, &path, &keys).await {
            assert_eq!(answer.expect("there is an answer").status, 200);
        }
    }
    let events = kafka::events_of(&world.topic("purse"), purse.id()).await;
    let versions: Vec<u64> = events.iter().map(kafka::Record::version).collect();
    assert_eq!(versions, (1..=expected).collect::<Vec<_>>());
    assert_eq!(metric(&app, "writ_commands_in_flight").await, 0.0);
}

const PAPER: &str = "\
model: paper
fields:
  text: { type: text }
commands:
  write: { creates: true, input: [text], emits: written }
";

#[tokio::test]
async fn a_command_just_below_the_limit_passes_and_one_above_it_is_refused_before_kafka() {
    let world = World::with_models(&[("paper.yaml", PAPER)]);
    let server = world.start(&[]).await;
    let app = server.client();
    // Compresses to nothing, and not at all.
    let noise: String = (0..28_200).map(|_| uuid::Uuid::new_v4().simple().to_string()).collect();
    for text in ["0".repeat(noise.len()), noise] {
        let fits = &text[..899_000];
        let (body, key) = (json!({ "text": fits }), unique("k"));
        let key = [("Idempotency-Key", key.as_str())];
        let written = app.post_with("/v1/paper/write?wait=projected", &body, &key).await.expect(201);
        assert_eq!(written.body["state"]["text"], fits);
        assert_eq!(written.header("writ-projected"), "true");
        let read = app.get_at(&format!("/v1/paper/{}", written.id()), written.position()).await.expect(200);
        assert_eq!(read.body["state"]["text"], fits);

        let refused = app.post("/v1/paper/write", &json!({ "text": text })).await.problem(413, "too-large");
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains("900000") && detail.contains("902"), "{detail}");

        let line = |text: &str| json!({ "model": "paper", "command": "write", "input": { "text": text } });
        let body = format!("{}\n{}\n{}\n", line(fits), line(&text), line("small"));
        let answers = app.post_bytes("/v1/commands", "application/x-ndjson", body).await.expect(200);
        let statuses: Vec<Value> = answers
            .text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["status"].clone())
            .collect();
        assert_eq!(statuses, [201, 413, 201]);
    }
    let commands = kafka::read(&world.topic("commands")).await;
    assert!(commands.iter().all(|command| command.value.len() <= 900_000));
    assert_eq!(commands.len(), 6);
}

/// Bodies that don't come to their end hold their bytes; when too many are held, others are refused, and queries go on.
#[tokio::test]
async fn the_bytes_of_all_bodies_together_are_bounded() {
    let world = World::new();
    let server = world.start(&[("WRIT_HTTP_MAX_BODY_BYTES", "1048576")]).await;
    let app = server.client();
    let large = json!({ "title": "a", "body": "b".repeat(9_000), "tags": vec!["t"; 10_000] });
    let refused = async || {
        eventually("a body finds no room", async || {
            let answer = app.post("/v1/note/create", &large).await;
            (answer.status == 503).then(|| answer.problem(503, "overloaded"))
        })
        .await
    };
    let slow = eventually("a slow body takes the room", async || {
        let (sender, slow) = futures::channel::mpsc::unbounded::<Result<Vec<u8>, std::io::Error>>();
        sender.unbounded_send(Ok(vec![b' '; 1_000_000])).unwrap();
        let slow = reqwest::Body::wrap_stream(slow);
        let slow = Box::pin(app.post_bytes("/v1/note/create", "application/json", slow));
        match futures::future::select(slow, Box::pin(refused())).await {
            // Its last bytes met a large one on the way.
            Either::Left((answer, _)) => {
                answer.problem(503, "overloaded");
                None
            }
            Either::Right((_, slow)) => {
                app.post("/v1/note/create", &json!({ "title": "small" })).await.expect(201);
                drop(sender);
                Some(slow.await)
            }
        }
    })
    .await;
    // Blanks are the empty object, which has no title.
    slow.problem(422, "invalid-input");
    app.post("/v1/note/create", &large).await.expect(201);
    app.post("/v1/order/place", &client::order()).await.expect(201);
}
