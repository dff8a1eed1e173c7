use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use super::pool::{Pool, Refused};
use super::*;

fn password(text: &str) -> Password {
    Password::new(text.to_owned())
}

fn one() -> NonZeroUsize {
    NonZeroUsize::MIN
}

#[test]
fn a_hash_is_a_phc_string_with_the_owasp_parameters() {
    let hash = hash(&password("correct horse battery")).unwrap();
    let phc = hash.to_phc();
    assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
    assert_eq!(PasswordHash::parse(&phc).unwrap(), hash);
    assert!(!hash.needs_rehash());
}

#[test]
fn the_right_password_and_only_that() {
    let stored = hash(&password("correct horse battery")).unwrap();
    let verify = |text: &str| verify(&password(text), Some(&stored)).unwrap();
    assert_eq!(verify("correct horse battery"), Verdict::Right { needs_rehash: false });
    assert_eq!(verify("correct horse batterY"), Verdict::Wrong);
    assert_eq!(verify("correct horse battery "), Verdict::Wrong);
    assert_eq!(verify(""), Verdict::Wrong);
}

#[test]
fn equal_passwords_have_different_salts() {
    let [left, right] = [(); 2].map(|()| hash(&password("correct horse battery")).unwrap().to_phc());
    assert_ne!(left, right);
}

/// From `src/test.c` of the reference implementation (phc-winner-argon2): version 19, 2 passes, 2^16 KiB, 1 lane.
#[test]
fn a_hash_of_the_reference_implementation() {
    let stored = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
    let stored = PasswordHash::parse(stored).unwrap();
    assert_eq!(verify(&password("password"), Some(&stored)), Ok(Verdict::Right { needs_rehash: true }));
    assert_eq!(verify(&password("differentpassword"), Some(&stored)), Ok(Verdict::Wrong));
}

#[test]
fn what_was_made_otherwise_is_made_anew() {
    let salt = "c29tZXNhbHRzb21lc2FsdA";
    let output = "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
    let needs = |head: &str| PasswordHash::parse(&format!("{head}${salt}${output}")).unwrap().needs_rehash();
    assert!(!needs("$argon2id$v=19$m=19456,t=2,p=1"));
    assert!(needs("$argon2i$v=19$m=19456,t=2,p=1"));
    assert!(needs("$argon2id$v=16$m=19456,t=2,p=1"));
    assert!(needs("$argon2id$v=19$m=19455,t=2,p=1"));
    assert!(needs("$argon2id$v=19$m=19456,t=3,p=1"));
    assert!(needs("$argon2id$v=19$m=19456,t=2,p=2"));
    let short_salt = format!("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ${output}");
    assert!(PasswordHash::parse(&short_salt).unwrap().needs_rehash());
    let short_output = format!("$argon2id$v=19$m=19456,t=2,p=1${salt}$c29tZXNhbHRzb21lc2FsdA");
    assert!(PasswordHash::parse(&short_output).unwrap().needs_rehash());
}

#[test]
fn what_is_no_hash_of_ours_is_refused() {
    for stored in [
        "",
        "correct horse battery",
        "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ",
        "$argon2id$v=19$m=19456,t=2,p=1",
        "$2b$12$EixZaYVK1fsbw1ZfbX3OXePaWxn96p36WQoeG6Lruj3vjPGga31lW",
        "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
        "$argon2id$v=19$m=1,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    ] {
        assert_eq!(PasswordHash::parse(stored), Err(Error::Malformed), "{stored}");
    }
}

#[test]
fn no_stored_hash_takes_all_memory() {
    let stored =
        |cost: &str| format!("$argon2id$v=19${cost}$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc");
    let refused = |memory_kib, passes| Err(Error::TooCostly { memory_kib, passes });
    assert_eq!(PasswordHash::parse(&stored("m=4194304,t=2,p=1")), refused(4_194_304, 2));
    assert_eq!(PasswordHash::parse(&stored("m=65536,t=17,p=1")), refused(65_536, 17));
    assert!(PasswordHash::parse(&stored("m=262144,t=16,p=1")).is_ok());
}

