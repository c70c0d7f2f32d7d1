//! XP: what earns it, how much, and how much of it in a day. Members never set it. docs/xp.md shows this table.

use uuid::Uuid;

use super::store;
use crate::{
    gate::{Sql, Tx},
    time,
};

/// What earns XP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// As the database keeps it.
    pub name: &'static str,
    pub amount: i32,
    /// The most that a member gets for it in a day (UTC).
    pub daily_cap: i32,
    /// For people.
    pub what: &'static str,
}

pub const TRIGGER_CREATED: Reason = Reason {
    name: "trigger.created",
    amount: 10,
    daily_cap: 50,
    what: "Writing a trigger",
};
pub const TRIGGER_ACTIVATED: Reason = Reason {
    name: "trigger.activated",
    amount: 5,
    daily_cap: 25,
    what: "Activating a trigger for the first time",
};

pub const ANSWER_GENERATED: Reason = Reason {
    name: "answer.generated",
    amount: 2,
    daily_cap: 40,
    what: "Generating an answer with an AI companion",
};

/// Everything that earns XP.
pub const REASONS: &[Reason] = &[TRIGGER_CREATED, TRIGGER_ACTIVATED, ANSWER_GENERATED];

/// The largest n with 50·n² ≤ xp, at least 1. Source: the schema's `Profile.level`.
pub fn level(xp: i32) -> i32 {
    let squares = f64::from(xp.max(0)) / 50.0;
    // Exact: the quotient and its root are far below 2⁵³, and the floor is checked.
    let mut level = squares.sqrt() as i32;
    while 50 * i64::from(level + 1) * i64::from(level + 1) <= i64::from(xp) {
        level += 1;
    }
    while level > 1 && 50 * i64::from(level) * i64::from(level) > i64::from(xp) {
        level -= 1;
    }
    level.max(1)
}

/// The statements that give a member XP, unless the day's cap is reached: for the transaction of what earned it.
pub fn award(tx: &Tx<'_>, member: Uuid, reason: Reason) -> Vec<Sql> {
    let day = (tx.now() / time::DAY) as i32;
    store::award(tx, member, day, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels() {
        for (xp, expected) in [
            (-1, 1),
            (0, 1),
            (49, 1),
            (50, 1),
            (199, 1),
            (200, 2),
            (1_249, 4),
            (1_250, 5),
        ] {
            assert_eq!(level(xp), expected, "{xp}");
        }
        let largest = level(i32::MAX);
        assert!(50 * i64::from(largest).pow(2) <= i64::from(i32::MAX));
        assert!(50 * i64::from(largest + 1).pow(2) > i64::from(i32::MAX));
    }

    #[test]
    fn no_single_award_is_over_its_cap() {
        assert!(REASONS.iter().all(|reason| reason.amount <= reason.daily_cap));
    }
}
