//! PostgreSQL goes away and comes back: the line to it is cut in the middle.

use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use writ_model::Timestamp;
use writ_producers::readiness::Readiness;
use writ_projections::positions::{NotReached, Reads};
use writ_projections::query::Error;

use crate::stage::{LIMIT, Stage, everything, variable};
use crate::values::THING;

/// Passes bytes between its own port and a server while `up`.
pub(crate) async fn line(server: String, up: watch::Receiver<bool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (server, mut up) = (server.clone(), up.clone());
            tokio::spawn(async move {
                if !*up.borrow() {
                    return;
                }
                let mut server = TcpStream::connect(server).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    _ = up.wait_for(|up| !up) => {}
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgresql_is_away_queries_say_so_and_the_projector_waits() {
    let (switch, up) = watch::channel(true);
    let url = variable("WRIT_POSTGRES_URL");
    let host = url.rsplit('@').next().and_then(|rest| rest.split('/').next()).unwrap().to_owned();
    let port = line(host.clone(), up).await;
    let stage = Stage::with_url(&[THING], &url.replace(&host, &format!("127.0.0.1:{port}"))).await;
    let thing = stage.model("thing");
    let event = thing.events.values().find(|event| event.creates).unwrap();
    let fields = writ_model::value::object_from_json(&event.fields, &serde_json::json!({}), false).unwrap();
    let mut running = stage.start();
    let first = stage.publish(&thing, event, Uuid::now_v7(), 1, Timestamp(0), &fields).await;
    stage.reach_somehow(&[first]).await;
    let cancel = CancellationToken::new();
    let (sender, mut postgres) = watch::channel(Readiness::Waiting("new".into()));
    let watching = {
        let (queries, cancel) = (stage.queries.clone(), cancel.clone());
        tokio::spawn(async move { queries.watch(cancel, sender).await })
    };
    postgres.wait_for(|state| *state == Readiness::Ready).await.unwrap();

    switch.send_replace(false);
    running.until(|state| matches!(state, Readiness::Waiting(why) if why.contains("PostgreSQL"))).await;
    tokio::time::timeout(LIMIT, postgres.wait_for(|state| *state != Readiness::Ready))
        .await
        .unwrap()
        .unwrap();
    let id = Uuid::now_v7();
    let asked = Instant::now();
    let answer = stage.queries.get(&everything().asks(&thing), id).await;
    assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
    let second = stage.publish(&thing, event, id, 1, Timestamp(0), &fields).await;
    let waited = stage
        .queries
        .positions(stage.topics.clone())
        .wait(Reads::Rows, std::slice::from_ref(&second), LIMIT)
        .await;
    assert!(matches!(waited, Err(NotReached::Unavailable(_))), "{waited:?}");
    assert!(asked.elapsed() < Duration::from_secs(6), "at once, not after a long wait");

    switch.send_replace(true);
    stage.reach_somehow(&[second]).await;
    assert!(stage.queries.get(&everything().asks(&thing), id).await.unwrap().is_some());
    running.until(|state| *state == Readiness::Ready).await;
    tokio::time::timeout(LIMIT, postgres.wait_for(|state| *state == Readiness::Ready))
        .await
        .unwrap()
        .unwrap();
    cancel.cancel();
    watching.await.unwrap();
    running.stop().await;
}
