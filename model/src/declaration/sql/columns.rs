//! The columns that a statement names: those of the projection's table.

use std::ops::Range;

use sqlparser::ast::{
    Assignment, AssignmentTarget, ConflictTarget, Ident, Insert, Merge, MergeAction, MergeUpdateKind,
    ObjectName, OnConflictAction, OnInsert, SetExpr,
};

use super::super::report::{list, shown, suggest};
use super::rules::{Rules, folded};

impl Rules<'_> {
    pub(super) fn check_insert(&mut self, insert: &Insert) {
        for column in &insert.columns {
            self.check_column(column);
        }
        // `DEFAULT VALUES` and a list of all columns have none.
        let anchor = insert.columns.first().and_then(|name| name.0.last()).and_then(|part| part.as_ident());
        if let Some(first) = anchor {
            let place = self.place_of(first);
            self.check_key(place, &insert.columns);
        }
        if let Some(OnInsert::OnConflict(conflict)) = &insert.on {
            if let Some(ConflictTarget::Columns { columns, .. }) = &conflict.conflict_target {
                for column in columns {
                    self.check_ident(column);
                }
            }
            if let OnConflictAction::DoUpdate(update) = &conflict.action {
                self.check_assignments(&update.assignments);
            }
        }
        self.check_width(insert);
    }

    pub(super) fn check_merge(&mut self, merge: &Merge) {
        for clause in &merge.clauses {
            match &clause.action {
                MergeAction::Insert(insert) => {
                    for column in &insert.columns {
                        self.check_column(column);
                    }
                }
                MergeAction::Update(update) => {
                    if let MergeUpdateKind::Set(assignments) = &update.kind {
                        self.check_assignments(assignments);
                    }
                }
                MergeAction::Delete { .. } | MergeAction::DoNothing { .. } => {}
            }
        }
    }

    pub(super) fn check_assignments(&mut self, assignments: &[Assignment]) {
        for assignment in assignments {
            match &assignment.target {
                AssignmentTarget::ColumnName(name) => self.check_column(name),
                AssignmentTarget::Tuple(names) => names.iter().for_each(|name| self.check_column(name)),
            }
        }
    }

    /// `daily_sales.total`, `excluded.total`.
    pub(super) fn check_compound(&mut self, parts: &[Ident]) {
        if let [table, column] = parts
            && let table = folded(table)
            && (self.target.table == Some(table.as_str()) || table == "excluded")
        {
            self.check_ident(column);
        }
    }

    /// `INSERT INTO t (a, b) VALUES (1)`: PostgreSQL would say so at the first event only.
    fn check_width(&mut self, insert: &Insert) {
        let Some(SetExpr::Values(values)) = insert.source.as_ref().map(|query| &*query.body) else { return };
        let wanted = match insert.columns.len() {
            0 => return,
            some => some,
        };
        if let Some(row) = values.rows.iter().find(|row| row.content.len() != wanted)
            && let Some(column) =
                insert.columns.first().and_then(|name| name.0.first()).and_then(|part| part.as_ident())
        {
            let message = format!("INSERT names {wanted} columns and gives {} values", row.content.len());
            let place = self.place_of(column);
            self.fault(place, message, "give each column its value");
        }
    }

    fn check_key(&mut self, at: Range<usize>, columns: &[ObjectName]) {
        let given: Vec<String> =
            columns.iter().filter_map(|name| name.0.last()?.as_ident()).map(folded).collect();
        let missing: Vec<&str> = self
            .target
            .key
            .iter()
            .map(String::as_str)
            .filter(|key| !given.iter().any(|given| given == key))
            .collect();
        if !missing.is_empty() {
            let message = format!("INSERT gives no value for the key {}", list(missing));
            self.fault(at, message, "every row has its key");
        }
    }

    fn check_column(&mut self, name: &ObjectName) {
        // Behind a point there is a part of a column, which PostgreSQL judges.
        if let [part] = name.0.as_slice()
            && let Some(ident) = part.as_ident()
        {
            self.check_ident(ident);
        }
    }

    fn check_ident(&mut self, ident: &Ident) {
        let name = folded(ident);
        if self.target.broken || self.target.columns.contains_key(&name) {
            return;
        }
        let known = self.target.columns.keys().map(String::as_str);
        let hint = suggest(&name, known);
        let message = format!("the projection has no field {}", shown(&name));
        let place = self.place_of(ident);
        self.fault(place, message, hint);
    }
}
