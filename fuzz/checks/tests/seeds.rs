//! Replays every seed of the fuzz targets on the stable toolchain: what a target once found stays found.
#![expect(clippy::print_stdout, reason = "the name of the seed is shown when its check fails")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A seed is small: one that takes longer has found something. Generous, for builds without optimisation on busy machines.
const LIMIT: Duration = Duration::from_secs(20);

fn replay(target: &str, check: fn(&[u8])) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../seeds").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut seeds: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{target} has no seeds");
    for seed in seeds {
        println!("{}", seed.display());
        let data = std::fs::read(&seed).expect("a readable seed");
        let started = Instant::now();
        check(&data);
        assert!(started.elapsed() < LIMIT, "{} took {:?}", seed.display(), started.elapsed());
    }
}

#[test]
fn model_file() {
    replay("model_file", writ_fuzz_checks::model_file);
}

#[test]
fn command_body() {
    replay("command_body", writ_fuzz_checks::command_body);
}

#[test]
fn avro_decode() {
    replay("avro_decode", writ_fuzz_checks::avro_decode);
}

#[cfg(feature = "server")]
#[test]
fn headers() {
    replay("headers", writ_fuzz_checks::headers);
}
