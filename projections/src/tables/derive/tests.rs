use std::sync::Arc;

use writ_model::Models;
use writ_model::diagnostic::Source;

use super::*;

/// All statements of the table of a model.
fn sql(text: &str) -> String {
    let source = Source { name: "a.yaml".into(), text: text.into() };
    let models = Models::check("test", &[source]).unwrap();
    statements(&Table::derive(&Schema::new("writ"), models.models.values().next().unwrap()))
}

fn statements(table: &Table) -> String {
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
fn the_searched_fields_have_an_index() {
    let text = "
model: page
fields:
  title: { type: text, max_length: 40 }
  body: { type: text, optional: true }
crud: true
";
    let source = Source { name: "a.yaml".into(), text: text.into() };
    let mut models = Models::check("test", &[source]).unwrap();
    let page = Arc::get_mut(&mut models.models["page"]).unwrap();
    page.search = vec!["title".into(), "body".into()];
    insta::assert_snapshot!(statements(&Table::derive(&Schema::new("writ"), page)));
}

#[test]
fn a_projection_has_its_own_columns_and_key() {
    let source = Source {
        name: "a.yaml".into(),
        text: "
model: fields
fields:
  day: { type: date }
  code: { type: text, max_length: 40 }
  orders: { type: integer, optional: true }
  total: { type: decimal, precision: 14, scale: 2 }
  xmin: { type: text }
crud: true
"
        .into(),
    };
    let models = Models::check("test", &[source]).unwrap();
    let mut fields = models.models["fields"].fields.clone();
    // A projection may have a column that every model has.
    let mut id = fields.shift_remove("code").unwrap();
    id.name = "id".into();
    fields.insert("id".into(), id);
    let projection = Projection {
        name: "daily".into(),
        doc: None,
        fields,
        key: vec!["day".into(), "id".into()],
        indexes: vec![vec!["total".into()], vec!["orders".into(), "day".into()], vec!["xmin".into()]],
        read: None,
        field_rules: Vec::new(),
        statements: Vec::new(),
    };
    insta::assert_snapshot!(statements(&Table::of_projection(&Schema::new("writ"), &projection)));
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
