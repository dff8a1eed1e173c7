//! `Models::check` on files: `tests/check/*.yaml` are wrong, each with a snapshot of what is said about it;
//! `tests/good/*.yaml` and the sample shop are right.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use writ_model::Models;
use writ_model::diagnostic::{Diagnostic, Source};

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no file in {}", folder.display());
    files
}

fn source(path: &Path) -> Source {
    let name = path.file_name().expect("a file").to_string_lossy().into_owned();
    Source { name, text: fs::read_to_string(path).expect("a text") }
}

/// Findings as the editor would list them, one in a line, with the marked text below.
fn findings(sources: &[Source]) -> String {
    listed(sources, Models::check("shop", sources).err().unwrap_or_default())
}

fn listed(sources: &[Source], found: Vec<Diagnostic>) -> String {
    let mut lines = String::new();
    for finding in found {
        let source =
            sources.iter().find(|source| source.name == finding.file).expect("the file is one of ours");
        let marked = &source.text[finding.span.clone()];
        let marked = marked.lines().next().unwrap_or_default();
        writeln!(lines, "{}\n    at: {marked}", finding.one_line(source)).expect("a string takes all");
    }
    lines
}

fn snapshot(name: &str, found: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("check");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, found));
}

#[test]
fn every_fault_is_reported_with_its_place_and_a_hint() {
    for path in files("tests/check") {
        let source = source(&path);
        let found = findings(std::slice::from_ref(&source));
        assert!(!found.is_empty(), "{} is right", source.name);
        snapshot(source.name.trim_end_matches(".yaml"), &found);
    }
}

#[test]
fn right_files_are_right() {
    for path in files("tests/good") {
        assert_eq!(findings(&[source(&path)]), "", "{}", path.display());
    }
}

#[test]
fn what_is_allowed_and_probably_not_meant_is_a_warning() {
    let text = "model: page\nfields: { title: text }\ncrud: true\ncommands:\n  touch:\nallow:\n  \
                create, update: 1 < 2\n  read: \"true\"\n---\n\
                model: note\nfields: { title: text }\ncrud: [create]\nallow:\n  create: actor.id != null\n---\n\
                model: open\nfields: { title: text }\ncrud: true\n---\n\
                projection: tally\nfields: { title: { type: text, key: true }, notes: integer }\n\
                allow: { read: 1 < 2 }\non: { note.created: INSERT INTO tally (title) VALUES (:title) }\n---\n\
                projection: sums\nfields: { title: { type: text, key: true }, notes: integer }\n\
                allow: { fields: { notes: role('staff') } }\n\
                on: { note.created: INSERT INTO sums (title) VALUES (:title) }\n---\n\
                channel: wall\nallow: { \"join, send\": true }\n---\nchannel: pillar\nof: note\nallow: { send: actor.id != null }\n---\n\
                channel: closed\n";
    let source = Source { name: "page.yaml".into(), text: text.into() };
    let sources = std::slice::from_ref(&source);
    let models = Models::check("shop", sources).expect("warnings are no errors");
    snapshot("warnings", &listed(sources, models.warnings));
}

#[test]
fn reactions_that_set_each_other_off_without_an_end_are_warned_of_with_every_step() {
    let text = "model: a\nfields: { n: integer, b: { type: ref, to: b }, at: { type: timestamp, optional: true } }\ncrud: true\n\
                commands: { touch: , turn: , stop: { emits: stopped } }\nreactions:\n  \
                - { on: touch, command: b.push, to: state.b }\n  \
                - { on: [created, turn], command: touch }\n  \
                # Each of these breaks a cycle.\n  \
                - { on: updated, command: update, when: state.n < 3 }\n  \
                - { on: updated, name: later, command: update, after: 1s }\n  \
                - { on: updated, name: once, command: update, at: state.at, unless: deleted }\n  \
                # Leads into a cycle and is on none.\n  \
                - { on: deleted, command: touch }\n  \
                - { on: stopped, command: stop }\n---\n\
                model: b\nfields: { n: integer, a: { type: ref, to: a } }\ncrud: [create]\n\
                commands: { push: { emits: pushed }, pull: }\nreactions:\n  \
                - { name: back, on: pushed, command: a.turn, to: state.a }\n  \
                - { on: pushed, command: pull }\n  \
                - { on: pull, queue: pulled }\n";
    let source = Source { name: "a.yaml".into(), text: text.into() };
    let sources = std::slice::from_ref(&source);
    let models = Models::check("shop", sources).expect("warnings are no errors");
    snapshot("reactions_cycles", &listed(sources, models.warnings));
}

