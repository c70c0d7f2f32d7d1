//! The one gate: who is calling, whether they may, and what it costs. Nothing reaches the database without its permit.
//!
//! A surface identifies the caller ([`Gate::identify`]), charges for what is asked ([`Gate::charge`]) and gets an
//! [`Admission`]; a root field turns that into a [`Permit`], which alone can [read](Permit::read) and
//! [write](Permit::write). Work without a caller has a [`System`] permit.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use futures_util::FutureExt;
use sea_orm::{DatabaseConnection, DbBackend};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    config::Database,
    doorbell::Doorbell,
    error::{Error, Kind, Result},
    meter::{Bucket, Budget, Meter, Taken},
    words::Words,
};

pub mod audit;
mod background;
pub mod callers;
mod db;
pub mod idempotency;
mod lease;
mod live;
pub mod log;
mod permit;
mod rows;
pub mod rules;
pub mod sessions;
mod together;
mod writer;

use callers::{By, Caller, Callers, Found, Proof, Via};
use db::Db;
pub use db::{STATEMENTS, any_text, any_uuid, counted_as, sql, texts, uuids};
pub use lease::{Lease, Leased};
pub use live::Standing;
use log::Happened;
pub use permit::{Admission, Permit, System, Unchecked};
pub use rows::Rows;
pub use together::{Answer, Part, Together};
use writer::Writer;
pub use writer::{Durability, Operation, Sql, Tx};

/// What every API key starts with, so that one is recognised wherever it turns up.
pub const KEY_PREFIX: &str = "bsc_";
/// What every socket ticket starts with.
pub const TICKET_PREFIX: &str = "bst_";

/// Root fields a minute; 0 is no limit.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub member: u32,
    pub anonymous: u32,
}

/// The gate of a node. Cheap to clone.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    db: Db,
    writer: Writer,
    meter: Meter,
    doorbell: Arc<Doorbell>,
    callers: Arc<Callers>,
    limits: Limits,
    words: Arc<Words>,
    /// Ends the work in the background.
    closing: CancellationToken,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

/// What a request shows of who is calling.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    pub authorization: Option<&'a str>,
    pub cookie: Option<&'a str>,
    pub address: IpAddr,
}

impl Gate {
    /// Opens the database, brings it up to this program, and starts the writer and the follower of the log.
    ///
    /// # Errors
    ///
    /// A database that cannot be opened or was changed by a newer program.
    pub async fn open(
        location: &Database,
        meter: Meter,
        doorbell: Doorbell,
        limits: Limits,
        words: Arc<Words>,
    ) -> Result<Gate> {
        let db = Db::open(location).await?;
        let callers = Arc::new(Callers::new());
        let doorbell = Arc::new(doorbell);
        let writer = Writer::start(&db, {
            let (callers, doorbell) = (callers.clone(), doorbell.clone());
            move |happened: &[Happened]| {
                for event in happened {
                    if event.kind == log::CALLER_CHANGED {
                        callers.forget(event.object);
                    }
                    doorbell.ring(event.subject);
                }
            }
        });
        let gate = Gate(Arc::new(Inner {
            db,
            writer,
            meter,
            doorbell,
            callers,
            limits,
            words,
            closing: CancellationToken::new(),
        }));
        // The place in the log is read before anyone is known: what is revoked from here on is not missed.
        let seq = log::last_seq(gate.reader(), log::CALLERS).await?;
        gate.0.callers.caught_up();
        let follower = db::counted_as("follower", background::follow(gate.clone(), seq));
        for work in [follower.boxed(), background::sweep(gate.clone()).boxed()] {
            tokio::spawn(gate.0.closing.clone().run_until_cancelled_owned(work));
        }
        Ok(gate)
    }

    /// Waits for what is being written, then closes the database.
    pub async fn close(&self) -> Result<()> {
        self.0.closing.cancel();
        // The last operation of the queue: when it is through, so is what came before.
        self.writer().write(Nothing).await?;
        self.0.db.clone().close().await
    }

