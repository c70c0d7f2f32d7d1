//! Passwords: hashed with argon2id on a bounded number of threads, and never kept or shown.

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::BuildHasher,
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use argon2::{Argon2, PasswordHasher, PasswordVerifier, password_hash::phc::PasswordHash};
use async_graphql::{InputValueError, InputValueResult, Scalar, ScalarType, Value};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Mutex, MutexGuard, Semaphore, SemaphorePermit};

use crate::{
    error::{Error, Kind, Result},
    text::nfc,
};

/// A password as a client sent it, in NFC: the same keys give the same password on any keyboard. It does not print itself.
#[derive(Clone)]
pub struct Password(SecretString);

impl Password {
    pub fn new(text: String) -> Self {
        let text = SecretString::from(text);
        Self(nfc(text.expose_secret()).into())
    }

    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

#[Scalar(name = "String")]
impl ScalarType for Password {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(text) => Ok(Self::new(text)),
            // The value itself must not get into a message.
            _ => Err(InputValueError::custom("a password is a string")),
        }
    }

    fn to_value(&self) -> Value {
        Value::Null
    }
}

/// How many callers may wait for a thread before further ones are refused: at 20 to 50 ms a hash, a few seconds' worth.
const WAITING: usize = 128;
/// How many checks of different accounts or addresses may go on at once: several times what may wait.
const TURNS: usize = 1_024;

/// Hashes and checks passwords. One for each node; cheap to clone.
///
/// The parameters are those that OWASP's Password Storage Cheat Sheet gives first for argon2id: 19 MiB, 2 iterations,
/// 1 lane; they are the crate's defaults, and a test holds them.
#[derive(Clone)]
pub struct Passwords(Arc<Pool>);

/// Leave to check a password; over when it is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    _turn: MutexGuard<'a, ()>,
    _place: SemaphorePermit<'a>,
}

struct Pool {
    /// One at a time for each account and address, which share these.
    turns: Box<[Mutex<()>]>,
    // Random for each process: nobody can choose whom to keep waiting.
    hasher: RandomState,
    threads: Semaphore,
    queue: Semaphore,
    waiting: Semaphore,
    /// What the password of an unknown user is checked against, so that it takes the same time.
    nobody: OnceLock<String>,
}

impl Passwords {
    /// Hashes on at most `threads` threads at once.
    pub fn new(threads: usize) -> Self {
        Self(Arc::new(Pool {
            turns: std::iter::repeat_with(Mutex::default).take(TURNS).collect(),
            hasher: RandomState::new(),
            threads: Semaphore::new(threads),
            queue: Semaphore::new(WAITING),
            waiting: Semaphore::new(WAITING),
            nobody: OnceLock::new(),
        }))
    }

    /// Waits until no other password of an account is being checked for an address. Hold it until the check is over.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` when too many wait.
    pub async fn turn(&self, account: &str, address: IpAddr) -> Result<Turn<'_>> {
        let place = self.0.waiting.try_acquire().map_err(|_| overloaded())?;
        let hash = self.0.hasher.hash_one((account, address)) as usize;
        let turn = self.0.turns[hash % TURNS].lock().await;
        Ok(Turn {
            _turn: turn,
            _place: place,
        })
    }

    /// A PHC string of the password with a new salt.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` when too many wait.
    pub async fn hash(&self, password: Password) -> Result<String> {
        self.run(move |_| hash(password.expose())).await?
    }

    /// Whether the password is the one that was hashed; for no hash (no such user) false, after the same time.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` when too many wait.
    pub async fn verify(&self, password: Password, expected: Option<String>) -> Result<bool> {
        self.run(move |pool| {
            let known = expected.is_some();
            let expected = match expected {
                Some(expected) => expected,
                None => match pool.nobody.get() {
                    Some(nobody) => nobody.clone(),
                    None => {
                        let nobody = hash("nobody's password")?;
                        pool.nobody.get_or_init(|| nobody).clone()
                    }
                },
            };
            let expected = PasswordHash::new(&expected).map_err(|why| Error::internal(why.to_string()))?;
            let right = Argon2::default()
                .verify_password(password.expose().as_bytes(), &expected)
                .is_ok();
            Ok(right && known)
        })
        .await?
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Pool) -> T + Send + 'static) -> Result<T> {
        let _place = self.0.queue.try_acquire().map_err(|_| overloaded())?;
        let _thread = self.0.threads.acquire().await.map_err(Error::internal)?;
        let pool = self.0.clone();
        tokio::task::spawn_blocking(move || work(&pool))
            .await
            .map_err(Error::internal)
    }
}

fn overloaded() -> Error {
    Error::new(Kind::Unavailable, "too many log in at once, try again").with("retryAfter", 2)
}

fn hash(password: &str) -> Result<String> {
    let hash = Argon2::default()
        .hash_password(password.as_bytes())
        .map_err(|why| Error::internal(why.to_string()))?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_parameters_are_owasps() {
        let passwords = Passwords::new(1);
        let hash = passwords.hash(Password::new("correct horse".into())).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(
            passwords
                .verify(Password::new("correct horse".into()), Some(hash.clone()))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify(Password::new("wrong".into()), Some(hash))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify(Password::new("nobody's password".into()), None)
                .await
                .unwrap()
        );
    }

    #[test]
    fn a_password_does_not_print_itself() {
        let password = Password::new("hunter2".into());
        assert!(!format!("{password:?}").contains("hunter2"));
        assert_eq!(password.to_value(), Value::Null);
    }
}
