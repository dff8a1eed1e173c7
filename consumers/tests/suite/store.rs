//! The decider's state store against a real Kafka: records of any size that it accepts, and damage of any kind.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use uuid::Uuid;
use writ_model::Rejection;
use writ_producers::commands::Error;
use writ_producers::envelope::{CommandRecord, Outcome};
use writ_producers::limits::{MAX_COMMAND_BYTES, MAX_STATE_BYTES};

use crate::stage::{LIMIT, Running, Stage, command};

const BOOK: &str = "
model: book
fields:
  text: { type: text }
  first: { type: text, optional: true }
  second: { type: text, optional: true }
  third: { type: text, optional: true }
commands:
  begin: { creates: true, input: [text], emits: begun }
  write: { input: [first, second, third], emits: written }
  append:
    input: { more: { type: text } }
    set: { text: state.text + input.more }
    emits: appended
";

fn of_book(book: Uuid, name: &str, input: Value) -> CommandRecord {
    CommandRecord { model: "book".into(), ..command(book, name, input) }
}

/// Text that doesn't compress well.
fn noise(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 32);
    while text.len() < bytes {
        write!(text, "{}", Uuid::new_v4().simple()).unwrap();
    }
    text.truncate(bytes);
    text
}

/// A `begin` whose record has exactly this size.
fn begin_of(book: Uuid, bytes: usize, text: impl Fn(usize) -> String) -> CommandRecord {
    let record =
        |text: String| CommandRecord { idempotent: true, ..of_book(book, "begin", json!({ "text": text })) };
    let empty = record(String::new());
    let rest = bytes - serde_json::to_vec(&empty).unwrap().len();
    CommandRecord { input: json!({ "text": text(rest) }), ..empty }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_of_the_largest_size_passes_every_station() {
    let stage = Stage::with(1, &[BOOK]).await;
    let folder = tempfile::tempdir().unwrap();
    let decider = stage.decider(folder.path()).await;
    let zeros = |bytes| "0".repeat(bytes);
    let mut sent = Vec::new();
    for text in [&zeros as &dyn Fn(usize) -> String, &noise] {
        let begin = begin_of(Uuid::now_v7(), MAX_COMMAND_BYTES, text);
        let outcome = decider.send(&begin).await;
        let Outcome::Committed(committed) = &outcome else { panic!("rejected") };
        assert_eq!(committed.state["text"], begin.input["text"]);
        assert!(decider.send(&begin).await == outcome, "a repeat gets the first outcome");
        sent.push((begin, outcome));

        let larger = begin_of(Uuid::now_v7(), MAX_COMMAND_BYTES + 1, text);
        let refused = decider.commands.enqueue(&larger).unwrap_err();
        assert!(
            matches!(refused, Error::TooLarge { size, limit } if (size, limit) == (MAX_COMMAND_BYTES + 1, MAX_COMMAND_BYTES))
        );
    }
    // Many at once don't fit into one transaction.
    let many: Vec<_> = (0..12).map(|_| begin_of(Uuid::now_v7(), MAX_COMMAND_BYTES, noise)).collect();
    let accepted: Vec<_> = many.iter().map(|begin| decider.commands.enqueue(begin).unwrap()).collect();
    for accepted in accepted {
        assert!(matches!(accepted.outcome(LIMIT).await.unwrap(), Outcome::Committed(_)));
    }
    decider.stop().await;

    let elsewhere = tempfile::tempdir().unwrap();
    let decider = stage.decider(elsewhere.path()).await;
    for (begin, outcome) in sent {
        assert!(decider.send(&begin).await == outcome, "a repeat on another machine gets the first outcome");
    }
    decider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_would_grow_too_large_is_refused_and_stops_nobody() {
    let stage = Stage::with(1, &[BOOK]).await;
    let folder = tempfile::tempdir().unwrap();
    let decider = stage.decider(folder.path()).await;
    let book = Uuid::now_v7();
    decider.commit(&of_book(book, "begin", json!({ "text": "" }))).await;
    let write = |field: &str| CommandRecord {
        idempotent: true,
        ..of_book(book, "write", json!({ field: noise(800_000) }))
    };
    assert!(matches!(decider.send(&write("first")).await, Outcome::Committed(_)));
    assert!(matches!(decider.send(&write("second")).await, Outcome::Committed(_)));
    let refused = decider.send(&write("third")).await;
    let Outcome::Rejected(Rejection::Failed { detail }) = refused else { panic!("it is written") };
    assert!(detail.contains(&format!("at most {MAX_STATE_BYTES}")), "{detail}");
    let other = Uuid::now_v7();
    decider.commit(&of_book(other, "begin", json!({ "text": "goes on" }))).await;
    let small = decider.commit(&of_book(book, "append", json!({ "more": "." }))).await;
    assert_eq!(small.version, 4);
    decider.stop().await;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Flip,
    Zero,
    Truncate,
    Empty,
    Delete,
}

/// What is done to which kind of file: at least one fault of each file, and every fault that the LSM library passes over.
const CASES: [(&str, Fault); 8] = [
    ("#.jnl", Fault::Truncate),
    ("#.jnl", Fault::Empty),
    ("newest #.jnl", Fault::Flip),
    ("newest #.jnl", Fault::Truncate),
    ("keyspaces/#/tables/#", Fault::Flip),
    ("keyspaces/#/tables/#", Fault::Zero),
    ("keyspaces/#/v#", Fault::Truncate),
    ("keyspaces/#/current", Fault::Delete),
];

impl Fault {
    fn strike(self, file: &Path) {
        let mut bytes = std::fs::read(file).unwrap();
        // Journals are allocated ahead; a fault in the zeros at the end would be none.
        let data = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let middle = data / 2;
        match self {
            Fault::Flip => bytes[middle] ^= 0xff,
            Fault::Zero => bytes[middle..(middle + 4096).min(data)].fill(0),
            Fault::Truncate => bytes.truncate(middle),
            Fault::Empty => bytes.clear(),
            Fault::Delete => return std::fs::remove_file(file).unwrap(),
        }
        std::fs::write(file, bytes).unwrap();
    }
}

/// The files of a store, one of each kind: its folder's role and its extension; of the journals a sealed and the newest one.
fn kinds(store: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut folders = vec![store.to_owned()];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<_> =
            std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let relative = path.strip_prefix(store).unwrap().to_owned();
            let name = relative.file_name().unwrap().to_str().unwrap();
            if name == "lock" || std::fs::metadata(&path).unwrap().len() == 0 {
                continue;
            }
            let plain = |text: &str| {
                text.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect::<String>()
            };
            let mut kind = plain(&relative.to_string_lossy());
            while kind.contains("##") {
                kind = kind.replace("##", "#");
            }
            if kind == "#.jnl" && found.contains_key(&kind) {
                kind = "newest #.jnl".into();
            }
            // The largest of its kind has data.
            let larger = found.get(&kind).is_none_or(|known: &PathBuf| {
                let size = |path: &Path| std::fs::metadata(store.join(path)).unwrap().len();
                kind == "newest #.jnl" || size(&relative) > size(known)
            });
            if larger {
                found.insert(kind, relative);
            }
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// One book that is written large again and again, so that its partition fills files and the journals rotate; and small
/// ones meanwhile, on the other partitions, which stay in the journals.
async fn fill(decider: &Running, large: usize) -> (Uuid, Vec<Uuid>) {
    let busy = Uuid::now_v7();
    decider.commit(&of_book(busy, "begin", json!({ "text": "busy" }))).await;
    let mut books = Vec::new();
    for _ in 0..large {
        let mut accepted = Vec::new();
        let write = of_book(busy, "write", json!({ "first": noise(800_000) }));
        accepted.push(decider.commands.enqueue(&write).unwrap());
        for _ in 0..4 {
            let book = Uuid::now_v7();
            books.push(book);
            let begin = of_book(book, "begin", json!({ "text": "small" }));
            accepted.push(decider.commands.enqueue(&begin).unwrap());
        }
        for accepted in accepted {
            assert!(matches!(accepted.outcome(LIMIT).await.unwrap(), Outcome::Committed(_)));
        }
    }
    (busy, books)
}

/// Whatever has happened to the store while nobody looked: versions go on, no event is lost or repeated.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_store_decides_nothing_wrong() {
    const LARGE: usize = 90;
    let stage = Stage::with(8, &[BOOK]).await;
    let whole = tempfile::tempdir().unwrap();
    let decider = stage.decider(whole.path()).await;
    let (_, books) = fill(&decider, LARGE).await;
    decider.stop().await;
    let kinds = kinds(&whole.path().join("state"));
    let cases = CASES.map(|(kind, fault)| {
        (kind, kinds.get(kind).unwrap_or_else(|| panic!("there is no {kind}: {kinds:?}")), fault)
    });
    for (number, (kind, file, fault)) in cases.iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        copy(whole.path(), folder.path());
        fault.strike(&folder.path().join("state").join(file));
        let decider = stage.decider(folder.path()).await;
        // Untouched by the cases before, so the topic has no later state of them that would hide a hole.
        for book in books.iter().skip(number).step_by(cases.len()) {
            let appended = decider.commit(&of_book(*book, "append", json!({ "more": "!" }))).await;
            assert_eq!(appended.version, 2, "{fault:?} of {kind}");
            assert_eq!(appended.state["text"], "small!", "{fault:?} of {kind}");
        }
        decider.stop().await;
    }
}

/// The folder goes while the decider runs: it notices when it writes or reads files, and makes the store anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_deleted_under_a_running_decider_is_made_anew() {
    let stage = Stage::with(1, &[BOOK]).await;
    let folder = tempfile::tempdir().unwrap();
    let decider = stage.decider(folder.path()).await;
    let (busy, books) = fill(&decider, 4).await;
    std::fs::remove_dir_all(folder.path().join("state")).unwrap();
    // A command that was decided by a session that failed has no answer; the repeat gets it.
    let send = async |command: CommandRecord| {
        let command = CommandRecord { idempotent: true, ..command };
        loop {
            let accepted = decider.commands.enqueue(&command).unwrap();
            if let Ok(outcome) = accepted.outcome(std::time::Duration::from_secs(5)).await {
                break outcome;
            }
        }
    };
    // Enough to fill files.
    for version in 6..14 {
        let write = of_book(busy, "write", json!({ "first": noise(800_000) }));
        let Outcome::Committed(written) = send(write).await else { panic!("rejected") };
        assert_eq!(written.version, version);
    }
    for book in books {
        let append = of_book(book, "append", json!({ "more": "!" }));
        let Outcome::Committed(appended) = send(append).await else { panic!("rejected") };
        assert_eq!((appended.version, &appended.state["text"]), (2, &json!("small!")));
    }
    assert!(folder.path().join("state").is_dir(), "the store was made anew");
    decider.stop().await;
}
