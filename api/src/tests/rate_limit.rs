//! Rate limits as a client meets them, with Redis and without.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use uuid::Uuid;

use super::{Alone, Got};
use crate::client_address::Peer;
use crate::options::Options;
use crate::rate_limit::{self, Bucket, Rate, RateLimiter, Verdict};

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `cargo dev test`"))
}

/// One token each ten minutes, so that none comes back while a test runs.
fn rate(burst: u32) -> Rate {
    Rate { per_minute: 1, burst }
}

fn limits() -> rate_limit::Options {
    rate_limit::Options {
        // A busy machine is not an outage.
        redis_timeout_ms: 5_000,
        account: rate(3),
        key: rate(2),
        ..rate_limit::Options::default()
    }
}

/// A limiter on the real Redis, with keys of its own.
fn limiter(options: &rate_limit::Options, prefix: &str) -> RateLimiter {
    variable("WRIT_TEST_STACK");
    RateLimiter::new(options, &variable("WRIT_REDIS_URL"), prefix).unwrap()
}

fn prefix() -> String {
    format!("test-{}", Uuid::new_v4().simple())
}

fn passed(verdict: &Verdict) -> bool {
    verdict.refused().is_none()
}

#[tokio::test]
async fn instances_count_together_and_an_empty_bucket_charges_no_other() {
    let prefix = prefix();
    let (one, other) = (limiter(&limits(), &prefix), limiter(&limits(), &prefix));
    let both = [Bucket::account("a"), Bucket::key("k")];
    assert!(passed(&one.take(&both).await) && passed(&other.take(&both).await));
    for limiter in [&one, &other] {
        let wait = limiter.take(&both).await.refused().expect("the key's bucket is empty");
        assert!(wait > Duration::from_secs(50) && wait <= Duration::from_secs(60), "{wait:?}");
    }
    assert!(passed(&other.take(&[Bucket::account("a")]).await), "the third token was not charged");
    assert!(!passed(&one.take(&[Bucket::account("a")]).await));
    assert!(passed(&one.take(&[Bucket::account("b")]).await), "another account");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_at_once_get_no_more_than_the_bucket_has() {
    let options = rate_limit::Options { account: rate(10), ..limits() };
    let limiter = Arc::new(limiter(&options, &prefix()));
    let asked: Vec<_> = (0..100)
        .map(|_| {
            let limiter = limiter.clone();
            tokio::spawn(async move { passed(&limiter.take(&[Bucket::account("a")]).await) })
        })
        .collect();
    let passed =
        futures::future::join_all(asked).await.into_iter().filter(|passed| *passed.as_ref().unwrap());
    assert_eq!(passed.count(), 10);
}

#[tokio::test]
async fn a_bucket_fills_up_again_and_its_key_goes_by_itself() {
    let options = rate_limit::Options { account: Rate { per_minute: 600, burst: 2 }, ..limits() };
    let prefix = prefix();
    let limiter = limiter(&options, &prefix);
    let ask = || async { limiter.take(&[Bucket::account("a")]).await };
    assert!(passed(&ask().await) && passed(&ask().await));
    let mut redis = redis::Client::open(variable("WRIT_REDIS_URL")).unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg(format!("{prefix}:*")).query(&mut redis).unwrap();
    let [key] = &keys[..] else { panic!("{keys:?}") };
    let expiry: i64 = redis::cmd("PTTL").arg(key).query(&mut redis).unwrap();
    assert!((1..=200).contains(&expiry), "{expiry} ms until two tokens are back");
    let limit = Instant::now() + Duration::from_secs(20);
    while !passed(&ask().await) {
        assert!(Instant::now() < limit, "a token comes back every 100 ms");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    while redis::cmd("EXISTS").arg(key).query::<bool>(&mut redis).unwrap() {
        assert!(Instant::now() < limit, "a full bucket has no key");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // As after Redis' clock was set back by years: what is there is no more than an empty bucket.
    redis::cmd("SET").arg(key).arg("9000000000000000").exec(&mut redis).unwrap();
    let wait = ask().await.refused().unwrap();
    assert!(wait <= Duration::from_millis(100), "{wait:?}");
}

#[tokio::test]
async fn without_redis_an_instance_counts_for_itself() {
    let options = rate_limit::Options { redis_timeout_ms: 50, ..limits() };
    let limiter = RateLimiter::new(&options, "redis://127.0.0.1:1", "writ").unwrap();
    let ask = || async { passed(&limiter.take(&[Bucket::key("k")]).await) };
    assert_eq!((ask().await, ask().await, ask().await), (true, true, false));
}

#[tokio::test]
async fn a_redis_that_hangs_is_waited_for_once() {
    // It takes connections and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let options = rate_limit::Options { redis_timeout_ms: 300, account: rate(100_000), ..limits() };
    let limiter = RateLimiter::new(&options, &url, "writ").unwrap();
    let ask = || async { passed(&limiter.take(&[Bucket::account("a")]).await) };
    let started = Instant::now();
    assert!(ask().await);
    assert!(started.elapsed() >= Duration::from_millis(300), "it was asked");
    let started = Instant::now();
    for _ in 0..50 {
        assert!(ask().await);
    }
    assert!(started.elapsed() < Duration::from_millis(300), "{:?}", started.elapsed());
    // When it is time to look again, one of many looks for all.
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        let many = futures::future::join_all((0..20).map(async |_| {
            let started = Instant::now();
            assert!(ask().await);
            started.elapsed()
        }));
        let waited = many.await.into_iter().filter(|time| *time >= Duration::from_millis(300)).count();
        assert!(waited <= 1, "{waited} of 20 waited");
        if waited == 1 {
            return;
        }
        assert!(Instant::now() < limit, "it is looked at again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn redis_is_asked_again_when_it_is_back() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let prefix = prefix();
    let limiter = RateLimiter::new(&limits(), &format!("redis://{free}"), &prefix).unwrap();
    let ask = || async { passed(&limiter.take(&[Bucket::key("k")]).await) };
    assert!(ask().await && ask().await && !ask().await, "counted here");
    // The real one, at the address that was dead.
    let real = variable("WRIT_REDIS_URL").trim_start_matches("redis://").to_owned();
    let listener = tokio::net::TcpListener::bind(free).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = tokio::net::TcpStream::connect(&real).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
        }
    });
    let limit = Instant::now() + Duration::from_secs(20);
    while !ask().await {
        assert!(Instant::now() < limit, "the bucket in Redis is still full");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A Redis that is slow, as one behind a long way, has tickets still, while nobody waits for it to be counted.
#[tokio::test]
async fn what_may_wait_longer_has_a_connection_of_its_own() {
    let real = variable("WRIT_REDIS_URL").trim_start_matches("redis://").to_owned();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = tokio::net::TcpStream::connect(&real).await.unwrap();
            tokio::spawn(async move {
                let (mut from, mut to) = client.split();
                let (mut answers, mut asks) = server.split();
                let slowly = async {
                    let mut buffer = [0; 4096];
                    while let Ok(read @ 1..) = answers.read(&mut buffer).await {
                        tokio::time::sleep(Duration::from_millis(150)).await;
                        to.write_all(&buffer[..read]).await.unwrap();
                    }
                };
                tokio::join!(slowly, tokio::io::copy(&mut from, &mut asks)).1
            });
        }
    });
    let options = rate_limit::Options { redis_timeout_ms: 50, ..limits() };
    let limiter = RateLimiter::new(&options, &url, &prefix()).unwrap();
    let script = redis::Script::new("return 7");
    let call = script.prepare_invoke();
    let patient = limiter.another_link(Duration::from_secs(30), |_| ());
    for _ in 0..3 {
        assert!(limiter.link().call::<i64>(&call).await.is_err());
        assert_eq!(patient.call::<i64>(&call).await.unwrap(), 7);
    }
}

