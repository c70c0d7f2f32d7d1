//! What an admitted request may do: its admission, the permits of its fields, and the rows that they open.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use sea_orm::DatabaseConnection;
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{
    Gate,
    callers::{Caller, Known, Via},
    idempotency::{Claim, Once},
    live::Standing,
    rules::Rule,
    writer::Operation,
};
use crate::{
    error::{Error, Kind, Result},
    time,
};

/// Proof that a caller was charged for a request. The root fields of the request make permits of it.
#[derive(Clone)]
pub struct Admission(Arc<Admitted>);

struct Admitted {
    gate: Gate,
    caller: Caller,
    idempotency_key: Option<String>,
}

impl Admission {
    pub(super) fn new(gate: &Gate, caller: &Caller, idempotency_key: Option<String>) -> Self {
        Self(Arc::new(Admitted {
            gate: gate.clone(),
            caller: caller.clone(),
            idempotency_key,
        }))
    }

    pub fn caller(&self) -> &Caller {
        &self.0.caller
    }

    /// The admission of what was charged for and still runs, for the caller as they are now.
    pub fn again(&self, standing: &Standing) -> Admission {
        Admission::new(&self.0.gate, &standing.caller(), None)
    }

    /// # Errors
    ///
    /// What [`Caller::may`] refuses.
    pub fn permit(&self, rule: &Rule) -> Result<Permit> {
        self.permit_with(rule, None)
    }

    /// A permit for a mutation that takes an idempotency key: if the request brought one, what the permit writes
    /// ([`Permit::write_once`]) happens once for this field and these arguments.
    ///
    /// # Errors
    ///
    /// What [`Caller::may`] refuses.
    pub fn permit_once(&self, rule: &Rule, field: &'static str, arguments: &impl Serialize) -> Result<Permit> {
        self.permit_by(rule, self.0.idempotency_key.as_deref(), field, arguments)
    }

    /// As [`permit_once`](Self::permit_once), where the field itself may bring the key.
    ///
    /// # Errors
    ///
    /// Also `BAD_REQUEST` where the request brought another one.
    pub fn permit_nonce(
        &self,
        rule: &Rule,
        nonce: Option<&str>,
        field: &'static str,
        arguments: &impl Serialize,
    ) -> Result<Permit> {
        let key = match (nonce, self.0.idempotency_key.as_deref()) {
            (Some(nonce), Some(key)) if nonce != key => {
                let message = "the nonce is another idempotency key than the request's";
                return Err(Error::bad_request("", message));
            }
            (nonce, key) => nonce.or(key),
        };
        self.permit_by(rule, key, field, arguments)
    }

    fn permit_by(
        &self,
        rule: &Rule,
        key: Option<&str>,
        field: &'static str,
        arguments: &impl Serialize,
    ) -> Result<Permit> {
        let claim = match (key, self.0.caller.member()) {
            (Some(key), Some(known)) => Some(Claim::new(known.member, key, field, arguments)?),
            _ => None,
        };
        self.permit_with(rule, claim)
    }

    fn permit_with(&self, rule: &Rule, claim: Option<Claim>) -> Result<Permit> {
        self.0.caller.may(rule)?;
        Ok(Permit::new(&self.0.gate, self.0.caller.clone(), claim))
    }
}

/// Leave to reach the database for one admitted field, or for a [`System`] work. Cheap to clone: what a field returns
/// carries it on.
#[derive(Clone)]
pub struct Permit(Arc<Permitted>);

struct Permitted {
    gate: Gate,
    caller: Caller,
    claim: Option<Claim>,
    asked: AtomicBool,
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({:?})", self.0.caller)
    }
}

impl Permit {
    pub(super) fn new(gate: &Gate, caller: Caller, claim: Option<Claim>) -> Self {
        Self(Arc::new(Permitted {
            gate: gate.clone(),
            caller,
            claim,
            asked: AtomicBool::new(false),
        }))
    }

    /// What a caller may read whose connection is open, and was let in.
    pub fn of_standing(standing: &Standing) -> Permit {
        Permit::new(standing.gate(), standing.caller(), None)
    }

    pub fn caller(&self) -> &Caller {
        self.0.asked.store(true, Ordering::Relaxed);
        &self.0.caller
    }

    /// The member who is calling.
    ///
    /// # Errors
    ///
    /// `UNAUTHENTICATED` where it is nobody.
    pub fn member(&self) -> Result<&Known> {
        self.caller()
            .member()
            .ok_or_else(|| Error::new(Kind::Unauthenticated, "log in first"))
    }

    pub fn gate(&self) -> &Gate {
        &self.0.gate
    }

    /// Whether somebody has asked this permit who is calling: what came of that is not for everyone.
    pub fn was_asked(&self) -> bool {
        self.0.asked.load(Ordering::Relaxed)
    }

    pub(super) fn claim(&self) -> Option<&Claim> {
        self.0.claim.as_ref()
    }

    /// Connections that only read.
    pub fn read(&self) -> &DatabaseConnection {
        self.0.gate.reader()
    }

    /// Runs an operation; it is as [durable](super::Durability) as it asks for when this answers.
    ///
    /// # Errors
    ///
    /// The operation's own, and `UNAVAILABLE` when too much is waiting.
    pub async fn write<O: Operation>(&self, operation: O) -> Result<O::Output> {
        self.0.gate.writer().write(operation).await
    }

    /// As [`write`](Self::write), once for the request's idempotency key if it has one.
    ///
    /// # Errors
    ///
    /// Also `IDEMPOTENCY_CONFLICT`.
    pub async fn write_once<O>(&self, operation: O) -> Result<O::Output>
    where
        O: Operation,
        O::Output: Serialize + DeserializeOwned + Sync,
    {
        match &self.0.claim {
            Some(claim) => {
                self.write(Once {
                    claim: claim.clone(),
                    operation,
                })
                .await
            }
            None => self.write(operation).await,
        }
    }

    /// Opens a row that a loader fetched, if `decide` lets this caller see it.
    ///
    /// # Errors
    ///
    /// What `decide` refuses.
    pub fn see<T>(&self, row: Unchecked<T>, decide: impl FnOnce(&Caller, &T) -> Result<()>) -> Result<T> {
        decide(self.caller(), &row.0)?;
        Ok(row.0)
    }

    /// The permit of the member whom registration or login has just made of the caller.
    pub(crate) fn logged_in(&self, member: &entity::member::Model, login: Uuid) -> Result<Permit> {
        let now = time::now();
        let role = member.role.parse().map_err(Error::internal)?;
        let known = Known::new(
            member.id,
            member.username.clone(),
            role,
            Via::Login(login),
            i64::MAX,
            now,
        );
        Ok(Permit::new(&self.0.gate, Caller::Member(Arc::new(known)), None))
    }
}

/// A row of which nobody has asked yet whether the caller may see it.
#[derive(Clone, Debug)]
pub struct Unchecked<T>(T);

impl<T> Unchecked<T> {
    pub fn new(row: T) -> Self {
        Self(row)
    }
}

/// Work that nobody in particular asked for. Who uses which is a reviewed list (a test shows it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Process-wide loaders: they fetch rows by key and decide nothing.
    Load,
    /// The operator's commands.
    Operate,
    /// The removal of files that nothing refers to: it reads which have a row.
    Sweep,
    /// The feeds of rooms: they read what happened, and render it for all who see the same.
    Tail,
    /// The worker of webhooks: it turns events into deliveries, and reads for the owner of each what is sent.
    Deliver,
}
