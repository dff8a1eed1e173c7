//! The delays of wrong passwords, with the real Redis and without one.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::rate_limit::{Bucket, Options, Rate, RateLimiter};
use crate::sign_in_guard::{Attempt, Schedule, SignInGuard};

const OWNER: &str = "anna@example.com";

fn address(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

/// Long delays, so that none ends while a test runs.
fn slow() -> Schedule {
    let hour = Duration::from_secs(3_600);
    Schedule { free: 3, first: hour, longest: 3 * hour, ..Schedule::default() }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `cargo dev test`"))
}

/// On the real Redis, and on none.
fn guards(schedule: Schedule) -> [SignInGuard; 2] {
    variable("WRIT_TEST_STACK");
    let at = |url: &str, redis_timeout_ms| {
        let prefix = format!("test-{}", Uuid::new_v4().simple());
        let options = Options { redis_timeout_ms, ..Options::default() };
        SignInGuard::with(&RateLimiter::new(&options, url, &prefix).unwrap(), schedule)
    };
    [at(&variable("WRIT_REDIS_URL"), 5_000), at("redis://127.0.0.1:1", 50)]
}

/// Guesses from ever new addresses until one must wait; how many were let through.
async fn guess(guard: &SignInGuard) -> u8 {
    for guesses in 0..100 {
        match guard.check(OWNER, address(100 + guesses)).await {
            Attempt::Allowed => guard.failed(),
            Attempt::Wait(_) => return guesses,
        }
    }
    panic!("nobody is ever delayed")
}

#[tokio::test]
async fn guessing_from_everywhere_is_delayed_and_other_accounts_are_not() {
    for guard in guards(slow()) {
        assert_eq!(guess(&guard).await, 3);
        let Attempt::Wait(wait) = guard.check(OWNER, address(1)).await else { panic!("delayed") };
        assert!(wait > Duration::from_secs(3_500) && wait <= Duration::from_secs(3_600), "{wait:?}");
        assert_eq!(guard.check("ben@example.com", address(1)).await, Attempt::Allowed);
    }
}

#[tokio::test]
async fn an_attacker_does_not_keep_the_owner_out() {
    for guard in guards(slow()) {
        assert_eq!(guard.check(OWNER, address(1)).await, Attempt::Allowed);
        guard.succeeded(OWNER, address(1)).await;
        assert_eq!(guess(&guard).await, 3);
        for _ in 0..10 {
            assert_eq!(guard.check(OWNER, address(1)).await, Attempt::Allowed);
            guard.succeeded(OWNER, address(1)).await;
        }
        assert!(matches!(guard.check(OWNER, address(2)).await, Attempt::Wait(_)), "a stranger still waits");
    }
}

#[tokio::test]
async fn a_known_address_can_not_guess_for_ever_either() {
    for guard in guards(slow()) {
        guard.check(OWNER, address(1)).await;
        guard.succeeded(OWNER, address(1)).await;
        for _ in 0..3 {
            assert_eq!(guard.check(OWNER, address(1)).await, Attempt::Allowed);
        }
        assert!(matches!(guard.check(OWNER, address(1)).await, Attempt::Wait(_)));
        assert_eq!(guard.check(OWNER, address(2)).await, Attempt::Allowed, "its failures are its own");
    }
}

#[tokio::test]
async fn a_success_elsewhere_gives_an_attacker_nothing() {
    for guard in guards(slow()) {
        for stranger in [1, 2] {
            guard.check(OWNER, address(stranger)).await;
        }
        assert_eq!(guard.check(OWNER, address(3)).await, Attempt::Allowed);
        guard.succeeded(OWNER, address(3)).await;
        assert_eq!(guess(&guard).await, 1, "two of three failures are still there");
    }
}

#[tokio::test]
async fn an_attempt_that_was_never_decided_does_not_count() {
    for guard in guards(slow()) {
        for _ in 0..20 {
            assert_eq!(guard.check(OWNER, address(1)).await, Attempt::Allowed);
            guard.undecided(OWNER, address(1)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_at_once_are_counted_before_any_has_failed() {
    for guard in guards(slow()) {
        let attempts: Vec<_> = (0..50)
            .map(|last| {
                let guard = guard.clone();
                tokio::spawn(async move { guard.check(OWNER, address(last)).await })
            })
            .collect();
        let attempts = futures::future::join_all(attempts).await;
        let allowed = attempts.into_iter().filter(|attempt| matches!(attempt, Ok(Attempt::Allowed)));
        assert_eq!(allowed.count(), 3);
    }
}

#[tokio::test]
async fn the_delay_ends_and_grows_with_the_next_failure() {
    let first = Duration::from_millis(400);
    let schedule = Schedule { free: 1, first, longest: 2 * first, ..Schedule::default() };
    for guard in guards(schedule) {
        let mut waits = Vec::new();
        let limit = Instant::now() + Duration::from_secs(20);
        for _ in 0..3 {
            while guard.check(OWNER, address(1)).await != Attempt::Allowed {
                assert!(Instant::now() < limit, "a delay ends");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let Attempt::Wait(wait) = guard.check(OWNER, address(1)).await else { panic!("delayed") };
            waits.push(wait);
        }
        // An attempt in between takes a moment on a busy machine.
        assert!(waits[0] <= first && waits[1] > first && waits[2] > first, "{waits:?}");
        assert!(waits[2] <= 2 * first, "{waits:?}");
    }
}

#[tokio::test]
async fn redis_has_neither_names_nor_addresses_and_forgets() {
    let prefix = format!("test-{}", Uuid::new_v4().simple());
    // One a minute: the keys last as long as it takes to look at them.
    let rate = Rate { per_minute: 1, burst: 5 };
    let options = Options {
        redis_timeout_ms: 5_000,
        sign_in_address: rate,
        sign_in_account: rate,
        ..Options::default()
    };
    let limiter = RateLimiter::new(&options, &variable("WRIT_REDIS_URL"), &prefix).unwrap();
    let guard = SignInGuard::with(&limiter, slow());
    guard.check(OWNER, address(1)).await;
    guard.check(OWNER, address(2)).await;
    guard.succeeded(OWNER, address(2)).await;
    guard.check(OWNER, address(2)).await;
    let buckets = [Bucket::sign_in_account(OWNER, address(1)), Bucket::sign_in_address(address(1))];
    assert_eq!(limiter.take(&buckets).await.refused(), None);
    let mut redis = redis::Client::open(variable("WRIT_REDIS_URL")).unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg(format!("{prefix}:*")).query(&mut redis).unwrap();
    assert_eq!(keys.len(), 5, "{keys:?}");
    for key in keys {
        assert!(!key.contains("anna") && !key.contains("192.0"), "{key}");
        let seconds: i64 = redis::cmd("TTL").arg(&key).query(&mut redis).unwrap();
        let days = if key.contains("known") { 30 } else { 1 };
        assert!((1..=days * 24 * 60 * 60).contains(&seconds), "{key}: {seconds}");
    }
}
