//! The picture that a member uploads.

use std::collections::HashSet;

use bytes::Bytes;
use entity::member;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, TryAcquireError};
use uuid::Uuid;

use super::{
    picture::{self, Picture},
    store,
};
use crate::{
    error::{Error, Kind, Result},
    event::EventKind,
    files::{self, Files},
    gate::{Operation, Permit, Tx},
};

/// The largest file, in bytes. Source: the protocol, `PAYLOAD_TOO_LARGE`.
pub const LARGEST: usize = 5 * 1024 * 1024;
/// How many pictures are worked on at once, and how many may wait: one takes up to 200 MB while it is worked on, and its
/// 5 MiB while it waits.
const AT_ONCE: usize = 2;
const WAITING: usize = 16;

static WORKING: Semaphore = Semaphore::const_new(AT_ONCE);
static ACCEPTED: Semaphore = Semaphore::const_new(AT_ONCE + WAITING);

/// Makes a picture the caller's avatar, in place of the one before.
///
/// # Errors
///
/// `PAYLOAD_TOO_LARGE` over 5 MiB; `VALIDATION_FAILED` for what is no picture, is broken, animated or over 16 megapixels;
/// `UNAVAILABLE` where too many are being worked on, or the file store does not answer.
pub async fn upload(permit: &Permit, files: &Files, file: Bytes) -> Result<member::Model> {
    let member = permit.member()?.member;
    if file.len() > LARGEST {
        return Err(too_large());
    }
    let picture = keep(file).await?;
    let (permit, files) = (permit.clone(), files.clone());
    // A task of its own: a caller who goes away leaves no file behind.
    tokio::spawn(async move { replace(&permit, &files, member, picture).await })
        .await
        .map_err(Error::internal)?
}

/// `PAYLOAD_TOO_LARGE` for a file.
pub fn too_large() -> Error {
    Error::new(Kind::PayloadTooLarge, format!("the file is over {LARGEST} bytes"))
}

async fn keep(file: Bytes) -> Result<Picture> {
    let _accepted = ACCEPTED.try_acquire().map_err(|why| match why {
        TryAcquireError::NoPermits => {
            let message = "too many pictures are being worked on, try again";
            Error::new(Kind::Unavailable, message).with("retryAfter", 1)
        }
        TryAcquireError::Closed => Error::internal(why),
    })?;
    let turn = WORKING.acquire().await.map_err(Error::internal)?;
    // The turn ends with the work, which goes on where the caller goes away.
    let work = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        picture::keep(&file)
    });
    let kept = work.await.map_err(Error::internal)?;
    kept.map_err(|why| Error::invalid("file", why))
}

async fn replace(permit: &Permit, files: &Files, member: Uuid, picture: Picture) -> Result<member::Model> {
    let name = files.put(files::Kind::Avatar, picture.extension, picture.bytes).await?;
    let operation = Replace {
        member,
        name: name.clone(),
    };
    match permit.write_once(operation).await {
        Ok(replaced) => {
            if replaced.name != name {
                // It was uploaded before, with the same idempotency key.
                files.discard(files::Kind::Avatar, &name).await;
            }
            if let Some(before) = &replaced.before {
                files.discard(files::Kind::Avatar, before).await;
            }
            Ok(replaced.row)
        }
        Err(error) => {
            // Where the database went away in the middle, its row may be there: then the file is left to the sweep.
            if !matches!(error.kind(), Kind::Unavailable | Kind::Internal) {
                files.discard(files::Kind::Avatar, &name).await;
            }
            Err(error)
        }
    }
}

struct Replace {
    member: Uuid,
    name: String,
}

/// What a new avatar took the place of.
#[derive(Serialize, Deserialize)]
struct Replaced {
    row: member::Model,
    name: String,
    /// The file that is no longer the avatar.
    before: Option<String>,
}

impl Operation for Replace {
    type Output = Replaced;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Replaced> {
        tx.emit(EventKind::ProfileUpdate, self.member, Some(self.member), self.member)
            .await?;
        let before = store::take_avatar(tx, self.member).await?;
        store::put_avatar(tx, self.member, &self.name).await?;
        let path = Files::path(files::Kind::Avatar, &self.name);
        Ok(Replaced {
            row: store::set_avatar_url(tx, self.member, &path).await?,
            name: self.name.clone(),
            before,
        })
    }
}

/// The file of a member's avatar, whose row goes: it is for the caller to remove the file once that is so.
pub async fn take(tx: &Tx<'_>, member: Uuid) -> Result<Option<String>> {
    store::take_avatar(tx, member).await
}

/// Those of the names that are somebody's avatar.
pub(crate) async fn known(permit: &Permit, names: Vec<String>) -> Result<HashSet<String>> {
    store::known_avatars(permit, &names).await
}
