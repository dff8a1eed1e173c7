//! The last step before the swap: indexes, and what the planner knows of the table.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::build::{Build, run};
use super::fault::Fault;
use super::tools::Tools;
use crate::declared::Declaration;
use crate::tables;

/// Makes the indexes that were left out, and the statistics: right after the swap queries would else be planned as for
/// an empty table. Takes as long as it takes; nobody reads the table yet.
pub(super) async fn finish(
    build: &mut Build,
    tools: &Tools,
    connection: &mut PgConnection,
    declared: &HashMap<String, Declaration>,
) -> Result<(), Fault> {
    if let Some(declaration) = declared.get(&*build.generation.projection) {
        tables::index(connection, &tools.next, declaration).await?;
    }
    // Rows that were changed often have left old versions behind.
    run(connection, format!("VACUUM (ANALYZE) {}", tools.next.table(&build.table))).await?;
    build.finished = true;
    Ok(())
}
