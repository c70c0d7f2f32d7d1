//! The changes that make the database, in order.

use sea_orm_migration::prelude::*;

mod m20261123_000001_ground;

/// All changes that this program knows.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m20261123_000001_ground::Migration)]
    }
}