#[test]
fn nothing_shows_a_password_or_its_hash() {
    let secret = password("correct horse battery");
    assert_eq!(format!("{secret:?}"), "Password(***)");
    let hash = hash(&secret).unwrap();
    assert_eq!(format!("{hash:?}"), "PasswordHash($argon2id$m=19456,t=2,p=1$***)");
    let unfit = Policy { min_length: 30, max_length: 128 }.check(&secret).unwrap_err();
    assert!(!format!("{unfit} {unfit:?}").contains("horse"));
}

#[test]
fn length_is_the_whole_policy() {
    let check = |text: &str| Policy::default().check(&password(text));
    assert_eq!(check("elevenchars"), Err(Unfit::TooShort { min: 12, length: 11 }));
    assert_eq!(check("twelve chars"), Ok(()));
    assert_eq!(check(&"ü".repeat(12)), Ok(()));
    assert_eq!(check(&"🐎".repeat(128)), Ok(()));
    assert_eq!(check(&"🐎".repeat(129)), Err(Unfit::TooLong { max: 128, length: 129 }));
}

#[test]
fn one_password_however_it_is_typed() {
    // A composed letter and a decomposed one; a ligature and its letters.
    let stored = hash(&password("caf\u{e9} \u{fb01}sh kettle")).unwrap();
    let typed = password("cafe\u{301} fish kettle");
    assert_eq!(verify(&typed, Some(&stored)), Ok(Verdict::Right { needs_rehash: false }));
}

#[test]
fn an_unknown_account_takes_as_long_as_a_known_one() {
    let stored = hash(&password("correct horse battery")).unwrap();
    let guess = password("a guess at a password");
    let time = |stored: Option<&PasswordHash>| {
        let start = Instant::now();
        assert_eq!(verify(&guess, stored), Ok(Verdict::Wrong));
        start.elapsed()
    };
    // Other processes make a run longer, nothing makes it shorter: the shortest runs are compared. An answer without a
    // hash stays far below half of one with it, however long this goes on.
    let (mut known, mut unknown) = (Duration::MAX, Duration::MAX);
    for _ in 0..100 {
        known = known.min(time(Some(&stored)));
        unknown = unknown.min(time(None));
        if unknown > known / 2 && known > unknown / 2 {
            return;
        }
    }
    panic!("known {known:?}, unknown {unknown:?}");
}

#[tokio::test]
async fn hashes_and_compares_on_other_threads() {
    let hasher = Hasher::start(&Options { workers: one(), queue: 8 }).unwrap();
    // One thread for everything: were it to hash, nothing else would run.
    let job = tokio::spawn({
        let hasher = hasher.clone();
        async move { hasher.hash(password("correct horse battery")).await }
    });
    let mut turns = 0;
    while !job.is_finished() {
        turns += 1;
        tokio::task::yield_now().await;
    }
    assert!(turns > 2, "the runtime had {turns} turns while a password was hashed");
    let stored = job.await.unwrap().unwrap();
    let right = hasher.verify(password("correct horse battery"), Some(stored.clone())).await;
    assert_eq!(right, Ok(Verdict::Right { needs_rehash: false }));
    assert_eq!(hasher.verify(password("another one, wrong"), Some(stored)).await, Ok(Verdict::Wrong));
    assert_eq!(hasher.verify(password("correct horse battery"), None).await, Ok(Verdict::Wrong));
}

