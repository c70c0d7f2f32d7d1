//! The changes that make the database, in order.

use sea_orm_migration::prelude::*;

mod dialect;
mod m20261123_000001_ground;
mod m20261124_000001_chat;
mod m20261125_000001_companions;
mod m20261126_000001_webhooks;
mod m20261127_000001_held_deliveries;
mod m20261127_000002_status;
mod m20261128_000001_chains;

/// All changes that this program knows.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261123_000001_ground::Migration),
            Box::new(m20261124_000001_chat::Migration),
            Box::new(m20261125_000001_companions::Migration),
            Box::new(m20261126_000001_webhooks::Migration),
            Box::new(m20261127_000001_held_deliveries::Migration),
            Box::new(m20261127_000002_status::Migration),
            Box::new(m20261128_000001_chains::Migration),
        ]
    }
}
