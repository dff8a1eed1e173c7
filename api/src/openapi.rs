//! x
use writ_model::Models;
/// x
pub fn document(models: &Models) -> serde_json::Value {
    let _ = models;
    serde_json::json!({})
}