/// Keeps the only thread of a pool at work until leave is given.
async fn occupy(pool: &Pool) -> (tokio::task::JoinHandle<Result<(), Refused>>, std::sync::mpsc::Sender<()>) {
    let (begin, begun) = std::sync::mpsc::channel();
    let (leave, wait) = std::sync::mpsc::channel();
    let job = move || {
        begin.send(()).unwrap();
        wait.recv().unwrap();
    };
    let pool = pool.clone();
    let running = tokio::spawn(async move { pool.run(job).await });
    tokio::task::yield_now().await;
    begun.recv().unwrap();
    (running, leave)
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let pool = Pool::start(one(), 2).unwrap();
    let (running, leave) = occupy(&pool).await;
    let waiting: Vec<_> = (0..2)
        .map(|number| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.run(move || number).await })
        })
        .collect();
    tokio::task::yield_now().await;
    // At once: while the first one runs, nothing that waits would come to an end.
    let refused = tokio::time::timeout(Duration::from_secs(10), pool.run(|| ())).await;
    assert_eq!(refused, Ok(Err(Refused::Busy)));
    leave.send(()).unwrap();
    assert_eq!(running.await.unwrap(), Ok(()));
    for (number, job) in waiting.into_iter().enumerate() {
        assert_eq!(job.await.unwrap(), Ok(number));
    }
    assert_eq!(pool.run(|| 7).await, Ok(7));
}

#[tokio::test]
async fn no_more_at_a_time_than_there_are_workers() {
    let pool = Pool::start(NonZeroUsize::new(3).unwrap(), 64).unwrap();
    let [running, most] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let jobs: Vec<_> = (0..24)
        .map(|_| {
            let (pool, running, most) = (pool.clone(), running.clone(), most.clone());
            let job = move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
                running.fetch_sub(1, Ordering::SeqCst);
            };
            tokio::spawn(async move { pool.run(job).await })
        })
        .collect();
    for job in jobs {
        assert_eq!(job.await.unwrap(), Ok(()));
    }
    assert!(most.load(Ordering::SeqCst) <= 3);
    // And as many as there are: each of these three ends only when all have begun.
    let all = Arc::new(Barrier::new(3));
    let jobs: Vec<_> = (0..3)
        .map(|_| {
            let (pool, all) = (pool.clone(), all.clone());
            tokio::spawn(async move { pool.run(move || all.wait().is_leader()).await })
        })
        .collect();
    for job in jobs {
        assert!(job.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn a_thread_rests_while_others_wait() {
    let pool = Pool::start(one(), 2).unwrap();
    let (running, leave) = occupy(&pool).await;
    let times = [(); 2].map(|()| {
        let pool = pool.clone();
        tokio::spawn(async move {
            let job = || {
                let began = std::time::Instant::now();
                std::thread::sleep(Duration::from_millis(30));
                (began, std::time::Instant::now())
            };
            pool.run(job).await.unwrap()
        })
    });
    tokio::task::yield_now().await;
    leave.send(()).unwrap();
    running.await.unwrap().unwrap();
    let [first, second] = times;
    let ((began, ended), (next, _)) = (first.await.unwrap(), second.await.unwrap());
    assert!(next - ended >= 4 * (ended - began));
}

#[tokio::test]
async fn who_gave_up_is_not_worked_for() {
    let pool = Pool::start(one(), 2).unwrap();
    let (running, leave) = occupy(&pool).await;
    let ran = Arc::new(AtomicUsize::new(0));
    let given_up = tokio::spawn({
        let (pool, ran) = (pool.clone(), ran.clone());
        async move { pool.run(move || ran.fetch_add(1, Ordering::SeqCst)).await }
    });
    tokio::task::yield_now().await;
    given_up.abort();
    assert!(given_up.await.unwrap_err().is_cancelled());
    leave.send(()).unwrap();
    running.await.unwrap().unwrap();
    // The queue is first in, first out: whatever waited before this has had its turn.
    pool.run(|| ()).await.unwrap();
    assert_eq!(ran.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_panic_costs_no_thread() {
    let pool = Pool::start(one(), 2).unwrap();
    assert_eq!(pool.run(|| panic!("of this test")).await, Err::<(), _>(Refused::Lost));
    assert_eq!(pool.run(|| 7).await, Ok(7));
}

#[test]
fn half_of_the_cores_and_at_least_one() {
    let cores = std::thread::available_parallelism().unwrap().get();
    assert_eq!(Options::default().workers.get(), (cores / 2).max(1));
    let options: Options = serde_json::from_str(r#"{ "workers": 3 }"#).unwrap();
    assert_eq!((options.workers.get(), options.queue), (3, 16));
    assert!(serde_json::from_str::<Options>(r#"{ "workers": 0 }"#).is_err());
}
