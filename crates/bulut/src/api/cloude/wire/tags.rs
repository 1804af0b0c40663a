//! Tags (cloude-api-v1, "List all tags").

use bulut_model::tag::Tag;
use serde::Serialize;
use utoipa::ToSchema;

/// A tag and how many servers carry it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tag)]
pub struct TagView {
    /// Servers that carry it.
    pub count: i64,
    /// The tag.
    pub tag: String,
    /// When it was first put on one of the account's servers, UTC.
    pub created_at: String,
}

impl From<Tag> for TagView {
    fn from(tag: Tag) -> Self {
        Self { count: tag.servers, created_at: tag.created_at.wire(), tag: tag.word }
    }
}
