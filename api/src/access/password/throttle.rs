//! Slows down whoever fails to log in again and again, without locking anybody's account.
//!
//! Two limits hold at once: on a principal from one network, and on a network alone. A stranger who guesses somebody's password slows down
//! only the stranger's own network; the owner of the account logs in from another one.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use batuta_statemachine::PrincipalName;

/// The network of a call, an IPv4 /24 or an IPv6 /64: within it, one caller can easily change its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Network {
    /// The first three bytes of an IPv4 address.
    V4([u8; 3]),
    /// The first eight bytes of an IPv6 address.
    V6([u8; 8]),
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(address) => {
                let mut network = [0; 8];
                network.copy_from_slice(&address.octets()[..8]);
                Self::V6(network)
            }
        }
    }
}

/// How many failures are free, and how fast they are forgiven.
#[derive(Clone, Copy, Debug)]
pub struct ThrottleOptions {
    /// The limit on a principal from one network.
    pub principal: Limit,
    /// The limit on a network, whatever principals it names.
    pub network: Limit,
    /// How many entries each of both tables has. The oldest are forgotten.
    pub entries_max: usize,
}

/// A number of failures that is refilled over time.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// How many failures may follow each other at once.
    pub burst: u64,
    /// After how many milliseconds one of them is forgiven.
    pub refill_ms: u64,
}

impl Default for ThrottleOptions {
    fn default() -> Self {
        Self {
            principal: Limit { burst: 5, refill_ms: 10_000 },
            network: Limit { burst: 20, refill_ms: 500 },
            entries_max: 65_536,
        }
    }
}

/// Too many logins failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many logins failed; try again in {retry_after_ms} ms")]
pub struct Throttled {
    /// When the next login is let through, in milliseconds from now.
    pub retry_after_ms: u64,
}

/// Counts failed logins. Clones share their counts.
#[derive(Clone, Debug)]
pub struct Throttle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    started: Instant,
    tables: Mutex<Tables>,
}

#[derive(Debug)]
struct Tables {
    principals: Table<(PrincipalName, Network)>,
    networks: Table<Network>,
}

impl Throttle {
    /// Makes a throttle that has seen no failure.
    #[must_use]
    pub fn new(options: ThrottleOptions) -> Self {
        let tables = Tables {
            principals: Table::new(options.principal, options.entries_max),
            networks: Table::new(options.network, options.entries_max),
        };
        Self(Arc::new(Inner { started: Instant::now(), tables: Mutex::new(tables) }))
    }

    /// Begins a login. It counts as failed until [`Attempt`] says otherwise, so that a thousand guesses at once are not a thousand free guesses.
    ///
    /// # Errors
    /// Too many logins failed of this principal from this network, or from this network.
    pub fn begin(&self, principal: &PrincipalName, from: IpAddr) -> Result<Attempt, Throttled> {
        let key = (principal.clone(), Network::from(from));
        self.0.begin(&key, self.0.now_ms())?;
        Ok(Attempt { throttle: self.clone(), key })
    }
}

impl Inner {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, key: &(PrincipalName, Network), now_ms: u64) -> Result<(), Throttled> {
        let mut tables = self.tables();
        let waits = [tables.principals.wait_ms(key, now_ms), tables.networks.wait_ms(&key.1, now_ms)];
        // A refused login is not counted: a network that has to wait must not make or renew an entry of a principal.
        if let Some(retry_after_ms) = waits.into_iter().flatten().max() {
            return Err(Throttled { retry_after_ms });
        }
        tables.principals.take(key, now_ms);
        tables.networks.take(&key.1, now_ms);
        Ok(())
    }

    fn give_back(&self, key: &(PrincipalName, Network)) {
        let mut tables = self.tables();
        tables.principals.give_back(key);
        tables.networks.give_back(&key.1);
    }
}

/// A login that has begun. It counts as failed when it is dropped.
#[derive(Debug)]
#[must_use = "an attempt that is dropped counts as failed"]
pub struct Attempt {
    throttle: Throttle,
    key: (PrincipalName, Network),
}

