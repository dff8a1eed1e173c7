//! The transactional event producer.