    /// Who is calling: by `Authorization`, else by cookie, else nobody.
    ///
    /// # Errors
    ///
    /// `INVALID_CREDENTIALS` for a wrong or expired Bearer or another scheme (never for a cookie), `BANNED`.
    pub async fn identify(&self, shown: Shown<'_>) -> Result<Identified> {
        let nobody = Identified {
            caller: Caller::Anonymous(shown.address),
            renew: None,
        };
        let (token, is_bearer) = match (shown.authorization, shown.cookie) {
            (Some(authorization), _) => (bearer(authorization).ok_or_else(invalid_credentials)?, true),
            (None, Some(cookie)) => (cookie, false),
            (None, None) => return Ok(nobody),
        };
        // A cookie holds a session token; a key there counts as none.
        let found = match Proof::read(token) {
            Some(Proof::Key(_)) if !is_bearer => Found::Nobody,
            Some(proof) => self.0.callers.find(self.reader(), proof).await?,
            None => Found::Nobody,
        };
        match found {
            Found::Known { caller, note } => {
                if note {
                    self.note(&caller.via);
                }
                let renew = (note && !is_bearer).then(|| token.to_owned());
                Ok(Identified {
                    caller: Caller::Member(caller),
                    renew,
                })
            }
            Found::Nobody if is_bearer => Err(invalid_credentials()),
            Found::Nobody => Ok(nobody),
        }
    }

    /// Who is calling where a socket opens: as [`identify`](Self::identify), and a ticket is taken too, once.
    ///
    /// # Errors
    ///
    /// As [`identify`](Self::identify), and `INVALID_CREDENTIALS` for a ticket that was taken, has run out, or whose
    /// login or key has ended.
    pub async fn identify_at_socket(&self, shown: Shown<'_>) -> Result<Identified> {
        let ticket = shown
            .authorization
            .and_then(bearer)
            .filter(|token| token.starts_with(TICKET_PREFIX));
        let Some(ticket) = ticket else {
            return self.identify(shown).await;
        };
        let taken = self
            .0
            .meter
            .take_ticket(&Sha256::digest(ticket.as_bytes()).into())
            .await;
        let known = match taken {
            Some(via) => callers::by_id(self.reader(), &via).await?,
            None => None,
        };
        let known = known.ok_or_else(invalid_credentials)?;
        Ok(Identified {
            caller: Caller::Member(Arc::new(known)),
            renew: None,
        })
    }

    /// Keeps a ticket for what the caller calls by.
    pub async fn put_ticket(&self, ticket: &str, via: &Via) {
        let hash = Sha256::digest(ticket.as_bytes()).into();
        self.0.meter.put_ticket(hash, callers::via_id(via)).await;
    }

    /// Charges a caller for `cost` root fields: all or nothing, before anything runs. What is free charges nothing.
    pub async fn charge(&self, caller: &Caller, cost: u32, idempotency_key: Option<String>) -> Charged {
        let (bucket, limit) = self.bucket(caller);
        let budget = if limit == 0 {
            None
        } else if cost == 0 {
            Some(self.0.meter.peek(&bucket, limit).await)
        } else {
            match self.0.meter.take(&bucket, cost, limit).await {
                Taken::Granted(budget) => Some(budget),
                Taken::Refused(budget) => {
                    let refused = Err(Error::rate_limited(seconds(budget.reset)));
                    return Charged {
                        admission: refused,
                        budget: Some(budget),
                    };
                }
            }
        };
        Charged {
            admission: Ok(Admission::new(self, caller, idempotency_key)),
            budget,
        }
    }

    /// The caller's budget as it stands; none where no limit is set.
    pub async fn budget(&self, caller: &Caller) -> Option<Budget> {
        let (bucket, limit) = self.bucket(caller);
        if limit == 0 {
            return None;
        }
        Some(self.0.meter.peek(&bucket, limit).await)
    }

