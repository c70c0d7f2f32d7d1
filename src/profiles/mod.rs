//! Members as others see them: profiles, who may see them, and the XP that they earn.

use std::sync::Arc;

use entity::member;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    error::{Error, Kind, Result},
    event::EventKind,
    files::{self, Files},
    gate::{Operation, Permit, Tx, callers::Caller},
    loaders::Loaders,
    text::{Checks, NAME, fold},
};

pub mod avatar;
pub mod graphql;
mod picture;
mod store;
pub mod xp;

pub use store::{Order, Page};

/// The member who has what deleted accounts leave behind, under the username `deleted`.
pub const DELETED: Uuid = Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0000);

/// What everyone sees of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub id: Uuid,
    pub username: String,
    /// `member`, `moderator` or `admin`.
    pub role: String,
    /// Unix milliseconds.
    pub created_at: i64,
}

/// The profile of a username, whatever its case.
///
/// # Errors
///
/// `NOT_FOUND`, and `PROFILE_PRIVATE` for others than its owner and moderators.
pub async fn by_username(permit: &Permit, loaders: &Loaders, username: &str) -> Result<Arc<member::Model>> {
    let found = loaders.member_by_username(username.to_ascii_lowercase()).await?;
    permit.see(found.ok_or_else(|| Error::not_found("profile"))?, |caller, row| {
        may_see(caller, row)
    })
}

/// The profile of a member.
///
/// # Errors
///
/// As [`by_username`].
pub async fn by_member(permit: &Permit, loaders: &Loaders, member: Uuid) -> Result<Arc<member::Model>> {
    let found = loaders.member(member).await?;
    permit.see(found.ok_or_else(|| Error::not_found("profile"))?, |caller, row| {
        may_see(caller, row)
    })
}

/// The caller's own member row.
///
/// # Errors
///
/// `UNAUTHENTICATED` for nobody.
pub async fn own(permit: &Permit, loaders: &Loaders) -> Result<Arc<member::Model>> {
    by_member(permit, loaders, permit.member()?.member).await
}

/// A member as all members see them.
///
/// # Errors
///
/// `NOT_FOUND`.
pub async fn user(permit: &Permit, loaders: &Loaders, member: Uuid) -> Result<Arc<member::Model>> {
    let found = loaders.member(member).await?;
    permit.see(
        found.ok_or_else(|| Error::not_found("user"))?,
        |caller, row| match caller.hides(row.id) {
            true => Err(Error::not_found("user")),
            false => Ok(()),
        },
    )
}

/// There is no profile of members whom the caller has blocked, and none of the member `deleted`.
fn may_know_of(caller: &Caller, profile: &member::Model) -> Result<()> {
    match profile.id == DELETED || caller.hides(profile.id) {
        true => Err(Error::not_found("profile")),
        false => Ok(()),
    }
}

/// A private profile is for its owner and for moderators.
pub fn may_see(caller: &Caller, profile: &member::Model) -> Result<()> {
    may_know_of(caller, profile)?;
    if profile.is_public || caller.is(profile.id) || caller.moderates() {
        Ok(())
    } else {
        Err(Error::new(Kind::ProfilePrivate, "this profile is private"))
    }
}

/// The profiles that the caller may see.
pub async fn list(permit: &Permit, page: Page) -> Result<Vec<member::Model>> {
    store::list(permit, page).await
}

/// What a member changes of the profile; what is absent stays.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Change {
    pub display_name: Option<String>,
    /// `Some(None)` takes the avatar away. Left out of what an idempotency key is kept for where it is absent, which is
    /// not the same as null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<Option<String>>,
    pub is_public: Option<bool>,
}

impl Change {
    /// Whether the profile would not be as it is.
    fn changes(&self, current: &member::Model) -> bool {
        self.display_name
            .as_ref()
            .is_some_and(|name| *name != current.display_name)
            || self.avatar_url.as_ref().is_some_and(|url| *url != current.avatar_url)
            || self.is_public.is_some_and(|public| public != current.is_public)
    }
}

