//! Counts the open connections of each client address, or its sockets, so that one client can't take all places.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use parking_lot::Mutex;

use crate::client_address::network;
use crate::options::Options;

/// The open connections by network, as far as they are counted.
#[derive(Debug, Clone)]
pub(crate) struct PerAddress {
    open: Arc<Mutex<HashMap<String, usize>>>,
    limit: usize,
    /// Those of many clients.
    proxies: Vec<IpNet>,
    loopback: bool,
}

/// The place of a connection, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    network: String,
    open: Arc<Mutex<HashMap<String, usize>>>,
}

impl PerAddress {
    /// At most `limit` for each address.
    pub(crate) fn new(options: &Options, limit: usize) -> PerAddress {
        PerAddress {
            open: Arc::default(),
            limit,
            proxies: options.trusted_proxies.clone(),
            loopback: options.limits.loopback,
        }
    }

    /// A place for a connection from `address`: `Some(None)` if these are not counted, `None` if it has as many as it may.
    pub(crate) fn take(&self, address: IpAddr) -> Option<Option<Place>> {
        let address = address.to_canonical();
        let uncounted = (address.is_loopback() && !self.loopback)
            || self.proxies.iter().any(|proxy| proxy.contains(&address));
        if uncounted {
            return Some(None);
        }
        let network = network(address);
        let mut open = self.open.lock();
        if open.get(&network).is_some_and(|count| *count >= self.limit) {
            return None;
        }
        *open.entry(network.clone()).or_default() += 1;
        drop(open);
        Some(Some(Place { network, open: self.open.clone() }))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        if let Some(count) = open.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_number_of_places_and_gets_them_back() {
        let proxies = vec!["10.0.0.0/8".parse().unwrap()];
        let options = Options { trusted_proxies: proxies, ..Options::default() };
        let counted = PerAddress::new(&options, 2);
        let take = |text: &str| counted.take(text.parse().unwrap());
        let (first, second) = (take("2001:db8::1"), take("2001:db8::2"));
        assert!(first.is_some() && second.is_some());
        assert!(take("2001:db8::3").is_none(), "the same /64");
        assert!(take("2001:db8:0:1::1").is_some(), "another one");
        drop(first);
        assert!(take("2001:db8::3").is_some());
        for uncounted in ["127.0.0.1", "::1", "10.1.2.3", "::ffff:10.1.2.3"] {
            assert!((0..9).all(|_| matches!(take(uncounted), Some(None))), "{uncounted}");
        }
        drop(second);
        assert!(counted.open.lock().is_empty(), "nothing is left behind");
    }
}