impl Attempt {
    /// The password was right. Earlier failures of this principal from this network are forgotten. Those of the network are not: otherwise a
    /// guesser with an account could clear them by logging in.
    pub fn succeeded(self) {
        self.throttle.0.give_back(&self.key);
        self.throttle.0.tables().principals.forget(&self.key);
    }

    /// The password was not looked at: the node was busy, or failed.
    pub fn not_checked(self) {
        self.throttle.0.give_back(&self.key);
    }
}

/// The failures of each key, as the instant at which all of them will be forgiven.
#[derive(Debug)]
struct Table<K> {
    limit: Limit,
    entries_max: usize,
    entries: HashMap<K, Entry>,
    /// The keys by the number of their last use: the oldest first.
    by_use: BTreeMap<u64, K>,
    uses: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    forgiven_at_ms: u64,
    used: u64,
}

impl<K: Clone + Eq + Hash> Table<K> {
    fn new(limit: Limit, entries_max: usize) -> Self {
        let (entries, by_use) = (HashMap::new(), BTreeMap::new());
        Self { limit, entries_max: entries_max.max(1), entries, by_use, uses: 0 }
    }

    /// How long a key has to wait; `None` when it need not.
    fn wait_ms(&self, key: &K, now_ms: u64) -> Option<u64> {
        let forgiven_at_ms = self.entries.get(key)?.forgiven_at_ms.max(now_ms);
        let after = forgiven_at_ms - now_ms + self.limit.refill_ms;
        after
            .checked_sub(self.limit.burst.saturating_mul(self.limit.refill_ms))
            .filter(|wait_ms| *wait_ms > 0)
    }

    /// Counts a failure.
    fn take(&mut self, key: &K, now_ms: u64) {
        self.drop_forgiven(now_ms);
        self.uses += 1;
        let entry = self.entries.entry(key.clone()).or_insert(Entry { forgiven_at_ms: 0, used: self.uses });
        self.by_use.remove(&entry.used);
        entry.used = self.uses;
        entry.forgiven_at_ms = entry.forgiven_at_ms.max(now_ms) + self.limit.refill_ms;
        self.by_use.insert(self.uses, key.clone());
        while self.entries.len() > self.entries_max {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            self.entries.remove(&oldest);
        }
    }