/// Changes the caller's own profile. What changes nothing is no event. `own_avatar` is the path of this server that the
/// new avatar's URL is of, if it is one: where that is the caller's avatar already, it stays. An avatar that the caller
/// uploaded goes with its file when another URL or none takes its place.
///
/// # Errors
///
/// `NOT_FOUND` for no such member, `FORBIDDEN` for another's profile, `VALIDATION_FAILED`.
pub async fn update(
    permit: &Permit,
    loaders: &Loaders,
    files: &Files,
    username: &str,
    change: Change,
    own_avatar: Option<String>,
) -> Result<member::Model> {
    let caller = permit.member()?;
    if !caller.username.eq_ignore_ascii_case(username) {
        let other = loaders.member_by_username(username.to_ascii_lowercase()).await?;
        permit.see(other.ok_or_else(|| Error::not_found("profile"))?, |caller, row| {
            may_know_of(caller, row)
        })?;
        return Err(Error::new(Kind::Forbidden, "this profile is another member's"));
    }
    let mut checks = Checks::new();
    let display_name = change
        .display_name
        .as_deref()
        .map(|name| checks.name("displayName", name, NAME));
    checks.words(
        "displayName",
        display_name.as_deref().unwrap_or_default(),
        permit.gate().words(),
    );
    if let Some(Some(url)) = &change.avatar_url {
        checks.url("avatarUrl", url);
    }
    checks.done()?;
    let operation = Update {
        member: caller.member,
        change: Change { display_name, ..change },
        own_avatar,
    };
    let updated = permit.write_once(operation).await?;
    if let Some(name) = &updated.removed {
        files.discard(files::Kind::Avatar, name).await;
    }
    Ok(updated.row)
}

struct Update {
    member: Uuid,
    change: Change,
    own_avatar: Option<String>,
}

/// What a change of profile leaves.
#[derive(Serialize, Deserialize)]
struct Updated {
    #[serde(flatten)]
    row: member::Model,
    /// The file of the avatar that was taken away.
    #[serde(default)]
    removed: Option<String>,
}

impl Operation for Update {
    type Output = Updated;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Updated> {
        let current = store::by_id(tx, self.member).await?;
        let mut change = self.change.clone();
        if self.own_avatar.is_some() && self.own_avatar == current.avatar_url {
            change.avatar_url = None;
        }
        if !change.changes(&current) {
            return Ok(Updated {
                row: current,
                removed: None,
            });
        }
        tx.emit(EventKind::ProfileUpdate, self.member, Some(self.member), self.member)
            .await?;
        let removed = match change.avatar_url {
            Some(_) => avatar::take(tx, self.member).await?,
            None => None,
        };
        Ok(Updated {
            row: store::update(tx, &current, &change).await?,
            removed,
        })
    }
}

/// What a search for members looks in.
pub fn search_key(username: &str, display_name: &str) -> String {
    fold(&format!("{username}\n{display_name}"))
}

/// What everyone sees of the member of a username, whatever its case: for an operation that is about them. The member
/// `deleted` is nobody.
///
/// # Errors
///
/// `NOT_FOUND`.
pub async fn seen(tx: &Tx<'_>, username: &str) -> Result<Seen> {
    let found = store::seen(tx, &username.to_ascii_lowercase()).await?;
    found.ok_or_else(|| Error::not_found("member"))
}

/// Unchecked rows for the loaders.
pub(crate) async fn load_members(permit: &Permit, ids: &[Uuid]) -> Result<Vec<member::Model>> {
    store::by_ids(permit, ids).await
}

pub(crate) async fn load_members_by_username(permit: &Permit, usernames: &[String]) -> Result<Vec<member::Model>> {
    store::by_usernames(permit, usernames).await
}

/// A member's row as an operation has left it.
pub(crate) async fn row(tx: &Tx<'_>, id: Uuid) -> Result<member::Model> {
    store::by_id(tx, id).await
}
