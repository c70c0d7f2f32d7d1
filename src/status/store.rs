use sea_orm::ConnectionTrait;
use uuid::Uuid;

use crate::{
    error::{Error, Result},
    gate::{Permit, sql},
    profiles::DELETED,
    time,
};

/// The rooms, the members that are not banned, and the messages of the last minute.
pub async fn count(permit: &Permit, now: i64) -> Result<(i64, i64, i64)> {
    // Each is counted in an index. Messages have no other one by time than that of their ids.
    let statement = sql(
        permit.gate().backend(),
        "SELECT (SELECT COUNT(*) FROM rooms),
                (SELECT COUNT(*) FROM members WHERE id <> ?)
                    - (SELECT COUNT(*) FROM members
                       WHERE banned_at IS NOT NULL AND (banned_until IS NULL OR banned_until > ?)),
                (SELECT COUNT(*) FROM messages WHERE id >= ?)",
        [DELETED.into(), now.into(), first_id(now - time::MINUTE).into()],
    );
    let row = permit.read().query_one_raw(statement).await?;
    let row = row.ok_or_else(|| Error::internal("a count without a row"))?;
    Ok((
        row.try_get_by_index(0)?,
        row.try_get_by_index(1)?,
        row.try_get_by_index(2)?,
    ))
}

/// The smallest UUIDv7 of a time: Unix milliseconds in the first 48 bits (RFC 9562, 5.7).
fn first_id(millis: i64) -> Uuid {
    Uuid::from_u128((millis as u128) << 80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_time_are_not_before_the_first_one_of_that_time() {
        let before = time::now();
        let id = Uuid::now_v7();
        let after = time::now();
        assert!(first_id(before) <= id && id < first_id(after + 1));
    }
}