    /// Takes a failure back.
    fn give_back(&mut self, key: &K) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.forgiven_at_ms = entry.forgiven_at_ms.saturating_sub(self.limit.refill_ms);
        }
    }

    fn forget(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.by_use.remove(&entry.used);
        }
    }

    /// Removes the oldest two entries if their failures are forgiven. At most one entry is added at a time, so the table shrinks by itself.
    fn drop_forgiven(&mut self, now_ms: u64) {
        for _ in 0..2 {
            let Some((_, oldest)) = self.by_use.first_key_value() else { return };
            let forgiven = self.entries.get(oldest).is_none_or(|entry| entry.forgiven_at_ms <= now_ms);
            if !forgiven {
                return;
            }
            let oldest = oldest.clone();
            self.entries.remove(&oldest);
            self.by_use.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle(entries_max: usize) -> Throttle {
        let principal = Limit { burst: 3, refill_ms: 1_000 };
        Throttle::new(ThrottleOptions { principal, network: Limit { burst: 6, refill_ms: 100 }, entries_max })
    }

    fn key(name: &str, address: &str) -> (PrincipalName, Network) {
        (PrincipalName::new(name).unwrap(), Network::from(address.parse::<IpAddr>().unwrap()))
    }

    fn wait_ms(throttle: &Throttle, key: &(PrincipalName, Network), now_ms: u64) -> u64 {
        throttle.0.begin(key, now_ms).map_or_else(|throttled| throttled.retry_after_ms, |()| 0)
    }

    #[test]
    fn addresses_of_one_network_are_one() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.255", true),
            ("192.0.2.1", "192.0.3.1", false),
            ("::ffff:192.0.2.1", "192.0.2.7", true),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::1", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
        ] {
            assert_eq!(key("ann", one).1 == key("ann", other).1, same, "{one} {other}");
        }
    }

    #[test]
    fn failures_are_forgiven_over_time() {
        let (throttle, ann) = (throttle(100), key("ann", "192.0.2.1"));
        let waits: Vec<u64> =
            [0, 0, 0, 0, 999, 1_000, 1_001, 60_000].map(|at| wait_ms(&throttle, &ann, at)).into();
        assert_eq!(waits, [0, 0, 0, 1_000, 1, 0, 999, 0]);
    }

    #[test]
    fn stranger_slows_down_only_his_network() {
        let throttle = throttle(100);
        for _ in 0..3 {
            assert_eq!(wait_ms(&throttle, &key("ann", "192.0.2.1"), 0), 0);
        }
        assert_eq!(wait_ms(&throttle, &key("ann", "192.0.2.9"), 0), 1_000, "same network");
        assert_eq!(wait_ms(&throttle, &key("bob", "192.0.2.1"), 0), 0, "another principal");
        assert_eq!(wait_ms(&throttle, &key("ann", "198.51.100.1"), 0), 0, "another network");
    }

    #[test]
    fn network_is_limited_whatever_it_names() {
        let throttle = throttle(100);
        for name in ["a", "b", "c", "d", "e", "f"] {
            assert_eq!(wait_ms(&throttle, &key(name, "192.0.2.1"), 0), 0, "{name}");
        }
        assert_eq!(wait_ms(&throttle, &key("g", "192.0.2.1"), 0), 100);
        assert!(!throttle.0.tables().principals.entries.contains_key(&key("g", "192.0.2.1")));
    }

    #[test]
    fn success_forgets_the_principal_not_the_network() {
        let throttle = Throttle::new(ThrottleOptions {
            principal: Limit { burst: 2, refill_ms: 1_000_000 },
            network: Limit { burst: 4, refill_ms: 1_000_000 },
            entries_max: 10,
        });
        let (ann, from) = (PrincipalName::new("ann").unwrap(), "192.0.2.1".parse().unwrap());
        drop(throttle.begin(&ann, from).unwrap());
        throttle.begin(&ann, from).unwrap().succeeded();
        for _ in 0..3 {
            throttle.begin(&ann, from).unwrap().not_checked();
        }
        drop(throttle.begin(&ann, from).unwrap());
        drop(throttle.begin(&ann, from).unwrap());
        assert!(throttle.begin(&ann, from).is_err());
        let bob = PrincipalName::new("bob").unwrap();
        drop(throttle.begin(&bob, from).unwrap());
        assert!(throttle.begin(&bob, from).is_err(), "four failures of the network are used up");
    }

    #[test]
    fn oldest_entries_are_forgotten() {
        let throttle = throttle(4);
        let keys: Vec<_> = (0..20_u8).map(|third| key("ann", &format!("192.0.{third}.1"))).collect();
        for key in &keys {
            assert_eq!(wait_ms(&throttle, key, 0), 0);
        }
        let tables = throttle.0.tables();
        assert!(keys[16..].iter().all(|key| tables.principals.entries.contains_key(key)));
        assert_eq!((tables.principals.entries.len(), tables.principals.by_use.len()), (4, 4));
        assert_eq!((tables.networks.entries.len(), tables.networks.by_use.len()), (4, 4));
    }

    #[test]
    fn forgiven_entries_go_by_themselves() {
        let throttle = throttle(1_000);
        for third in 0..100_u8 {
            wait_ms(&throttle, &key("ann", &format!("192.0.{third}.1")), 0);
        }
        for third in 0..100_u8 {
            wait_ms(&throttle, &key("ann", &format!("198.51.{third}.1")), 10_000);
        }
        assert_eq!(throttle.0.tables().principals.entries.len(), 100);
    }
}
