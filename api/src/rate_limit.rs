//! How many requests a client may send: buckets of tokens by address, account and API key, kept in Redis so that all
//! instances count together, and in memory while Redis is away.
//!
//! The way of a request: `layer` charges the bucket of its address before anybody looks who sends it; whoever finds that
//! out charges the buckets of the account and the key ([`layer::charge`]); `fields` tells the client what is left.
//!
//! A bucket is a GCRA (`gcra`): one number per bucket, and one script in Redis ([`RateLimiter::take`]) reads and
//! moves the numbers of all buckets of a request at once. A request that one bucket refuses is charged to none.

mod fields;
mod gcra;
pub(crate) mod layer;
mod limiter;
mod local;
mod options;

pub(crate) use fields::whole_seconds;
pub(crate) use limiter::hashed;
pub use limiter::{Bucket, InvalidUrl, Limit, RateLimiter, Verdict};
pub use options::{Options, Rate};