    fn bucket(&self, caller: &Caller) -> (Bucket, u32) {
        match caller {
            Caller::Anonymous(address) => (Bucket::address(*address), self.0.limits.anonymous),
            Caller::Member(known) => (Bucket::Member(known.member), self.0.limits.member),
        }
    }

    /// A permit for work without a caller.
    pub fn system(&self, work: System) -> Permit {
        tracing::trace!(?work, "system permit");
        Permit::new(self, Caller::Anonymous(IpAddr::from([127, 0, 0, 1])), None)
    }

    /// A permit to read what a member may see now, for what is sent to them. None is no such member, or one who is banned.
    ///
    /// # Errors
    ///
    /// A database that does not answer.
    pub async fn reading_for(&self, member: Uuid) -> Result<Option<Permit>> {
        tracing::trace!(work = ?System::Deliver, "system permit");
        match self.0.callers.find(self.reader(), By::Member(member)).await {
            Ok(Found::Known { caller, .. }) => Ok(Some(Permit::new(self, Caller::Member(caller), None))),
            Ok(Found::Nobody) => Ok(None),
            Err(error) if error.kind() == Kind::Banned => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The limits, the failed logins and the tickets.
    pub fn meter(&self) -> &Meter {
        &self.0.meter
    }

    /// Whether the database answers.
    pub async fn is_ready(&self) -> bool {
        self.reader().ping().await.is_ok()
    }

    /// What members may not write.
    pub fn words(&self) -> &Words {
        &self.0.words
    }

    /// How much callers may use in a minute.
    pub fn limits(&self) -> Limits {
        self.0.limits
    }

    pub fn doorbell(&self) -> &Doorbell {
        &self.0.doorbell
    }

    pub fn backend(&self) -> DbBackend {
        self.0.db.read.get_database_backend()
    }

    fn reader(&self) -> &DatabaseConnection {
        &self.0.db.read
    }

    fn writer(&self) -> &Writer {
        &self.0.writer
    }

    fn note(&self, via: &Via) {
        let (gate, via) = (self.clone(), via.clone());
        tokio::spawn(async move {
            if let Err(error) = gate.writer().write(NoteUse(via)).await {
                tracing::warn!(?error, "the last use of a login or key was not noted");
            }
        });
    }
}

/// Who is calling. It does not print: it may hold a session token.
pub struct Identified {
    pub caller: Caller,
    /// The session token whose cookie is to be set again, prolonged.
    pub renew: Option<String>,
}

/// What came of a charge.
pub struct Charged {
    /// # Errors
    ///
    /// `RATE_LIMITED`, and nothing was charged.
    pub admission: Result<Admission>,
    /// The budget afterwards; none where no limit is set.
    pub budget: Option<Budget>,
}

/// Whole seconds until a budget's window ends, at least 1.
pub fn seconds(reset: Duration) -> u64 {
    (reset.as_secs_f64().ceil() as u64).max(1)
}

fn invalid_credentials() -> Error {
    Error::new(Kind::InvalidCredentials, "the credentials are wrong or have expired")
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

struct Nothing;

impl Operation for Nothing {
    type Output = ();

    async fn run(&self, _: &mut Tx<'_>) -> Result<()> {
        Ok(())
    }
}

struct NoteUse(Via);

impl Operation for NoteUse {
    type Output = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<()> {
        let now = tx.now();
        match &self.0 {
            Via::Login(id) => {
                tx.execute(
                    "UPDATE logins SET last_seen_at = ?, expires_at = ? WHERE id = ?",
                    [now.into(), (now + callers::LOGIN_LASTS).into(), (*id).into()],
                )
                .await?
            }
            Via::Key { id, .. } => {
                tx.execute(
                    "UPDATE api_keys SET last_used_at = ? WHERE id = ?",
                    [now.into(), (*id).into()],
                )
                .await?
            }
        };
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
