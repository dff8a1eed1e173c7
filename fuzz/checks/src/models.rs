//! The declared models that inputs are held against.

use std::sync::LazyLock;

use writ_model::Models;
use writ_model::diagnostic::Source;

/// A model with every type, and the sample shop.
pub(crate) static MODELS: LazyLock<Models> = LazyLock::new(|| {
    declared(&[
        ("everything.yaml", include_str!("../models/everything.yaml")),
        ("counter.yaml", include_str!("../models/counter.yaml")),
        ("category.yaml", include_str!("../../../models/category.yaml")),
        ("customer.yaml", include_str!("../../../models/customer.yaml")),
        ("order.yaml", include_str!("../../../models/order.yaml")),
        ("product.yaml", include_str!("../../../models/product.yaml")),
    ])
});

/// Four versions of one model, of which the first three have written events (`model/tests/recorded/`).
pub(crate) static VERSIONS: LazyLock<[Models; 4]> = LazyLock::new(|| {
    [
        declared(&[("v1.yaml", include_str!("../../../model/tests/recorded/v1.yaml"))]),
        declared(&[("v2.yaml", include_str!("../../../model/tests/recorded/v2.yaml"))]),
        declared(&[("v3.yaml", include_str!("../../../model/tests/recorded/v3.yaml"))]),
        declared(&[("v4.yaml", include_str!("../../../model/tests/recorded/v4.yaml"))]),
    ]
});

fn declared(files: &[(&str, &str)]) -> Models {
    let sources: Vec<Source> =
        files.iter().map(|(name, text)| Source { name: (*name).into(), text: (*text).into() }).collect();
    Models::check("shop", &sources).unwrap_or_else(|faults| panic!("the models of this crate: {faults:#?}"))
}
