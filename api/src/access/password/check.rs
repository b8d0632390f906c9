//! Checks and hashes passwords, a bounded number at once.

use std::io;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{BYTES_MAX, BYTES_MIN, Cost, Phc};
use crate::access::Secret;

/// How much work on passwords a node does at once.
#[derive(Clone, Copy, Debug)]
pub struct PasswordOptions {
    /// The cost of new hashes, and of checks for users that do not exist.
    pub cost: Cost,
    /// How many hashes are computed at once. Each takes the memory of its cost.
    pub at_once_max: usize,
    /// How many calls wait for their turn.
    pub queue_max: usize,
}

impl Default for PasswordOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { cost: Cost::default(), at_once_max: cores.min(4), queue_max: 64 }
    }
}

/// Why a password was neither accepted nor refused.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// As many calls wait as are allowed. The call may be repeated.
    #[error("{waiting_max} logins wait on this node already")]
    Busy {
        /// How many calls may wait.
        waiting_max: usize,
    },
    /// The hash could not be computed.
    #[error(transparent)]
    Failed(#[from] io::Error),
}

/// Checks and hashes passwords on the threads for blocking work. Clones share their limits.
///
/// ```text
/// call → admission (queue + running, or Busy at once) → permit (waits) → blocking thread, which owns both until the hash is done
/// ```
///
/// A caller that goes away while its hash is computed frees nothing: the memory is in use until the end. So abandoned logins cannot exceed
/// the limit.
#[derive(Clone, Debug)]
pub struct Passwords {
    options: PasswordOptions,
    /// A permit for each call that waits or runs.
    admission: Arc<Semaphore>,
    /// A permit for each hash that is being computed.
    running: Arc<Semaphore>,
    /// Checked instead of the hash of a user that does not exist.
    nobody: Phc,
}

impl Passwords {
    /// Makes the limits and the hash for users that do not exist.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn new(options: PasswordOptions) -> io::Result<Self> {
        let at_once_max = options.at_once_max.max(1);
        Ok(Self {
            options: PasswordOptions { at_once_max, ..options },
            admission: Arc::new(Semaphore::new(at_once_max.saturating_add(options.queue_max))),
            running: Arc::new(Semaphore::new(at_once_max)),
            nobody: Phc::of_nobody(options.cost)?,
        })
    }

    /// Hashes a new password, whose rules were checked by [`super::check_new`].
    ///
    /// # Errors
    /// Too many calls wait, or the hash cannot be computed.
    pub async fn hash(&self, password: Secret) -> Result<Phc, CheckError> {
        let cost = self.options.cost;
        Ok(self.run(move || Phc::create(&password, cost)).await??)
    }

    /// Whether a password is that of a user. `stored` is the PHC string of the user, `None` for a user that does not exist or has no
    /// password: that takes as long and is always `false`.
    ///
    /// # Errors
    /// Too many calls wait, or the hash cannot be computed.
    pub async fn check(&self, password: Secret, stored: Option<&str>) -> Result<bool, CheckError> {
        // No user can have such a password, so the quick answer tells nothing about any user.
        if !(BYTES_MIN..=BYTES_MAX).contains(&password.expose().len()) {
            return Ok(false);
        }
        let stored = stored.map(Phc::parse).and_then(|parsed| match parsed {
            Ok(phc) => Some(phc),
            Err(problem) => {
                tracing::error!(%problem, "a stored password hash cannot be used; its user cannot log in");
                None
            }
        });
        let exists = stored.is_some();
        let phc = stored.unwrap_or_else(|| self.nobody.clone());
        let matches = self.run(move || phc.matches(&password)).await??;
        Ok(matches && exists)
    }

    /// Runs work under a permit that the work itself owns.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, CheckError> {
        let busy = |_| CheckError::Busy { waiting_max: self.options.queue_max };
        let admitted = Arc::clone(&self.admission).try_acquire_owned().map_err(busy)?;
        // The semaphore is never closed.
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(io::Error::other)?;
        let task = tokio::task::spawn_blocking(move || {
            let _owned = (admitted, running);
            work()
        });
        Ok(task.await.map_err(io::Error::other)?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn passwords(at_once_max: usize, queue_max: usize) -> Passwords {
        let cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };
        Passwords::new(PasswordOptions { cost, at_once_max, queue_max }).unwrap()
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    async fn until(mut reached: impl FnMut() -> bool) {
        for _ in 0..10_000 {
            if reached() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("not reached in ten seconds");
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_user_passes() {
        let passwords = passwords(2, 4);
        let phc = passwords.hash(secret("correct horse")).await.unwrap().expose();
        for (text, stored, expected) in [
            ("correct horse", Some(phc.as_str()), true),
            ("correct house", Some(phc.as_str()), false),
            ("short", Some(phc.as_str()), false),
            ("correct horse", None, false),
            ("correct horse", Some("$argon2id$v=19$m=4294967295,t=1,p=1$AAAA$AAAA"), false),
        ] {
            assert_eq!(passwords.check(secret(text), stored).await.unwrap(), expected, "{text} {stored:?}");
        }
    }

    #[test]
    fn unknown_user_costs_as_much() {
        let passwords = Passwords::new(PasswordOptions::default()).unwrap();
        assert_eq!(passwords.nobody.cost(), Cost::default());
        assert!((1..=4).contains(&passwords.options.at_once_max));
    }

    #[tokio::test]
    async fn a_thousand_logins_take_few_permits() {
        let passwords = passwords(4, 64);
        let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (release, gate) = mpsc::channel::<()>();
        let gate = Arc::new(std::sync::Mutex::new(gate));
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..1_000 {
            let (passwords, inside, most, gate) =
                (passwords.clone(), Arc::clone(&inside), Arc::clone(&most), Arc::clone(&gate));
            calls.spawn(async move {
                let work = move || {
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    gate.lock().unwrap().recv().unwrap();
                    inside.fetch_sub(1, Ordering::SeqCst);
                };
                passwords.run(work).await
            });
        }
        until(|| inside.load(Ordering::SeqCst) == 4).await;
        until(|| passwords.admission.available_permits() == 0).await;
        let mut busy = 0;
        // Whoever is refused is refused at once: no permit has been given back yet.
        while busy < 1_000 - 68 {
            let refused = calls.join_next().await.unwrap().unwrap();
            assert!(matches!(refused, Err(CheckError::Busy { waiting_max: 64 })), "{refused:?}");
            busy += 1;
        }
        for _ in 0..68 {
            release.send(()).unwrap();
        }
        let mut done = 0;
        while let Some(call) = calls.join_next().await {
            call.unwrap().unwrap();
            done += 1;
        }
        assert_eq!((done, most.load(Ordering::SeqCst)), (68, 4));
        assert_eq!((passwords.running.available_permits(), passwords.admission.available_permits()), (4, 68));
    }

    #[tokio::test]
    async fn abandoned_login_keeps_its_permit_until_the_hash_is_done() {
        let passwords = passwords(1, 0);
        let (release, gate) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel::<()>();
        let call = tokio::spawn({
            let passwords = passwords.clone();
            async move {
                let work = move || {
                    started.send(()).unwrap();
                    gate.recv().unwrap();
                };
                passwords.run(work).await
            }
        });
        until(|| has_started.try_recv().is_ok()).await;
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        assert_eq!(passwords.running.available_permits(), 0);
        assert!(matches!(passwords.run(|| ()).await, Err(CheckError::Busy { waiting_max: 0 })));
        release.send(()).unwrap();
        until(|| passwords.running.available_permits() == 1).await;
        passwords.run(|| ()).await.unwrap();
    }
}
