use writ_model::Models;
use writ_model::diagnostic::Source;

use super::*;

/// All statements of the table of a model.
fn sql(text: &str) -> String {
    let source = Source { name: "a.yaml".into(), text: text.into() };
    let models = Models::check("test", &[source]).unwrap();
    let table = Table::derive(&Schema::new("writ"), models.models.values().next().unwrap());
    let indexes = table.create_indexes().into_iter().map(|(_, create)| create);
    [table.create()].into_iter().chain(indexes).collect::<Vec<_>>().join(";\n")
}

#[test]
fn every_type_has_its_column() {
    insta::assert_snapshot!(sql(r"
model: everything
fields:
  key: { type: text, key: true, max_length: 40 }
  text: { type: text }
  integer: { type: integer }
  decimal: { type: decimal, precision: 14, scale: 2 }
  boolean: { type: boolean }
  timestamp: { type: timestamp }
  date: { type: date }
  duration: { type: duration }
  uuid: { type: uuid }
  email: { type: email }
  url: { type: url }
  enum: { type: enum, values: [a, b] }
  ref: { type: ref, to: everything }
  list: { type: list, of: { n: { type: integer } } }
  object: { type: object, fields: { n: { type: integer } } }
  json: { type: json }
crud: true
index: [[enum, date], [email]]
"));
}

#[test]
fn an_index_never_refuses_a_row() {
    insta::assert_snapshot!(sql(r"
model: wordy
fields:
  name: { type: text, key: true }
  kind: { type: enum, values: [a, b] }
  body: { type: text }
  link: { type: url }
crud: true
index: [[kind, body], [body, kind], [kind, link]]
"));
}

#[test]
fn names_that_postgresql_has_taken_are_others() {
    insta::assert_snapshot!(sql(r"
model: writ_offsets
fields:
  xmin: { type: text, max_length: 10 }
  a_name_that_is_as_long_as_it_may_be_in_the_model: { type: enum, values: [a, b], optional: true }
crud: true
"));
}