fn limited(limits: rate_limit::Options) -> Options {
    let limits = rate_limit::Options { redis_timeout_ms: 50, ..limits };
    let trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    Options { reference_wait_ms: 0, limits, trusted_proxies, ..Options::default() }
}

async fn get(server: &Alone, peer: [u8; 4], forwarded_for: &str) -> Got {
    let request = Request::get("/v1/memo").header("x-forwarded-for", forwarded_for);
    let peer = Peer { address: (peer, 40_000).into() };
    server.send(request.extension(peer).body(axum::body::Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_client_reads_what_is_left_and_is_refused_when_nothing_is() {
    let server = Alone::with(limited(rate_limit::Options { address: rate(2), ..limits() }));
    let client = [192, 0, 2, 1];
    let got = get(&server, client, "198.51.100.1").await;
    got.problem(404, "unknown-model");
    assert_eq!(got.header("ratelimit-policy"), "\"address\";q=2;w=120");
    assert_eq!(got.header("ratelimit"), "\"address\";r=1;t=60");
    assert_eq!(get(&server, client, "198.51.100.2").await.status, 404, "the header is the client's own");
    let got = get(&server, client, "198.51.100.3").await;
    got.problem(429, "rate-limited");
    assert!(got.header("ratelimit").starts_with("\"address\";r=0;t="));
    let after: u64 = got.header("retry-after").parse().unwrap();
    assert!((50..=60).contains(&after), "{after}");
    assert_eq!(get(&server, [192, 0, 2, 2], "").await.status, 404, "another client");
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_its_own_bucket() {
    let server = Alone::with(limited(rate_limit::Options { address: rate(1), ..limits() }));
    let proxy = [10, 0, 0, 1];
    assert_eq!(get(&server, proxy, "198.51.100.1").await.status, 404);
    assert_eq!(get(&server, proxy, "198.51.100.2").await.status, 404);
    assert_eq!(get(&server, proxy, "203.0.113.9, 198.51.100.2").await.status, 429, "made up by the client");
}

#[tokio::test]
async fn loopback_addresses_are_counted_if_asked_for_and_pages_never() {
    let address = rate(1);
    let server = Alone::with(limited(rate_limit::Options { address, ..limits() }));
    for _ in 0..3 {
        let got = server.get("/v1/memo").await;
        assert_eq!(got.status, 404);
        assert!(!got.headers.contains_key("ratelimit"));
    }
    let server = Alone::with(limited(rate_limit::Options { address, loopback: true, ..limits() }));
    assert_eq!(server.get("/v1/memo").await.status, 404);
    assert_eq!(server.get("/v1/memo").await.status, 429);
    assert_eq!(server.get("/healthz").await.status, 200);
    let off = Rate { per_minute: 0, burst: 5 };
    let server = Alone::with(limited(rate_limit::Options { address: off, loopback: true, ..limits() }));
    for _ in 0..9 {
        assert_eq!(server.get("/v1/memo").await.status, 404);
    }
}
