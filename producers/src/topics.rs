//! Topic names, declared once, and their creation.

/// The names of all topics under one prefix.
#[derive(Debug, Clone)]
pub struct Topics {
    prefix: String,
}

impl Topics {
    /// Names under `prefix` (`writ`).
    pub fn new(prefix: &str) -> Self {
        Topics { prefix: prefix.to_owned() }
    }
    /// `writ.<model>`: the events of a model.
    pub fn events(&self, model: &str) -> String {
        format!("{}.{model}", self.prefix)
    }
    /// `writ.commands`.
    pub fn commands(&self) -> String {
        format!("{}.commands", self.prefix)
    }
    /// `writ.replies`.
    pub fn replies(&self) -> String {
        format!("{}.replies", self.prefix)
    }
    /// `writ.state`.
    pub fn state(&self) -> String {
        format!("{}.state", self.prefix)
    }
    /// `writ.dead-letters`.
    pub fn dead_letters(&self) -> String {
        format!("{}.dead-letters", self.prefix)
    }
}