#[test]
fn the_sample_shop_is_right() {
    let sources: Vec<Source> = files("../models").iter().map(|path| source(path)).collect();
    assert_eq!(findings(&sources), "");
    let models = Models::check("shop", &sources).expect("checked above");
    // What anyone may read here is meant to be.
    let open: Vec<&str> = models.warnings.iter().map(|warning| warning.file.as_str()).collect();
    assert_eq!(open, ["category.yaml", "product.yaml"], "{:?}", models.warnings);
    let order = models.get("order").expect("the order");
    assert_eq!(order.state_field.as_deref(), Some("status"));
    assert_eq!(order.key.as_deref(), Some("number"));
    let events: Vec<&str> = order.events.values().map(|event| event.type_name.as_str()).collect();
    assert_eq!(
        events,
        [
            "shop.order.Placed",
            "shop.order.Paid",
            "shop.order.Shipped",
            "shop.order.Cancelled",
            "shop.order.Noted"
        ]
    );
    let recorded = |event: &str| order.events[event].fields.keys().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(recorded("paid"), ["status", "reference"]);
    assert_eq!(recorded("placed").len(), order.fields.len(), "a creating event is complete");
    let update = &models.get("product").expect("the product").commands["update"];
    assert!(update.partial && !update.input.contains_key("number"), "the key can't be updated");
}

#[test]
fn what_crud_adds_leaves_the_state_machine_alone() {
    let text = "model: page\ncrud: true\nfields:\n  title: text\n  status: { type: enum, values: [draft, live] }\n\
                commands:\n  publish: { from: draft, to: live }\n";
    let source = Source { name: "page.yaml".into(), text: text.into() };
    let models = Models::check("shop", &[source]).expect("right");
    let page = models.get("page").expect("the page");
    assert_eq!(page.commands["update"].input.keys().collect::<Vec<_>>(), ["title"]);
    assert_eq!(page.commands["create"].input.keys().collect::<Vec<_>>(), ["title", "status"]);
    assert_eq!(page.commands.keys().collect::<Vec<_>>(), ["create", "update", "delete", "publish"]);
}

#[test]
fn a_reference_to_a_file_that_cannot_be_read_is_not_called_wrong() {
    let broken = Source { name: "a.yaml".into(), text: "model: customer\nfields: [".into() };
    let text = "model: order\nfields:\n  customer: { type: ref, to: customer }\n";
    let order = Source { name: "b.yaml".into(), text: text.into() };
    let found = findings(&[broken, order]);
    assert!(found.starts_with("a.yaml:"), "{found}");
    assert!(!found.contains("b.yaml"), "{found}");
}

#[test]
fn a_model_that_is_declared_twice_names_the_first_place() {
    let one = Source { name: "a.yaml".into(), text: "model: page\nfields: { title: text }\n".into() };
    let two = Source { name: "b.yaml".into(), ..one.clone() };
    snapshot("two_files_one_model", &findings(&[one, two]));
}

#[test]
fn an_application_has_a_name_too() {
    let found = Models::check("My Shop", &[]).expect_err("no name");
    assert_eq!((found.len(), found[0].file.as_str()), (1, ""));
    assert!(Models::check("shop", &[]).expect("no file, no fault").models.is_empty());
}

