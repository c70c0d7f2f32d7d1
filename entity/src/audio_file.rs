//! A text that was read aloud: the file of it, which all turns that say the same share.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audio_files")]
pub struct Model {
    /// The file's name, which cannot be guessed.
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// SHA-256 of what was spoken, by which voice of which model.
    pub spoken: Vec<u8>,
    pub created_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
