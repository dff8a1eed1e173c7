//! Every way to ask. A new one gets a row here.

use writ_projections::query::Format;

use super::world::{HERS, OTHERS};

pub(super) type Params = &'static [(&'static str, &'static str)];

/// One way to ask.
#[derive(Debug, Clone, Copy)]
pub(super) enum Probe {
    /// All pages of a list of a model, two rows at a time, with the count on each.
    List(&'static str, Params),
    /// A page behind a cursor with these sort keys.
    Forged(Params, &'static str),
    /// All pages of an SQL projection.
    Projection(&'static str, Params),
    Export(&'static str, Params, Format),
    One(&'static str, Key, Params),
    /// The rows of a list by the cache.
    CachedList(&'static str, Params),
    CachedRow(&'static str, Key),
    Events(Params),
    EventsOf(Key),
    Past(Key, &'static str),
    Diff(Key, &'static str),
}

/// One aggregate.
#[derive(Debug, Clone, Copy)]
pub(super) enum Key {
    /// An order by its number.
    Order(u64),
    /// A customer or an entry of the ledger.
    Text(&'static str),
}

use Key::{Order, Text};
use Probe::*;

pub(super) const PROBES: &[Probe] = &[
    List("order", &[]),
    List("order", &[("sort", "-total")]),
    List("order", &[("sort", "note,-created_at")]),
    List("order", &[("total[gte]", "0")]),
    List("order", &[("customer[ne]", "HER")]),
    List("order", &[("note[like]", "%the%")]),
    List("order", &[("status[in]", "placed,noted"), ("sort", "status,total")]),
    List("order", &[("q", "theirs")]),
    List("order", &[("q", "hidden")]),
    List("order", &[("q", "noted")]),
    List("order", &[("expand", "customer,agent")]),
    List("order", &[("margin[gt]", "0")]),
    List("order", &[("memo[like]", "hidden%")]),
    List("order", &[("partner", "BOB")]),
    List("order", &[("sort", "margin")]),
    List("order", &[("sort", "-memo,total")]),
    List("order", &[("fields", "number,margin,memo,partner")]),
    List("order", &[("expand", "partner")]),
    List("customer", &[]),
    List("customer", &[("sort", "-company")]),
    List("customer", &[("phone[is_null]", "false")]),
    List("customer", &[("q", "company")]),
    List("ledger", &[]),
    Forged(&[("sort", "-total")], r#"["97.00","ffffffff-ffff-ffff-ffff-ffffffffffff"]"#),
    Forged(&[("sort", "total")], r#"["-1.00","00000000-0000-0000-0000-000000000000"]"#),
    Forged(&[("sort", "note")], r#"["a","00000000-0000-0000-0000-000000000000"]"#),
    Forged(&[("sort", "-note")], r#"[null,"ffffffff-ffff-ffff-ffff-ffffffffffff"]"#),
    Forged(&[("sort", "-agent,note")], r#"[null,null,"00000000-0000-0000-0000-000000000000"]"#),
    Forged(&[], r#"["00000000-0000-0000-0000-000000000000"]"#),
    Forged(&[("sort", "margin")], r#"["0.00","00000000-0000-0000-0000-000000000000"]"#),
    Projection("sales", &[]),
    Projection("sales", &[("sort", "-total")]),
    Projection("sales", &[("margin[gt]", "0")]),
    Projection("sales", &[("sort", "margin")]),
    Projection("sales", &[("q", "n1")]),
    Projection("books", &[]),
    Export("order", &[], Format::Csv),
    Export("order", &[("sort", "-total")], Format::Ndjson),
    Export("order", &[("fields", "number,margin")], Format::Csv),
    Export("order", &[("fields", "number,total")], Format::Csv),
    Export("customer", &[], Format::Ndjson),
    Export("sales", &[], Format::Csv),
    Export("sales", &[], Format::Ndjson),
    Export("ledger", &[], Format::Csv),
    One("order", Order(HERS[0]), &[]),
    One("order", Order(HERS[0]), &[("fields", "number,margin")]),
    One("order", Order(HERS[0]), &[("expand", "customer,agent")]),
    One("order", Order(HERS[0]), &[("expand", "partner")]),
    One("order", Order(OTHERS[0]), &[]),
    One("order", Order(OTHERS[0]), &[("fields", "number")]),
    One("customer", Text("BOB"), &[]),
    One("customer", Text("HER"), &[]),
    One("ledger", Text("rent"), &[]),
    CachedList("order", &[]),
    CachedList("order", &[("sort", "-total"), ("limit", "1000")]),
    CachedList("customer", &[]),
    CachedRow("order", Order(HERS[0])),
    CachedRow("order", Order(OTHERS[0])),
    CachedRow("customer", Text("HER")),
    CachedRow("customer", Text("BOB")),
    Events(&[]),
    Events(&[("sort", "time")]),
    Events(&[("model", "order")]),
    Events(&[("model", "customer")]),
    Events(&[("model", "ledger")]),
    Events(&[("type", "test.order.Annotated")]),
    Events(&[("model", "order"), ("aggregate_id", "N7")]),
    Events(&[("model", "order"), ("aggregate_id", "N301")]),
    Events(&[("actor", "somebody")]),
    Events(&[("correlation_id", "chain")]),
    EventsOf(Order(HERS[0])),
    EventsOf(Order(HERS[1])),
    EventsOf(Order(HERS[3])),
    EventsOf(Order(OTHERS[0])),
    EventsOf(Order(OTHERS[1])),
    Past(Order(HERS[0]), "1"),
    Past(Order(HERS[1]), "2030-01-01T00:00:00Z"),
    Past(Order(HERS[3]), "2"),
    Past(Order(OTHERS[0]), "1"),
    Past(Order(OTHERS[0]), "7"),
    Past(Order(OTHERS[0]), "2001-01-01T00:00:00Z"),
    Past(Order(OTHERS[1]), "2"),
    Past(Order(OTHERS[1]), "2030-01-01T00:00:00Z"),
    Diff(Order(HERS[0]), "1..2"),
    Diff(Order(HERS[3]), "1.."),
    Diff(Order(OTHERS[0]), "1..2"),
    Diff(Order(OTHERS[1]), "1.."),
    Diff(Order(OTHERS[0]), "1..7"),
];

/// What she is told of hidden fields is what she is told of a field that no declaration has.
pub(super) const UNKNOWN: &[(Probe, Probe)] = &[
    (List("order", &[("margin", "1")]), List("order", &[("qqqqqq", "1")])),
    (List("order", &[("margin[gte]", "x")]), List("order", &[("qqqqqq[gte]", "x")])),
    (List("order", &[("margin[in]", "1,2")]), List("order", &[("qqqqqq[in]", "1,2")])),
    (List("order", &[("sort", "margin")]), List("order", &[("sort", "qqqqqq")])),
    (List("order", &[("fields", "number,margin")]), List("order", &[("fields", "number,qqqqqq")])),
    (List("order", &[("expand", "margin")]), List("order", &[("expand", "qqqqqq")])),
    (
        One("order", Order(HERS[0]), &[("fields", "margin")]),
        One("order", Order(HERS[0]), &[("fields", "qqqqqq")]),
    ),
    (
        One("order", Order(HERS[0]), &[("expand", "margin")]),
        One("order", Order(HERS[0]), &[("expand", "qqqqqq")]),
    ),
    (
        Export("order", &[("sort", "margin")], Format::Csv),
        Export("order", &[("sort", "qqqqqq")], Format::Csv),
    ),
    (Projection("sales", &[("margin", "1")]), Projection("sales", &[("qqqqqq", "1")])),
    (Projection("sales", &[("sort", "margin")]), Projection("sales", &[("sort", "qqqqqq")])),
];
