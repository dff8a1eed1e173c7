//! What is asked of a state in memory is what PostgreSQL answers of its row: random models, rows, readers and requests.

mod random;

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use uuid::Uuid;
use writ_model::access::Readable;
use writ_model::decide::Actor;
use writ_model::{Model, Object, State, Timestamp, Value};
use writ_projections::Reader;
use writ_projections::query::{Format, Keyed, ListRequest, Queries};
use writ_projections::tables::{Schema, Table};

use crate::stage::{Database, everything, models};

const MODELS: usize = 12;
const ROWS: usize = 50;
const REQUESTS: usize = 250;

/// Who reads what.
const RULES: [&str; 9] = [
    "true",
    "role('staff') || state.owner == actor.id",
    "state.owner == actor.id || state.deputy == actor.id",
    "state.owner == actor.id && state.rank > 0",
    "state.rank == 1 || state.rank in [2, 3]",
    "state.team != 'a' && !(state.rank == 1)",
    "id == actor.id",
    "state.price == 1 || state.price == 2.50",
    "actor.id in state.members || has(state.place.town)",
];

fn actors() -> Vec<Actor> {
    let actor = |id: Option<u128>, roles: &[&str]| Actor {
        id: id.map(Uuid::from_u128),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        ..Actor::default()
    };
    vec![actor(None, &[]), actor(Some(1), &[]), actor(Some(2), &["staff"]), everything().actor.clone()]
}

/// The rows as the projector writes them.
async fn filled(model: &Model, rows: &[(Uuid, State)]) -> (Database, Queries) {
    let database = Database::new();
    let table = Table::derive(&Schema::new(&database.options.schema), model);
    let literal = |value: &Value| match value {
        Value::Null => "NULL".to_owned(),
        Value::Duration(millis) => format!("'{millis}'"),
        value => {
            let text = value.to_text().unwrap_or_else(|| value.to_json().to_string());
            format!("'{}'", text.replace('\'', "''"))
        }
    };
    let row = |(id, state): &(Uuid, State)| {
        let fields: Vec<String> = model.fields.keys().map(|name| literal(&state.fields[name])).collect();
        let State { version, deleted, created_at, updated_at, .. } = state;
        format!("('{id}', {version}, {deleted}, '{created_at}', '{updated_at}', {})", fields.join(", "))
    };
    let rows: Vec<String> = rows.iter().map(row).collect();
    database
        .execute(&format!(
            "CREATE SCHEMA $schema; {}; INSERT INTO $schema.thing VALUES {}",
            table.create(),
            rows.join(", ")
        ))
        .await;
    let queries = Queries::new(&database.options, None).unwrap();
    (database, queries)
}