/// A text that is no model file at all: an error, whatever it is.
fn refused(text: &str) -> String {
    let source = Source { name: "x.yaml".into(), text: text.to_owned() };
    let found = Models::check("shop", std::slice::from_ref(&source)).expect_err("the text is wrong");
    for finding in &found {
        assert!(source.text.get(finding.span.clone()).is_some(), "{finding:?}");
    }
    found[0].one_line(&source)
}

#[test]
fn hostile_files_are_refused() {
    let deep = "[".repeat(10_000);
    let deep_maps: String = (0..10_000).map(|level| format!("{}a:\n", " ".repeat(level % 200))).collect();
    let indented: String = (0..1_000).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    let bomb = "model: &a\na: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n";
    let long_name = format!("model: {}\n", "a".repeat(100_000));
    let deep_expression = format!(
        "model: a\nfields: {{ b: integer }}\ncommands:\n  c: {{ set: {{ b: '{}1{}' }} }}\n",
        "(".repeat(1_900),
        ")".repeat(1_900)
    );
    let found: Vec<String> = [
        "",
        "\u{feff}",
        "# nothing but a comment\n",
        "---\n---\n",
        "null",
        "42",
        "[]",
        "a\0b",
        "\u{feff}model: a\u{7}",
        "model: a\n\tfields: b",
        "model: a\nfields:\n\t- b",
        "{ a: b",
        "'",
        "? [a]\n: b",
        "model: !!int a",
        &"x".repeat(2_000_000),
        &"a: b\n".repeat(20),
        &"- ".repeat(5_000),
        &deep,
        &deep_maps,
        &indented,
        bomb,
        &long_name,
        &deep_expression,
    ]
    .into_iter()
    .map(refused)
    .collect();
    snapshot("hostile_files", &found.join("\n"));
}

/// Valid files, cut and joined anew.
fn mutated() -> impl Strategy<Value = String> {
    let valid: Vec<String> = files("../models")
        .into_iter()
        .chain(files("tests/good"))
        .chain(files("tests/check"))
        .map(|path| source(&path).text)
        .collect();
    let piece = prop_oneof![
        Just(String::new()),
        "[-:{}\\[\\],'\"|>&*!%@` \n\t#?a-z0-9é]{0,6}",
        proptest::sample::select(vec![
            "key: true",
            "null",
            "to: order",
            "fields:",
            "commands:",
            "''",
            "- ",
            "&a",
            "*a",
            "0.5",
            "input.lines"
        ])
        .prop_map(str::to_owned),
    ];
    (
        proptest::sample::select(valid),
        proptest::collection::vec((any::<prop::sample::Index>(), 0..40usize, piece), 1..6),
    )
        .prop_map(|(text, edits)| {
            let mut letters: Vec<char> = text.chars().collect();
            for (at, removed, piece) in edits {
                let at = at.index(letters.len() + 1);
                let end = (at + removed).min(letters.len());
                letters.splice(at..end, piece.chars());
            }
            letters.into_iter().collect()
        })
}

fn no_panic(text: String) -> Result<(), TestCaseError> {
    let source = Source { name: "x.yaml".into(), text };
    for finding in Models::check("shop", std::slice::from_ref(&source)).err().unwrap_or_default() {
        prop_assert!(source.text.get(finding.span.clone()).is_some(), "{:?}", finding);
        prop_assert!(!finding.message.is_empty() && !finding.message.contains('\n'), "{:?}", finding);
        source.location(finding.span.start);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_check_panic(text in any::<String>()) {
        no_panic(text)?;
    }

    #[test]
    fn no_yaml_makes_the_check_panic(text in "([a-z]{1,3}|[-:{}\\[\\],'\"|>&*!%@` \n\t\r#?~.0-9\u{85}\u{2028}]|: |- |\n  ){0,80}") {
        no_panic(text)?;
    }

    #[test]
    fn no_changed_model_makes_the_check_panic(text in mutated()) {
        no_panic(text)?;
    }
}
