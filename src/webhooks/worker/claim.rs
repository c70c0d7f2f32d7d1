//! Which deliveries are taken to be sent next.

use std::collections::{HashMap, HashSet};

use entity::delivery;
use uuid::Uuid;

use super::{
    AT_ONCE_TO_ONE_HOST, LEASE,
    queue::{self, Due},
};
use crate::{
    error::Result,
    gate::{Durability, Operation, Permit, Tx},
};

/// Deliveries of one webhook and subject, to be sent one after another.
pub type Chain = Vec<delivery::Model>;

/// What is due and has a place at its host now, `limit` at most.
///
/// # Errors
///
/// A database that does not answer.
pub async fn due(permit: &Permit, now: i64, limit: usize) -> Result<Vec<Due>> {
    let due = queue::due(permit, now).await?;
    let on_their_way = queue::on_their_way(permit.read(), now).await?;
    Ok(choose(due, on_their_way, limit))
}

/// Those that have waited longest, but not more to one host than it may get at once.
fn choose(mut due: Vec<Due>, mut on_their_way: HashMap<String, usize>, limit: usize) -> Vec<Due> {
    due.sort_by_key(|delivery| delivery.next_attempt_at);
    let mut chosen = Vec::new();
    for delivery in due {
        if chosen.len() == limit {
            break;
        }
        let sending = on_their_way.entry(delivery.host.clone()).or_default();
        if *sending < AT_ONCE_TO_ONE_HOST {
            *sending += 1;
            chosen.push(delivery);
        }
    }
    chosen
}

/// Takes deliveries that were due a moment ago, as far as they still are and have a place, with what waits behind them.
pub struct Claim {
    pub now: i64,
    pub due: Vec<Due>,
    /// One for each of `due`.
    pub leases: Vec<Uuid>,
}

impl Operation for Claim {
    type Output = Vec<Chain>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<Chain>> {
        queue::take_turns(tx).await?;
        let on_their_way = queue::on_their_way(tx, self.now).await?;
        let chosen = choose(self.due.clone(), on_their_way, self.due.len());
        let webhooks: Vec<Uuid> = chosen.iter().map(|delivery| delivery.webhook_id).collect();
        queue::hold_all(tx, &webhooks).await?;
        let heads = chosen
            .iter()
            .map(|delivery| delivery.id)
            .zip(self.leases.iter().copied());
        let heads: Vec<(Uuid, Uuid)> = heads.collect();
        let claimed = queue::claim(tx, &heads, self.now + LEASE, self.now).await?;
        Ok(chains(claimed))
    }

    fn durability(&self) -> Durability {
        Durability::Process
    }
}

fn chains(claimed: Vec<delivery::Model>) -> Vec<Chain> {
    let mut chains: HashMap<_, Chain> = HashMap::new();
    for delivery in claimed {
        chains.entry(delivery.lease).or_default().push(delivery);
    }
    let mut chains: Vec<Chain> = chains.into_values().collect();
    for chain in &mut chains {
        chain.sort_by_key(|delivery| delivery.seq);
    }
    chains
}

/// Gives back what was taken and is not sent: deliveries of one webhook and subject.
pub struct Release {
    pub lease: Uuid,
    pub webhook: Uuid,
    pub subject: Uuid,
    pub ids: Vec<Uuid>,
}

impl Operation for Release {
    type Output = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<()> {
        queue::hold_all(tx, &[self.webhook]).await?;
        queue::release(tx, self.lease, &self.ids).await?;
        queue::free(tx, &HashSet::from([(self.webhook, self.subject)])).await?;
        Ok(())
    }

    fn durability(&self) -> Durability {
        Durability::Process
    }
}

/// Takes over what was taken and not recorded within its lease.
pub struct Recover {
    pub now: i64,
}

impl Operation for Recover {
    type Output = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<()> {
        let subjects = queue::recover(tx, self.now).await?;
        queue::free(tx, &subjects).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(host: &str, next_attempt_at: i64) -> Due {
        Due {
            id: Uuid::from_u128(next_attempt_at.unsigned_abs().into()),
            webhook_id: Uuid::nil(),
            host: host.to_owned(),
            next_attempt_at,
        }
    }

    fn chosen(due: Vec<Due>, on_their_way: &[(&str, usize)], limit: usize) -> Vec<i64> {
        let on_their_way = on_their_way.iter().map(|(host, count)| ((*host).to_owned(), *count));
        let chosen = choose(due, on_their_way.collect(), limit);
        chosen.iter().map(|delivery| delivery.next_attempt_at).collect()
    }

    #[test]
    fn who_has_waited_longest_is_first_but_no_host_gets_more_than_four() {
        let all = || {
            let a = (1..=6).map(|time| due("a", time));
            a.rev()
                .chain([due("b", 9), due("c", 7), due("b", 8)])
                .collect::<Vec<_>>()
        };
        assert_eq!(chosen(all(), &[], 64), [1, 2, 3, 4, 7, 8, 9]);
        assert_eq!(chosen(all(), &[("a", 3), ("b", 4), ("d", 1)], 64), [1, 7]);
        assert_eq!(chosen(all(), &[("a", 5)], 64), [7, 8, 9]);
        assert_eq!(chosen(all(), &[("a", 3)], 2), [1, 7]);
        assert_eq!(chosen(all(), &[], 0), [0; 0]);
    }
}