/// States of the model. Many share values.
fn states(model: &Model, runner: &mut TestRunner) -> Vec<(Uuid, State)> {
    let mut states: Vec<(Uuid, State)> = Vec::new();
    for id in 1..=ROWS as u128 {
        let mut fields: Object = random::fields(model).new_tree(runner).unwrap().current();
        for (name, value) in &mut fields {
            let earlier = (0..2 * states.len() + 1).new_tree(runner).unwrap().current();
            if let Some((_, state)) = states.get(earlier) {
                value.clone_from(&state.fields[name]);
            }
        }
        let (version, created) = ((1..4u64), (0..5i64)).new_tree(runner).unwrap().current();
        let created_at = Timestamp(1_700_000_000_000 + created);
        let updated_at = Timestamp(created_at.0 + i64::try_from(version).unwrap());
        let deleted = id % 10 == 0;
        states.push((Uuid::from_u128(id), State { version, deleted, created_at, updated_at, fields }));
    }
    states
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_matches_where_postgresql_finds_its_row() {
    let mut runner = TestRunner::deterministic();
    let actors = actors();
    // How often a filter with this operator told rows apart.
    let mut told_apart: BTreeMap<String, usize> = BTreeMap::new();
    let (mut keyed, mut by_rule) = (0, 0);
    for number in 0..MODELS {
        let text = random::model(&mut runner);
        let with_rule = |rule: &&str| models(&[&format!("{text}    {rule}\n")]).get("thing").unwrap().clone();
        let models: Vec<_> = RULES.iter().map(with_rule).collect();
        let rows = states(&models[0], &mut runner);
        let (_database, queries) = filled(&models[0], &rows).await;
        let paths = random::paths(&models[0], &rows);
        let mut asked = 0;
        while asked < REQUESTS {
            let model = select(models.clone()).new_tree(&mut runner).unwrap().current();
            let actor = select(actors.clone()).new_tree(&mut runner).unwrap().current();
            let params = random::params(&paths, &mut runner);
            let reader = Reader { actor: &actor, now: Timestamp(0) };
            let limited = |limit: &[(String, String)]| {
                ListRequest::parse(reader.asks(&*model), &[&params, limit].concat())
            };
            let (Ok(request), Ok(all)) = (limited(&[]), limited(&[("limit".into(), "1000".into())])) else {
                continue;
            };
            asked += 1;
            let matching = request.matching().unwrap();
            let matches: Vec<&(Uuid, State)> =
                rows.iter().filter(|(id, state)| matching.holds(*id, state)).collect();
            let page = queries.list(&all).await.unwrap_or_else(|error| panic!("{params:?}: {error}"));
            let found: BTreeSet<Uuid> = page.items.iter().map(|row| row.id).collect();
            let differ: Vec<_> = rows
                .iter()
                .filter(|row| found.contains(&row.0) != matches.iter().any(|one| one.0 == row.0))
                .collect();
            assert!(differ.is_empty(), "{number} {params:?}\n{matching:#?}\n{differ:#?}");

            for row in &page.items {
                let (id, state) = rows.iter().find(|(id, _)| *id == row.id).unwrap();
                assert_eq!(matching.row_json(&model, *id, state), row.to_json(), "{params:?}\n{state:#?}");
            }
            for (id, state) in &matches {
                let is_found = match matching.keys() {
                    None => true,
                    Some(Keyed::Ids(wanted)) => wanted.contains(id),
                    Some(Keyed::Field(name, values)) => {
                        let text = state.fields[name].to_text();
                        values.iter().any(|value| value.to_text() == text)
                    }
                };
                assert!(is_found, "{params:?} {:?}\n{state:#?}", matching.keys());
            }
            keyed += usize::from(matching.keys().is_some() && !matches.is_empty());
            if !matches.is_empty() && matches.len() < rows.len() * 9 / 10 {
                by_rule += usize::from(matches!(matching.visible().rows, Readable::Where(_)));
                if let [(name, _)] = &*params {
                    let operator = name.split_once('[').map_or("eq", |(_, rest)| rest.trim_end_matches(']'));
                    *told_apart.entry(operator.to_owned()).or_default() += 1;
                }
            }
        }

        // What is shown of a row is also what other forms of the list say.
        let request = ListRequest::parse(everything().asks(&*models[0]), &[]).unwrap();
        let matching = request.matching().unwrap();
        let export = queries.export(&request, Format::Ndjson).await.unwrap();
        let pieces: Vec<Vec<u8>> = export.map(Result::unwrap).collect().await;
        let lines = String::from_utf8(pieces.concat()).unwrap();
        let shown = rows.iter().filter(|(_, state)| !state.deleted);
        let expected: Vec<String> =
            shown.map(|(id, state)| matching.row_json(&models[0], *id, state)).collect();
        assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
    }
    for operator in ["eq", "ne", "lt", "lte", "gt", "gte", "in", "like", "ilike", "is_null", "contains"] {
        let times = told_apart.get(operator).copied().unwrap_or_default();
        assert!(times >= 10, "{operator} alone told rows apart {times} times: {told_apart:?}");
    }
    assert!(keyed > 200 && by_rule > 200, "{keyed} with keys, {by_rule} by a rule");
}

/// Upper and lower case are those of PostgreSQL for every character that it knows.
#[tokio::test(flavor = "multi_thread")]
async fn every_letter_has_the_case_that_it_has_in_postgresql() {
    let text = "model: thing\nfields: { text: { type: text } }\ncrud: true\n";
    let model = models(&[text]).get("thing").unwrap().clone();
    let database = Database::new();
    let rows = database
        .select(
            "SELECT n, ascii(lower(chr(n) COLLATE \"pg_c_utf8\")) AS lower FROM generate_series(1, 1114111) AS n \
             WHERE n NOT BETWEEN 55296 AND 57343 AND lower(chr(n) COLLATE \"pg_c_utf8\") <> chr(n)",
        )
        .await;
    let char =
        |json: &serde_json::Value| char::from_u32(u32::try_from(json.as_u64().unwrap()).unwrap()).unwrap();
    let lower: BTreeMap<char, char> = rows.iter().map(|row| (char(&row["n"]), char(&row["lower"]))).collect();
    assert!(lower.len() > 1_000);
    let unknown = "SELECT n FROM generate_series(1, 1114111) AS n WHERE n NOT BETWEEN 55296 AND 57343 \
                   AND NOT unicode_assigned(chr(n))";
    let unknown: BTreeSet<char> = database.select(unknown).await.iter().map(|row| char(&row["n"])).collect();
    for letter in (1..=0x0010_ffff).filter_map(char::from_u32) {
        let is = lower.get(&letter).copied().unwrap_or(letter);
        for other in letter.to_lowercase().take(1).chain([is]).filter(|other| *other != letter) {
            // `%` keeps the plain ones plain.
            let params = [("text[ilike]".to_owned(), format!("%{other}"))];
            let matching =
                ListRequest::parse(everything().asks(&*model), &params).unwrap().matching().unwrap();
            let fields = [("text".to_owned(), Value::Text(letter.to_string()))].into_iter().collect();
            let at = Timestamp(0);
            let state = State { version: 1, deleted: false, created_at: at, updated_at: at, fields };
            let matches = matching.holds(Uuid::nil(), &state);
            let expected = is == lower.get(&other).copied().unwrap_or(other);
            assert!(matches == expected || unknown.contains(&letter), "{letter:?} and {other:?}");
        }
    }
}

#[test]
fn what_is_about_more_than_a_row_is_refused() {
    let daily = "
projection: daily
fields: { day: { type: date, key: true } }
on:
  thing.created: INSERT INTO daily (day) VALUES (:day)
";
    let thing = "
model: thing
fields: { day: { type: date }, note: { type: text }, other: { type: ref, to: thing, optional: true } }
crud: true
";
    let models = models(&[thing, daily]);
    let thing = models.get("thing").unwrap();
    let given = |params: &[(&str, &str)]| {
        let params: Vec<(String, String)> =
            params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let request = ListRequest::parse(everything().asks((&*models, &**thing)), &params).unwrap();
        let refused = request.matching().err().unwrap_or_default();
        refused.into_iter().map(|error| (error.pointer, error.code)).collect::<Vec<_>>()
    };
    assert!(
        given(&[("day[gt]", "2026-01-01"), ("fields", "day"), ("id", &Uuid::nil().to_string())]).is_empty()
    );
    for (name, value) in [
        ("sort", "id"),
        ("limit", "50"),
        ("count", "false"),
        ("expand", "other"),
        ("format", "csv"),
        ("q", "x"),
    ] {
        assert_eq!(given(&[(name, value)]), [(format!("/{name}"), "not_followable".to_owned())]);
    }
    let both = given(&[("limit", "50"), ("sort", "day"), ("day", "2026-01-01")]);
    assert_eq!(both.len(), 2, "{both:?}");
    let request = ListRequest::parse(everything().asks(&models.projections["daily"]), &[]).unwrap();
    assert_eq!(request.matching().unwrap_err()[0].code, "not_followable");
}

#[test]
fn the_rarest_equality_is_the_key() {
    let text = |rule: &str| {
        format!(
            "
model: thing
fields:
  owner: {{ type: ref, to: thing, optional: true }}
  deputy: {{ type: ref, to: thing, optional: true }}
  status: {{ type: enum, values: [draft, live] }}
  code: {{ type: text, optional: true }}
  paid: {{ type: boolean, optional: true }}
  price: {{ type: decimal, precision: 8, scale: 2, optional: true }}
  place: {{ type: object, fields: {{ town: {{ type: text }} }}, optional: true }}
crud: true
allow: {{ read: \"{rule}\" }}
"
        )
    };
    let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let actor = Actor { id: Some(one), roles: ["a".to_owned()].into(), ..Actor::default() };
    let keys = |rule: &str, params: &[(&str, &str)]| {
        let models = models(&[&text(rule)]);
        let params: Vec<(String, String)> =
            params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let reader = Reader { actor: &actor, now: Timestamp(0) };
        let request = ListRequest::parse(reader.asks(models.get("thing").unwrap()), &params).unwrap();
        request.matching().unwrap().keys().cloned()
    };
    let of = |name: &str, values: &[Value]| Some(Keyed::Field(name.to_owned(), values.to_vec()));
    let texts =
        |values: &[&str]| values.iter().map(|text| Value::Text((*text).to_owned())).collect::<Vec<_>>();
    let (first, second) = (one.to_string(), two.to_string());

    assert_eq!(keys("true", &[]), None);
    assert_eq!(keys("true", &[("id", &first), ("owner", &second)]), Some(Keyed::Ids(vec![one])));
    assert_eq!(keys("true", &[("id[in]", &first)]), Some(Keyed::Ids(vec![one])));
    let both = format!("{first},{second},{first}");
    assert_eq!(keys("true", &[("id[in]", &both), ("owner", &second)]), Some(Keyed::Ids(vec![one, two])));
    assert_eq!(keys("id == actor.id", &[("id[in]", &both)]), Some(Keyed::Ids(vec![one])));
    assert_eq!(keys("id == actor.id || id == actor.id", &[]), Some(Keyed::Ids(vec![one])));
    assert_eq!(keys("true", &[("id[ne]", &first)]), None);
    assert_eq!(keys("true", &[("version", "1")]), None);
    assert_eq!(keys("true", &[("status", "live"), ("owner", &second)]), of("owner", &[Value::Uuid(two)]));
    assert_eq!(keys("true", &[("code[in]", "x,y,x"), ("status", "live")]), of("code", &texts(&["x", "y"])));
    assert_eq!(keys("true", &[("paid", "true"), ("status", "live")]), of("status", &texts(&["live"])));
    assert_eq!(keys("true", &[("price", "1.00")]), None, "equal decimals may have several texts");
    assert_eq!(keys("true", &[("place.town", "x")]), None);
    let owner = of("owner", &[Value::Uuid(one)]);
    assert_eq!(keys("state.owner == actor.id", &[("status", "live")]), owner);
    assert_eq!(keys("role('staff') || state.owner == actor.id", &[]), owner);
    assert_eq!(keys("state.owner == actor.id && state.status == 'live'", &[]), owner);
    assert_eq!(keys("state.owner == actor.id || state.deputy == actor.id", &[]), None);
    assert_eq!(keys("state.code == 'x' || state.code in ['y', 'x']", &[]), of("code", &texts(&["x", "y"])));
    assert_eq!(keys("state.status == 'live' || state.owner == actor.id", &[]), None);
    assert_eq!(keys("!(state.status == 'live')", &[]), None);
    assert_eq!(keys("state.price == 1", &[]), None);
    assert_eq!(keys("state.price in [1, 2]", &[]), None);
    assert_eq!(keys("state.price == size(actor.roles)", &[]), None);
    assert_eq!(keys("id == actor.id", &[("owner", &second)]), Some(Keyed::Ids(vec![one])));
}
