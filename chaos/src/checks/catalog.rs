//! No projection was left behind.

use super::Check;

/// Every projection is live, none stopped or half built, and no event was passed over.
pub(super) fn all_are_live(unsettled: &[String]) -> Check {
    Check::of("Every projection is live, and no event was passed over.", unsettled.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_projection_is_found() {
        assert!(all_are_live(&[]).violations.is_empty());
        assert_eq!(all_are_live(&["flow 1 stopped".to_owned()]).violations.len(), 1);
    }
}
